//! P72 to P80: a backend that is wrong on purpose costs one command and one clear message, and nothing else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use workmux_tests::{Finished, Pty, World, require_engine};

fn world() -> (World, PathBuf) {
    let world = World::new();
    world.user_config("sandbox: { enabled: true, backend: bubblewrap, network: { policy: deny } }");
    let library = world.install_plugin("hostile");
    world.workmux(&["plugin", "trust", library.to_str().expect("UTF-8")]).run().ok();
    (world, library)
}

fn sin(world: &World, wish: &str) -> Finished {
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    world.workmux(&words).env("WORKMUX_HOSTILE", wish).run()
}

/// Short, clean, and nothing of the run left.
fn one_clear_message(world: &World, wish: &str, finished: &Finished) {
    let context = format!("{wish}: {finished}");
    assert!(!finished.stderr.is_empty(), "{context}");
    assert!(finished.stderr.lines().count() <= 40, "{context}");
    assert!(finished.stderr.len() <= 20_000, "{} bytes: {wish}", finished.stderr.len());
    let odd = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!finished.stderr.contains(odd) && !finished.stdout.contains(odd), "{context}");
    let runs = std::fs::read_dir(world.state().join("runs")).into_iter().flatten().flatten();
    assert_eq!(runs.count(), 0, "{context}");
    assert!(world.git_directories().is_empty(), "{context}");
}

#[test]
fn p76_to_p80_each_sin_costs_one_command() {
    require_engine!("bubblewrap");
    let (world, _) = world();
    let sins = [
        "panic@settings",
        "panic@rpc_route",
        "panic@prepare",
        "panic@exec",
        "panic-later@prepare",
        "panic-payload@prepare",
        "panic-drop@prepare",
        "exit@prepare",
        "abort@prepare",
        "segv@exec",
        "overflow@prepare",
        "exit@settings",
        "mask-up",
        "mask-absolute",
        "mask-empty",
        "masks",
        "refusal",
        "no-mounts",
        "no-network",
        "wide",
        "wide-six",
        "wide-mapped",
        "multicast",
        "host-option",
        "host-lines",
        "name-empty",
        "name-escape",
        "name-option",
        "name-long",
        "home-relative",
        "home-up",
        "variable",
        "error-escape",
        "program-empty",
        "program-relative",
        "program-up",
        "program-nul",
        "argument-nul",
        "cwd-relative",
        "cwd-nul",
        "plan-variable",
        "companion",
        "companions",
        "cleanup",
        "arguments",
        "end-nothing@session",
        "end-both@session",
        "end-zero@session",
        "end-signal@session",
        "end-negative@session",
    ];
    for wish in sins {
        let started = Instant::now();
        let finished = sin(&world, wish);
        assert_eq!(finished.code, Some(125), "{wish}: {finished}");
        assert!(finished.stderr.contains("hostile"), "the backend is not named: {wish}: {finished}");
        assert!(started.elapsed() < Duration::from_secs(20), "{wish}");
        // A process that died could not tidy up: the next command does.
        world.workmux(&["sandbox", "shell", "--", "true"]).run().ok();
        one_clear_message(&world, wish, &finished);
        assert!(!world.git_dir().join("refs/wm").exists());
    }
    world.workmux(&["plugin", "list"]).run().ok().says("hostile").says("bubblewrap");
    world.git(&world.main(), &["fsck", "--strict"]).ok();
}

#[test]
fn p57_a_session_that_never_ends_ends_with_its_run() {
    require_engine!("bubblewrap");
    let (world, _) = world();
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    let run = world.workmux(&words).env("WORKMUX_HOSTILE", "forever@session").start();
    let records = || std::fs::read_dir(world.state().join("runs")).into_iter().flatten().flatten();
    let text = |run: std::fs::DirEntry| std::fs::read_to_string(run.path().join("record.json")).unwrap_or_default();
    // The last thing before the session is asked for.
    workmux_tests::wait_until("the instance", || records().any(|run| text(run).contains("\"instance\":{")));
    run.signal(Signal::SIGTERM);
    run.wait().code(143);
    world.assert_clean();
}

