//! The harness itself: what other tests rely on, and that its checks can fail.

use std::time::Duration;

use workmux_tests::{Pty, Run, World, require_engine};

#[test]
fn a_world_belongs_to_an_ordinary_user_and_knows_nothing_of_ours() {
    let world = World::new();
    assert_ne!(world.program("id").arg("-u").run().ok().stdout.trim(), "0");
    let variables = world.program("env").run().ok().stdout;
    assert!(!variables.contains("CARGO") && variables.contains(world.home().to_str().unwrap()), "{variables}");
    let worktree = world.worktree("topic");
    world.write(worktree.join("sub/file"), "x");
    assert_eq!(world.git(&worktree, &["status", "--porcelain"]).ok().stdout, "?? sub/\n");
    let owner = world.program("find").arg(world.home()).args(["!", "-user", &world.given().user.name]).run().ok();
    assert_eq!(owner.stdout, "", "files of somebody else");
}

#[test]
fn a_program_gets_its_input_and_gives_its_code() {
    let finished = Run::new("sh").args(["-c", "cat; echo oops >&2; exit 3"]).input("hello").run();
    finished.code(3).says("hello").warns("oops").never_says("secret");
    assert_eq!(Run::new("sh").args(["-c", "kill -TERM $$"]).run().signal, Some(15));
}

#[test]
#[should_panic(expected = "did not end in time")]
fn what_hangs_is_ended() {
    Run::new("sleep").arg("1000").within(Duration::from_millis(100)).run();
}

#[test]
#[should_panic(expected = "another exit code was expected")]
fn a_check_can_fail() {
    Run::new("false").run().ok();
}

#[test]
fn a_terminal_is_the_programs_own() {
    let world = World::new();
    let mut pty = Pty::start(world.program("sh").args(["-c", "tty; stty size; read line; echo got $line; exit 4"]));
    pty.wait_for("/dev/pts/");
    pty.wait_for("24 80");
    assert_eq!(pty.foreground().map(|p| p.as_raw() as u32), Some(pty.pid()));
    pty.resize(30, 100);
    pty.send("word\r");
    pty.wait_for("got word");
    assert_eq!(pty.wait().0, 4);
}

#[test]
fn interrupting_a_terminal_reaches_the_program() {
    let mut pty = Pty::start(Run::new("sh").dir("/").args(["-c", "trap 'echo caught; exit 5' INT; echo on; read _"]));
    pty.wait_for("on");
    pty.send("\x03");
    pty.wait_for("caught");
    assert_eq!(pty.wait().0, 5);
}

#[test]
fn a_tmux_server_shows_what_runs_in_it() {
    require_engine!("tmux");
    let world = World::new();
    let tmux = world.tmux();
    tmux.type_line("test", "echo $((20 + 22))");
    tmux.wait_for_text("test", "\n42");
    assert_eq!(tmux.windows().len(), 1);
    assert_eq!(tmux.window_option("test", "@workmux_status"), "");
    let variables = tmux.variables("test");
    let title = world.program("tmux").envs(variables).args(["display-message", "-p", "#S"]).run().ok();
    assert_eq!(title.stdout.trim(), "test");
}
