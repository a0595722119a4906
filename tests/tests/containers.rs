//! What is special about containers: engines that fail, limits, what an engine is told and what it made of it, leftovers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use workmux_tests::{Finished, Run, Sandbox, World, on_every_engine, on_every_sandbox, over_tcp};

on_every_engine!(
    a_guest_in_a_container_has_no_power_over_the_machine,
    an_images_own_variables_reach_the_guest,
    devices_and_groups_are_given_as_the_users_file_says,
    keys_that_detach_reach_the_guest,
    p44_no_secret_is_shown_to_the_engine,
    p58_twenty_kills_leave_no_container_after_a_second,
    p62_each_failure_of_an_engine_has_its_own_message_and_step,
    p62_an_engine_that_hangs_is_given_up,
    p63_what_runs_out_is_named_with_its_limit,
    p66_an_excluded_file_is_empty_at_every_path,
    p67_a_container_that_is_not_what_was_asked_for_is_stopped,
    root_needs_its_own_word,
    what_a_crash_left_is_listed_and_stopped,
);
over_tcp!(
    p44_no_secret_is_shown_to_the_engine,
    p58_twenty_kills_leave_no_container_after_a_second,
    a_network_is_needed_and_nobody_else_gets_in
);
on_every_sandbox!(a_guest_that_only_dials_tcp_sets_its_status);

/// Every container of this program that the engine knows of.
fn containers(world: &World) -> Vec<String> {
    let list = world.engine(&["ps", "--all", "--quiet", "--filter", "label=workmux.managed=1"]).ok().stdout;
    let ours = |id: &&str| world.engine(&["container", "inspect", id]).stdout.contains(world.home().to_str().unwrap());
    list.split_whitespace().filter(ours).map(str::to_owned).collect()
}

/// The world's program with an engine of the test's own in front of the real one. `$REAL` is the real one.
fn behind(world: &World, on: Sandbox, script: &str) -> impl Fn(&[&str]) -> Run {
    let engine = if on == Sandbox::Docker { "docker" } else { "podman" };
    let real = world.program("sh").args(["-c", &format!("command -v {engine}")]).run().ok().stdout;
    let folder = world.home().join("fake");
    let file = folder.join(engine);
    world.write(&file, format!("#!/bin/sh\nREAL={}\n{script}\n", real.trim()));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", folder.display());
    move |words| world.workmux(words).env("PATH", &path)
}

const TRUE: &[&str] = &["sandbox", "shell", "--", "true"];

/// Files of the system are only ever asked whether they are writable.
fn a_guest_in_a_container_has_no_power_over_the_machine(on: Sandbox) {
    let world = on.world();
    let script = r#"grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs):' /proc/self/status
        for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys /sys/kernel /proc/sys/vm/overcommit_memory; do
            [ -w "$f" ] && echo "writable: $f"; done
        for f in /dev/kmsg /dev/mem /dev/kvm /dev/fuse /dev/vda /run/docker.sock /var/run/docker.sock /run/podman; do
            [ -e "$f" ] && echo "visible: $f"; done
        mount -t tmpfs none /mnt 2>/dev/null && echo mounted
        for m in $(cut -d' ' -f2 /proc/mounts); do umount -l "$m" 2>/dev/null && echo "unmounted: $m"; done
        tr '\0' ' ' < /proc/1/cmdline"#;
    let finished = world.shell(&["sh", "-c", script]).run().ok();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    for (line, name) in lines.iter().zip(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
        assert_eq!(*line, format!("{name}:\t0000000000000000"), "{finished}");
    }
    assert_eq!(lines[5], "NoNewPrivs:\t1");
    assert!(lines.len() == 7 && lines[6].contains("workmux init"), "{finished}");
}

fn an_images_own_variables_reach_the_guest(on: Sandbox) {
    let world = on.world();
    world.configure("env: { OURS: given }");
    let run = world.shell(&["sh", "-c", "echo $IMAGE_SAYS $OURS"]).run().ok();
    assert_eq!(run.stdout, "hello given\n");
    world.configure("env: { IMAGE_SAYS: ours }");
    assert_eq!(world.shell(&["sh", "-c", "echo $IMAGE_SAYS"]).run().ok().stdout, "ours\n");
}