#[test]
fn p77_floods_are_cut() {
    require_engine!("bubblewrap");
    let (world, _) = world();
    for wish in ["flood@prepare", "notes", "flood@settings", "tool-many@prepare"] {
        let finished = sin(&world, wish);
        world.workmux(&["sandbox", "shell", "--", "true"]).run().ok();
        // Of a hundred thousand some a second may come through; what a flood says, and how long its lines are, is cut.
        let (lines, longest) = (finished.stderr.lines().count(), finished.stderr.lines().map(str::len).max());
        assert!(
            lines < 10_000 && longest.is_some_and(|n| n < 2000),
            "{wish}: {lines} lines, the longest of {longest:?}"
        );
        assert!(!finished.stderr.contains(|c: char| c.is_control() && c != '\n'), "{wish}");
    }
}

#[test]
fn p72_plugins_in_wrong_places_are_not_loaded_and_said_why() {
    let (world, library) = world();
    let bytes = std::fs::read(&library).unwrap();
    let name = library.file_name().unwrap();
    std::fs::remove_file(&library).unwrap();
    let topic = world.worktree("topic");
    for place in [
        topic.clone(),
        topic.join(".workmux/plugins"),
        topic.join("plugins"),
        topic.join("lib/workmux/plugins"),
        world.main().join("plugins"),
    ] {
        world.write(place.join(name), &bytes);
    }
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    for variables in [
        vec![],
        vec![("WORKMUX_PLUGIN_PATH", "plugins")],
        vec![("WORKMUX_PLUGIN_PATH", ".")],
        vec![("LD_LIBRARY_PATH", "plugins")],
    ] {
        let finished = world.workmux(&words).dir(&topic).envs(variables).env("WORKMUX_HOSTILE", "exit@create").run();
        assert_eq!(finished.code, Some(125), "{finished}");
        finished.warns("hostile");
    }
    // A project can name no library.
    world.write(topic.join(".workmux.yaml"), "sandbox: { backend: ./plugins/libworkmux_backend_hostile.so }");
    let finished = world.workmux(&["sandbox", "shell", "--", "true"]).dir(&topic).run();
    assert!(finished.code == Some(0) || finished.code == Some(125), "{finished}");
    // A folder that others can write.
    let open = world.home().join("open");
    world.write(open.join(name), &bytes);
    world.program("chmod").arg("777").arg(&open).run().ok();
    let listed = world.workmux(&["plugin", "list"]).env("WORKMUX_PLUGIN_PATH", &open).run().ok();
    assert!(listed.stdout.contains("hostile") || listed.stderr.contains("hostile"), "{listed}");
    let finished = world.workmux(&words).env("WORKMUX_PLUGIN_PATH", &open).run();
    assert_eq!(finished.code, Some(125), "{finished}");
}

#[test]
fn p74_a_changed_plugin_is_refused_until_it_is_trusted_again() {
    require_engine!("bubblewrap");
    let (world, library) = world();
    assert_eq!(sin(&world, "nothing").code, Some(125), "its plan runs no guest of ours");
    let mut bytes = std::fs::read(&library).unwrap();
    bytes.push(0);
    world.write(&library, &bytes);
    let finished = sin(&world, "exit@create");
    assert_eq!(finished.code, Some(125), "{finished}");
    finished.warns("plugin trust");
    // Shown able to fail: with the guard off its code runs.
    let words = ["sandbox", "shell", "--backend", "hostile", "--", "true"];
    let finished = world.workmux(&words).env("WORKMUX_HOSTILE", "mask-up").mutant("p74_pin").run();
    finished.clone().code(125).never_says("plugin trust");
    world.workmux(&["sandbox", "shell", "--", "true"]).run().ok();
}

#[test]
fn p80_a_backend_sees_no_variable_that_it_was_not_given() {
    require_engine!("bubblewrap");
    let (world, _) = world();
    for wish in ["environment", "request"] {
        let words = ["sandbox", "agent", "--backend", "hostile", "--", "true"];
        let run = world
            .workmux(&words)
            .env("WORKMUX_HOSTILE", wish)
            .env("MY_TOKEN", "SENTINEL")
            .env("GIT_SSH_COMMAND", "SENTINEL");
        run.run().never_says("SENTINEL").never_says("WM_RPC_TOKEN");
    }
}

