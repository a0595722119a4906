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

#[test]
fn what_limactl_may_say_one_day_is_taken_as_it_is() {
    require_engine!("lima");
    let scene = Scene::new();
    let path = scene.instead(
        "case $1 in list)\n\
         echo '{\"name\":\"wm-new-00000000\",\"status\":\"Hibernating\",\"dir\":\"/nowhere\",\"future\":[{}]}'\n\
         echo '{\"name\":\"wm-odd-00000000\",\"status\":\"Running\",\"config\":{\"mounts\":[{\"location\":\"/x\",\"new\":{}}]}}'\n\
         esac\nexec \"$REAL\" \"$@\"",
    );
    let run = scene.on("stop", &["wm-new-00000000"]).env("PATH", &path).run().ok();
    assert_eq!(run.stdout, "'wm-new-00000000' is already stopped (Hibernating)\n");
    let run = scene.on("stop", &["--all", "--dry-run"]).env("PATH", &path).run().ok();
    assert_eq!(run.stdout, "To be stopped, 1 Lima VM(s):\n  wm-odd-00000000 (Running, not recorded here)\n");
    assert_eq!(run.stderr, "");
    // A run looks for its own machine, and what else is said does not matter once that is there.
    let path = scene.instead("case $1 in list) echo 'Wel\u{1b}[31mcome' ;; esac\nexec \"$REAL\" \"$@\"");
    let run = scene.shell(&["true"]).env("PATH", &path).run().ok();
    assert_eq!(run.stderr.matches("unreadable").count(), 1, "{run}");
    run.never_says("\u{1b}");
    scene.stop_machines();
    scene.shell(&["true"]).env("PATH", &path).run().ok().never_says("unreadable");
}

#[test]
fn a_limactl_that_dies_or_does_not_run_is_said() {
    require_engine!("lima");
    let scene = Scene::new();
    let path = scene.instead("kill -9 $$");
    let stop = || scene.on("stop", &["--all", "-y"]).env("PATH", &path).run().code(1);
    stop().warns("'limactl list' was ended by a signal");
    scene.write(scene.home().join("instead/limactl"), "#!/no/such/interpreter\n");
    stop().warns("limactl").never_says("panicked");
}

#[test]
fn what_lima_lacks_is_said_before_a_machine_runs() {
    require_engine!("lima");
    let scene = Scene::new();
    let with = |script: &str| {
        let path = scene.instead(&format!("{script}\nexec \"$REAL\" \"$@\""));
        scene.shell(&["true"]).env("PATH", path).run()
    };
    let says = |command: &str, text: &str| {
        format!("case $1 in {command}) echo 'time=\"x\" level=fatal msg=\"{text}\"' >&2; exit 1 ;; esac")
    };
    let version = |version: &str| format!("case $1 in --version) echo limactl version {version}; exit ;; esac");
    scene.refused(with(&version("0.23.2"))).warns("'limactl' is 0.23.2").warns("1.0 or newer");
    assert_eq!(scene.machines(), [] as [String; 0]);
    let missing = says("create", "guest agent binary could not be found for Linux-x86_64");
    scene.refused(with(&missing)).warns("Lima's own files are incomplete");
    assert_eq!(scene.machines(), [] as [String; 0]);
    let missing = says("start", "exec: \\\"qemu-system-x86_64\\\": executable file not found in $PATH");
    scene.refused(with(&missing)).warns("qemu-system").warns("Hint: install QEMU");
    assert_eq!(scene.status(&scene.machine()), "Stopped");
    // A build between releases has no number, and is taken for a new one.
    with(&version("HEAD-a1b2c3d")).ok();
    scene.assert_clean();
}