fn devices_and_groups_are_given_as_the_users_file_says(on: Sandbox) {
    let world = on.world();
    if on != Sandbox::PodmanRootless {
        // An ordinary user has no further groups to give.
        world.configure_table("group_add: [4242], devices: ['/dev/net/tun:rw']");
        let run = world.shell(&["sh", "-c", "id -G; test -c /dev/net/tun && echo tun"]).run().ok();
        assert!(run.stdout.contains("4242") && run.stdout.contains("tun"), "{run}");
    }
    world.configure_table("devices: ['/dev/no-such-device']");
    world.shell(&["true"]).run().code(125).warns("Hint:");
    world.configure_table("devices: ['dev/x']");
    world.shell(&["true"]).run().code(125).warns("config.yaml:1: 'sandbox.container.devices'").warns("absolute paths");
    // A project can give nothing of this.
    world.configure("");
    world.project_config("sandbox: { container: { devices: ['/dev/net/tun'] } }\n");
    let run = world.shell(&["sh", "-c", "test -e /dev/net/tun || echo none"]).run().ok();
    assert_eq!(run.stdout, "none\n");
    run.warns("devices");
    world.assert_clean();
}

/// An engine's client would take Ctrl-P Ctrl-Q for itself and go, and leave the container behind.
fn keys_that_detach_reach_the_guest(on: Sandbox) {
    let world = on.world();
    let script = "stty raw -echo; echo ready; dd bs=1 count=2 2>/dev/null | od -An -c";
    let mut pty = world.pty(&["sandbox", "shell", "--", "sh", "-c", script]);
    pty.wait_for("ready");
    pty.send("\x10\x11");
    pty.wait_for("020 021");
    assert_eq!(pty.wait().0, 0);
    world.assert_clean();
}

fn p44_no_secret_is_shown_to_the_engine(on: Sandbox) {
    let world = on.world();
    world.configure("env: { SECRET: hidden-value }, env_passthrough: [MY_TOKEN]");
    let waiting = world.waiting_as(&world.main(), "echo $SECRET $MY_TOKEN $WM_RPC_TOKEN", |script| {
        world.agent(&["sh", "-c", script]).env("MY_TOKEN", "hidden-token")
    });
    let all = containers(&world);
    assert_eq!(all.len(), 1);
    let shown = world.engine(&["container", "inspect", &all[0]]).ok().stdout;
    let words = workmux_tests::processes().into_iter().map(|p| p.words).collect::<Vec<_>>().join("\n");
    let finished = waiting.go_on().wait().ok();
    let secrets: Vec<&str> = finished.stdout.split_whitespace().collect();
    assert!(secrets.len() == 3 && secrets[2].len() == 64, "{finished}");
    for secret in secrets {
        assert!(!shown.contains(secret) && !words.contains(secret), "{secret} is shown");
    }
    assert!(!shown.contains("WM_RPC"), "{shown}");
    world.assert_clean();
}

fn p58_twenty_kills_leave_no_container_after_a_second(on: Sandbox) {
    let world = on.world();
    let dir = world.worktree("topic");
    for round in 0..20 {
        let waiting = world.waiting("agent", &dir, "");
        let before = containers(&world);
        assert_eq!(before.len(), 1, "round {round}");
        waiting.signal(Signal::SIGKILL);
        assert_eq!(waiting.end().signal, Some(9));
        let killed = Instant::now();
        while !containers(&world).is_empty() {
            assert!(killed.elapsed() < Duration::from_secs(1), "round {round}: the container is still there");
        }
        for pipe in
            std::fs::read_dir(&dir).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with(".pipe"))
        {
            std::fs::remove_file(pipe.path()).unwrap();
        }
    }
    // What is not ours is not touched, also where it has our name.
    let image = world.image();
    let engine = |words: &[&str]| world.engine(words).ok();
    engine(&[
        "run",
        "--detach",
        "--rm",
        "--pull",
        "never",
        "--network",
        "none",
        "--name",
        "wm-theirs",
        &image,
        "sleep",
        "600",
    ]);
    world.shell(&["true"]).run().ok();
    let there = world.engine(&["container", "inspect", "--format", "{{.State.Running}}", "wm-theirs"]).ok().stdout;
    world.engine(&["rm", "--force", "wm-theirs"]).ok();
    assert_eq!(there.trim(), "true");
    world.assert_clean();
}