#[test]
fn what_takes_the_users_word_is_asked_at_a_terminal_only_and_once() {
    let (world, _) = world();
    let shell = |wish: &str, more: &[&str]| {
        let words = [&["sandbox", "shell", "--backend", "hostile"], more, &["--", "true"]].concat();
        world.workmux(&words).env("WORKMUX_HOSTILE", wish)
    };
    let asked = |wish: &str, answer: &str| {
        let mut pty = Pty::start(shell(wish, &[]));
        pty.wait_for("Go on? [y/N]");
        pty.send(answer);
        let (code, seen) = pty.wait();
        assert_eq!(code, 125, "{seen}");
        assert_eq!(seen.matches("[y/N]").count(), 1, "{seen}");
        assert!(!seen.contains('\x1b'), "{seen:?}");
        let (question, after) = seen.split_once("[y/N]").expect("it was asked");
        for part in ["could write", "root there can", "Hint: agree in your own file"] {
            assert!(question.contains(part), "{part}: {seen}");
        }
        after.to_owned()
    };
    let refused = "nothing was started, because you did not agree";
    for no in ["n\r", "\r", "\x04"] {
        let after = asked("consent", no);
        assert!(after.contains(refused) && !after.contains("this was agreed to"), "{after}");
    }
    let after = asked("consent", "y\r");
    assert!(after.contains("this was agreed to") && !after.contains(refused), "{after}");
    // What is asked for again is an error.
    assert!(asked("consent-always", "y\r").contains("could write"));

    // Nobody is there.
    let run = shell("consent", &[]).input("y\n").run().code(125);
    run.warns("could write").warns("Hint: agree in your own file").never_says("[y/N]");
    // Nothing is to be started.
    let (code, seen) = Pty::start(shell("consent", &["--dry-run"])).wait();
    assert!(code != 0 && seen.contains("could write") && !seen.contains("[y/N]"), "{code} {seen}");
    one_clear_message(&world, "consent", &shell("consent", &[]).run());
}

#[test]
fn p59_what_is_not_recorded_here_is_deleted_by_its_name_only() {
    let (world, _) = world();
    let prune = |wish: &str, words: &[&str], answers: &str| {
        let words = [&["sandbox", "prune", "--backend", "hostile"], words].concat();
        world.workmux(&words).env("WORKMUX_HOSTILE", wish).input(answers).run().ok()
    };
    let ask = "Delete 'stranger', which is not recorded here? [y/N]";
    let run = prune("stranger", &[], "y\nn\n");
    let run = run.says("known (Stopped)").says("stranger (Stopped, not recorded here)").warns(ask);
    run.says("Deleted 'known'").says("'stranger' is kept.").never_says("Deleted 'stranger'");
    prune("stranger", &[], "n\ny\n").says("Deleted 'stranger'").never_says("Deleted 'known'");
    prune("stranger", &[], "y\n").says("Deleted 'known'").never_says("Deleted 'stranger'");
    prune("stranger", &[], "").says("Aborted.").never_says("Deleted");
    // Nothing else is asked for.
    let run = prune("strangers", &[], "n\ny\n").says("'one' is kept.").says("Deleted 'two'");
    run.never_says("Deleted 'one'").never_says("Delete 2");

    let run = prune("stranger", &["--force"], "").warns("'stranger' is not recorded here and is deleted all the same");
    run.says("Deleted 'known'").says("Deleted 'stranger'").never_says("[y/N]");
    let run = prune("stranger", &["--dry-run"], "").says("and ask about each that is not recorded here");
    run.never_says("all the same").never_says("[y/N]").never_says("Deleted");
    let list = prune("stranger", &["--dry-run", "--json"], "").stdout;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let recorded: Vec<_> = list["instances"].as_array().expect("a list").iter().map(|one| &one["recorded"]).collect();
    assert_eq!(recorded, [true, false]);

    let words = ["sandbox", "stop", "--all", "--yes", "--backend", "hostile"];
    let run = world.workmux(&words).env("WORKMUX_HOSTILE", "strangers-running").run().ok();
    run.says("one (Stopped, not recorded here)").says("Stopped 'one'").says("Stopped 'two'");
}
