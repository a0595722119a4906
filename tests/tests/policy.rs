//! What a guest can see and do besides git, probed from inside a real sandbox: P9, P65 to P69, and what a sandbox is.
//!
//! Files of the system are only ever asked whether they are writable; nothing here writes to them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use workmux_tests::{
    Finished, Run, Sandbox, Snapshot, World, on_every_sandbox, on_every_sandbox_but_lima, require_engine,
};

on_every_sandbox_but_lima!(p65_no_network_means_none);
on_every_sandbox!(
    p67_hostile_paths_are_mounted_as_they_are_or_refused,
    p68_mounts_of_what_controls_the_host_are_refused_also_through_links,
    p69_variables_pass_only_where_they_are_named
);

const CLOSED: &str = "sandbox: { enabled: true, backend: bubblewrap, network: { policy: deny } }";
const OPEN: &str = "sandbox: { enabled: true, backend: bubblewrap, network: { policy: allow } }";

/// A script in a sandbox of the main checkout.
fn guest(world: &World, script: &str) -> Run {
    world.workmux(&["sandbox", "shell", "--", "sh", "-c", script])
}

/// A world whose user wants sandboxes of this kind without a network.
fn closed(on: Sandbox) -> World {
    let world = World::on(on);
    world.configure("enabled: true, network: { policy: deny }");
    world
}

fn world(config: &str) -> World {
    let world = World::new();
    world.user_config(config);
    world
}

#[test]
fn a_guest_sees_its_checkout_and_nothing_else_of_the_users() {
    require_engine!("bubblewrap");
    let world = world(CLOSED);
    let (topic, other) = (world.worktree("topic"), world.worktree("other"));
    for secret in [".ssh/id_ed25519", ".netrc", ".config/gh/hosts.yml", ".bash_history", "notes.txt"] {
        world.write(world.home().join(secret), "SECRET");
    }
    world.write(other.join("uncommitted"), "SECRET of another checkout");
    world.workmux(&["sandbox", "shell", "--", "true"]).run().ok();
    assert!(world.state().is_dir());
    let script = format!(
        "grep -rs SECRET \"$HOME\" /tmp /run /var/tmp /home /root /etc /dev/shm /opt /srv /mnt /media; \
         for d in '{}' '{}' '{}' '{}'; do [ -e \"$d\" ] && echo \"visible: $d\"; done; \
         ls -A \"$HOME\"; [ -w '{}' ] && echo 'main is writable'; touch '{}/x' 2>/dev/null && echo 'main was written'; true",
        world.state().display(),
        world.home().join(".config/workmux").display(),
        other.display(),
        world.home().join("run").display(),
        world.main().display(),
        world.main().display(),
    );
    let finished = guest(&world, &script).dir(&topic).run().ok();
    finished.clone().never_says("SECRET").never_says("visible:").never_says("main ");
    let listed: Vec<&str> = finished.stdout.lines().collect();
    for name in listed {
        assert!([".claude", ".claude.json", "project", "project__worktrees"].contains(&name), "{name}: {finished}");
    }
}

