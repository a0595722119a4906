//! `workmux doctor`: its exit code is whether the backend that would be used works, and nothing that is wrong keeps it
//! from saying so.

use std::time::{Duration, Instant};

use serde_json::Value;
use workmux_tests::{Finished, World, require_engine};

/// A world whose user trusts the hostile backend and does not use it.
fn with_hostile() -> World {
    let world = World::bubblewrap();
    let library = world.install_plugin("hostile");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    world
}

fn doctor(world: &World) -> Finished {
    world.workmux(&["doctor"]).run()
}

fn json(world: &World, code: i32) -> Value {
    let run = world.workmux(&["doctor", "--json"]).run().code(code);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}\n{run}"))
}

/// The lines about one backend, its heading and its path not among them.
fn section(run: &Finished, name: &str) -> Vec<String> {
    let from = run.stdout.lines().skip_while(|line| !line.starts_with(&format!("Backend '{name}': "))).skip(2);
    from.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn backend<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["backends"].as_array().expect("a list");
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no '{name}' in {report}"))
}

#[test]
fn doctor_finds_a_machine_in_order() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let before = world.git(&world.main(), &["status", "--porcelain"]).stdout;
    let run = doctor(&world).ok().says("✓ git: ").says("✓ state directory: ~/.local").says("✓ guest program: ");
    assert!(run.stdout.starts_with("workmux ") && run.stdout.contains(", protocol "), "{run}");
    let run = run.says("Backend 'bubblewrap': would be used here").says("✓ user namespaces: work");
    let run = run.says("Backend 'bubblewrap' works here.").says("repository: ~/project, a main checkout");
    assert_eq!(run.stderr, "");
    assert!(!run.stdout.contains(world.home().to_str().unwrap()), "the home is not abbreviated\n{run}");
    assert_eq!(world.git(&world.main(), &["status", "--porcelain"]).stdout, before);

    let report = json(&world, 0);
    let fields: Vec<&String> = report.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["version", "protocol", "ok", "system", "host", "backends"]);
    let used = backend(&report, "bubblewrap");
    let fields: Vec<&String> = used.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["name", "path", "state", "would_be_used", "findings"]);
    assert_eq!((&used["state"], &used["would_be_used"]), (&"used".into(), &true.into()));
    for finding in used["findings"].as_array().unwrap().iter().chain(report["host"].as_array().unwrap()) {
        let fields: Vec<&String> = finding.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["subject", "ok", "text", "causes", "hint"]);
        assert_ne!(finding["ok"], false, "{finding}");
    }
}

#[test]
fn doctor_says_whether_the_agent_is_there() {
    let world = World::new();
    world.user_config("agent: no-such-agent --flag\n");
    doctor(&world).says("agent: 'no-such-agent' is not on your PATH");
    world.user_config("agent: own\nagents: { own: { command: sh } }\n");
    let run = doctor(&world);
    assert!(run.stdout.lines().any(|line| line.contains("agent: ") && line.ends_with("sh")), "{run}");
}

#[test]
fn doctor_fails_where_the_backend_that_would_be_used_does_not_work() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    // Its tool is there, and fails.
    let bin = world.home().join("bin");
    world.write(bin.join("bwrap"), "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n");
    world.program("chmod").arg("755").arg(bin.join("bwrap")).run().ok();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    let broken = || world.workmux(&["doctor"]).env("PATH", &path).run();
    let run = broken().code(1).says("Something is in the way of sandboxes here");
    let section = section(&run, "bubblewrap");
    assert!(section.iter().any(|line| line.starts_with("  ✗ ")), "{run}");
    assert!(section.iter().any(|line| line.starts_with("    Hint: ")), "{run}");

    world.user_config("sandbox: { backend: minimal }\n");
    let library = world.install_plugin("minimal");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    let run = broken().ok().says("Backend 'minimal' works here.").says("'minimal' does not isolate");
    run.says("Backend 'bubblewrap': available").says("✗ ");
}

