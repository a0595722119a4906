//! A person's terminal: everything a shell user does by habit works, and whatever happens inside, the terminal is
//! afterwards as it was (P82).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workmux_tests::{
    Process, Pty, Sandbox, World, family, on_every_sandbox, pausing, require_engine, told, wait_for, wait_until,
};

on_every_sandbox!(
    an_interactive_shell_behaves_like_one,
    p82_the_terminal_is_as_before_when_the_guest_was_killed,
    p82_the_terminal_is_as_before_when_the_supervisor_was_told_to_end,
    p57_a_closed_window_leaves_nothing
);

/// A shell of the user's on a terminal, with a prompt that no echo of typed text can be taken for.
fn shell(world: &World) -> Pty {
    let run = world.program("bash").args(["--norc", "--noprofile"]).env("PS1", "host$((40 + 2))> ");
    let run = run.env("WORKMUX_GUEST", &world.given().guest).env("WORKMUX", &world.given().program);
    let mut pty = Pty::start(run);
    pty.wait_for("host42> ");
    pty
}

/// The terminal's mode, as text.
fn mode(pty: &mut Pty) -> String {
    pty.send("echo begin-$((1)); stty -a; echo end-$((1))\r");
    pty.wait_for("begin-1\r\n");
    let mode = pty.wait_for("end-1");
    pty.wait_for("host42> ");
    mode
}

/// Starts an interactive shell in a sandbox and waits for its prompt.
fn enter(pty: &mut Pty) {
    pty.send("$WORKMUX sandbox shell -- env PS1='guest$((40 + 2))> ' bash --norc --noprofile\r");
    pty.wait_for("guest42> ");
}

/// The supervisor below this terminal's shell.
fn supervisor(pty: &Pty) -> Process {
    let shell = Pid::from_raw(pty.pid() as i32);
    wait_for("the supervisor", || family(shell).into_iter().find(|p| p.words.contains("sandbox shell")))
}

fn an_interactive_shell_behaves_like_one(on: Sandbox) {
    let world = on.world();
    let mut pty = shell(&world);
    let before = mode(&mut pty);
    enter(&mut pty);
    pty.send("test -t 0 -a -t 1 -a -t 2 && echo all-$((3))\r");
    pty.wait_for("all-3");
    pty.send("stty size\r");
    pty.wait_for("24 80");
    pty.resize(33, 111);
    // The size is there when the signal has been passed on.
    pty.send("until test \"$(stty size)\" = '33 111'; do :; done; echo resized-$((3))\r");
    pty.wait_for("resized-3");
    pty.resize(24, 80);

    // Ctrl-C ends what runs in the foreground and nothing else.
    pty.send("sh -c 'echo on-$((1)); exec sleep 600'\r");
    pty.wait_for("on-1");
    pty.send("\x03");
    pty.wait_for("guest42> ");
    pty.send("echo code=$?\r");
    pty.wait_for("code=130");

    // Ctrl-Z belongs to the guest's own job control.
    pty.send("sh -c 'echo up-$((1)); read x; echo read-$x'\r");
    pty.wait_for("up-1");
    pty.send("\x1a");
    pty.wait_for("Stopped");
    pty.wait_for("guest42> ");
    pty.send("fg\r");
    pty.wait_for("fg\r\n");
    pty.wait_for("sh -c");
    // A line feed ends the line whether the shell has given the terminal's mode back to its job by now or not; a
    // carriage return does only afterwards.
    pty.send("again\n");
    pty.wait_for("read-again");
    pty.wait_for("guest42> ");

    // Ctrl-D and a code.
    pty.send("(exit 23)\r");
    pty.wait_for("guest42> ");
    pty.send("\x04");
    pty.wait_for("host42> ");
    pty.send("echo code=$?\r");
    pty.wait_for("code=23");
    assert_eq!(mode(&mut pty), before);
    pty.send("exit\r");
    assert_eq!(pty.wait().0, 0);
    world.assert_clean();
}

