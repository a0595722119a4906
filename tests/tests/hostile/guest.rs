//! A guest that turns on what serves it: RPC, the first process, the relay, processes and memory.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use workmux_tests::{Run, World, given, require_engine, wait_until};

fn world() -> World {
    let world = World::new();
    world.user_config("sandbox: { enabled: true, backend: bubblewrap, network: { policy: deny } }");
    world
}

/// A script run as an agent: with RPC.
fn agent(world: &World, script: &str) -> Run {
    world.workmux(&["sandbox", "agent", "--", "sh", "-c", &format!("{RPC}\n{script}")])
}

/// `rpc TOKEN LINE…` prints the answers of the run's own socket, one connection each.
const RPC: &str = r#"
rpc() { perl -e '
    use Socket; my ($token, @lines) = @ARGV;
    socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un("/run/workmux/sock/rpc")) or die "no socket: $!\n";
    $SIG{PIPE} = "IGNORE"; alarm 20; my $all = "{\"token\":\"$token\"}\n" . join("", map { "$_\n" } @lines);
    syswrite($s, $all); shutdown($s, 1); print while <$s>;' "$@"; }
"#;

const HEARTBEAT: &str = r#"'{"type":"Heartbeat"}'"#;

#[test]
fn p45_a_token_is_good_for_its_own_run_only() {
    require_engine!("bubblewrap");
    let world = world();
    let topic = world.worktree("topic");
    // Handed over by the test: what P44 keeps from happening has happened.
    let own = format!(
        "printf %s \"$WM_RPC_TOKEN\" > token; touch ready; while [ ! -e go ]; do sleep 0.02; done; rpc \"$WM_RPC_TOKEN\" {HEARTBEAT}"
    );
    let first = agent(&world, &own).start();
    wait_until("the first run is there", || world.main().join("ready").exists());
    let token = world.read(world.main().join("token"));
    assert_eq!(token.len(), 64);
    let script = format!(
        "rpc {token} {HEARTBEAT}; echo --; rpc \"$WM_RPC_TOKEN\" {HEARTBEAT}; [ \"$WM_RPC_TOKEN\" != {token} ]"
    );
    let second = agent(&world, &script).dir(&topic).run().ok();
    let (theirs, ours) = second.stdout.split_once("--\n").expect("two answers");
    assert!(theirs.contains("\"auth\"") && !theirs.contains("\"Ok\""), "{second}");
    assert!(ours.contains("\"Ok\""), "{second}");
    world.write(world.main().join("go"), "");
    first.wait().ok().says("\"Ok\"");
    world.assert_clean();
}

#[test]
fn p46_nobody_else_reaches_a_runs_sockets() {
    require_engine!("bubblewrap");
    let world = world();
    // Others may pass through the home, as on many machines.
    world.program("chmod").args(["755"]).arg(world.home()).run().ok();
    for dir in [".local", ".local/state"] {
        world.folder(&world.home().join(dir));
        world.program("chmod").arg("755").arg(world.home().join(dir)).run().ok();
    }
    let run = agent(&world, "touch ready; while [ ! -e go ]; do sleep 0.02; done").start();
    wait_until("the run is there", || world.main().join("ready").exists());
    let entry = std::fs::read_dir(world.state().join("runs")).unwrap().next().unwrap().unwrap().path();
    for dir in [world.state().join("runs"), entry.clone(), entry.join("sock")] {
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o077, 0, "{}", dir.display());
    }
    if given().user.borrowed {
        // As root we can be somebody else, and try.
        let perl =
            "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); exit(connect($s, sockaddr_un($ARGV[0])) ? 0 : 13)";
        for socket in ["rpc", "control"] {
            let words = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "perl", "-e", perl];
            let path = entry.join("sock").join(socket);
            Run::new("setpriv").args(words).arg(&path).dir(Path::new("/")).as_root().run().code(13);
        }
    }
    world.write(world.main().join("go"), "");
    run.wait().ok();
    world.assert_clean();
}

#[test]
fn p51_a_guest_that_floods_its_sockets_harms_only_itself() {
    require_engine!("bubblewrap");
    let world = world();
    let script = r#"
        perl -e '
            use Socket; use Fcntl; $SIG{PIPE} = "IGNORE"; my @open;
            sub dial { socket(my $s, PF_UNIX, SOCK_STREAM, 0) or return; fcntl($s, F_SETFL, O_NONBLOCK); connect($s, sockaddr_un("/run/workmux/sock/rpc")) or return; push @open, $s; $s }
            dial() for 1 .. 600;
            for my $s (@open) { syswrite($s, "x" x 65536) }
            @open = ();
            for (1 .. 50) { my $s = dial() or next; fcntl($s, F_SETFL, 0); alarm 10; local $SIG{ALRM} = sub { die };
                eval { syswrite($s, "{\"token\":\"$ENV{WM_RPC_TOKEN}\"}\n"); syswrite($s, "[" x 65536) for 1 .. 40; }; alarm 0 }
            for (1 .. 20) { my $s = dial() or next; fcntl($s, F_SETFL, 0); syswrite($s, "{\"token\":\"$ENV{WM_RPC_TOKEN}\"}\n" . "{\"type\":\"SetTitle\",\"title\":\"x\"}\n" x 2000) }
        '
        i=0; until rpc "$WM_RPC_TOKEN" '{"type":"Heartbeat"}' | grep -q Ok; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done; echo served"#;
    let started = Instant::now();
    let finished = agent(&world, &format!("set -e; {script}; exit 6")).run().code(6).says("served");
    assert!(started.elapsed() < Duration::from_secs(40));
    assert!(finished.stderr.lines().count() < 10, "{finished}");
    world.assert_clean();
}