fn p62_each_failure_of_an_engine_has_its_own_message_and_step(on: Sandbox) {
    let world = on.world();
    let config = world.read(world.home().join(".config/workmux/config.yaml"));
    let image = world.image();
    world.user_config(&config.replace(&image, "localhost/workmux-test/nothing:1"));
    let run = world.shell(&["true"]).run().code(125);
    assert_eq!(run.stdout, "");
    run.warns("does not have the image 'localhost/workmux-test/nothing:1'")
        .warns("Hint: pull it: workmux sandbox pull");
    world.user_config(&config.replace(&image, "Not An Image"));
    world.shell(&["true"]).run().code(125).warns("is not the name of an image").warns("'sandbox.image'");
    world.user_config(&config);

    // The engine's own words for what cannot be had for real in a test, each answered by an engine that says them.
    for (words, message, step) in [
        ("write /x: no space left on device", "disk of", "system prune"),
        ("the container name \"wm\" is already in use by 72fc", "already a container", "rm --force wm-"),
        ("error setting rlimit type 7: operation not permitted", "higher limits", "default_ulimits"),
        ("something nobody has seen before", "something nobody has seen before", "--dry-run"),
    ] {
        let fake = format!("case \" $* \" in *' run '*) echo '{words}' >&2; exit 125;; esac; exec $REAL \"$@\"");
        let run = behind(&world, on, &fake)(TRUE).run().code(125);
        run.warns(message).warns(step).never_says("panicked");
        world.assert_clean();
    }
    // An engine's own code is never taken for the guest's.
    for code in [1, 126, 127] {
        let fake = format!("case \" $* \" in *' run '*) exit {code};; esac; exec $REAL \"$@\"");
        behind(&world, on, &fake)(TRUE).run().code(125);
    }
    if on == Sandbox::Docker {
        let down = world.shell(&["true"]).env("DOCKER_HOST", "unix:///nonexistent").run().code(125);
        down.warns("the docker daemon does not answer").warns("systemctl start docker");
        // A socket that is there, and not for this user.
        let socket = world.home().join("closed");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).unwrap();
        let run = world.shell(&["true"]).env("DOCKER_HOST", format!("unix://{}", socket.display())).run().code(125);
        run.warns("you may not use the docker daemon").warns("usermod -aG docker");
        std::fs::remove_file(&socket).unwrap();
    }
    // None at all.
    let folder = world.home().join("bare");
    for program in ["git", "sh"] {
        world.link_program(&folder, program);
    }
    let run = world.shell(&["true"]).env("PATH", &folder).run().code(125);
    run.warns("is not installed").warns("apt-get install");
    world.assert_clean();
}

fn p62_an_engine_that_hangs_is_given_up(on: Sandbox) {
    let world = on.world();
    // It can be interrupted at once.
    let pipe = world.home().join("pipe");
    world.program("mkfifo").arg(&pipe).run().ok();
    let run = behind(&world, on, &format!("read line < {}", pipe.display()))(TRUE).start();
    let _held = workmux_tests::told(&pipe);
    run.signal(Signal::SIGTERM);
    run.wait().code(143);
    // What it was asked at the end is given up as well, and said by the next command, which tidies up.
    world.shell(&["true"]).run().ok();
    world.wait_until_clean();
}

fn p63_what_runs_out_is_named_with_its_limit(on: Sandbox) {
    let world = on.world();
    world.configure_table("memory: 64M");
    let run = world.shell(&["sh", "-c", "head -c 200M /dev/zero | tail"]).run();
    if on == Sandbox::PodmanRootless && run.code == Some(125) {
        // Without control groups of the user's own a limit is refused, never ignored.
        run.warns("cannot limit memory").warns("'sandbox.container.memory'");
        world.assert_clean();
        return;
    }
    assert_ne!(run.code, Some(0), "{run}");
    run.warns("ran out of memory (limit: 64 MiB)");
    world.configure_table("cpus: 0.5");
    let script = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    let run = world.shell(&["sh", "-c", script]).run().ok();
    assert!(run.stdout.starts_with("50000"), "{run}");
    world.configure("");
    let bomb = "for i in $(seq 2000); do sleep 60 & done; exit 3";
    let run = world.shell(&["sh", "-c", bomb]).run();
    run.warns("could not start another process").warns("(limit: 1024)");
    world.assert_clean();
}