#[test]
fn doctor_says_what_the_host_lacks_and_the_fix() {
    let world = World::bubblewrap();
    let empty = world.home().join("empty");
    world.folder(&empty);
    let run = world.workmux(&["doctor"]).env("PATH", &empty).run().code(1);
    run.says("✗ git: 'git' is not installed").says("    Hint: install it").says("- tmux: not installed");
    // Too old, and something that is no git.
    for (said, words) in [
        ("git version 2.30.2", "2.32 or newer is needed"),
        ("hello", "✗ git: "),
        ("git version 2.39.5", "✓ git: 2.39.5"),
    ] {
        world.write(empty.join("git"), format!("#!/bin/sh\necho '{said}'\n"));
        world.program("chmod").arg("755").arg(empty.join("git")).run().ok();
        world.workmux(&["doctor"]).env("PATH", &empty).run().says(words);
    }
    let run = world.workmux(&["doctor"]).env("WORKMUX_GUEST", "/nonexistent").run().code(1);
    run.says("✗ guest program: WORKMUX_GUEST names /nonexistent").says("Hint: unset it");
}

#[test]
fn doctor_works_without_a_home_and_without_a_place_for_state() {
    let world = World::bubblewrap();
    world
        .workmux(&["doctor"])
        .without("HOME")
        .run()
        .code(1)
        .says("✗ surroundings: HOME is not set")
        .says("Hint: set it");
    let run = world.workmux(&["doctor"]).env("XDG_STATE_HOME", "/proc/self").run().code(1);
    run.says("✗ state directory: /proc/self/workmux cannot be written").says("XDG_STATE_HOME");
}

#[test]
fn doctor_works_with_a_broken_configuration() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    for (yaml, words) in [
        ("sandbox: [", "config.yaml:1: "),
        ("sandbox: { env: 's3cret' }\n", "'sandbox.env': "),
        ("sandbox: { enabled: 's3cret', backend: bubblewrap }\n", "'sandbox.enabled': "),
    ] {
        world.user_config(yaml);
        let run = doctor(&world).code(1).says("✗ configuration: 1 mistake").says(words).never_says("s3cret");
        run.says("not known before the configuration is corrected").says("✓ user namespaces: work");
    }
    // What no sandbox needs stops none, and unknown keys are counted.
    world.user_config("panes: 7\nsandbox: { backend: bubblewrap, a: 1, b: 2 }\n");
    let run = doctor(&world).ok().says("- configuration: 1 mistake that stops no sandbox");
    run.says("- configuration: 2 unknown keys").says("config.yaml:2: unknown key 'sandbox.a'");
    // The backend's own table, which only the backend's schema knows.
    world.user_config("sandbox: { backend: bubblewrap, bubblewrap: { network: 's3cret' } }\n");
    let run = doctor(&world).code(1).never_says("s3cret");
    assert!(section(&run, "bubblewrap")[1].starts_with("  ✗ settings: "), "{run}");
    world.user_config("sandbox: { backend: nope }\n");
    doctor(&world).code(1).says("✗ sandbox backend: there is no backend 'nope'").says("✓ user namespaces: work");
}

#[test]
fn doctor_works_outside_of_repositories_and_asks_nobody() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let run = world.workmux(&["doctor"]).dir(world.home()).run().ok();
    run.says("- repository: this directory is in none").says("Backend 'bubblewrap' works here.");
    // On a terminal, where a run would ask: for the project's wish and for the library.
    world.project_config("sandbox: { backend: hostile }\n");
    world.install_plugin("hostile");
    let (code, seen) = world.pty(&["doctor"]).wait();
    assert!(code == 0 && seen.contains("- configuration: 1 key of the project is not used"), "{code}\n{seen}");
    assert!(seen.contains("Backend 'hostile': not trusted, so not asked"), "{seen}");
}

