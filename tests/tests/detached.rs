//! A background terminal, as the built program makes it: it needs nobody who waits for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use workmux_tests::{Process, Pty, Run, World, processes, wait_until};

/// A directory for a background terminal.
fn place(world: &World) -> PathBuf {
    let place = world.home().join("terminal");
    world.folder(&place);
    world.program("chmod").arg("700").arg(&place).run().ok();
    place
}

/// Starts a command in the background, as a first process of it does for its caller.
fn start(world: &World, script: &str) -> Run {
    let place = place(world);
    let words = ["__detached", place.to_str().unwrap(), "/", "--", "sh", "-c", script];
    world.workmux(&words)
}

fn supervisor(world: &World) -> Option<Process> {
    let home = world.home().to_str().unwrap();
    processes().into_iter().find(|p| p.words.contains("--stage supervise") && p.words.contains(home))
}

#[test]
fn a_background_terminal_outlives_the_terminal_it_was_started_from() {
    let world = World::without_repository();
    let run = start(&world, "echo up; read line; echo \"got $line\"");
    let mut pty = Pty::start(run.behind("sh", &["-c", "\"$0\" \"$@\"; exec cat"]));
    pty.wait_for("ready");
    pty.close();
    let log = world.home().join("terminal/log");
    wait_until("the command's output", || world.read(&log).contains("up"));
    let supervisor = supervisor(&world).unwrap();
    assert!(world.home().join("terminal/screen.sock").exists());
    // Asked to end, it hangs up on its command and is gone with it.
    kill(supervisor.pid, Signal::SIGTERM).unwrap();
    wait_until("its end", || !supervisor.lives());
    assert!(!world.home().join("terminal/screen.sock").exists());
    world.assert_clean();
}

#[test]
fn what_cannot_be_started_in_the_background_is_said() {
    let world = World::without_repository();
    let place = place(&world);
    let place = place.to_str().unwrap();
    let stage = ["__detached", "--stage", "supervise", place, "/", "--", "/nonexistent/program"];
    let finished = world.workmux(&stage).run().code(1);
    finished.warns("No such file");
    world.assert_clean();
}
