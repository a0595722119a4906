//! Between a sandbox in a machine and the host: words, bytes, terminals, requests; and what must not be overheard.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use workmux_tests::{Pty, Sandbox, dial, processes, require_engine};

use super::case::{calls, cold, last_commit, only_machine, warm};

#[test]
fn joining_a_sandbox_is_refused_as_with_every_backend_that_cannot() {
    require_engine!("lima");
    let (world, _) = warm();
    let dir = world.worktree("topic");
    let waiting = world.waiting("agent", &dir, "exit 3");
    for words in [&["--exec"][..], &["-e", "--", "true"], &["--exec", "--backend", "lima", "--", "true"]] {
        let run = world.workmux(&["sandbox", "shell"]).args(words).dir(&dir).run().code(125);
        assert_eq!(run.stdout, "");
        let run = run.warns("Error: 'sandbox shell --exec' is not provided by backend 'lima'");
        run.warns("backends that provide it: bubblewrap, container");
    }
    // Another shell is what there is instead.
    let run = world.shell(&["ls"]).dir(&dir).run().ok();
    assert_eq!(run.stdout, "README.md\n");
    waiting.go_on().wait().code(3);
    world.assert_clean();
}

#[test]
fn p05_every_byte_of_a_word_arrives() {
    require_engine!("lima");
    let (world, _) = warm();
    let all: Vec<OsString> = (1..=255u8)
        .map(|byte| vec![byte])
        .chain((1..=255u8).map(|byte| vec![b'a', byte, b'b']))
        .chain([vec![], b"a=b".to_vec(), b"-x".to_vec(), (1..=255u8).collect()])
        .map(OsString::from_vec)
        .collect();
    let expected: Vec<u8> =
        all.iter().flat_map(|word| [b"[".to_vec(), word.clone().into_vec(), b"]".to_vec()].concat()).collect();
    let sum = world.program("sha256sum").input(expected).run().ok().stdout;
    for command in ["agent", "shell"] {
        let words = ["sandbox", command, "--", "sh", "-c", "printf '[%s]' \"$@\" | sha256sum", "sh"];
        let run = world.workmux(&words).args(&all).run().ok();
        assert_eq!(run.stdout, sum, "{command}");
    }
    // The program's own name too, and its code.
    let odd = world.main().join("odd  'name' $x");
    world.write(&odd, "#!/bin/sh\necho \"<$0>\"; exit 99\n");
    std::fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = world.shell(&["./odd  'name' $x"]).run().code(99);
    assert_eq!(run.stdout, "<./odd  'name' $x>\n");
}

#[test]
fn only_who_sits_at_a_terminal_gets_one() {
    require_engine!("lima");
    let (world, _) = warm();
    let look = "for fd in 0 1 2; do test -t $fd && printf y || printf n; done; tty >/dev/null; echo :$?";
    for command in ["shell", "agent"] {
        let words = ["sandbox", command, "--", "sh", "-c", look];
        let mut pty = world.pty(&words);
        pty.wait_for("yyy:0");
        assert_eq!(pty.wait().0, 0);
        assert_eq!(world.workmux(&words).run().ok().stdout, "nnn:1\n");
        assert_eq!(world.workmux(&words).input("x").run().ok().stdout, "nnn:1\n");
        // Half a terminal is none.
        let program = world.given().program.display().to_string();
        let half = format!("'{program}' sandbox {command} -- sh -c '{look}' | cat");
        let run = world.program("sh").args(["-c", &half]).env("WORKMUX_GUEST", &world.given().guest);
        let mut pty = Pty::start(run);
        pty.wait_for("nnn:1");
        assert_eq!(pty.wait().0, 0);
    }
}

/// The stand-in's server has ten sessions for one connection, as every image has that nobody prepared.
#[test]
fn more_runs_than_one_connection_carries_work_at_once() {
    require_engine!("lima");
    let (world, name) = warm();
    let dirs: Vec<_> = (0..13).map(|number| world.worktree(&format!("t{number}"))).collect();
    let commit = "echo x > x && git add x && git commit -qm work; exit 7";
    let waiting: Vec<_> = dirs.iter().map(|dir| world.waiting("agent", dir, commit)).collect();
    let mut alone = 0;
    for run in waiting {
        let run = run.go_on().wait().code(7);
        // Where it goes on with a connection of its own, ssh says why.
        let own = |line: &str| line.contains("Session open refused by peer");
        assert!(run.stderr.lines().all(own), "{run}");
        alone += usize::from(!run.stderr.is_empty());
    }
    assert!((1..=dirs.len() - 9).contains(&alone), "{alone}");
    for dir in &dirs {
        assert_eq!(last_commit(&world, dir), "work");
    }
    assert_eq!((only_machine(&world), calls(&world, "start").len()), (name, 1));
    world.assert_clean();
}

