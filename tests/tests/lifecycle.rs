//! The end of a run, however it comes: nothing is left, nothing is lost, and the reason is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use workmux_tests::{
    Finished, Process, Run, Sandbox, World, family, on_every_sandbox, over_tcp, pausing, require_engine, told,
    wait_for, wait_until,
};

on_every_sandbox!(
    p57_each_signal_ends_a_run_and_leaves_nothing,
    p57_a_guest_that_ignores_signals_ends_too,
    p57_a_guest_may_answer_a_signal_with_a_code_of_its_own
);
over_tcp!(p57_each_signal_ends_a_run_and_leaves_nothing);

const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
const COMMIT: &str = "git add -A && git commit -q -m";

/// As the shell sees it.
fn code(finished: &Finished) -> i32 {
    finished.code.unwrap_or_else(|| 128 + finished.signal.unwrap_or(0))
}

/// A search path that begins with a program of the test's own.
fn first_on_path(world: &World, name: &str, script: &str) -> String {
    let folder = world.home().join("bin");
    let file = folder.join(name);
    world.write(&file, format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("a program can be made executable");
    format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display())
}

/// A search path without one program: everything else of the usual one, linked.
fn path_without(world: &World, name: &str) -> String {
    let folder = world.home().join("some");
    world.folder(&folder);
    for directory in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"] {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name() != name) {
            let _there_already = std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name()));
        }
    }
    folder.display().to_string()
}

fn p57_each_signal_ends_a_run_and_leaves_nothing(on: Sandbox) {
    let world = on.world();
    std::thread::scope(|scope| {
        for (number, signal) in SIGNALS.into_iter().enumerate() {
            let dir = world.worktree(&format!("topic-{number}"));
            let world = &world;
            scope.spawn(move || {
                let command = if number % 2 == 0 { "agent" } else { "shell" };
                let (pause, pipe) = pausing("");
                let script = format!("echo x > x && {COMMIT} work; {pause}");
                let run = world.workmux(&["sandbox", command, "--", "sh", "-c", &script]).dir(&dir).start();
                let _never = told(&dir.join(pipe));
                let members = family(run.pid());
                let least = match on {
                    Sandbox::Bubblewrap => 4,
                    // What it starts is no child of its own.
                    Sandbox::Lima => 1,
                    _ => 2,
                };
                assert!(members.len() >= least, "{members:?}");
                run.signal(signal);
                let finished = run.wait();
                assert_eq!(code(&finished), 128 + signal as i32, "{finished}");
                let left: Vec<_> = members.iter().filter(|process| process.lives()).collect();
                assert!(left.is_empty(), "{signal}: {left:?}");
                let log = world.git(&dir, &["log", "-1", "--format=%s"]).ok().stdout;
                assert_eq!(log, "work\n", "the last commit is not lost");
            });
        }
    });
    world.assert_clean();
}

fn p57_a_guest_that_ignores_signals_ends_too(on: Sandbox) {
    let world = on.world();
    for (signal, command) in [(Signal::SIGTERM, "agent"), (Signal::SIGHUP, "shell")] {
        let (pause, pipe) = pausing("");
        let script = format!("trap '' INT TERM HUP QUIT; (trap '' HUP; setsid sleep 600) & {pause}");
        let run = world.workmux(&["sandbox", command, "--", "sh", "-c", &script]).start();
        let _never = told(&world.main().join(&pipe));
        let members = family(run.pid());
        run.signal(signal);
        let finished = run.wait();
        assert_eq!(code(&finished), 128 + signal as i32, "{finished}");
        assert!(members.iter().all(|process| !process.lives()), "{members:?}");
        world.assert_clean();
        std::fs::remove_file(world.main().join(pipe)).unwrap();
    }
}