fn p82_the_terminal_is_as_before_when_the_guest_was_killed(on: Sandbox) {
    let world = on.world();
    let mut pty = shell(&world);
    let before = mode(&mut pty);
    // The guest leaves its terminal as broken as it can.
    enter(&mut pty);
    pty.send("stty raw -echo -icrnl; printf '\\033[?25l'; kill -9 $$\r");
    pty.wait_for("host42> ");
    pty.send("echo code=$?\r");
    pty.wait_for("code=137");
    assert_eq!(mode(&mut pty), before);

    // The sandbox's first process is killed from outside.
    enter(&mut pty);
    let inside = world.first_process();
    kill(inside.pid, Signal::SIGKILL).unwrap();
    pty.wait_for("host42> ");
    pty.send("echo code=$?\r");
    pty.wait_for("code=1");
    assert_eq!(mode(&mut pty), before);
    pty.send("exit\r");
    pty.wait();
    world.assert_clean();
}

fn p82_the_terminal_is_as_before_when_the_supervisor_was_told_to_end(on: Sandbox) {
    let world = on.world();
    let mut pty = shell(&world);
    let before = mode(&mut pty);
    for (signal, code) in [(Signal::SIGTERM, "code=143"), (Signal::SIGHUP, "code=129")] {
        enter(&mut pty);
        kill(supervisor(&pty).pid, signal).unwrap();
        pty.wait_for("host42> ");
        pty.send("echo code=$?\r");
        pty.wait_for(code);
        assert_eq!(mode(&mut pty), before);
        // The shell has its terminal's foreground again.
        assert_eq!(pty.foreground().map(|p| p.as_raw() as u32), Some(pty.pid()));
    }
    pty.send("exit\r");
    pty.wait();
    world.assert_clean();
}

#[test]
fn a_suspended_supervisor_gives_the_terminal_back_and_goes_on() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let mut pty = shell(&world);
    let before = mode(&mut pty);
    enter(&mut pty);
    pty.send("counter=41\r");
    pty.wait_for("guest42> ");
    kill(supervisor(&pty).pid, Signal::SIGTSTP).unwrap();
    pty.wait_for("Stopped");
    pty.wait_for("host42> ");
    assert_eq!(mode(&mut pty), before);
    pty.send("fg\r");
    pty.wait_for("fg\r\n");
    pty.send("echo counter=$((counter + 1))\r");
    pty.wait_for("counter=42");
    pty.send("exit 9\r");
    pty.wait_for("host42> ");
    pty.send("echo code=$?\r");
    pty.wait_for("code=9");
    assert_eq!(mode(&mut pty), before);
    pty.send("exit\r");
    pty.wait();
    world.assert_clean();
}

fn p57_a_closed_window_leaves_nothing(on: Sandbox) {
    let world = on.world();
    let (pause, pipe) = pausing("");
    for script in [pause.clone(), format!("trap '' HUP TERM INT; {pause}")] {
        let pty = world.pty(&["sandbox", "shell", "--", "sh", "-c", &script]);
        let waiting = told(&world.main().join(&pipe));
        let members = family(Pid::from_raw(pty.pid() as i32));
        // A container is its daemon's child; its client is ours.
        assert!(members.len() >= 2, "{members:?}");
        pty.close();
        wait_until("everything to end", || members.iter().all(|process| !process.lives()));
        wait_until("nothing to be left", || world.residue().is_empty());
        drop(waiting);
        std::fs::remove_file(world.main().join(&pipe)).unwrap();
    }
}

/// Tries to type into the terminal from inside, on every descriptor and on whatever is its own terminal.
const PROBE: &str = r#"
for my $request (0x5412, 0x541C, 0xDEADBEEF00005412) {
    for my $fd (0, 1, 2) {
        open(my $t, "+<&=", $fd) or open($t, "<&=", $fd) or next;
        for my $c (split //, "\x02echo canary\n") { print "fd $fd: ", (ioctl($t, $request, $c) ? "DONE" : $!), "\n"; last if $! }
    }
    for my $path ("/dev/tty", "/dev/console") {
        open(my $t, "+<", $path) or do { print "$path: $!\n"; next };
        for my $c (split //, "\x02echo canary\n") { print "$path: ", (ioctl($t, $request, $c) ? "DONE" : $!), "\n"; last if $! }
    }
}
print "probed\n";
"#;

#[test]
fn p82_a_guest_cannot_type_into_the_terminal() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    world.write(world.main().join("probe.pl"), PROBE);
    let mut pty = shell(&world);
    for command in ["shell", "agent"] {
        pty.send(&format!("$WORKMUX sandbox {command} -- perl probe.pl\r"));
        let shown = pty.wait_for("probed") + &pty.wait_for("host42> ");
        assert!(shown.contains("Operation not permitted") && !shown.contains("DONE"), "{shown}");
        // Typed input would stand here before ours.
        pty.send("echo mark-$((1))\r");
        let shown = pty.wait_for("mark-1");
        assert!(!shown.contains("canary"), "{shown}");
    }
    // Standard input is the terminal, the output a pipe: then the guest gets none, and reaches none.
    pty.send("$WORKMUX sandbox shell -- perl probe.pl | cat\r");
    let shown = pty.wait_for("probed") + &pty.wait_for("host42> ");
    assert!(!shown.contains("DONE"), "{shown}");
    pty.send("echo mark-$((1))\r");
    let shown = pty.wait_for("mark-1");
    assert!(!shown.contains("canary"), "{shown}");
    pty.send("exit\r");
    pty.wait();
}

#[test]
fn p82_a_guest_with_half_a_terminal_cannot_change_it() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let mut pty = shell(&world);
    let before = mode(&mut pty);
    pty.send("$WORKMUX sandbox shell -- sh -c 'stty raw -echo; echo over' | cat\r");
    pty.wait_for("over\r\n");
    pty.wait_for("host42> ");
    assert_eq!(mode(&mut pty), before);
    pty.send("exit\r");
    pty.wait();
}

