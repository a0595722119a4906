//! What a sandbox in a machine sees, of which the machine sees more: other worktrees, git's own files, the machine's user.

use workmux_tests::{require_engine, wait_until};

use super::scene::{Scene, exists};

#[test]
fn p3_a_sandbox_sees_nothing_of_what_its_machine_sees() {
    require_engine!("lima");
    // The machine has the main checkout as well, with git's own files in it.
    let scene = Scene::warm();
    let name = scene.machine();
    let (own, sibling) = (scene.worktree("own"), scene.worktree("sibling"));
    scene.write(sibling.join("secret"), "of the sibling\n");
    let machine = |words: &[&str]| scene.limactl(&[&["shell", &name][..], words].concat()).ok().stdout;
    let home = machine(&["sh", "-c", "cd; pwd -P"]).trim().to_owned();
    assert_eq!(machine(&["sh", "-c", "cat /mnt/workmux/*/sibling/secret"]), "of the sibling\n");
    machine(&["sh", "-c", "test -e ~/.ssh/authorized_keys"]);

    let test = |condition: &str| drop(scene.agent(&["sh", "-c", condition]).dir(&own).run().ok());
    test(&format!("test ! -e '{}'", sibling.display()));
    test("test -z \"$(ls -A /mnt/workmux 2>/dev/null)\"");
    test("test ! -e ~/.ssh && test ! -e ~/.workmux");
    test(&format!("test \"$HOME\" = '{home}' && test ! -e '{home}/.ssh'"));
    test("! find / -xdev -name secret 2>/dev/null | grep .");
    test(&format!("test ! -e '{}'", scene.state().display()));
    test(&format!("test ! -e '{}'", scene.lima_home().display()));
}

#[test]
fn p14_git_in_a_machine_is_not_the_hosts() {
    require_engine!("lima");
    let scene = Scene::warm();
    let own = scene.worktree("own");
    let git = scene.git_dir();
    let config = scene.read(git.join("config"));
    let script = format!(
        "cd '{}' && mkdir -p hooks && echo evil > hooks/post-checkout; git config --global a.b c; \
         git config core.hooksPath /evil; echo x >> config; true",
        git.display()
    );
    for dir in [&own, &scene.main()] {
        scene.agent(&["sh", "-c", &script]).dir(dir).run().ok();
        assert_eq!(scene.read(git.join("config")), config);
        assert!(!exists(git.join("hooks/post-checkout")));
    }
    scene.assert_clean();
}

#[test]
fn p3_processes_of_the_machine_are_out_of_reach() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let outside = scene.program("limactl").args(["shell", &name, "sleep", "98765"]).dir("/").start();
    let seen = || scene.limactl(&["shell", &name, "sh", "-c", "grep -la [9]8765 /proc/[0-9]*/cmdline"]);
    wait_until("it to run", || seen().code == Some(0));
    let other = scene.waiting("agent", &scene.worktree("other"), "true");
    let script = "grep -la '[9]8765\\|[m]kfifo' /proc/[0-9]*/cmdline; tr '\\0' ' ' < /proc/1/cmdline";
    let run = scene.agent(&["sh", "-c", script]).dir(scene.worktree("own")).run().ok();
    assert!(run.stdout.contains("workmux init") && !run.stdout.contains("/proc/"), "{run}");
    other.go_on().wait().ok();
    drop(outside);
    scene.limactl(&["stop", "--force", &name]).ok();
}

#[test]
fn what_a_sandbox_leaves_in_its_home_is_there_for_the_next() {
    require_engine!("lima");
    let scene = Scene::warm();
    scene.shell(&["sh", "-c", "echo kept > ~/kept; echo gone > /tmp/gone; echo gone > /run/gone; true"]).run().ok();
    scene.shell(&["sh", "-c", "cat ~/kept; test ! -e /tmp/gone && test ! -e /run/gone"]).run().ok().says("kept\n");
    // But nothing of it acts in the machine itself.
    scene.shell(&["sh", "-c", "echo 'echo started' >> ~/.profile; echo 'echo started' >> ~/.bashrc"]).run().ok();
    scene.limactl(&["shell", &scene.machine(), "bash", "-lc", "true"]).ok().never_says("started");
}

#[test]
fn a_shared_machine_serves_the_repositories_of_a_directory() {
    require_engine!("lima");
    let scene = Scene::with("", "isolation: shared, projects_dir: '~/src'");
    let (one, two) = (scene.repository("src/one"), scene.repository("src/two"));
    for (own, other) in [(&one, &two), (&two, &one)] {
        let script =
            format!("pwd; test ! -e '{}' && git commit --quiet --allow-empty --message=inside", other.display());
        let run = scene.agent(&["sh", "-c", &script]).dir(own).run().ok();
        assert_eq!(run.stdout, format!("{}\n", own.display()));
        assert_eq!(scene.git(own, &["log", "--format=%s", "-1"]).ok().stdout, "inside\n");
    }
    assert_eq!(scene.machine(), "wm-42ef9897");
    assert_eq!((scene.count("create"), scene.count("start")), (1, 1));
    // One that lies elsewhere would take another mount.
    scene
        .shell(&["true"])
        .run()
        .code(125)
        .warns("wm-42ef9897")
        .warns(&format!("'{}', writable", scene.main().display()));
    scene.assert_clean();
}
