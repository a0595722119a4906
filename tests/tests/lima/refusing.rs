//! A `limactl` that is not there, fails, hangs, or says what nobody understands.

use std::time::Instant;

use nix::unistd::Pid;
use workmux_tests::{PATIENCE, Process, require_engine};

use super::scene::Scene;

const COMMANDS: [&[&str]; 2] =
    [&["stop", "--backend", "lima", "--all", "--yes"], &["prune", "--backend", "lima", "--force"]];

#[test]
fn without_limactl_the_way_to_get_it_is_said() {
    require_engine!("lima");
    let scene = Scene::warm();
    for words in COMMANDS {
        let run = scene.workmux(&["sandbox"]).args(words).env("PATH", Scene::path_without()).run().code(1);
        assert_eq!(run.stdout, "");
        run.warns("'limactl' is not installed").warns("Hint: install Lima (https://lima-vm.io/docs/installation/)");
    }
    scene.stop_machines();
    let run = scene.shell(&["true"]).env("PATH", Scene::path_without()).run().code(125);
    run.warns("limactl").warns("install Lima (https://lima-vm.io/docs/installation/)");
}

#[test]
fn a_limactl_that_fails_is_quoted() {
    require_engine!("lima");
    let scene = Scene::warm();
    let path = scene.instead("echo 'time=\"x\" level=fatal msg=\"the moon is full\"' >&2; exit 3");
    for words in COMMANDS {
        let run = scene.workmux(&["sandbox"]).args(words).env("PATH", &path).run().code(1);
        assert_eq!(run.stdout, "");
        run.warns("'limactl list' failed with code 3").warns("the moon is full").warns("Hint: ");
    }
    scene.stop_machines();
    let run = scene.shell(&["true"]).env("PATH", &path).run().code(125);
    run.warns("the moon is full").warns("Hint: ");
    // Lima's own words for root, whatever release.
    let path = scene.instead("echo 'limactl: must not run as the root user' >&2; exit 1");
    scene.shell(&["true"]).env("PATH", &path).run().code(125).warns("Lima does not work for root").warns("--backend");
}

#[test]
fn a_limactl_that_says_nonsense_costs_a_warning() {
    require_engine!("lima");
    let scene = Scene::warm();
    let name = scene.machine();
    let path = scene.instead("echo '<html>'; exec \"$REAL\" \"$@\"");
    let run = scene.on("stop", &["--all", "--yes"]).env("PATH", &path).run().ok();
    run.warns("unreadable: <html>").says(&format!("✓ Stopped '{name}'\n"));
    let path = scene.instead("echo '{\"name\": 3}'; echo '7'");
    let run = scene.on("prune", &["--force"]).env("PATH", &path).run().ok();
    let run = run.warns("unreadable: {\"name\": 3}").warns("unreadable: 7");
    assert_eq!(run.stdout, "No workmux Lima VMs found.\n");
    assert_eq!(scene.machine(), name);
}

#[test]
fn a_limactl_that_hangs_is_ended() {
    require_engine!("lima");
    let scene = Scene::new();
    let file = scene.home().join("hangs");
    let path = scene.instead(&format!("echo $$ > '{}'; exec sleep 1000", file.display()));
    let since = Instant::now();
    let run = scene.on("stop", &["--all", "--yes"]).env("PATH", &path).run().code(1);
    run.warns("'limactl list' does not answer").warns("limactl stop --force");
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
    let pid: i32 = scene.read(&file).trim().parse().unwrap();
    assert_eq!(Process::find(Pid::from_raw(pid)), None);
}
