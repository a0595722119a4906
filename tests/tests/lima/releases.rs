//! The releases that there are: everything that a user does, on each of them.

use workmux_tests::{Pty, require_engine};

use super::scene::Scene;

fn works(release: &str) {
    let scene = Scene::new();
    scene.faults(&format!(r#"{{"version": "{release}"}}"#));
    let said = scene.limactl(&["--version"]).ok().stdout;
    assert!(said.contains(release), "{said}");
    let dir = scene.worktree("topic");
    for command in ["shell", "agent"] {
        let words =
            ["sandbox", command, "--", "sh", "-c", "pwd; printf '[%s]' \"$@\"; exit 7", "sh", "a  b", "", "$(c)"];
        let run = scene.workmux(&words).dir(&dir).run().code(7);
        assert_eq!(run.stdout, format!("{}\n[a  b][][$(c)]", dir.display()));
    }
    scene.shell(&["sh", "-c", "kill -9 $$"]).dir(&dir).run().code(137);
    scene.shell(&["no-such-program"]).dir(&dir).run().code(127);
    scene.shell(&["cat"]).dir(&dir).input("a\0b").run().ok().says("a\0b");
    scene.agent(&["git", "commit", "--quiet", "--allow-empty", "--message=inside"]).dir(&dir).run().ok();
    assert_eq!(scene.git(&dir, &["log", "--format=%s", "-1"]).ok().stdout, "inside\n");
    let (code, shown) = Pty::start(scene.shell(&["sh", "-c", "test -t 0 && exit 3"]).dir(&dir)).wait();
    assert_eq!(code, 3, "{shown}");

    let name = scene.machine();
    assert_eq!((scene.count("create"), scene.count("start")), (1, 1));
    scene.stop(&[&name, "--yes"]).ok().says(&format!("✓ Stopped '{name}'\n"));
    assert_eq!(scene.status(&name), "Stopped");
    scene.shell(&["true"]).dir(&dir).run().ok();
    // Of somebody who pulls the plug.
    scene.kill(&name, "qemu.pid");
    scene.shell(&["true"]).dir(&dir).run().ok();
    scene.kill(&name, "ha.pid");
    assert_eq!(scene.status(&name), "Broken");
    scene.shell(&["true"]).dir(&dir).run().ok();
    assert_eq!((scene.count("create"), scene.status(&name).as_str()), (1, "Running"));

    let run = scene.prune(&["--force"]).ok();
    run.warns(&format!("'{name}' is in use and is deleted")).says(&format!("✓ Deleted '{name}'\n"));
    assert_eq!(scene.machines(), [] as [String; 0]);
    scene.assert_clean();
}

macro_rules! releases {
    ($($name:ident $release:literal),+) => {
        $(
            #[test]
            fn $name() {
                require_engine!("lima");
                works($release);
            }
        )+
    };
}

releases!(v1_0 "1.0.7", v1_2 "1.2.3", v2_0 "2.0.3", v2_1 "2.1.4", v2_2 "2.2.0");

#[test]
fn a_machine_keeps_its_home_when_lima_is_brought_up_to_date() {
    require_engine!("lima");
    let scene = Scene::new();
    scene.faults(r#"{"version": "2.0.3"}"#);
    let home = || scene.shell(&["sh", "-c", "echo $HOME; cat ~/kept 2>/dev/null; true"]).run().ok().stdout;
    let user = &scene.given().user.name;
    assert_eq!(home(), format!("/home/{user}.linux\n"), "asked, not guessed");
    scene.shell(&["sh", "-c", "echo mine > ~/kept"]).run().ok();
    scene.faults(r#"{"version": "2.2.0"}"#);
    for _also_after_a_stop in 0..2 {
        assert_eq!(home(), format!("/home/{user}.linux\nmine\n"));
        scene.stop(&["--all", "--yes"]).ok();
    }
    scene.prune(&["--force"]).ok();
    assert_eq!(home(), format!("/home/{user}.guest\n"));
    scene.assert_clean();
}

/// Machines are asked for by whoever types that, and Lima refuses root: each release in its own way.
#[test]
fn root_is_told_in_words_of_ours() {
    require_engine!("lima");
    if !workmux_tests::given().user.borrowed {
        return;
    }
    for release in ["1.0.7", "1.2.3", "2.0.3", "2.1.4", "2.2.0"] {
        let scene = Scene::new();
        scene.faults(&format!(r#"{{"version": "{release}"}}"#));
        for words in [&["stop", "--all", "--yes"][..], &["prune", "--force"]] {
            let run = scene.on(words[0], &words[1..]).as_root().run().code(1);
            let run = run.warns("Lima does not work for root").warns("Hint: run workmux as an ordinary user");
            run.never_says("goroutine").never_says("panic");
        }
    }
    // A checkout of root's has no other owner.
    let scene = Scene::new();
    let roots = scene.home().join("roots");
    std::fs::create_dir(&roots).unwrap();
    for words in [&["init", "--quiet"][..], &["commit", "--quiet", "--allow-empty", "--message=first"]] {
        scene.program("git").args(words).dir(&roots).as_root().run().ok();
    }
    let run = scene.shell(&["true"]).dir(&roots).as_root().run().code(125);
    run.warns("root owns this worktree").warns("chown -R");
    assert_eq!((scene.machines(), scene.count("create")), (vec![], 0));
}