#[test]
fn a_guest_has_no_power_over_the_machine() {
    require_engine!("bubblewrap");
    let world = world(CLOSED);
    let finished = guest(
        &world,
        r#"grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status
           id -u
           for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/overcommit_memory /proc/sysrq-trigger \
               /proc/sys/kernel/randomize_va_space /proc/sys/net/ipv4/ip_forward /sys /sys/kernel /dev/kmsg /dev/mem /dev/sda /dev/vda \
               /usr /usr/bin /etc /etc/passwd / /bin /lib; do [ -w "$f" ] && echo "writable: $f"; done
           for f in /dev/kmsg /dev/mem /dev/kvm /dev/fuse /dev/net/tun /dev/vda /run/docker.sock /var/run/docker.sock /run/dbus /run/systemd \
               /etc/shadow /etc/gitconfig /root /boot /var/log; do [ -e "$f" ] && echo "visible: $f"; done
           unshare --user true 2>/dev/null && echo 'nested user namespace'
           unshare --mount true 2>/dev/null && echo 'mount namespace'
           mount -t tmpfs none /mnt 2>/dev/null && echo 'mounted'; mount -o remount,rw /usr 2>/dev/null && echo 'remounted'
           for m in $(cut -d' ' -f2 /proc/mounts); do umount "$m" 2>/dev/null && echo "unmounted: $m"; umount -l "$m" 2>/dev/null && echo "unmounted: $m"; done
           for s in $(find /usr/bin /bin /usr/sbin -perm -4000 2>/dev/null); do case "$s" in */su|*/sudo|*/mount|*/passwd) echo "setuid: $s" ;; esac; done
           su root -c id 2>/dev/null | grep -q uid=0 && echo 'became root'
           mknod node c 1 3 2>/dev/null && echo 'device made'; chroot / true 2>/dev/null && echo 'chroot'
           ps -e -o pid= | wc -l"#,
    )
    .run()
    .ok();
    let lines: Vec<&str> = finished.stdout.lines().filter(|l| !l.starts_with("setuid:")).collect();
    let none = "\t0000000000000000";
    let expected: Vec<String> =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|c| format!("{c}:{none}")).into();
    assert_eq!(lines[..5], expected, "{finished}");
    assert_eq!(lines[5], "NoNewPrivs:\t1", "setuid programs must give nothing: {finished}");
    assert_ne!(lines[6], "0");
    let processes: u32 = lines[7].trim().parse().unwrap_or_else(|_| panic!("{:?}\n{finished}", &lines[7..]));
    assert!(processes < 10, "the host's processes are visible: {finished}");
    assert_eq!(lines.len(), 8, "{finished}");
}

#[test]
fn a_guests_setuid_file_is_nobodys_way_to_power_inside() {
    require_engine!("bubblewrap");
    let world = world(CLOSED);
    let finished =
        guest(&world, "cp /usr/bin/id i; chmod 6755 i; ./i -u; grep ' / \\| /tmp ' /proc/mounts | head -2; id -u")
            .run()
            .ok();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.first(), lines.last(), "{finished}");
}

fn p65_no_network_means_none(on: Sandbox) {
    let world = closed(on);
    let (tcp, name) = (TcpListener::bind("127.0.0.1:0").unwrap(), abstract_name());
    let _abstract = abstract_listener(&name);
    let port = tcp.local_addr().unwrap().port();
    let finished = guest(&world, &network_probe(port, &name)).run().ok();
    assert!(finished.stdout.lines().all(|line| line == "lo"), "{finished}");
}

#[test]
fn p65_a_network_is_never_the_hosts_own() {
    require_engine!("bubblewrap");
    let world = world(OPEN);
    let (tcp, name) = (TcpListener::bind("127.0.0.1:0").unwrap(), abstract_name());
    let _abstract = abstract_listener(&name);
    let port = tcp.local_addr().unwrap().port();
    let finished = guest(&world, &network_probe(port, &name)).run().ok();
    for reached in ["tcp", "abstract", "gateway"] {
        finished.clone().never_says(reached);
    }
    assert_eq!(finished.stdout.lines().next(), Some("lo"), "{finished}");
    // The probe is able to fail: where the user gave the host's own network, it reaches both.
    world.user_config(
        "sandbox: { enabled: true, backend: bubblewrap, network: { policy: allow }, bubblewrap: { network: host } }",
    );
    guest(&world, &network_probe(port, &name)).run().ok().says("tcp").says("abstract").warns("this machine's network");
}

fn abstract_name() -> String {
    format!("workmux-test-{}-{:?}", std::process::id(), std::thread::current().id())
}

fn abstract_listener(name: &str) -> UnixListener {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name");
    UnixListener::bind_addr(&address).expect("it can listen")
}