#[test]
fn p82_without_the_filter_the_calls_are_answered_otherwise() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let probe = r#"my $c = "x"; print ioctl(STDIN, 0x5412, $c) ? "done" : int($!)"#;
    let errno = |mutants: &str| world.shell(&["perl", "-e", probe]).mutant(mutants).run().ok().stdout;
    // On something that is no terminal the kernel itself says so; the filter speaks before it can.
    assert_eq!(errno(""), (nix::libc::EPERM).to_string());
    assert_eq!(errno("p82_filter"), (nix::libc::ENOTTY).to_string());
}

#[test]
fn only_interactive_use_gets_a_terminal() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let mut pty = shell(&world);
    let probe = "sh -c '(: < /dev/tty) 2> /dev/null && echo own-$((1)) || echo none-$((1))'";
    for (redirection, seen) in [
        ("", "own-1"),
        ("2> err", "own-1"),
        ("| cat", "none-1"),
        ("< /dev/null", "none-1"),
        ("> out; cat out", "none-1"),
    ] {
        pty.send(&format!("$WORKMUX sandbox shell -- {probe} {redirection}\r"));
        let shown = pty.wait_for("-1\r\n") + &pty.wait_for("host42> ");
        assert!(shown.contains(seen), "{redirection}: {shown}");
    }
    pty.send("exit\r");
    pty.wait();
}

#[test]
fn an_interactive_shell_works_inside_tmux() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    let program = world.given().program.display();
    tmux.type_line("test", &format!("{program} sandbox agent -- env PS1='guest$((40 + 2))> ' bash --norc --noprofile"));
    tmux.wait_for_text("test", "guest42>");
    tmux.type_line("test", "echo $(( $(stty size | tr ' ' '*') ))");
    let size = tmux.ask(&["display-message", "-p", "-t", "test", "#{e|*:#{pane_height},#{pane_width}}"]);
    tmux.wait_for_text("test", &format!("\n{size}\n"));
    tmux.ask(&["resize-window", "-t", "test", "-x", "77", "-y", "21"]);
    tmux.type_line("test", "until test \"$(stty size)\" = '21 77'; do :; done; echo resized-$((3))");
    tmux.wait_for_text("test", "resized-3");
    tmux.type_line("test", "workmux set-window-status working; echo status-$?");
    tmux.wait_for_text("test", "status-0");
    assert_eq!(tmux.window_option("test", "@workmux_status"), "🤖");
    tmux.type_line("test", "exit 5");
    // What is typed before the prompt is back would still be the guest's.
    wait_until("the prompt", || tmux.screen("test").trim_end().ends_with("\nready>"));
    tmux.type_line("test", "echo code=$?");
    tmux.wait_for_text("test", "code=5");
    wait_until("nothing to be left", || world.residue().is_empty());

    // The window is closed.
    let (pause, pipe) = pausing("");
    tmux.type_line("test", &format!("{program} sandbox agent -- sh -c '{pause}'"));
    let _never = told(&world.main().join(pipe));
    tmux.ask(&["new-window", "-d", "sleep 600"]);
    tmux.ask(&["kill-window", "-t", "test:0"]);
    wait_until("nothing to be left", || world.residue().is_empty());
}
