//! Between a sandbox in a machine and the host: words, bytes, terminals, requests; and what must not be overheard.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use workmux_tests::{PATIENCE, Pty, Sandbox, dial, given, processes, require_engine};

use super::scene::Scene;

#[test]
fn p05_every_byte_of_a_word_arrives() {
    require_engine!("lima");
    let scene = Scene::warm();
    let all: Vec<OsString> = (1..=255u8)
        .map(|byte| vec![byte])
        .chain((1..=255u8).map(|byte| vec![b'a', byte, b'b']))
        .chain([vec![], b"a=b".to_vec(), b"-x".to_vec(), (1..=255u8).collect()])
        .map(OsString::from_vec)
        .collect();
    let expected: Vec<u8> =
        all.iter().flat_map(|word| [b"[".to_vec(), word.clone().into_vec(), b"]".to_vec()].concat()).collect();
    let sum = scene.program("sha256sum").input(expected).run().ok().stdout;
    for command in ["agent", "shell"] {
        let words = ["sandbox", command, "--", "sh", "-c", "printf '[%s]' \"$@\" | sha256sum", "sh"];
        assert_eq!(scene.workmux(&words).args(&all).run().ok().stdout, sum, "{command}");
    }
    // The program's own name too, and its code.
    let odd = scene.main().join("odd  'name' $x");
    scene.write(&odd, "#!/bin/sh\necho \"<$0>\"; exit 99\n");
    std::fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = scene.shell(&["./odd  'name' $x"]).run().code(99);
    assert_eq!(run.stdout, "<./odd  'name' $x>\n");
}

#[test]
fn only_who_sits_at_a_terminal_gets_one() {
    require_engine!("lima");
    let scene = Scene::warm();
    let look = "for fd in 0 1 2; do test -t $fd && printf y || printf n; done; tty >/dev/null; echo :$?";
    for command in ["shell", "agent"] {
        let words = ["sandbox", command, "--", "sh", "-c", look];
        let mut pty = scene.pty(&words);
        pty.wait_for("yyy:0");
        assert_eq!(pty.wait().0, 0);
        assert_eq!(scene.workmux(&words).run().ok().stdout, "nnn:1\n");
        assert_eq!(scene.workmux(&words).input("x").run().ok().stdout, "nnn:1\n");
        // Half a terminal is none.
        let half = format!("'{}' sandbox {command} -- sh -c '{look}' | cat", scene.given().program.display());
        let run = scene.program("sh").args(["-c", &half]).env("WORKMUX_GUEST", &scene.given().guest);
        let mut pty = Pty::start(run);
        pty.wait_for("nnn:1");
        assert_eq!(pty.wait().0, 0);
    }
}

/// The stand-in's server has ten sessions for one connection, as every image has that nobody prepared.
#[test]
fn more_runs_than_one_connection_carries_work_at_once() {
    require_engine!("lima");
    let scene = Scene::warm();
    let dirs: Vec<_> = (0..13).map(|number| scene.worktree(&format!("t{number}"))).collect();
    let commit = "git commit --quiet --allow-empty --message=inside; exit 7";
    let waiting: Vec<_> = dirs.iter().map(|dir| scene.waiting("agent", dir, commit)).collect();
    for run in waiting {
        assert_eq!(run.go_on().wait().code(7).stderr, "");
    }
    for dir in &dirs {
        assert_eq!(scene.last_commit(dir), "inside");
    }
    assert_eq!((scene.machines().len(), scene.count("start")), (1, 1));
    scene.assert_clean();
}

#[test]
fn nothing_that_is_said_is_lost_however_slowly_it_is_read() {
    require_engine!("lima");
    let scene = Scene::warm();
    let dir = scene.worktree("topic");
    // One pipe for both, whose other end is read only after a while.
    let read = |script: &str, alone: bool| {
        let socket = scene.dir_of(&scene.machine()).join("ssh.sock");
        if alone {
            std::fs::rename(&socket, socket.with_extension("away")).unwrap();
        }
        let pipe = scene.home().join("pipe");
        scene.program("mkfifo").arg(&pipe).run().ok();
        let line = format!("exec >{0} 2>&1; exec \"$@\"", pipe.display());
        let words =
            ["-c", &line, "sh", given().program.to_str().unwrap(), "sandbox", "shell", "--", "sh", "-c", script];
        let guest = given().guest.to_str().unwrap();
        let running = scene.program("sh").args(words).env("WORKMUX_GUEST", guest).dir(&dir).within(PATIENCE).start();
        let reader = std::fs::File::open(&pipe).unwrap();
        let begun = dir.join("begun");
        workmux_tests::wait_until("its begin", || begun.exists());
        std::fs::remove_file(begun).unwrap();
        // Time is what this is about: longer than a program may outlive its command.
        std::thread::sleep(Duration::from_secs(if alone { 12 } else { 1 }));
        let said = std::io::read_to_string(reader).unwrap();
        running.wait().ok();
        std::fs::remove_file(pipe).unwrap();
        if alone {
            std::fs::rename(socket.with_extension("away"), &socket).unwrap();
        }
        said
    };
    let count = |said: &str| said.lines().filter(|line| line.bytes().all(|b| b.is_ascii_digit())).count();
    assert_eq!(count(&read(": >begun; seq 100000 >&2", false)), 100_000);
    assert_eq!(count(&read(": >begun; seq 100000", true)), 100_000);
    scene.assert_clean();
}