#[test]
fn p72_doctor_runs_no_code_of_a_library_that_is_not_trusted() {
    let world = World::new();
    let library = world.install_plugin("hostile");
    let folder = library.parent().unwrap();
    world.write(folder.join("libworkmux_backend_text.so"), "hello");
    world.user_config("sandbox: { backend: hostile }\n");
    let report = json(&world, 1);
    let hostile = backend(&report, "hostile");
    assert_eq!((&hostile["state"], &hostile["would_be_used"]), (&"untrusted".into(), &true.into()));
    let hint = hostile["findings"][0]["hint"].as_str().unwrap_or_default();
    assert!(hint.starts_with("workmux plugin trust "), "{hint}");
    assert_eq!(backend(&report, "text")["state"], "rejected");

    // Had it been loaded, it would have crashed: that would be said.
    let run = world.workmux(&["doctor"]).env("WORKMUX_HOSTILE", "exit@create").run().code(1);
    let lines = section(&run, "hostile");
    assert_eq!(lines[0], "  ✗ library: it has not been confirmed yet");
    // The command can be typed as it stands.
    assert!(lines[1].starts_with("    Hint: workmux plugin trust ~/"), "{run}");
    let trust =
        lines[1].split_once("Hint: ").unwrap().1.replacen("workmux", &world.given().program.to_string_lossy(), 1);
    world.program("sh").args(["-c", &trust]).run().ok();
    doctor(&world).says("✓ conscience: clear");
    let run = world.workmux(&["doctor"]).env("WORKMUX_HOSTILE", "exit@create").run().code(1);
    assert!(section(&run, "hostile")[1].contains("ended the program that asked it"), "{run}");
}

#[test]
fn p76_to_p78_a_backend_that_misbehaves_costs_doctor_its_own_lines() {
    require_engine!("bubblewrap");
    let world = with_hostile();
    for (wish, words) in [
        // Before it was loaded well for the first time it is tried, and later not.
        ("abort@create", "✗ library: loading it crashes (signal 6)"),
        ("none", "✓ conscience: clear"),
        ("abort@create", "✗ check: ended the program that asked it (exit code 125)"),
        ("panic@check", "✗ check: the backend panicked"),
        ("panic-later@check", "✗ check: the backend panicked"),
        ("panic-drop@settings", "panicked"),
        ("exit@check", "✗ check: ended the program that asked it (exit code 125)"),
        ("segv@check", "✗ check: ended the program that asked it (exit code 125)"),
        ("panic@create", "✗ library: it could not start: the backend panicked"),
        ("no-attach", "✗ library: "),
        ("raw-garbage", "✗ settings: "),
        ("raw-huge", "✗ settings: "),
        ("raw-panic", "✗ check: ended the program that asked it"),
        ("refusal", "✗ settings: backend 'hostile' cannot use its settings"),
        ("masks", "✗ settings: "),
    ] {
        let run = world.workmux(&["doctor"]).env("WORKMUX_HOSTILE", wish).run().ok();
        let lines = section(&run, "hostile");
        let failures = lines.iter().filter(|line| line.starts_with("  ✗ ")).count();
        let hints = lines.iter().filter(|line| line.starts_with("    Hint: ")).count();
        let wrong = usize::from(wish != "none");
        assert!((failures, hints) == (wrong, wrong) && lines.len() <= 8, "{wish}: {run}");
        assert!(lines.iter().any(|line| line.contains(words)), "{wish}: {run}");
        assert!(!run.stdout.contains(|c: char| c.is_control() && c != '\n'), "{wish}: {run}");
        assert_eq!(run.stderr, "", "{wish}");
        run.says("Backend 'bubblewrap' works here.");
    }
}

#[test]
fn p77_a_backend_that_hangs_costs_doctor_its_own_line() {
    require_engine!("bubblewrap");
    let world = with_hostile();
    for wish in ["hang@check", "pending@settings", "flood-forever@check", "hang@create", "tool-hang@check"] {
        let started = Instant::now();
        let run = world.workmux(&["doctor"]).env("WORKMUX_HOSTILE", wish).run().ok();
        // The rest is for a busy machine; without the limit it would be half a minute.
        assert!(started.elapsed() < Duration::from_secs(15), "{wish}: {:?}", started.elapsed());
        let lines = section(&run, "hostile");
        assert_eq!(lines.iter().filter(|line| line.starts_with("  ✗ ")).count(), 1, "{wish}: {run}");
        run.says("Backend 'bubblewrap' works here.").says("✓ user namespaces: work");
    }
    world.assert_clean();
}