fn p57_a_guest_may_answer_a_signal_with_a_code_of_its_own(on: Sandbox) {
    let world = on.world();
    // `wait` is the one place where a shell's trap cannot come too early.
    let (script, pipe) = pausing("sleep 600 & wait");
    let run = world.agent(&["sh", "-c", &format!("trap 'exit 44' TERM; {script}")]).start();
    drop(told(&world.main().join(pipe)));
    run.signal(Signal::SIGTERM);
    run.wait().code(44);
    world.assert_clean();
}

#[test]
fn p57_each_signal_ends_a_run_that_has_not_begun() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    // Each step that a start waits for, held up by a program that never answers.
    let steps = [("git", "the git boundary"), ("bwrap", "the sandbox"), ("pasta", "the network")];
    std::thread::scope(|scope| {
        for (number, (program, what)) in steps.into_iter().enumerate() {
            let world = &world;
            let dir = world.worktree(&format!("topic-{number}"));
            scope.spawn(move || {
                let folder = world.home().join(format!("held-{program}"));
                let pipe = folder.join("pipe");
                let file = folder.join(program);
                world.write(&file, format!("#!/bin/sh\nread line < {}\nexit 1\n", pipe.display()));
                std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
                world.program("mkfifo").arg(&pipe).run().ok();
                let path = format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display());
                for signal in SIGNALS {
                    let run = world.agent(&["true"]).dir(&dir).env("PATH", &path).start();
                    let held = told(&pipe);
                    let members = family(run.pid());
                    run.signal(signal);
                    let finished = run.wait();
                    assert_eq!(code(&finished), 128 + signal as i32, "{what}: {finished}");
                    // Git is never killed in the middle of something: it ends by itself, here when it is let.
                    let _held = (program != "git").then_some(held);
                    let gone = || members.iter().all(|process| !process.lives());
                    wait_until(&format!("{what}: everything to end"), gone);
                }
            });
        }
    });
    // Where git was still at it, the next command tidied up.
    world.shell(&["true"]).run().ok();
    world.assert_clean();
}

#[test]
fn p57_a_signal_at_the_end_loses_nothing() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let dir = world.worktree("topic");
    // From the moment the guest makes this file, host git waits: the end of the run is held up.
    let (held, pipe) = (dir.join("held"), world.home().join("pipe"));
    world.program("mkfifo").arg(&pipe).run().ok();
    let real = world.program("sh").args(["-c", "command -v git"]).run().ok().stdout;
    let script = format!("test -e {} && read line < {}\nexec {} \"$@\"", held.display(), pipe.display(), real.trim());
    let path = first_on_path(&world, "git", &script);
    for signal in SIGNALS {
        let script = format!("echo {signal} > x && git add x && git commit -qm {signal} && touch held; exit 6");
        let run = world.agent(&["sh", "-c", &script]).dir(&dir).env("PATH", &path).start();
        let waiting = told(&pipe);
        std::fs::remove_file(&held).unwrap();
        run.signal(signal);
        drop(waiting);
        // The command had ended by itself: its own code stands.
        run.wait().code(6);
        assert_eq!(world.git(&dir, &["log", "-1", "--format=%s"]).ok().stdout.trim(), signal.as_str());
        world.assert_clean();
    }
}

/// Where a supervisor is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    GitDirectory,
    RunDirectory,
    Record,
    FirstProcess,
    Commits(usize),
}

/// A generator of numbers that is the same in each run: a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn moment(&mut self) -> Moment {
        match self.below(8) {
            0 => Moment::GitDirectory,
            1 => Moment::RunDirectory,
            2 => Moment::Record,
            3 => Moment::FirstProcess,
            _ => Moment::Commits(1 + self.below(4) as usize),
        }
    }
}