fn p66_an_excluded_file_is_empty_at_every_path(on: Sandbox) {
    let world = on.world();
    let dir = world.worktree("topic");
    for checkout in [&dir, &world.main()] {
        world.write(checkout.join(".env"), "SECRET=1\n");
    }
    world.write(dir.join("kept"), "kept\n");
    let mount = serde_json::json!([{ "host_path": dir, "guest_path": "/copy" }]);
    world.user_config(&on.configuration(&format!("extra_mounts: {mount}"), "excluded_files: ['.env', missing]"));
    let script = format!("cat .env {0}/.env /copy/.env kept; echo x > .env || echo refused", world.main().display());
    let run = world.shell(&["sh", "-c", &script]).dir(&dir).run().ok();
    assert_eq!(run.stdout, "kept\nrefused\n");
    run.warns("'missing'").never_says("SECRET");
    assert_eq!(world.read(dir.join(".env")), "SECRET=1\n");
    world.user_config(&on.configuration("", "excluded_files: ['*.env']"));
    world.shell(&["true"]).run().code(125).warns("'*.env' cannot be hidden");
    // A project can hide more, and nothing less.
    world.user_config(&on.configuration("", "excluded_files: ['.env']"));
    world.project_config("sandbox: { container: { excluded_files: [kept] } }\n");
    let run = world.shell(&["sh", "-c", "cat .env kept"]).dir(&dir).run().ok();
    assert_eq!(run.stdout, "");
}

fn p67_a_container_that_is_not_what_was_asked_for_is_stopped(on: Sandbox) {
    let world = on.world();
    let long = ["sandbox", "agent", "--", "sh", "-c", "touch began; sleep 60"];
    for (sin, part) in [
        ("--mount type=bind,source=/usr,target=/sneaked,readonly", "mounted as well: '/usr' at '/sneaked'"),
        ("--cap-add NET_RAW", "capabilities"),
        ("--network host", "network"),
    ] {
        let fake = format!("if [ \"$1\" = run ]; then shift; exec $REAL run {sin} \"$@\"; fi; exec $REAL \"$@\"");
        // A later word of the same option wins, and only the sin's would be seen.
        let fake = if sin.starts_with("--network") {
            r#"if [ "$1" = run ]; then
                shift; n=; for w; do [ "$n" ] || { set --; n=1; }
                case "$p$w" in --network*bridge|--network*private) w=host;; esac; set -- "$@" "$w"; case "$w" in --network) p=$w;; *) p=;; esac
                done; exec $REAL run "$@"; fi; exec $REAL "$@""#
                .to_owned()
        } else {
            fake
        };
        let run: Finished = behind(&world, on, &fake)(&long).run().code(125);
        run.warns("did not make the container that was asked for").warns(part);
        world.wait_until_clean();
    }
}

/// Whoever owns the worktree is who the guest is; root's own takes a word of root's.
fn root_needs_its_own_word(on: Sandbox) {
    let world = on.world();
    if on != Sandbox::Podman {
        let uid = world.given().user.uid.to_string();
        assert_eq!(world.shell(&["id", "-u"]).run().ok().stdout.trim(), uid);
        return;
    }
    world.shell(&["true"]).run().ok().warns("allow_root");
    let config = world.read(world.home().join(".config/workmux/config.yaml"));
    world.user_config(&config.replace("allow_root: true", "allow_root: false"));
    world.shell(&["true"]).run().code(125).warns("root owns this worktree").warns("chown");
}

