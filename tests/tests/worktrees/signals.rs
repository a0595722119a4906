//! Signals while the user's hooks run, and a terminal that goes: hooks end with all that they started, and what was begun is
//! undone or brought to its end.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use workmux_tests::{World, wait_for, wait_until};

use super::case::Worktrees;

/// A hook that does not end by itself, with a child; both leave their numbers in the file.
fn endless(file: &Path) -> String {
    format!("[\"sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait\"]", file.display())
}

/// The processes of a hook that runs.
fn processes(file: &Path) -> Vec<PathBuf> {
    let said = wait_for("a hook to run", || fs::read_to_string(file).ok());
    fs::remove_file(file).expect("it was there");
    let all: Vec<PathBuf> = said.split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect();
    assert!(all.len() == 2 && all.iter().all(|process| process.exists()), "{all:?}");
    all
}

#[test]
fn p38_a_signal_ends_a_hook_with_all_that_it_started() {
    let world = World::new();
    let file = world.home().join("hook");
    let gone = |processes: &[PathBuf]| processes.iter().all(|process| !process.exists());
    world.user_config(&format!("post_create: {}\n", endless(&file)));
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let adding = world.add(&["topic"]).start();
        let hook = processes(&file);
        adding.signal(signal);
        adding.wait().code(code).warns("of 'post_create' was ended");
        wait_until("the hook to be gone", || gone(&hook));
        world.assert_nothing_made();
    }
    // Stopped and continued once, it goes on.
    let adding = world.add(&["topic"]).start();
    let hook = processes(&file);
    adding.signal(Signal::SIGTSTP);
    let stat = Path::new("/proc").join(adding.pid().to_string()).join("stat");
    wait_until("it to be stopped", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    adding.signal(Signal::SIGCONT);
    adding.signal(Signal::SIGTERM);
    adding.wait().code(143);
    wait_until("the hook to be gone", || gone(&hook));
    world.assert_nothing_made();
    // The key reaches the hook and us.
    let mut pty = world.pty(&["add", "topic"]);
    let hook = processes(&file);
    pty.send("\x03");
    assert_eq!(pty.wait().0, 130);
    wait_until("the hook to be gone", || gone(&hook));
    world.assert_nothing_made();

    world.user_config("");
    world.add(&["topic"]).run().ok();
    world.git(&world.tree("topic"), &["commit", "-qm", "work", "--allow-empty"]).ok();
    for (name, words) in [("pre_merge", &["merge", "topic"][..]), ("pre_remove", &["remove", "-f", "topic"])] {
        world.user_config(&format!("{name}: {}\n", endless(&file)));
        let running = world.workmux(words).start();
        let hook = processes(&file);
        running.signal(Signal::SIGTERM);
        let ended = running.wait();
        assert_ne!(ended.code, Some(0), "{ended}");
        ended.warns(&format!("of '{name}' was ended"));
        wait_until("the hook to be gone", || gone(&hook));
        assert_eq!((world.log("main").as_str(), world.tree("topic").exists()), ("first", true));
    }
}

#[test]
fn a_merge_outlasts_its_terminal() {
    let world = World::new();
    world.add(&["topic"]).run().ok();
    world.git(&world.tree("topic"), &["commit", "-qm", "work", "--allow-empty"]).ok();
    let (begun, go) = (world.home().join("begun"), world.home().join("go"));
    world.program("mkfifo").arg(&go).run().ok();
    world.user_config(&format!("pre_merge: ['touch {}; cat {}']\n", begun.display(), go.display()));
    let merging = world.workmux(&["merge", "topic"]).start();
    wait_until("the hook to run", || begun.exists());
    merging.signal(Signal::SIGHUP);
    fs::write(go, "").unwrap();
    merging.wait().ok().says("✓ Merged 'topic'");
    assert_eq!(world.log("main"), "work first");
    world.assert_nothing_made();
}