#[test]
fn p58_a_killed_supervisor_fifty_times_leaves_nothing_and_loses_nothing() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let other = world.worktree("other");
    let alive = world.waiting("agent", &other, &format!("echo x > x && {COMMIT} alive; exit 3"));
    let mut untouched = family(alive.pid());
    // Not the programs that come and go beside a run.
    untouched.retain(|p| p.pid == alive.pid() || p.words.contains("workmux init") || p.words.contains("pasta"));
    // What was about to end by itself, such as the first process of a daemon, has ended after another run.
    world.shell(&["true"]).run().ok();
    untouched.retain(Process::lives);
    assert!(untouched.len() >= 3, "{untouched:?}");
    let dir = world.worktree("topic");
    // A commit counts once `git commit` has returned: then its name stands in the worktree.
    let script = "i=0; while :; do i=$((i + 1)); echo $i > file; git add file && git commit -qm $i && \
                  git rev-parse HEAD >> acknowledged; done";
    let list = |folder: PathBuf| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let acknowledged = || std::fs::read_to_string(dir.join("acknowledged")).unwrap_or_default();
    let mut dice = Dice(58);
    for round in 0..50 {
        let _none_before = std::fs::remove_file(dir.join("acknowledged"));
        let (git_before, runs_before) = (world.git_directories(), list(world.state().join("runs")));
        let run = world.agent(&["sh", "-c", script]).dir(&dir).start();
        let moment = dice.moment();
        let new_run = || list(world.state().join("runs")).into_iter().find(|path| !runs_before.contains(path));
        let record = || std::fs::read_to_string(new_run()?.join("record.json")).ok();
        wait_until(&format!("{moment:?} of round {round}"), || match moment {
            Moment::GitDirectory => world.git_directories() != git_before || acknowledged().lines().count() > 0,
            Moment::RunDirectory => new_run().is_some(),
            Moment::Record => record().is_some(),
            Moment::FirstProcess => record().is_some_and(|text| !text.contains("\"first_process\": null")),
            Moment::Commits(count) => acknowledged().lines().count() >= count,
        });
        let members = family(run.pid());
        run.signal(Signal::SIGKILL);
        assert_eq!(run.wait().signal, Some(9));
        let living = || members.iter().filter(|process| process.lives()).cloned().collect::<Vec<Process>>();
        wait_for(&format!("the end of all processes, round {round}, {moment:?}"), || living().is_empty().then_some(()));

        // The next command, in this worktree or elsewhere, puts everything in order.
        let commits = acknowledged();
        let next = if round % 2 == 0 { dir.clone() } else { world.main() };
        world.shell(&["true"]).dir(&next).run().ok();
        let history = world.git(&dir, &["log", "--format=%H"]).ok().stdout;
        for commit in commits.lines() {
            assert!(history.contains(commit), "round {round}, {moment:?}: {commit} is lost\n{history}");
        }
        let runs: Vec<_> = list(world.state().join("runs"));
        // One that was cut short says nothing, and is treated as none.
        let whole = |run: &&PathBuf| {
            let text = std::fs::read_to_string(run.join("record.json")).unwrap_or_default();
            serde_json::from_str::<serde_json::Value>(&text).is_ok()
        };
        let records = runs.iter().filter(whole).count();
        assert_eq!(records, 1, "round {round}, {moment:?}: only the other run has a record: {runs:?}");
    }
    assert!(untouched.iter().all(Process::lives), "the other run was touched: {untouched:?}");
    alive.go_on().wait().code(3);
    assert_eq!(world.git(&other, &["log", "-1", "--format=%s"]).ok().stdout, "alive\n");
    let fsck = world.git(&dir, &["fsck", "--strict"]).ok();
    assert!(!fsck.stderr.contains("error"), "{fsck}");
    // A directory from before there was a record might be somebody's who is just starting, so it is left for a while.
    wait_until("nothing to be left", || {
        world.shell(&["true"]).run().ok();
        world.residue().is_empty()
    });
}

