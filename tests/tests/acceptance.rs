//! What a user types first, as the specification says it: commands, exit codes, words, pipes, help and refusals.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use workmux_tests::{Finished, Sandbox, World, on_every_sandbox, over_tcp, require_engine};

on_every_sandbox!(
    an_agent_works_in_a_linked_worktree,
    an_agent_works_in_the_main_checkout,
    an_agent_works_in_a_folder_with_a_space,
    p05_words_reach_the_guest_as_they_are,
    every_byte_passes_through_pipes,
    output_and_errors_stay_apart,
    standard_input_may_be_closed_empty_or_a_file,
    p61_every_code_of_the_guest_passes_unchanged,
    p61_death_by_a_signal_is_128_and_its_number,
    p61_what_cannot_be_started_is_127_or_126_with_a_reason
);
over_tcp!(
    an_agent_works_in_a_linked_worktree,
    p05_words_reach_the_guest_as_they_are,
    every_byte_passes_through_pipes,
    p61_every_code_of_the_guest_passes_unchanged,
    p61_death_by_a_signal_is_128_and_its_number
);

const AGENT: &str =
    r#"echo "a  b" > "f g" && git add -A && git commit -qm "x y" && workmux set-window-status done; exit 7"#;

/// The one line that sums the product up, started in `dir`.
fn an_agent_works(world: &World, dir: &Path) {
    let tmux = world.tmux();
    let before = head(world, dir);
    world.agent(&["sh", "-c", AGENT]).dir(dir).envs(tmux.variables("test")).run().code(7);
    let log = world.git(dir, &["log", "--format=%s%n%an%n%P", "-1"]).ok().stdout;
    assert_eq!(log.lines().collect::<Vec<_>>(), ["x y", "Test", before.as_str()]);
    assert_eq!(world.git(dir, &["status", "--porcelain"]).ok().stdout, "");
    assert_eq!(world.read(dir.join("f g")), "a  b\n");
    assert_eq!(tmux.window_option("test", "@workmux_status"), "✅");
    world.assert_clean();
}

fn head(world: &World, dir: &Path) -> String {
    world.git(dir, &["rev-parse", "HEAD"]).ok().stdout.trim().to_owned()
}

fn an_agent_works_in_a_linked_worktree(on: Sandbox) {
    require_engine!("tmux");
    let world = on.world();
    an_agent_works(&world, &world.worktree("topic"));
    assert_eq!(world.git(&world.main(), &["log", "--format=%s", "topic"]).ok().stdout, "x y\nfirst\n");
}

fn an_agent_works_in_the_main_checkout(on: Sandbox) {
    require_engine!("tmux");
    let world = on.world();
    an_agent_works(&world, &world.main());
    assert_eq!(world.git(&world.main(), &["log", "--format=%s", "main"]).ok().stdout, "x y\nfirst\n");
}

fn an_agent_works_in_a_folder_with_a_space(on: Sandbox) {
    require_engine!("tmux");
    let world = on.world();
    let folder = world.worktree("topic").join("sub folder");
    world.write(folder.join("old"), "old\n");
    an_agent_works(&world, &folder);
    let pwd = world.shell(&["pwd"]).dir(&folder).run().ok().stdout;
    assert_eq!(Path::new(pwd.trim_end_matches('\n')), folder);
}

fn p05_words_reach_the_guest_as_they_are(on: Sandbox) {
    let world = on.world();
    let odd = ["a  b", "c;d", "$(e)", "", "-e", "--", "--backend", "'\"\\", "line\nline", "*", "ü\u{202e}", "=x"];
    for command in ["shell", "agent"] {
        let run = world.workmux(&["sandbox", command, "--", "printf", "[%s]"]).args(odd).run().ok();
        assert_eq!(run.stdout, odd.map(|word| format!("[{word}]")).concat(), "{command}");
    }
    let run = world.workmux(&["sandbox", "run", ".", "--", "printf", "[%s]"]).args(odd).run().ok();
    assert_eq!(run.stdout, odd.map(|word| format!("[{word}]")).concat());
    // No shell reads the words: there is no program of this name.
    world.shell(&["ls | wc -l"]).run().code(127);
}

fn every_byte_passes_through_pipes(on: Sandbox) {
    let world = on.world();
    let bytes: Vec<u8> = (0..=255u8).cycle().take(300_000).collect();
    let sum = |text: &str| text.split(' ').next().map(str::to_owned);
    let outside = world.program("sha256sum").input(bytes.clone()).run().ok().stdout;
    let inside = world.shell(&["sha256sum"]).input(bytes.clone()).run().ok().stdout;
    assert_eq!(sum(&inside), sum(&outside));
    let echoed = world.program("sh").args(["-c", "\"$0\" sandbox shell -- cat | sha256sum"]);
    let echoed = echoed.arg(&world.given().program).env("WORKMUX_GUEST", &world.given().guest).input(bytes);
    assert_eq!(sum(&echoed.run().ok().stdout), sum(&outside));
    assert_eq!(world.shell(&["cat"]).input("a\0b").run().ok().stdout, "a\0b");
}

