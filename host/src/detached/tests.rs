//! Background terminals with real processes. The program that is started is the one of these tests, see
//! [`the_program`].

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::*;
use crate::alone::alone;
use crate::cli;
use crate::supervisor::set_size;

/// Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole program, where these tests' one is started as it.
#[test]
fn the_program() {
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    if words.first().is_none_or(|word| word != "__detached") {
        return;
    }
    let cli = cli::Cli::try_parse_from(std::iter::once("workmux".into()).chain(words));
    let cli::Command::Detached { stage, directory, cwd, words } = cli.unwrap_or_else(|e| e.exit()).command else {
        panic!("another command");
    };
    std::process::exit(main(stage, &directory, &cwd, &words).into());
}

/// A terminal in a directory of its own, which ends with the value.
struct World {
    directory: TempDir,
    detached: Detached,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("terminal");
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
        Self { detached: Detached::new(own), directory }
    }

    fn start(&self, script: &str) -> Result<(), Error> {
        let words = ["-c", script].map(OsString::from);
        self.detached.start(Path::new("sh"), &words, self.directory.path(), &[("SET".into(), "it is".into())])
    }

    fn running(script: &str) -> Self {
        let world = Self::new();
        world.start(script).unwrap();
        world
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.detached.log()).unwrap()).into_owned()
    }

    fn shows(&self, text: &str) -> String {
        let mut seen = String::new();
        until(|| {
            seen = self.detached.capture(1000).unwrap();
            seen.contains(text)
        });
        seen
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.detached.directory).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stopped = self.detached.stop();
        assert!(std::thread::panicking() || stopped.is_ok(), "{stopped:?}");
    }
}

/// Asks again and again for what gives no event.
#[track_caller]
fn until(mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "it did not happen");
        std::thread::yield_now();
    }
}