/// Kills a supervisor and rewrites its record as the test wants it; the path of the record.
fn orphan(world: &World, rewrite: impl FnOnce(&str) -> String) -> PathBuf {
    let waiting = world.waiting("shell", &world.main(), "");
    let members = family(waiting.pid());
    waiting.signal(Signal::SIGKILL);
    waiting.end();
    wait_until("everything to end", || members.iter().all(|process| !process.lives()));
    let runs =
        std::fs::read_dir(world.state().join("runs")).expect("the list of runs").flatten().map(|entry| entry.path());
    let record = runs.last().expect("a record").join("record.json");
    world.write(&record, rewrite(&world.read(&record)));
    record
}

/// The record with another supervisor in it.
fn with_supervisor(record: &str, pid: i32, start: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(record).expect("JSON");
    value["supervisor"]["pid"] = pid.into();
    value["supervisor"]["start"] = start.into();
    value.to_string()
}

#[test]
fn p58_a_number_that_belongs_to_another_process_now_protects_nothing_and_harms_nobody() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let bystander = world.program("sleep").arg("600").start();
    let record = orphan(&world, |record| with_supervisor(record, bystander.pid().as_raw(), "another boot/1"));
    world.shell(&["true"]).run().ok();
    assert!(!record.exists());
    assert!(Process::find(bystander.pid()).is_some());
    drop(bystander);
    world.assert_clean();
}

#[test]
fn p58_a_record_whose_process_lives_is_left_alone() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let bystander = world.program("sleep").arg("600").start();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bystander.pid())).unwrap();
    let ticks = stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(19).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let start = format!("{}/{ticks}", boot.trim());
    let record = orphan(&world, |record| with_supervisor(record, bystander.pid().as_raw(), &start));
    world.shell(&["true"]).run().ok();
    assert!(record.exists(), "its supervisor lives, as far as anybody can tell");
    // Without the comparison of start times it would be taken away: this test can fail.
    world.shell(&["true"]).mutant("p58_start_time").run().ok();
    assert!(!record.exists());
}

#[test]
fn p62_each_missing_or_failing_tool_has_its_own_message() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let run = |path: &str| world.shell(&["true"]).env("PATH", path).run();

    let run_without = |name: &str| run(&path_without(&world, name)).code(125);
    run_without("bwrap").warns("'bwrap'").warns("Hint: install it: apt-get install bubblewrap");
    std::fs::remove_dir_all(world.home().join("some")).unwrap();
    run_without("pasta").warns("'pasta' is not installed").warns("apt-get install passt").warns("network: host");
    std::fs::remove_dir_all(world.home().join("some")).unwrap();
    run_without("git").warns("git");
    world.assert_clean();

    // A bwrap that fails says why, and it is not the guest's code.
    let path = first_on_path(
        &world,
        "bwrap",
        "test \"$1\" = --version && echo 'bubblewrap 0.8.0' && exit; \
                  echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
    );
    run(&path).code(125).warns("No permissions to create").warns("kernel.unprivileged_userns_clone=1");
    let path = first_on_path(&world, "bwrap", "kill -9 $$");
    run(&path).code(125).warns("bubblewrap");
    std::fs::remove_file(world.home().join("bin/bwrap")).unwrap();

    let path = first_on_path(&world, "pasta", "echo 'Couldn'\"'\"'t open network namespace' >&2; exit 1");
    run(&path).code(125).warns("network failed").warns("Couldn't open network namespace");
    world.assert_clean();
}

#[test]
fn p62_a_machine_without_tun_says_so() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let user = &world.given().user;
    if !user.borrowed {
        // Only root can take a device away, and only from the test itself.
        return;
    }
    let script = format!(
        "mount -t tmpfs none /dev/net && exec setpriv --reuid={} --regid={} --clear-groups \"$0\" \"$@\"",
        user.uid, user.gid
    );
    let run = world.shell(&["true"]).behind("unshare", &["--mount", "sh", "-c", &script]).as_root().run();
    run.code(125).warns("'/dev/net/tun'").warns("modprobe tun").warns("network: host");
    world.assert_clean();
}