/// A first process that does not run cannot notice that its supervisor is gone.
fn what_a_crash_left_is_listed_and_stopped(on: Sandbox) {
    let world = on.world();
    let none = world.workmux(&["sandbox", "stop", "--all", "--yes"]).run().ok();
    assert_eq!(none.stdout, "No running workmux containers found.\n");
    world.workmux(&["sandbox", "prune", "--force"]).run().ok().says("No workmux containers found.");

    let waiting = world.waiting("agent", &world.main(), "");
    let list = |command: &str| {
        let run = world.workmux(&["sandbox", command, "--dry-run", "--json"]).run().ok();
        let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        answer["instances"].as_array().unwrap().clone()
    };
    assert_eq!(list("prune"), [] as [serde_json::Value; 0], "in use");
    let running = list("stop");
    assert_eq!((running.len(), &running[0]["in_use"]), (1, &true.into()));
    world.workmux(&["sandbox", "prune"]).run().ok().says(", in use").says("No unused workmux containers");

    nix::sys::signal::kill(world.first_process().pid, Signal::SIGSTOP).unwrap();
    waiting.signal(Signal::SIGKILL);
    assert_eq!(waiting.end().signal, Some(9));
    let left = list("stop");
    assert_eq!((left.len(), &left[0]["in_use"]), (1, &false.into()));
    let name = left[0]["name"].as_str().unwrap();
    world.workmux(&["sandbox", "stop"]).run().code(1).warns("--all");
    world.workmux(&["sandbox", "stop", "wm-nobody"]).run().code(1).warns("there is no sandbox 'wm-nobody'").warns(name);
    world.workmux(&["sandbox", "stop", name]).input("n\n").run().ok().says("Aborted.");
    assert_eq!(containers(&world).len(), 1);
    world.workmux(&["sandbox", "stop", name, "--yes"]).run().ok().says(&format!("✓ Stopped '{name}'"));
    assert_eq!(containers(&world), [] as [String; 0]);
    world.shell(&["true"]).run().ok();
    world.wait_until_clean();
}

/// The two ports are open to whoever reaches the address; what opens them is a key of the run.
fn a_network_is_needed_and_nobody_else_gets_in(on: Sandbox) {
    use std::io::{Read, Write};
    let world = on.world();
    let script = "echo $WM_RPC_HOST $WM_RPC_PORT > where; exec 3<>/dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT; \
                  printf '{\"token\":\"%s\"}\n{\"type\":\"Heartbeat\"}\n' \"$WM_RPC_TOKEN\" >&3; head -n 1 <&3; workmux heartbeat";
    let waiting = world.waiting_as(&world.main(), script, |script| world.agent(&["bash", "-c", script]));
    let listening = world.program("ss").args(["-Hltn"]).run().ok().stdout;
    let wide =
        |line: &&str| line.split_whitespace().nth(3).is_some_and(|at| at.starts_with("0.0.0.0") || at.starts_with('*'));
    let own = world.program("ss").args(["-Hltnp"]).as_root().run().ok().stdout;
    let own: Vec<&str> = own.lines().filter(|line| line.contains(&format!("pid={},", waiting.pid()))).collect();
    assert!(
        own.len() == 1 && !own.iter().any(wide),
        "the port of a first process that is there is closed: {own:?} {listening}"
    );
    let address = own[0].split_whitespace().nth(3).unwrap();
    let mut stranger = std::net::TcpStream::connect(address).unwrap();
    stranger.write_all(b"{\"token\":\"0\"}\n{\"type\":\"Heartbeat\"}\n").unwrap();
    let mut answer = String::new();
    stranger.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Invalid token") && !answer.contains("\"Ok\""), "{answer}");
    let finished = waiting.go_on().wait().ok();
    assert!(finished.stdout.contains("{\"type\":\"Ok\"}"), "{finished}");
    world.configure("network: { policy: deny }");
    world.shell(&["true"]).run().code(125).warns("network");
    world.wait_until_clean();
}

/// A guest program of the published kind: it knows variables, TCP and lines of JSON, and nothing of ours.
fn a_guest_that_only_dials_tcp_sets_its_status(on: Sandbox) {
    let world = on.world();
    let tmux = world.tmux();
    let script = r#"exec 3<>"/dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT"
        printf '{"token":"%s"}\n{"type":"SetStatus","status":"waiting"}\n{"type":"Heartbeat"}\n' "$WM_RPC_TOKEN" >&3
        head -n 2 <&3"#;
    let run = world.agent(&["bash", "-c", script]).envs(tmux.variables("test")).run().ok();
    assert_eq!(run.stdout, "{\"type\":\"Ok\"}\n{\"type\":\"Ok\"}\n");
    assert_eq!(tmux.window_option("test", "@workmux_status"), "💬");
    world.assert_clean();
}