fn output_and_errors_stay_apart(on: Sandbox) {
    let world = on.world();
    for command in ["shell", "agent"] {
        let words = ["sandbox", command, "--", "sh", "-c", "echo out; echo err >&2"];
        let run = world.workmux(&words).run().ok();
        assert_eq!((run.stdout.as_str(), run.errors().as_str()), ("out\n", "err\n"), "{command}");
    }
}

#[test]
fn the_first_backend_that_is_present_is_used_and_named() {
    require_engine!("bubblewrap");
    let world = World::new();
    // No container engine is on this search path.
    let folder = world.home().join("bin");
    for program in ["bwrap", "pasta", "git", "unshare", "prlimit", "sh"] {
        world.link_program(&folder, program);
    }
    let run = world.shell(&["echo", "out"]).env("PATH", &folder).run().ok();
    // What is ours goes to standard error.
    assert_eq!(run.stdout, "out\n");
    run.warns("using backend 'bubblewrap'");
}

fn standard_input_may_be_closed_empty_or_a_file(on: Sandbox) {
    let world = on.world();
    let behind = |script: &str, command: &str| -> Finished {
        let run = world.program("sh").args(["-c", script]).arg(&world.given().program);
        run.args(["sandbox", command, "--", "sh", "-c", "cat; echo end"])
            .env("WORKMUX_GUEST", &world.given().guest)
            .run()
    };
    for command in ["shell", "agent"] {
        assert_eq!(behind(r#"exec "$0" "$@" <&-"#, command).ok().stdout, "end\n", "{command}");
        assert_eq!(behind(r#"exec "$0" "$@" </dev/null"#, command).ok().stdout, "end\n", "{command}");
        assert_eq!(behind(r#"exec "$0" "$@" <README.md"#, command).ok().stdout, "# A project\nend\n", "{command}");
    }
    let run = world.program("sh").args(["-c", r#"exec "$0" "$@" <&- >&- 2>&-"#]).arg(&world.given().program);
    let run = run.args(["sandbox", "shell", "--", "sh", "-c", "exit 9"]).env("WORKMUX_GUEST", &world.given().guest);
    run.run().code(9);
    world.assert_clean();
}

fn p61_every_code_of_the_guest_passes_unchanged(on: Sandbox) {
    let world = on.world();
    for code in [0, 1, 2, 42, 125, 126, 127, 130, 137, 255] {
        let command = if code % 2 == 0 { "shell" } else { "agent" };
        let run = world.workmux(&["sandbox", command, "--", "sh", "-c", &format!("exit {code}")]).run().code(code);
        assert_eq!(run.errors(), "", "a guest's own code is no error of ours");
    }
}

fn p61_death_by_a_signal_is_128_and_its_number(on: Sandbox) {
    let world = on.world();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("INT", 130)] {
        let run = world.shell(&["bash", "-c", &format!("kill -{signal} $$")]).run().code(code);
        assert_eq!(run.errors(), "", "{signal}");
    }
    world.agent(&["sh", "-c", "kill -9 $$"]).run().code(137);
    // The status of the command itself, not of what it leaves running.
    world.shell(&["sh", "-c", "sleep 300 & exit 3"]).run().code(3);
    world.assert_clean();
}

fn p61_what_cannot_be_started_is_127_or_126_with_a_reason(on: Sandbox) {
    let world = on.world();
    world.write(world.main().join("data"), "no program");
    for command in ["shell", "agent"] {
        world.workmux(&["sandbox", command, "--", "no-such-program"]).run().code(127).warns("'no-such-program'");
        world.workmux(&["sandbox", command, "--", "./data"]).run().code(126).warns("'./data'");
        world.workmux(&["sandbox", command, "--", "/usr"]).run().code(126).warns("'/usr'");
    }
}

#[test]
fn p61_our_own_failures_are_125() {
    let world = World::without_repository();
    for command in ["shell", "agent"] {
        let run = world.workmux(&["sandbox", command, "--", "true"]).run().code(125);
        assert_eq!(run.stdout, "");
        run.warns("Error: ").warns("is not inside a git work tree").warns("git init");
    }
    world.workmux(&["sandbox", "run", "/nonexistent", "--", "true"]).run().code(125).warns("cannot find /nonexistent");
    let world = World::new();
    for command in ["shell", "agent"] {
        let words = ["sandbox", command, "--backend", "nope", "--", "true"];
        world.workmux(&words).run().code(125).warns("no backend 'nope'").warns("bubblewrap");
    }
    world.user_config("sandbox: { backend: nope }\n");
    world.shell(&["true"]).run().code(125).warns("no backend 'nope'").warns("bubblewrap");
    world.workmux(&["plugin", "list"]).run().ok().says("bubblewrap");
    world.assert_clean();
}

#[test]
fn run_starts_where_it_is_told() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let worktree = world.worktree("topic");
    let folder = worktree.join("sub");
    world.folder(&folder);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (root, sub) = (text(&worktree), text(&folder));
    let run = |words: &[&str]| world.workmux(&["sandbox", "run"]).args(words).args(["--", "pwd"]).dir("/").run();
    assert_eq!(run(&[&root]).ok().stdout.trim(), root);
    assert_eq!(run(&[&sub, "--worktree-root", &root]).ok().stdout.trim(), sub);
    assert_eq!(run(&[&sub]).ok().stdout.trim(), sub);
    run(&[&root, "--worktree-root", &text(&world.main())]).code(125).warns("is not inside the worktree");
    world.workmux(&["sandbox", "run", &root]).run().code(2);
}

#[test]
fn a_wrong_command_line_is_2_and_starts_nothing() {
    let world = World::new();
    for words in [
        &["sandbox"][..],
        &["sandbox", "paint"],
        &["sandbox", "agent", "--paint"],
        &["sandbox", "shell", "ls"],
        &["sandbox", "run"],
        &["sandbox", "run", "."],
        &["sandbox", "run", ".", "--"],
        &["sandbox", "stop", "--all", "wm-x"],
        &["sandbox", "shell", "--backend"],
        &["plugin"],
        &["plugin", "trust"],
        &["plugin", "install"],
        &["plugin", "remove"],
        &[],
    ] {
        let run = world.workmux(words).run().code(2);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{words:?}\n{run}");
    }
    assert!(!world.state().exists());
}

#[test]
fn help_names_what_can_be_typed() {
    let world = World::new();
    let help = world.workmux(&["sandbox", "--help"]).run().ok();
    for command in ["build", "pull", "init-dockerfile", "stop", "prune", "agent", "shell", "install-dev"] {
        assert!(help.stdout.contains(&format!("  {command} ")), "{command}\n{help}");
    }
    help.never_says("worktree-root");
    for words in [&["--help"][..], &["plugin", "--help"], &["sandbox", "run", "--help"]] {
        let help = world.workmux(words).run().ok();
        assert!(help.stdout.contains("Usage: workmux") && help.stdout.ends_with('\n'), "{words:?}\n{help}");
    }
    for command in ["build", "pull", "init-dockerfile", "stop", "prune", "agent", "shell", "install-dev"] {
        let help = world.workmux(&["sandbox", command, "--help"]).run().ok();
        assert!(help.stdout.contains(&format!("Usage: workmux sandbox {command}")), "{help}");
        assert!(help.stdout.contains("--backend <NAME>"), "{help}");
    }
    world.workmux(&["sandbox", "agent", "--help"]).run().ok().says("--dry-run").says("[-- <COMMAND>...]");
    world.workmux(&["sandbox", "shell", "--help"]).run().ok().says("-e, --exec");
    world.workmux(&["--version"]).run().ok().says("workmux ");
}

#[test]
fn a_dry_run_shows_everything_but_secrets_and_changes_nothing() {
    require_engine!("bubblewrap");
    let world = World::new();
    world.user_config(
        "sandbox:\n  backend: bubblewrap\n  env: { PLAIN: 'hidden-value' }\n  env_passthrough: [MY_TOKEN]\n",
    );
    let worktree = world.worktree("topic");
    // What the program notes about a library before it loads it is the one thing it keeps.
    let everything = || -> BTreeSet<String> {
        let find = world.program("find").arg(world.home()).args(["-mindepth", "1", "-regex"]);
        let find = find.arg(r".*/\(\.cache\|\.local\|tmp\)");
        let find = find.args(["-prune", "-o", "-printf", "%p %y %s %T@ %C@ %l\\n"]);
        find.run().ok().stdout.lines().map(str::to_owned).collect()
    };
    let before = everything();
    let dry = |command: &str, words: &[&str]| {
        let run = world.workmux(&["sandbox", command, "--dry-run", "--"]).args(words).dir(&worktree);
        run.env("MY_TOKEN", "hidden-token").run().ok()
    };
    let words = ["sh", "-c", "touch canary; echo 'it''s'", "", "a b"];
    for command in ["agent", "shell"] {
        let run = dry(command, &words);
        for secret in ["hidden-value", "hidden-token"] {
            assert!(!run.stdout.contains(secret), "{run}");
        }
        let run = run.says("PLAIN=******").says("MY_TOKEN=******").says("bwrap").says("network: allowed");
        // The line that shows the command means, to a shell, exactly these words.
        let line = run.stdout.lines().skip_while(|l| !l.starts_with("command (in ")).nth(1).expect("a command").trim();
        let read = world.program("sh").args(["-c", &format!("printf '[%s]' {line}")]).run().ok();
        assert_eq!(read.stdout, words.map(|word| format!("[{word}]")).concat());
    }
    dry("agent", &["true"]).says("WM_RPC_TOKEN=******");
    dry("shell", &["true"]).never_says("WM_RPC_TOKEN");
    let after = everything();
    assert!(after == before, "changed: {:#?}", after.symmetric_difference(&before).collect::<Vec<_>>());
    let kept = world.program("find").arg(world.state()).args(["-type", "f"]).run().ok().stdout;
    assert_eq!(kept, "");
    assert!(fs::read_dir(world.home().join("tmp")).expect("it is there").next().is_none(), "temporary files stay");
}