#[test]
fn p62_a_network_that_never_comes_is_said_and_not_waited_for_without_end() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let path = first_on_path(&world, "pasta", "exec sleep 600");
    let run = world.shell(&["sh", "-c", "exit 8"]).env("PATH", path).within(Duration::from_secs(40)).run().code(8);
    run.warns("no network route");
    world.assert_clean();
}

/// Whether something of the host's can be reached from a guest. The listener is the host's own.
fn reaches(world: &World, address: &str, wrap: impl FnOnce(Run) -> Run) -> bool {
    let listener = std::net::TcpListener::bind((address, 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let probe = format!("exec 3<>/dev/tcp/{address}/{port} && echo reached || echo closed");
    let run = wrap(world.shell(&["timeout", "20", "bash", "-c", &probe])).run();
    assert!(
        run.stdout.contains("reached") || run.stdout.contains("closed") || run.stderr.contains("/dev/tcp"),
        "{run}"
    );
    run.stdout.contains("reached")
}

#[test]
fn p65_the_hosts_loopback_is_out_of_reach_whatever_the_policy() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    assert!(!reaches(&world, "127.0.0.1", |run| run), "private network");
    // The gateway a guest sees is no way round to it either.
    let gateway = world.shell(&["sh", "-c", "cat /proc/net/route"]).run().ok().stdout;
    assert!(gateway.lines().count() > 1, "no network at all, this test would show nothing: {gateway}");
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny } }\n");
    assert!(!reaches(&world, "127.0.0.1", |run| run), "no network");
    // It can be reached where the user's own file says so: the check is able to see it.
    world.user_config("sandbox: { backend: bubblewrap, bubblewrap: { network: host } }\n");
    assert!(reaches(&world, "127.0.0.1", |run| run), "the host's network");
    world.shell(&["true"]).run().ok().warns("shares this machine's network");
}

#[test]
fn p65_no_network_is_no_network() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny } }\n");
    let interfaces = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; tail -n +2 /proc/net/route";
    assert_eq!(world.shell(&["sh", "-c", interfaces]).run().ok().stdout, "lo\n");
    // Neither pasta nor its device is needed for that.
    world.shell(&["true"]).env("PATH", path_without(&world, "pasta")).run().ok();
    // And the agent still reaches its supervisor.
    world.agent(&["workmux", "heartbeat"]).run().ok();
    // A list of names cannot be enforced yet: refused, not ignored.
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny, allowed_domains: [example.org] } }\n");
    world.shell(&["true"]).run().code(125).warns("sandbox.network.policy");
    world.assert_clean();
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let name = format!("workmux-test-{}", std::process::id());
    let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    let probe = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); \
                 print connect(S, sockaddr_un(\"\\0$ARGV[0]\")) ? 'reached' : 'closed'";
    let outside = world.program("perl").args(["-e", probe, &name]).run().ok();
    assert_eq!(outside.stdout, "reached");
    assert_eq!(world.shell(&["perl", "-e", probe, &name]).run().ok().stdout, "closed");
}

#[test]
fn p60_a_worktree_that_is_renamed_during_a_run_orphans_nothing() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let dir = world.worktree("topic");
    let waiting = world.waiting("agent", &dir, &format!("echo x > x; {COMMIT} x; exit 3"));
    let moved = dir.with_file_name("moved");
    std::fs::rename(&dir, &moved).unwrap();
    let finished = waiting.go_on().wait();
    assert!(matches!(finished.code, Some(3 | 125)), "{finished}");
    let running: Vec<_> = world.residue().into_iter().filter(|left| !left.contains("/git/")).collect();
    assert!(running.is_empty(), "{running:#?}\n{finished}");
    // What was committed is on its branch, or the user is told where it is kept.
    let branch = world.git(&world.main(), &["log", "-1", "--format=%s", "topic"]).ok().stdout;
    assert!(branch == "x\n" || finished.stderr.contains("workmux"), "{branch}{finished}");
}