/// Prints the interfaces, and each way to the host that is open.
fn network_probe(port: u16, name: &str) -> String {
    let perl = format!(
        r#"use Socket;
        for my $to (["tcp", "127.0.0.1"], ["gateway", $ARGV[0] || "127.0.0.2"], ["tcp", "127.0.1.1"]) {{
            socket(my $s, PF_INET, SOCK_STREAM, 0) or next; alarm 3; local $SIG{{ALRM}} = sub {{ die }};
            my $a = eval {{ sockaddr_in({port}, inet_aton($to->[1])) }} or next;
            eval {{ print "$to->[0]\n" if connect($s, $a) }};
        }}
        socket(my $u, PF_UNIX, SOCK_STREAM, 0); print "abstract\n" if connect($u, pack("S a*", 1, "\0{name}"));"#
    );
    format!(
        "ls /sys/class/net 2>/dev/null; sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort -r | grep -n lo | head -1 | sed 's/.*://'\n\
         gateway=$(awk '$2 == \"00000000\" {{ print $3 }}' /proc/net/route | head -1 | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)/0x\\4.0x\\3.0x\\2.0x\\1/')\n\
         perl -e '{}' \"$gateway\"",
        perl.replace('\'', "'\\''")
    )
}

#[test]
fn p65_what_a_backend_cannot_enforce_refuses_the_start() {
    require_engine!("bubblewrap");
    let world = world("sandbox: { enabled: true, backend: minimal, network: { policy: deny } }");
    world.install_plugin("minimal");
    let library = world.home().join(".local/share/workmux/plugins/libworkmux_backend_minimal.so");
    world.workmux(&["plugin", "trust", library.to_str().unwrap()]).run().ok();
    let finished = guest(&world, "touch ran").run();
    finished.clone().code(125).warns("cannot enforce no network");
    assert!(!world.main().join("ran").exists(), "{finished}");
    // Two guards: with the host's own off, the backend's side of the contract still refuses.
    guest(&world, "touch ran").mutant("p65_features").run().code(125).warns("cannot provide a sandbox without network");
    assert!(!world.main().join("ran").exists());
    // The test is able to fail: what the backend can do is done.
    world.user_config("sandbox: { enabled: true, backend: minimal }");
    guest(&world, "touch ran").run().ok();
    assert!(world.main().join("ran").exists());
}

/// Mounts a user may ask for, at paths that read as something else to a careless program.
fn p67_hostile_paths_are_mounted_as_they_are_or_refused(on: Sandbox) {
    let names = [
        "a b",
        "a,b",
        "a'b",
        "a\"b",
        "a:b",
        "a=b",
        "ä日本",
        "a\\b",
        "a;b",
        "$(x)",
        "`x`",
        "a&b",
        "--bind",
        "-x",
        "a\tb",
        "%s",
        "{pid}",
        "~",
        "a*b",
        "#x",
        "a\u{202e}b",
    ];
    // Containers and machines take their time: there several stand together.
    let together = ["a b", "a,b'c\"d:e=f", "ä日本\u{202e}", "a\\b;c$(x)`y`&z", "--bind", "a\tb%s{pid}~*#"];
    let names: &[&str] = if on == Sandbox::Bubblewrap { &names } else { &together };
    for name in names.iter().copied() {
        let world = World::bare(on);
        let root = world.home().join(name);
        let repository = root.join("r");
        world.folder(&repository);
        let setup =
            "set -e; git init -q -b main .; echo x > f; git add f; git commit -qm first; git worktree add -q -b t ../w";
        world.program("sh").args(["-c", setup]).dir(&repository).run().ok();
        let (extra, target) = (root.join("extra"), root.join("target"));
        world.write(extra.join("file"), "from the host");
        let mount = serde_json::json!([{ "host_path": extra, "guest_path": target, "writable": true }]);
        world.configure(&format!("enabled: true, network: {{ policy: deny }}, extra_mounts: {mount}"));
        for checkout in [&repository, &root.join("w")] {
            world.stop_machines();
            // What is mounted is told by what can be read and written there, byte for byte.
            let script = "pwd; cat f; echo guest > made; git add made; git commit -qm \"$1\"; cat \"$2/file\"; echo guest > \"$2/made\"; git rev-parse --show-toplevel";
            let words = ["sandbox", "shell", "--", "sh", "-ec", script, "sh", name, target.to_str().unwrap()];
            let finished = world.workmux(&words).dir(checkout).run();
            let context = format!("{name:?}: {finished}");
            assert_eq!(finished.code, Some(0), "{context}");
            let path = checkout.display();
            assert_eq!(finished.stdout, format!("{path}\nx\nfrom the host{path}\n"), "{context}");
            assert_eq!(fs::read_to_string(checkout.join("made")).unwrap(), "guest\n", "{context}");
            assert_eq!(fs::read_to_string(extra.join("made")).unwrap(), "guest\n", "{context}");
            let log = world.git(checkout, &["log", "-1", "--format=%s"]).ok().stdout;
            assert_eq!(log.trim_end(), name.trim(), "{context}");
            fs::remove_file(extra.join("made")).unwrap();
        }
    }
    for name in ["a\nb", "\n"] {
        let world = World::bare(on);
        world.configure("network: { policy: deny }");
        let repository = world.home().join(name);
        world.folder(&repository);
        world.program("sh").args(["-c", "git init -q .; git commit -q --allow-empty -m x"]).dir(&repository).run().ok();
        let finished = world.workmux(&["sandbox", "shell", "--", "touch", "ran"]).dir(&repository).run().code(125);
        assert!(finished.stderr.contains("newline") && !repository.join("ran").exists(), "{finished}");
    }
}

