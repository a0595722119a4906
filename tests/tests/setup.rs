//! `workmux setup`: the change is shown, asked about, made and taken back; hooks do no harm without workmux.

use std::path::PathBuf;

use workmux_tests::World;

const SETTINGS: &str = "{\n  \"model\": \"opus\"\n}\n";

/// A world whose user has claude.
fn world() -> (World, PathBuf) {
    let world = World::new();
    let settings = world.home().join(".claude/settings.json");
    world.write(&settings, SETTINGS);
    (world, settings)
}

#[test]
fn setup_shows_the_change_and_makes_it_after_a_yes() {
    let (world, settings) = world();
    let shown = world.workmux(&["setup", "--dry-run"]).run().ok();
    let shown = shown.says(&format!("--- {}", settings.display())).says("+    \"Stop\": [").never_says("[y/N]");
    assert_eq!(world.read(&settings), SETTINGS);

    for answer in ["", "n\n", "what\n"] {
        let run = world.workmux(&["setup"]).input(answer).run().ok();
        run.says(&shown.stdout).says("Aborted.").warns("[y/N]");
        assert_eq!(world.read(&settings), SETTINGS);
    }

    world.workmux(&["setup"]).input("y\n").run().ok().says("Installed in");
    let installed = world.read(&settings);
    assert!(installed.contains("workmux set-window-status waiting"), "{installed}");
    world.workmux(&["setup"]).run().ok().says("installed already: claude").never_says("[y/N]");

    world.workmux(&["setup", "--remove", "--yes"]).run().ok().says("-    \"Stop\": [").says("Removed from");
    assert_eq!(world.read(&settings), SETTINGS);
    world.workmux(&["setup", "--remove"]).run().ok().says("No status hooks are installed: claude");
}

#[test]
fn setup_asks_on_a_terminal() {
    let (world, settings) = world();
    let mut pty = world.pty(&["setup", "claude"]);
    pty.wait_for("[y/N]");
    pty.send("\r");
    let (code, shown) = pty.wait();
    assert!(code == 0 && shown.contains("Aborted."), "{shown}");
    assert_eq!(world.read(&settings), SETTINGS);
}

#[test]
fn setup_without_agents_says_so_and_knows_which_there_are() {
    let world = World::without_repository();
    world.workmux(&["setup"]).run().ok().says("No settings of claude, codex, gemini, opencode were found");
    world.workmux(&["setup", "emacs"]).run().code(2).warns("claude, codex, gemini, opencode");
    world.workmux(&["setup", "codex", "--yes"]).run().ok().warns("/hooks");
    assert!(world.read(world.home().join(".codex/hooks.json")).contains("\"PermissionRequest\""));
    world.workmux(&["setup", "--remove", "--yes"]).run().ok();
    assert!(!world.home().join(".codex/hooks.json").exists());
}

#[test]
fn setup_names_file_and_line_of_what_it_cannot_change() {
    let (world, settings) = world();
    let broken = "{\n  \"model\": \"opus\",\n}\n";
    world.write(&settings, broken);
    let run = world.workmux(&["setup", "--yes"]).run().code(1);
    run.warns(&format!("{}:3", settings.display())).warns("Hint: ");
    assert_eq!(world.read(&settings), broken);
}
