//! Lima's releases: what differs between them is no user's business. And root, whom all of them refuse.

use serde_json::json;
use workmux_tests::{World, given, require_engine};

use super::case::{assert_no_unknown_start, calls, cold, faults, last_commit, lima, only_machine, status};

const RELEASES: [&str; 5] = ["1.0.7", "1.2.3", "2.0.3", "2.1.4", "2.2.0"];

/// One test for each, so that they run beside each other.
macro_rules! each_release {
    ($name:ident: $($test:ident $at:literal),+) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    if workmux_tests::engine("lima") {
                        super::$name(super::RELEASES[$at]);
                    }
                }
            )+
        }
    };
}

each_release!(a_machine_lives_its_life: first 0, second 1, third 2, fourth 3, newest 4);

fn of(release: &str) -> World {
    let world = cold();
    faults(&world, &json!({"version": release}));
    world
}

fn a_machine_lives_its_life(release: &str) {
    let world = of(release);
    let dir = world.worktree("topic");
    let odd = ["a  b", "c;d", "$(e)", "", "--", "'\"\\", "ü", "A=b", "-n"];
    let script = "printf '[%s]' \"$@\"; echo; echo $HOME; echo x > x; git add x; git commit -qm work; workmux heartbeat; exit 42";
    let run = world.agent(&["sh", "-c", script, "sh"]).args(odd).dir(&dir).run().code(42);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], odd.map(|word| format!("[{word}]")).concat());
    let suffix = if release < "2.1" { "linux" } else { "guest" };
    assert_eq!(lines[1], format!("/home/{}.{suffix}", given().user.name), "asked, not guessed");
    assert_eq!(last_commit(&world, &dir), "work");
    let name = only_machine(&world);

    assert_eq!(world.shell(&["cat"]).input("a\0b").dir(&dir).run().ok().stdout, "a\0b");
    world.shell(&["sh", "-c", "kill -TERM $$"]).dir(&dir).run().code(143);
    let mut pty = workmux_tests::Pty::start(world.shell(&["sh", "-c", "test -t 1 && stty size; exit 7"]).dir(&dir));
    pty.wait_for("24 80");
    assert_eq!(pty.wait().0, 7);

    lima(&world, "stop", &[&name, "--yes"]).run().ok().says(&format!("✓ Stopped '{name}'"));
    lima(&world, "stop", &[&name, "--yes"]).run().ok().says("is already stopped (Stopped)");
    // Nobody is deceived by a machine that does not run: one release's shell says that all went well there.
    world.shell(&["sh", "-c", "exit 5"]).dir(&dir).run().code(5);
    assert_eq!(status(&world, &name), "Running");
    lima(&world, "prune", &["--dry-run"]).run().ok().says(&format!("1. {name} (Running, in use)"));
    lima(&world, "stop", &["--all", "-y"]).run().ok();
    lima(&world, "prune", &[]).input("y\n").run().ok().says(&format!("✓ Deleted '{name}'"));
    assert_eq!(world.machines(), [] as [String; 0]);
    // No machine at all, and one of an unknown name: the first release says of that nothing.
    world.shell(&["true"]).dir(&dir).run().ok();
    assert_eq!(calls(&world, "create").len(), 2);
    assert_no_unknown_start(&world);
    world.assert_clean();
}

#[test]
fn a_machine_survives_that_lima_was_brought_up_to_date() {
    require_engine!("lima");
    let world = of("2.0.3");
    let home = || world.shell(&["sh", "-c", "echo $HOME; cat ~/kept 2>/dev/null; true"]).run().ok().stdout;
    let user = &given().user.name;
    assert_eq!(home(), format!("/home/{user}.linux\n"));
    world.shell(&["sh", "-c", "echo mine > ~/kept"]).run().ok();
    faults(&world, &json!({"version": "2.2.0"}));
    assert_eq!(home(), format!("/home/{user}.linux\nmine\n"), "while it runs nothing changes");
    lima(&world, "stop", &["--all", "-y"]).run().ok();
    // Made by the old one, it keeps its home.
    assert_eq!(home(), format!("/home/{user}.linux\nmine\n"));
    world.assert_clean();
}

/// As root, sandboxes are their owner's; but machines are asked for by whoever types that, and Lima refuses root.
#[test]
fn root_is_told_in_words_of_ours() {
    require_engine!("lima");
    if !given().user.borrowed {
        return;
    }
    for release in RELEASES {
        let world = of(release);
        let before = world.read(world.home().join(".config/workmux/config.yaml"));
        for words in [&["stop", "--all", "--yes"][..], &["prune", "--force"]] {
            let run = lima(&world, words[0], &words[1..]).as_root().run().code(1);
            let run = run.warns("Lima does not work for root").warns("Hint: run workmux as an ordinary user");
            run.never_says("goroutine").never_says("panic").never_says("machines");
        }
        assert_eq!(world.read(world.home().join(".config/workmux/config.yaml")), before);
    }

    // A checkout of root's has no other owner.
    let world = cold();
    let roots = world.home().join("roots");
    std::fs::create_dir(&roots).unwrap();
    let git = |words: &[&str]| world.program("git").args(words).dir(&roots).as_root().run().ok();
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=first"]);
    let run = world.shell(&["true"]).dir(&roots).as_root().run().code(125);
    run.warns("root owns this worktree").warns("chown -R").never_says("panic");
    assert_eq!(world.machines(), [] as [String; 0]);
    assert!(calls(&world, "create").is_empty());
}