/// One entry of `extra_mounts`: refused in one line, and nothing was started.
fn refused(world: &World, host: &Path, guest_path: &Path, writable: bool) -> Result<Finished, Finished> {
    let mount = serde_json::json!([{ "host_path": host, "guest_path": guest_path, "writable": writable }]);
    world.configure(&format!("enabled: true, network: {{ policy: deny }}, extra_mounts: {mount}"));
    let ran = world.main().join("ran");
    let finished = guest(world, "touch ran").run();
    match (finished.code, ran.exists()) {
        (Some(125), false) => Ok(finished),
        _ => {
            let _for_the_next = fs::remove_file(ran);
            Err(finished)
        }
    }
}

fn p68_mounts_of_what_controls_the_host_are_refused_also_through_links(on: Sandbox) {
    let world = closed(on);
    world.worktree("topic");
    let home = world.home();
    let socket = home.join("engine");
    let _listening = UnixListener::bind(&socket).unwrap();
    world.folder(&home.join("harmless"));
    world.workmux(&["sandbox", "shell", "--", "true"]).run().ok();
    let git = world.git_dir();
    let above = home.parent().unwrap().to_owned();
    let forbidden: Vec<(PathBuf, bool)> = vec![
        (PathBuf::from("/"), true),
        (PathBuf::from("/"), false),
        (above, true),
        (home.to_owned(), true),
        (git.clone(), true),
        (git.join("hooks"), true),
        (git.join("worktrees/topic"), true),
        (world.main(), true),
        (world.state(), true),
        (home.join(".local/state"), true),
        (home.join(".config"), true),
        (home.join(".config/workmux"), true),
        (home.join(".local/share/workmux"), true),
        (home.join(".local"), true),
        (home.join(".local"), false),
        (home.to_owned(), false),
        (socket.clone(), false),
        (PathBuf::from("/proc"), false),
        (PathBuf::from("/proc/1"), false),
        (PathBuf::from("/sys"), true),
        (PathBuf::from("/dev"), false),
        (PathBuf::from("/run"), false),
        (PathBuf::from("/var/run"), false),
        (PathBuf::from("/dev/null"), false),
    ];
    world.folder(&home.join(".local/share/workmux"));
    let target = Path::new("/opt/x");
    let mut mounted = Vec::new();
    for (path, writable) in &forbidden {
        let link = home.join("link");
        std::os::unix::fs::symlink(path, &link).unwrap();
        let roundabout =
            home.join("harmless/..").join(path.strip_prefix(home).unwrap_or(Path::new("../../../../../../../../")));
        for way in [path, &link, &roundabout] {
            if way == &roundabout && !path.starts_with(home) {
                continue;
            }
            match refused(&world, way, target, *writable) {
                Ok(said) => assert!(said.stderr.lines().count() <= 6, "{said}"),
                Err(finished) => mounted.push(format!("{} (writable: {writable}): {finished}", way.display())),
            }
        }
        fs::remove_file(&link).unwrap();
    }
    assert!(mounted.is_empty(), "{mounted:#?}");

    // A harmless folder over something that matters.
    for over in [
        git.clone(),
        git.join("hooks"),
        git.join("config"),
        world.main().join(".git"),
        PathBuf::from("/proc"),
        "/run/workmux".into(),
        "/".into(),
        // An image's own programs are the user's to replace.
        if on == Sandbox::Bubblewrap { "/usr".into() } else { "/sys".into() },
    ] {
        assert!(refused(&world, &home.join("harmless"), &over, true).is_ok(), "{}", over.display());
    }
    // The test is able to fail.
    world.stop_machines();
    assert!(refused(&world, &home.join("harmless"), target, true).is_err());
    world.stop_machines();
    let mount = serde_json::json!([{ "host_path": git, "guest_path": target, "writable": true }]);
    world.configure(&format!("enabled: true, network: {{ policy: deny }}, extra_mounts: {mount}"));
    guest(&world, "touch /opt/x/hooks/planted").mutant("p68_guard").run().ok();
    assert!(git.join("hooks/planted").exists(), "with the guard off the hook must be there");
}

