//! The whole story, as the README tells it: an agent is started, told something, waited for, and its work merged.

use workmux_tests::{Sandbox, World, on_every_sandbox, require_engine, wait_until};

use super::case::{Worktrees, commit, world};

on_every_sandbox!(in_the_background_an_agent_is_told_waited_for_and_merged);

#[test]
fn in_tmux_an_agent_is_told_waited_for_and_merged() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    let prompt = format!("{}; workmux set-window-status waiting", commit("one"));
    let (code, screen) = tmux.run("test:window", &format!("workmux add topic -S -p '{prompt}'"));
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("✓ Created worktree 'topic'"), "{screen}");
    let current = tmux.ask(&["display-message", "-p", "-t", "test", "#{window_name} #{window_panes}"]);
    assert_eq!(current, "wm-topic 2", "its window is shown");
    world.wait_for_status("topic", "waiting");
    world.wait_for_log("topic", "one first");

    let told = format!("{}; workmux set-window-status done", commit("two"));
    let (code, screen) = tmux.run("test:window", &format!("workmux send topic '{told}' && workmux wait topic"));
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("topic: done"), "{screen}");
    let (code, screen) = tmux.run("test:window", "clear; workmux merge topic");
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("✓ Merged 'topic' into 'main' (2 commit(s))"), "{screen}");

    assert_eq!(world.log("main"), "two one first");
    assert_eq!(tmux.windows(), ["window"]);
    assert!(!world.tree("topic").exists());
    world.assert_nothing_made();
}

fn in_the_background_an_agent_is_told_waited_for_and_merged(on: Sandbox) {
    let world = World::with_agent(on);
    let prompt = format!("{}; workmux set-window-status waiting", commit("one"));
    let made = world.add(&["topic", "-S", "-p", &prompt]).run().ok();
    made.says("✓ Created worktree 'topic' in the background (see its terminal: workmux open topic)");
    world.wait_for_status("topic", "waiting");
    world.wait_for_log("topic", "one first");
    let seen = world.workmux(&["capture", "topic"]).run().ok();
    seen.says("claude began with [--dangerously-skip-permissions -- echo one");

    let told = format!("{}; workmux set-window-status done", commit("two"));
    world.workmux(&["send", "topic", &told]).run().ok();
    world.workmux(&["wait", "topic"]).run().ok().says("topic: done");
    let merged = world.workmux(&["merge", "topic"]).run().ok();
    merged.says("✓ Merged 'topic' into 'main' (2 commit(s))").says("✓ Removed worktree 'topic'");

    assert_eq!(world.log("main"), "two one first");
    assert!(!world.tree("topic").exists());
    world.assert_nothing_made();
    wait_until("its background terminal to be gone", || world.residue().is_empty());
}

#[test]
fn a_person_looks_at_an_agent_in_the_background_and_leaves_it_again() {
    require_engine!("bubblewrap");
    let world = world();
    world.add(&["topic", "-S", "-p", "echo hello there"]).run().ok();
    let mut pty = world.pty(&["open", "topic"]);
    pty.wait_for("hello there");
    pty.send("echo typed; exit 4\r");
    pty.wait_for("the command has ended");
    assert_eq!(pty.wait().0, 0);
    world.workmux(&["wait", "topic"]).run().code(1).says("topic: exited 4").warns("not done: topic");
    world.workmux(&["send", "topic", "x"]).run().code(1).warns("no agent works in 'topic'");
    world.workmux(&["capture", "topic"]).run().code(1).warns("has ended");

    // Opened again, and left while it works.
    world.workmux(&["open", "topic", "-b", "-p", "echo anew"]).run().ok().says("✓ Opened 'topic' in the background");
    let mut pty = world.pty(&["open", "topic"]);
    pty.wait_for("anew");
    pty.send("\x02d");
    pty.wait_for("detached");
    assert_eq!(pty.wait().0, 0);
    assert!(world.agent_of("topic")["running"] == true);
    world.workmux(&["remove", "-f", "topic"]).run().ok();
    world.assert_clean();
}
