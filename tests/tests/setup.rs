//! `workmux setup`: the change is shown, asked about, made and taken back; its hooks show an icon where there is a window,
//! and do no harm where there is none.

use std::path::PathBuf;

use workmux_tests::{World, require_engine};

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
    world.workmux(&["setup", "codex", "--yes"]).run().ok().warns("trust new hooks");
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

#[test]
fn setup_keeps_what_stands_in_a_file_with_comments_behind_a_link() {
    let world = World::without_repository();
    let (file, link) = (world.home().join("dotfiles/gemini.json"), world.home().join(".gemini/settings.json"));
    let own = "// mine\n{\n    \"ui\": { \"theme\": \"x\" }, // one\n    \"a\": [1,2,   3] // two\n}\n";
    world.write(&file, own);
    world.folder(link.parent().unwrap());
    std::os::unix::fs::symlink(&file, &link).unwrap();
    world.workmux(&["setup", "--yes"]).run().ok().says("(a link to ");
    let installed = world.read(&file);
    assert!(installed.contains("[1,2,   3], // two\n") && installed.contains("\"BeforeAgent\""), "{installed}");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    world.workmux(&["setup", "--yes"]).run().ok().says("installed already");
    world.workmux(&["setup", "--remove", "--yes"]).run().ok();
    assert_eq!(world.read(&file), own);
}

#[test]
fn hooks_show_an_icon_at_the_window_and_succeed_without_one() {
    require_engine!("tmux");
    let (world, settings) = world();
    world.workmux(&["setup", "--yes"]).run().ok();
    let settings: serde_json::Value = serde_json::from_str(&world.read(settings)).unwrap();
    let tmux = world.tmux();
    let programs = world.given().program.parent().unwrap().display();
    for (event, icon) in [("UserPromptSubmit", "🤖"), ("Notification", "💬"), ("PostToolUse", "🤖"), ("Stop", "✅")]
    {
        let command = settings["hooks"][event][0]["hooks"][0]["command"].as_str().unwrap();
        let hook = |path: &str| {
            let hook = world.program("/bin/sh").args(["-c", command]).env("PATH", path);
            hook.input(format!("{{\"hook_event_name\": \"{event}\", \"prompt\": \"x\"}}"))
        };
        let path = format!("{programs}:/usr/local/bin:/usr/bin:/bin");
        // Beside no multiplexer, beside one that is gone, and without workmux.
        for run in [
            hook(&path),
            hook(&path).env("TMUX", "/nowhere/tmux,1,0").env("TMUX_PANE", "%1"),
            hook("/nowhere").envs(tmux.variables("test")),
        ] {
            let run = run.run().ok();
            assert!(run.stdout.is_empty() && run.errors().is_empty(), "{event}: {run}");
        }
        hook(&path).envs(tmux.variables("test")).run().ok();
        assert_eq!(tmux.window_option("test", "@workmux_status"), icon, "{event}");
    }
}

#[test]
fn a_status_is_shown_as_configured_and_its_failure_is_nobodys() {
    require_engine!("tmux");
    let world = World::new();
    let tmux = world.tmux();
    let status = |word: &str| world.workmux(&["set-window-status", word]);
    let icon = || tmux.window_option("test", "@workmux_status");
    world.user_config("status_icons: { done: D }\n");
    status("done").envs(tmux.variables("test")).run().ok();
    assert_eq!(icon(), "D");
    status("working").envs(tmux.variables("test")).env("WORKMUX_DISABLE_SET_WINDOW_STATUS", "").run().ok();
    assert_eq!(icon(), "D");
    world.workmux(&["register-agent"]).envs(tmux.variables("test")).run().ok();
    assert_eq!(icon(), "");
    world.user_config("status_icons: [\n");
    status("done").envs(tmux.variables("test")).run().ok();
    assert_eq!(icon(), "✅");
    status("clear").envs(tmux.variables("test")).run().ok();
    assert_eq!(icon(), "");
    status("done").run().ok().warns("not started inside tmux");
    status("nonsense").run().code(2).warns("working, waiting, done, clear");
}