#[test]
fn a_reader_that_stalls_holds_nobody_up_who_is_told_to_end() {
    require_engine!("lima");
    let scene = Scene::warm();
    let dir = scene.worktree("topic");
    let guest = given().guest.to_str().unwrap();
    let program = given().program.to_str().unwrap();
    let run = |line: &str| {
        let words = ["-c", line, "sh", program, "sandbox", "shell", "--", "sh", "-c", "yes >&2"];
        scene.program("sh").args(words).env("WORKMUX_GUEST", guest).dir(&dir)
    };
    let pipe = scene.home().join("pipe");
    scene.program("mkfifo").arg(&pipe).run().ok();
    let running = run(&format!("exec 2>{} >/dev/null; exec \"$@\"", pipe.display())).start();
    let reader = std::fs::File::open(&pipe).unwrap();
    // Its pipe is full, so it waits.
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::NONE).unwrap();
    running.signal(Signal::SIGTERM);
    running.wait().code(143);
    drop(reader);
    scene.assert_clean();
}

#[test]
fn an_agent_says_how_it_is_and_starts_others_in_its_machine() {
    require_engine!("lima");
    require_engine!("tmux");
    let scene = Scene::new();
    let obedient = "agent: \"sh -c 'eval \\\"$2\\\"' run\"\n";
    scene.user_config(&(Sandbox::Lima.configuration("", "") + obedient));
    let dir = scene.worktree("topic");
    let tmux = scene.tmux();
    // Others open windows beside it.
    let window = "test:0";
    let words = "workmux heartbeat && workmux set-title 'a  title' && workmux set-window-status waiting && \
                 workmux add kid -p 'echo kid > k; git add k; git commit -qm kid; workmux set-window-status done' && \
                 workmux wait kid && workmux merge kid --keep";
    let run = scene.agent(&["sh", "-c", words]).dir(&dir).envs(tmux.variables(window)).run().ok();
    let run = run.says("✓ Spawned agent: kid\n");
    assert!(tmux.windows().iter().any(|name| name == "a title"), "{:?} {run}", tmux.windows());
    assert_eq!(tmux.window_option(window, "@workmux_status"), "💬");
    // The other one worked in the same machine, in a worktree of its own, and its work is in its parent's.
    assert_eq!(scene.last_commit(&scene.home().join("project__worktrees/kid")), "kid");
    assert!(scene.git(&dir, &["log", "--format=%s"]).ok().stdout.contains("kid\n"));
    assert_eq!((scene.count("create"), scene.count("start")), (1, 1));

    // The same by whoever knows nothing but the protocol.
    let requests = [
        r#"{"type":"Heartbeat"}"#,
        r#"{"type":"SetTitle","title":"raw"}"#,
        r#"{"type":"SetStatus","status":"done"}"#,
        r#"{"type":"SpawnAgent","prompt":"true","branch_name":"raw","background":true}"#,
    ];
    let run = scene.agent(&["bash", "-c", &dial(&requests)]).dir(&dir).envs(tmux.variables(window)).run().ok();
    assert_eq!(run.stdout.matches("{\"type\":\"Ok\"").count(), 4, "{run}");
    assert_eq!(tmux.window_option(window, "@workmux_status"), "✅");
    assert_eq!((scene.machines().len(), scene.count("create")), (1, 1));
    scene.workmux(&["remove", "--all", "--force"]).run().ok();
    scene.wait_until_clean();
}

#[test]
fn p44_values_stand_in_no_command_line_and_in_no_file_of_limas() {
    require_engine!("lima");
    let scene = Scene::with("env_passthrough: [SECRET]", "");
    let secret = "hunter2-0123456789abcdef";
    let dir = scene.worktree("topic");
    // Not in a word of the test's own either.
    let check = "test \"$SECRET\" = \"$(printf hunter2-; printf 0123456789abcdef)\" && exit 4";
    let waiting =
        scene.waiting_as(&dir, check, |script| scene.agent(&["sh", "-c", script]).dir(&dir).env("SECRET", secret));
    let hidden = || {
        for process in processes() {
            assert!(!process.words.contains(secret), "{process:?}");
        }
        // Also what limactl was called with: its words and its environment stand in its log.
        let grep = scene.program("grep").args(["-rlaFI", "-e", secret]).arg(scene.home()).run();
        assert_eq!(grep.stdout, "", "{grep}");
    };
    hidden();
    assert!(scene.count("list") > 0);
    waiting.go_on().wait().code(4);
    hidden();
    let said = scene.outside(&scene.machine(), "env");
    assert!(![secret, "WM_RPC_TOKEN", "WM_SANDBOX_GUEST"].iter().any(|text| said.contains(text)), "{said}");
    scene.assert_clean();
}