/// What a guest can do to the process that its lifeline, status and terminal hang on.
#[test]
fn a_guest_cannot_take_over_its_first_process() {
    require_engine!("bubblewrap");
    let world = world();
    let script = r#"
        perl -e 'use Socket; for my $n ("control", "exec-0") { socket(my $s, PF_UNIX, SOCK_STREAM, 0); print "$n answered\n" if connect($s, sockaddr_un("/run/workmux/sock/$n")) && defined(my $r = sysread($s, my $b, 10)) && length $b }'
        touch /run/workmux/sock/x 2>/dev/null && echo 'socket directory is writable'
        rm -f /run/workmux/sock/rpc 2>/dev/null && [ ! -e /run/workmux/sock/rpc ] && echo 'socket removed'
        echo x 2>/dev/null > /run/workmux/bin/workmux && echo 'guest program written'
        for s in KILL STOP SEGV TRAP; do kill -$s 1; done
        cat /proc/1/environ 2>/dev/null | tr '\0' '\n' | grep -q . && echo 'environment of 1 read'
        ls -l /proc/1/fd 2>/dev/null | grep -q socket && echo 'descriptors of 1 seen'
        perl -e 'my $p = syscall(434, 1, 0); for my $fd (0 .. 63) { my $f = syscall(438, $p, $fd, 0); print "descriptor $fd of 1 taken\n" if $f >= 0 }'
        dd if=/proc/1/mem bs=1 count=1 2>/dev/null | grep -q . && echo 'memory of 1 read'
        echo alive; exit 5"#;
    let finished = agent(&world, script).run();
    // Its own socket, once used, answers nobody; and nothing of the above may succeed.
    assert_eq!(finished.stdout, "alive\n", "{finished}");
    assert_eq!(finished.code, Some(5), "{finished}");
    world.assert_clean();
}

#[test]
fn p57_nothing_outlives_a_run() {
    require_engine!("bubblewrap");
    let world = world();
    let script = "setsid sleep 987654 & (setsid sh -c 'trap \"\" TERM HUP INT; sleep 987654' &) ; nohup sleep 987654 > /dev/null 2>&1 & \
                  perl -e 'fork and exit; setpgrp; $0 = \"987654\"; $SIG{$_} = \"IGNORE\" for qw(TERM HUP INT); sleep 1000' & sleep 0.2; exit 3";
    agent(&world, script).run().code(3);
    world.assert_clean();
}

#[test]
fn p63_a_fork_bomb_ends_with_its_run() {
    require_engine!("bubblewrap");
    let world = world();
    let script = r#"
        perl -e '$SIG{ALRM} = sub { exit }; my $n = 0; while ($n < 5000) { my $p = fork; last unless defined $p; if (!$p) { $0 = "987654"; sleep 600; exit } $n++ } print "stopped at $n\n"'
        exit 9"#;
    let finished = agent(&world, script).run();
    let count: u32 = finished
        .stdout
        .trim()
        .strip_prefix("stopped at ")
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{finished}"));
    assert!(count < 1024, "{finished}");
    assert!(finished.code.is_some_and(|c| c == 9 || c == 2 || c == 254), "{finished}");
    world.assert_clean();
}

#[test]
fn p63_a_guests_memory_of_files_is_bounded() {
    require_engine!("bubblewrap");
    let world = world();
    let finished = agent(
        &world,
        "awk '$3 == \"tmpfs\" { print $2 }' /proc/mounts | while read -r d; do touch \"$d/x\" 2>/dev/null && df -Pk \"$d\" | awk 'NR > 1 { print $6, $2 }'; done",
    )
    .run()
    .ok();
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = machine.split_whitespace().nth(1).unwrap().parse().unwrap();
    let all: u64 = finished.stdout.lines().filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert!(!finished.stdout.is_empty());
    assert!(all < total, "a guest may fill {all} KiB of a machine that has {total}: {finished}");
}

#[test]
fn p51_a_guest_that_prints_without_end_is_carried_and_ends() {
    require_engine!("bubblewrap");
    let world = world();
    let finished = agent(&world, "yes | head -c 30000000; yes x | head -c 3000000 >&2; exit 8").run();
    assert_eq!((finished.code, finished.stdout.len()), (Some(8), 30_000_000));
    assert!(finished.stderr.len() >= 3_000_000);
}