#[test]
fn an_agent_says_how_it_is_and_starts_others_in_its_machine() {
    require_engine!("lima");
    require_engine!("tmux");
    let world = cold();
    let obedient = "agent: \"sh -c 'eval \\\"$2\\\"' run\"\n";
    world.user_config(&(Sandbox::Lima.configuration("", "") + obedient));
    let dir = world.worktree("topic");
    let tmux = world.tmux();
    let words = "workmux heartbeat && workmux set-title 'a  title' && workmux set-window-status waiting && \
                 workmux add kid -p 'echo kid > k; git add k; git commit -qm kid; workmux set-window-status done' && \
                 workmux wait kid && workmux merge kid --keep";
    // Others open windows beside it.
    let window = "test:0";
    let run = world.agent(&["sh", "-c", words]).dir(&dir).envs(tmux.variables(window)).run().ok();
    let run = run.says("✓ Spawned agent: kid\n");
    assert!(tmux.windows().iter().any(|name| name == "a title"), "{:?} {run}", tmux.windows());
    assert_eq!(tmux.window_option(window, "@workmux_status"), "💬");
    // The other one worked in the same machine, in a worktree of its own, and its work is in its parent's.
    let kid = world.home().join("project__worktrees/kid");
    assert_eq!(last_commit(&world, &kid), "kid");
    assert!(world.git(&dir, &["log", "--format=%s"]).ok().stdout.contains("kid\n"));
    only_machine(&world);
    assert_eq!((calls(&world, "create").len(), calls(&world, "start").len()), (1, 1));

    // The same by whoever knows nothing but the protocol.
    let requests = [
        r#"{"type":"Heartbeat"}"#,
        r#"{"type":"SetTitle","title":"raw"}"#,
        r#"{"type":"SetStatus","status":"done"}"#,
        r#"{"type":"SpawnAgent","prompt":"true","branch_name":"raw","background":true}"#,
    ];
    let run = world.agent(&["bash", "-c", &dial(&requests)]).dir(&dir).envs(tmux.variables(window)).run().ok();
    assert_eq!(run.stdout.matches("{\"type\":\"Ok\"").count(), 4, "{run}");
    assert_eq!(tmux.window_option(window, "@workmux_status"), "✅");
    only_machine(&world);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}

#[test]
fn p44_values_stand_in_no_command_line_and_in_no_file_of_limas() {
    require_engine!("lima");
    let world = cold();
    world.user_config(&Sandbox::Lima.configuration("env_passthrough: [SECRET]", ""));
    let secret = "hunter2-0123456789abcdef";
    let dir = world.worktree("topic");
    let waiting = world.waiting_as(&dir, "test \"$SECRET\" = hunter2-0123456789abcdef && exit 4", |script| {
        // Not in a word of the test's own either.
        let script = script.replace(secret, "$(printf hunter2-; printf 0123456789abcdef)");
        world.agent(&["sh", "-c", &script]).dir(&dir).env("SECRET", secret)
    });
    let hidden = || {
        for process in processes() {
            assert!(!process.words.contains(secret), "{process:?}");
        }
        let grep = world.program("grep").args(["-rlaFI", "-e", secret]).arg(world.home()).run();
        assert_eq!(grep.stdout, "", "{grep}");
    };
    hidden();
    assert!(!calls(&world, "list").is_empty(), "its environment stands there, too");
    waiting.go_on().wait().code(4);
    hidden();
    let name = only_machine(&world);
    let said = world.limactl(&["shell", "--workdir", "/", &name, "env"]).ok();
    said.never_says(secret).never_says("WM_RPC_TOKEN").never_says("WM_SANDBOX_GUEST");
    world.assert_clean();
}

#[test]
fn a_dry_run_asks_no_machine() {
    require_engine!("lima");
    let world = cold();
    let dir = world.worktree("topic");
    let shown = |json: bool| {
        let words: &[&str] = if json { &["--dry-run"] } else { &["--dry-run", "--backend", "lima"] };
        world.workmux(&["sandbox", "shell"]).args(words).args(["--", "echo", "x"]).dir(&dir).run().ok().stdout
    };
    let before = shown(false);
    assert!(before.contains("backend 'lima'") && before.contains("unshare"), "{before}");
    assert_eq!(world.machines(), [] as [String; 0]);
    for command in ["create", "start", "edit", "list"] {
        assert!(calls(&world, command).is_empty(), "{command}");
    }
    world.shell(&["true"]).dir(&dir).run().ok();
    let lists = calls(&world, "list").len();
    shown(true);
    world.shell(&["true"]).dir(&dir).run().ok();
    assert_eq!(calls(&world, "list").len(), lists, "nor does a run in a machine that is known");
    world.assert_clean();
}