/// A pipe by name, which the command holds open: its end is the command's end.
fn fifo(world: &World) -> PathBuf {
    let path = world.directory.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

#[test]
fn a_command_runs_on_a_terminal_and_leaves_its_log() {
    let world = World::running("tty; stty size; pwd; echo $TERM $SET ${TMUX:-none}; printf '\\033[31mred\\033[0m\\n'");
    assert!(world.detached.wait(Some(PATIENCE)));
    assert!(!world.detached.alive());
    let log = world.log();
    let here = world.directory.path().canonicalize().unwrap();
    for said in [
        "/dev/pts/",
        "50 200\r\n",
        &format!("{}\r\n", here.display()),
        "xterm-256color it is none\r\n",
        "\x1b[31mred\x1b[0m\r\n",
    ] {
        assert!(log.contains(said), "{said:?} is missing: {log}");
    }
    assert_eq!(world.names(), ["log", "supervisor.json"]);
    assert!(matches!(world.detached.capture(1), Err(Error::Gone { .. })));
    assert!(matches!(world.detached.send(b"x"), Err(Error::Gone { .. })));
    world.detached.stop().unwrap();
    // The next one has the directory for itself.
    world.start("echo second").unwrap();
    assert!(world.detached.wait(Some(PATIENCE)));
    assert_eq!(world.log(), "second\r\n");
}

#[test]
fn what_is_shown_can_be_asked_for_without_its_colours() {
    let world = World::running("printf 'one\\n\\033[1;31mtwo\\033[0m\\nthree\\n'; exec cat");
    assert_eq!(world.shows("three"), "one\ntwo\nthree");
    assert_eq!(world.detached.capture(2).unwrap(), "two\nthree");
    for (name, mode) in [("log", 0o600), ("screen.sock", 0o600), ("supervisor.json", 0o600)] {
        let found = fs::metadata(world.detached.directory.join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn what_is_sent_is_typed_exactly() {
    let world = World::running("stty raw -echo; echo ready; exec head -c 300 | od -An -v -tu1 -w1");
    world.shows("ready");
    let bytes: Vec<u8> = (0..300).map(|n: u32| (n % 256) as u8).collect();
    for part in bytes.chunks(70) {
        world.detached.send(part).unwrap();
    }
    assert!(world.detached.wait(Some(PATIENCE)));
    let log = world.log();
    let (_, dump) = log.split_once("ready").unwrap();
    let seen: Vec<u8> = dump.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(seen, bytes);
}

#[test]
fn a_line_reaches_a_program_that_reads_lines_and_control_c_is_a_key() {
    let world = World::running("trap 'echo interrupted; exit' INT; while read line; do echo \"got $line\"; done");
    world.detached.send("grüße\n".as_bytes()).unwrap();
    world.shows("got grüße");
    world.detached.send(b"\x03").unwrap();
    assert!(world.detached.wait(Some(PATIENCE)));
    assert!(world.log().ends_with("interrupted\r\n"), "{}", world.log());
}

#[test]
fn a_program_that_does_not_read_takes_so_much_and_no_more() {
    let world = World::new();
    // Nobody ever opens it for writing.
    world.start(&format!("stty raw -echo; echo ready; read x < '{}'", fifo(&world).display())).unwrap();
    world.shows("ready");
    let much = vec![b'x'; MAX_INPUT];
    world.detached.send(&much).unwrap();
    // Less than the kernel takes of it into the terminal.
    until(|| match world.detached.send(&much[..64 * 1024]) {
        Ok(()) => false,
        Err(Error::Deaf) => true,
        Err(other) => panic!("{other}"),
    });
    assert!(matches!(world.detached.send(&[b'x'; MAX_INPUT + 1]), Err(Error::TooLong { .. })));
    // It is still there for everything else.
    assert_eq!(world.detached.capture(1).unwrap(), "ready");
}

#[test]
fn a_closed_window_ends_the_command_and_what_it_started() {
    let world = World::new();
    let fifo = fifo(&world);
    let script =
        // It is ready once the shell's own trap is none of its any more.
        format!("trap 'echo hung up; exit 3' HUP; exec 3<>'{}'; sh -c 'echo ready; exec sleep 1000' & wait", fifo.display());
    world.start(&script).unwrap();
    world.shows("ready");
    let started = Instant::now();
    world.detached.stop().unwrap();
    assert!(started.elapsed() < GRACE, "it was killed");
    assert!(world.log().contains("hung up"));
    assert!(!world.detached.alive());
    // Nobody holds the other end.
    nobody_holds(&fifo);
}

#[test]
fn a_command_that_does_not_want_to_go_is_killed() {
    let world = World::new();
    let fifo = fifo(&world);
    // The second one is stopped, in the same group.
    let script = format!(
        "trap '' HUP TERM INT; exec 3<>'{}'; sh -c 'kill -STOP $$; sleep 1000' & echo ready; wait; wait; read x",
        fifo.display()
    );
    world.start(&script).unwrap();
    world.shows("ready");
    world.detached.stop().unwrap();
    assert!(!world.detached.alive());
    nobody_holds(&fifo);
    assert_eq!(world.names(), ["log", "supervisor.json"]);
}

/// Waits until no process has the pipe open: then its other end cannot be opened without waiting.
fn nobody_holds(fifo: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    until(|| {
        let mut write = fs::OpenOptions::new();
        let found = write.write(true).custom_flags(nix::libc::O_NONBLOCK).open(fifo);
        found.is_err_and(|e| e.raw_os_error() == Some(nix::libc::ENXIO))
    });
}

#[test]
fn a_flood_fills_no_disk_and_keeps_nobody_out() {
    // Long lines: the emulator of a debug build is slow at scrolling.
    let world = World::running("exec yes flood-$(printf %0180d 1)");
    let mut largest = 0;
    // So long until it had to be cut: it got smaller.
    until(|| {
        let text = world.detached.capture(10).unwrap();
        assert!(text.lines().all(|line| line.starts_with("flood-0") || "flood-0".starts_with(line)), "{text}");
        let size = fs::metadata(world.detached.log()).unwrap().len();
        assert!(size <= log::MAX, "{size}");
        let cut = size < largest;
        largest = largest.max(size);
        cut
    });
    world.detached.stop().unwrap();
    assert!(fs::metadata(world.detached.log()).unwrap().len() >= log::MAX / 2 - 64 * 1024);
    assert_eq!(world.names(), ["log", "supervisor.json"]);
}

#[test]
fn clients_that_hang_stop_nobody() {
    let world = World::running("echo ready; exec cat");
    world.shows("ready");
    let place = client::Place::open(&world.detached.directory).unwrap();
    let connect = || UnixStream::connect(place.socket()).unwrap();
    // One says nothing, one half of something, one nonsense, one attaches and never reads.
    let mut hanging: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    hanging[1].write_all(b"t\0\0").unwrap();
    hanging[2].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    hanging[3].write_all(&wire::frame(Kind::Attach, &wire::size(24, 80))).unwrap();
    world.detached.send(b"hello\n").unwrap();
    world.shows("hello\nhello");
    // All places are taken: they are free again when the patience with these is over.
    hanging.extend((0..80).map(|_| connect()));
    until(|| world.detached.capture(1).is_ok());
    drop(hanging);
}

#[test]
fn what_cannot_hold_a_terminal_is_refused() {
    let world = World::new();
    let refused = |path: &Path| {
        let words = ["true"].map(OsString::from);
        Detached::new(path).start(Path::new("true"), &words, Path::new("/"), &[]).unwrap_err()
    };
    let open = world.directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let link = world.directory.path().join("link");
    std::os::unix::fs::symlink(&world.detached.directory, &link).unwrap();
    let file = world.directory.path().join("file");
    File::create(&file).unwrap();
    for path in [&open, &link, &file, &world.directory.path().join("missing")] {
        let error = refused(path);
        assert!(matches!(error, Error::Directory { .. }), "{}: {error}", path.display());
    }
    assert!(!world.detached.alive() && world.detached.wait(None));
}

#[test]
fn a_command_that_cannot_be_started_leaves_nothing() {
    let world = World::new();
    let error = world.detached.start(Path::new("/nonexistent/program"), &[], Path::new("/"), &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/nonexistent/program") && text.contains("No such file"), "{text}");
    let error = world.detached.start(Path::new("true"), &[], Path::new("/nonexistent/folder"), &[]).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
    assert_eq!(world.names(), ["log"]);
    until(|| processes_with(&world.detached.directory).is_empty());
}

#[test]
fn one_directory_runs_one_command() {
    let world = World::running("echo first; exec cat");
    assert!(matches!(world.start("echo second"), Err(Error::Occupied { .. })));
    // Also where the record says otherwise.
    fs::remove_file(world.detached.directory.join(SUPERVISOR)).unwrap();
    let error = world.start("echo second").unwrap_err();
    assert!(error.to_string().contains("two commands"), "{error}");
    assert_eq!(world.shows("first"), "first");
    // Stopping needs no record either.
    world.detached.stop().unwrap();
    until(|| processes_with(&world.detached.directory).is_empty());
}

/// The processes that name a path on their command line.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(path)).collect()
}

#[test]
fn it_outlives_whoever_started_it_and_holds_nothing_of_theirs() {
    const DIRECTORY: &str = "WORKMUX_TEST_DETACHED";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let words = ["-c", "grep SigIgn /proc/$$/status; echo from afar; exec cat"].map(OsString::from);
        return Detached::new(directory).start(Path::new("sh"), &words, Path::new("/"), &[]).unwrap();
    }
    let world = World::new();
    // As `nohup` and a shell's `&` do.
    let mut caller = Command::new("sh");
    caller.args(["-c", "trap '' HUP INT QUIT; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    caller.args(["--exact", "detached::tests::it_outlives_whoever_started_it_and_holds_nothing_of_theirs"]);
    caller.env(DIRECTORY, &world.detached.directory);
    // Its output ends only when nobody holds the pipes any more.
    let output = crate::tool::run(&mut caller, b"input", PATIENCE).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(world.detached.alive());
    let shown = world.shows("from afar");
    let ignored = shown.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    // The command hears what the caller had closed its ears to.
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 0b111, 0, "{shown}");
    let supervisor = world.detached.supervisor().unwrap().pid;
    let fds = fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().flatten();
    let open: Vec<PathBuf> = fds.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(open.iter().all(|target| !target.to_string_lossy().starts_with("pipe:")), "{open:?}");
    assert_eq!(fs::read_link(format!("/proc/{supervisor}/cwd")).unwrap(), Path::new("/"));
}

#[test]
fn a_caller_that_lives_on_has_no_zombies() {
    if !alone("detached::tests::a_caller_that_lives_on_has_no_zombies") {
        return;
    }
    let world = World::running("exec cat");
    world.detached.stop().unwrap();
    let _failed = world.detached.start(Path::new("/nonexistent"), &[], Path::new("/"), &[]).unwrap_err();
    // Neither ended nor running ones.
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(nix::Error::ECHILD));
}

#[test]
fn a_supervisor_that_is_told_to_end_ends_its_command() {
    let world = World::running("trap 'echo bye; exit' HUP; echo ready; while :; do read x; done");
    world.shows("ready");
    let supervisor = Pid::from_raw(world.detached.supervisor().unwrap().pid as i32);
    assert!(!world.detached.wait(Some(Duration::from_millis(1))));
    kill(supervisor, Signal::SIGTERM).unwrap();
    assert!(world.detached.wait(Some(PATIENCE)));
    assert!(world.log().contains("bye"), "{}", world.log());
}

#[test]
fn a_long_path_is_no_hindrance() {
    let mut world = World::new();
    let deep = world.directory.path().join("x".repeat(100)).join("y".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o700)).unwrap();
    world.detached = Detached::new(deep);
    world.start("echo deep; exec cat").unwrap();
    assert_eq!(world.shows("deep"), "deep");
}

/// A person's terminal, with a program on it that attaches it.
struct Person {
    master: File,
    slave: OwnedFd,
    seen: String,
    program: Child,
    before: Termios,
}

const ATTACHED: &str = "WORKMUX_TEST_ATTACHED";
const ATTACH: &str = "detached::tests::a_terminal_can_be_attached_and_is_given_back";

impl Person {
    fn attaches(world: &World, rows: u16, columns: u16) -> Self {
        let ends = openpty(Some(&size(rows, columns)), None).unwrap();
        let end = || Stdio::from(ends.slave.try_clone().unwrap());
        // The session gets the terminal, so that its size is told by a signal.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--"]).arg(std::env::current_exe().unwrap()).args(["--exact", "--nocapture", ATTACH]);
        command.env(ATTACHED, &world.detached.directory).stdin(end()).stdout(end()).stderr(end());
        let before = tcgetattr(&ends.slave).unwrap();
        Self {
            program: command.spawn().unwrap(),
            master: ends.master.into(),
            slave: ends.slave,
            seen: String::new(),
            before,
        }
    }

    /// Waits for it on the terminal; what came until then.
    #[track_caller]
    fn sees(&mut self, text: &str) -> String {
        let mut chunk = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            let patience = PollTimeout::try_from(PATIENCE).unwrap();
            let ready = poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], patience).unwrap();
            assert_eq!(ready, 1, "{text:?} did not appear: {:?}", self.seen);
            let n = self.master.read(&mut chunk).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn finds_it_as_before(mut self) {
        assert!(self.program.wait().unwrap().success());
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.before);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _gone = self.program.kill();
        let _reaped = self.program.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_terminal_can_be_attached_and_is_given_back() {
    if let Some(directory) = std::env::var_os(ATTACHED) {
        Detached::new(directory).attach().unwrap();
        return;
    }
    let world = World::running("stty -echo; echo before; while read line; do echo \"$line=$(stty size).\"; done");
    world.shows("before");
    let mut one = Person::attaches(&world, 30, 90);
    // What was there is shown first, then what comes.
    one.sees("before");
    assert_ne!(tcgetattr(&one.slave).unwrap(), one.before);
    one.types("hello\r");
    one.sees("hello=30 90.");
    // Two at once: both see it all, and the last size counts.
    let mut two = Person::attaches(&world, 20, 70);
    two.sees("hello=30 90.");
    one.types("both\r");
    one.sees("both=20 70.");
    two.sees("both=20 70.");
    set_size(one.master.as_fd(), &size(40, 100));
    until(|| {
        two.types("now\r");
        two.sees("now=");
        two.sees(".") == "40 100."
    });

    one.types("\x02d");
    let shown = one.sees("detached");
    assert!(shown.contains("\x1b[?1049l"), "{shown:?}");
    one.finds_it_as_before();

    // The process is asked to end.
    let mut three = Person::attaches(&world, 20, 70);
    three.sees("both=");
    kill(Pid::from_raw(three.program.id() as i32), Signal::SIGTERM).unwrap();
    three.sees("detached");
    three.finds_it_as_before();

    world.detached.stop().unwrap();
    two.sees("the command has ended");
    two.finds_it_as_before();
}

#[test]
fn only_a_terminal_can_be_attached() {
    if !alone("detached::tests::only_a_terminal_can_be_attached") {
        return;
    }
    let world = World::running("exec cat");
    assert!(matches!(world.detached.attach(), Err(Error::NoTerminal)));
}