fn p69_variables_pass_only_where_they_are_named(on: Sandbox) {
    let world = closed(on);
    let sentinels = [
        "GITHUB_TOKEN",
        "MY_TOKEN",
        "SSH_AUTH_SOCK",
        "LD_PRELOAD_X",
        "LD_LIBRARY_PATH",
        "WM_RPC_TOKEN",
        "WM_X",
        "GIT_DIR_X",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_PARAMETERS",
        "AWS_SECRET_ACCESS_KEY",
        "DBUS_SESSION_BUS_ADDRESS",
        "TMUX",
        "BASH_ENV",
        "ENV",
        "PERL5LIB",
        "PYTHONPATH",
        "NODE_OPTIONS",
    ];
    let run = guest(&world, "env; tr '\\0' '\\n' < /proc/1/environ; tr '\\0' '\\n' < /proc/1/cmdline");
    let finished = sentinels.iter().fold(run, |run, name| run.env(name, "/SENTINEL")).run().ok();
    finished.never_says("SENTINEL");
}

/// What the host writes into a checkout stays inside it, whatever an earlier guest left there.
#[test]
fn p09_links_in_a_checkout_lead_the_host_nowhere() {
    require_engine!("bubblewrap");
    let world = world(CLOSED);
    let outside = world.home().join("outside");
    world.write(outside.join("file"), "the user's");
    let script = format!(
        "for n in .workmux.yaml .workmux .claude .claude-sandbox.json .envrc CLAUDE.md .gitignore .gitattributes .gitmodules .workmux-prompt node_modules Dockerfile.sandbox; \
         do ln -sfn '{}/new-'$n $n; done; ln -s '{}' dir",
        outside.display(),
        outside.display()
    );
    guest(&world, &script).run().ok();
    let before = Snapshot::of(&outside);
    for words in [
        &["sandbox", "shell", "--", "true"][..],
        &["sandbox", "agent", "--", "true"],
        &["sandbox", "shell", "--dry-run"],
        &["sandbox", "init-dockerfile"],
        &["plugin", "list"],
    ] {
        world.workmux(words).run();
        assert_eq!(before.changes(&Snapshot::of(&outside)), Vec::<String>::new(), "{words:?}");
    }
}
