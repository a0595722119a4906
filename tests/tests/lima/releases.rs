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
