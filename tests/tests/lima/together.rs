//! Runs that need a machine at the same moment: `limactl` has no lock, so that ours must do.

use workmux_tests::require_engine;

use super::scene::Scene;

#[test]
fn two_first_runs_at_once_share_one_start() {
    require_engine!("lima");
    let scene = Scene::new();
    // Time enough to meet.
    scene.faults(r#"{"boot_ms": 1500}"#);
    let dirs = ["one", "two", "three"].map(|branch| scene.worktree(branch));
    let start = |dir| scene.workmux(&["sandbox", "shell", "--", "sh", "-c", "pwd"]).dir(dir).start();
    let running: Vec<_> = dirs.iter().map(start).collect();
    for (running, dir) in running.into_iter().zip(&dirs) {
        assert_eq!(running.wait().ok().stdout, format!("{}\n", dir.display()));
    }
    let name = scene.machine();
    assert_eq!((scene.count("create"), scene.count("start"), scene.count("stop")), (1, 1, 0));
    assert_eq!(scene.status(&name), "Running");
    scene.assert_clean();
}

#[test]
fn a_machine_that_broke_is_mended_once_for_all() {
    require_engine!("lima");
    let scene = Scene::broken();
    let dirs = ["one", "two", "three"].map(|branch| scene.worktree(branch));
    let start = |dir| scene.workmux(&["sandbox", "shell", "--", "true"]).dir(dir).start();
    let running: Vec<_> = dirs.iter().map(start).collect();
    for running in running {
        running.wait().ok();
    }
    assert_eq!((scene.count("create"), scene.count("start")), (1, 2));
    scene.assert_clean();
}
