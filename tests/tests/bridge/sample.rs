//! The sample: a whole backend in Python.

use std::fs;

use nix::sys::signal::Signal;
use workmux_tests::{World, require_engine, wait_until};

use super::scene::{asks, program, put, sample, sampling, world};

/// A program that lets the sample answer, but for what `cases` do.
fn around_the_sample(world: &World, verbs: &str, cases: &str) {
    let inner = world.home().join("programs/sample.py");
    put(world, &inner, &sample(world));
    let text = format!(
        r#"#!/bin/sh
read -r line
id=${{line#*'"id":'}}; id=${{id%%,*}}
case $line in
*'"verb":"describe"'*) printf '%s\n' "$line" | {inner} | sed 's/"check"/"check", {verbs}/' ;;
{cases}
*) printf '%s\n' "$line" | {inner} ;;
esac
"#,
        inner = inner.display()
    );
    asks(world, &text, "");
}

#[test]
fn an_agent_works_and_its_commit_and_status_arrive() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    require_engine!("tmux");
    let world = sampling();
    let tmux = world.tmux();
    let script =
        r#"echo "a  b" > "f g" && git add -A && git commit -qm "x y" && workmux set-window-status done; exit 7"#;
    for dir in [world.worktree("topic"), world.main()] {
        world.agent(&["sh", "-c", script]).dir(&dir).envs(tmux.variables("test")).run().code(7);
        assert_eq!(world.git(&dir, &["log", "--format=%s %an"]).ok().stdout, "x y Test\nfirst Test\n");
        assert_eq!(world.git(&dir, &["status", "--porcelain"]).ok().stdout, "");
        assert_eq!(world.read(dir.join("f g")), "a  b\n");
        assert_eq!(tmux.window_option("test", "@workmux_status"), "✅");
        world.assert_clean();
    }
}

#[test]
fn words_bytes_and_codes_pass_unchanged() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = sampling();
    let odd = ["a  b", "$(e)", "", "--", "'\"\\", "line\nline", "ü\u{202e}", "=x", "{\"id\":1}"];
    for command in ["shell", "agent"] {
        let run = world.workmux(&["sandbox", command, "--", "printf", "[%s]"]).args(odd).run().ok();
        assert_eq!(run.stdout, odd.map(|word| format!("[{word}]")).concat(), "{command}");
    }
    let run = world.shell(&["sh", "-c", "cat; echo err >&2; exit 3"]).input("a\0b\n").run().code(3);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("a\0b\n", "err\n"));
    world.shell(&["sh", "-c", "kill -9 $$"]).run().code(137);
    world.shell(&["no-such-program"]).run().code(127);
    world.assert_clean();
}

#[test]
fn what_it_declares_holds_and_what_it_does_not_declare_is_refused() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = sampling();
    world.write(world.home().join("secret"), "SENTINEL");
    let looks = "cat ~/secret; tail -n +3 /proc/net/dev | cut -d: -f1; echo pid $$; echo x > ~/secret; id -u";
    let seen = world.shell(&["sh", "-c", looks]).run().ok().never_says("SENTINEL");
    let lines: Vec<_> = seen.stdout.lines().map(str::trim).collect();
    assert_eq!((lines[0], lines.len()), ("lo", 3), "{seen}");
    assert_eq!(lines[2], world.given().user.uid.to_string(), "{seen}");
    assert_eq!(world.read(world.home().join("secret")), "SENTINEL");
    for place in ["/usr/x", "/x", "/etc/x", "/bin/x", "/run/workmux/sock/x"] {
        world.shell(&["touch", place]).run().code(1);
    }

    let shell = world.shell(&["sh", "-c", "ls /proc | grep -c '^[0-9]'"]).run().ok().stdout;
    assert!(shell.trim().parse::<u32>().is_ok_and(|processes| processes < 8), "{shell}");
    let allow = format!("sandbox: {{ backend: bridge, bridge: {{ executable: '{}' }} }}", program(&world).display());
    world.user_config(&allow);
    let run = world.shell(&["true"]).run().code(125).warns(&program(&world).display().to_string());
    run.warns("does not declare that it provides a sandbox with network").warns("Hint: ");
    world.assert_clean();
}

#[test]
fn a_dry_run_shows_the_plan_and_doctor_the_program() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = sampling();
    let run = world.workmux(&["sandbox", "agent", "--dry-run", "--", "true"]).run().ok();
    run.says("backend 'bridge'").says("bwrap").says("--unshare-all");
    world.assert_clean();
    let run = world.workmux(&["doctor"]).run().ok().says("Backend 'bridge' works here.");
    run.says("program: '~/programs/backend' declares isolation 'process'").says("✓ bwrap: /");
    let folder = world.home().join("bin");
    ["git", "sh"].iter().for_each(|program| world.link_program(&folder, program));
    let run = world.workmux(&["doctor"]).env("PATH", &folder).run().code(1);
    run.says("'bwrap' is not installed").says("Hint: install it: apt-get install bubblewrap");
}

#[test]
fn its_own_settings_can_demand_masks() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = world();
    let demands = r#"{"value":{},"demands":{"masks":["key","keys"]}}"#;
    let settings = format!(r#"*'"verb":"settings"'*) printf '{{"id":%s,"ok":{demands}}}\n' "$id" ;;"#);
    around_the_sample(&world, "\"settings\"", &settings);
    for file in ["key", "keys/one"] {
        world.write(world.main().join(file), "SENTINEL");
    }
    let run = world.shell(&["sh", "-c", "cat key keys/*; ls -A keys; echo x > keys/two"]).run();
    assert_ne!(run.code, Some(0), "{run}");
    assert_eq!(run.never_says("SENTINEL").stdout, "");
    assert_eq!(world.read(world.main().join("key")), "SENTINEL");

    let refuses =
        r#"*'"verb":"settings"'*) printf '{"id":%s,"ok":{"refusals":[{"key":"a.b","reason":"is odd"}]}}\n' "$id" ;;"#;
    around_the_sample(&world, "\"settings\"", refuses);
    world.shell(&["true"]).run().code(125).warns("'sandbox.bridge.settings.a.b': is odd");
    world.assert_clean();
}

#[test]
fn what_its_tool_says_is_explained_and_what_it_made_is_read_back() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = world();
    let inner = world.home().join("programs/sample.py");
    let exec =
        |edit: &str| format!(r#"*'"verb":"exec"'*) printf '%s\n' "$line" | {} | sed '{edit}' ;;"#, inner.display());
    let breaks = exec(r#"s/"--unshare-all"/"--no-such-option"/; s/"plan": {/"plan": {"explains_itself": true, /"#);
    let explains = r#"*'"verb":"explain"'*)
    case $line in *'Unknown option --no-such-option'*) ;; *) exit 1 ;; esac
    printf '{"id":%s,"ok":{"kind":"too-old","message":"that bwrap is too old","hint":"get another"}}\n' "$id" ;;"#;
    around_the_sample(&world, "\"explain\"", &format!("{breaks}\n{explains}"));
    let run = world.shell(&["true"]).run().code(125).warns("that bwrap is too old").warns("Hint: get another");
    run.never_says("Unknown option");

    let looks = exec(r#"s/"plan": {/"plan": {"read_back": true, /"#);
    let verify =
        r#"*'"verb":"verify"'*) printf '{"id":%s,"error":{"kind":"refused","message":"it has holes"}}\n' "$id" ;;"#;
    around_the_sample(&world, "\"verify\"", &format!("{looks}\n{verify}"));
    world.shell(&["sleep", "4321"]).run().code(125).warns("it has holes");
    world.assert_clean();
}

#[test]
fn an_agents_own_agents_get_the_same_program() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = world();
    asks(&world, &sample(&world), "");
    let configuration = world.home().join(".config/workmux/config.yaml");
    let text = world.read(&configuration) + "agent: \"sh -c 'eval \\\"$2\\\"' run\"\n";
    world.write(&configuration, text);
    let script = "workmux add kid -p 'echo x > made && git add made && git commit -qm made' && workmux wait kid";
    world.agent(&["sh", "-c", script]).run().ok().says("✓ Spawned agent: kid");
    wait_until("the child's commit", || {
        world.git(&world.main(), &["log", "-1", "--format=%s", "kid"]).stdout == "made\n"
    });
    world.wait_until_clean();
}

#[test]
fn the_end_of_a_run_is_told_to_the_program_that_prepared_it_also_after_a_crash() {
    require_engine!("bubblewrap");
    require_engine!("python3");
    let world = world();
    let ends = world.home().join("ends");
    let release = format!(
        r#"*'"verb":"release"'*) printf '%s\n' "$line" >> {}; printf '{{"id":%s,"ok":null}}\n' "$id" ;;"#,
        ends.display()
    );
    around_the_sample(&world, "\"release\"", &release);
    world.shell(&["true"]).run().ok();
    let told = || fs::read_to_string(&ends).unwrap_or_default();
    assert_eq!(told().lines().count(), 1);
    let waiting = world.waiting("agent", &world.main(), "");
    waiting.signal(Signal::SIGKILL);
    waiting.end();
    // Another program is the user's now; the run was the first one's.
    let other = world.home().join("programs/sample.py");
    super::scene::configure(&world, &other.display().to_string(), "");
    world.shell(&["true"]).run().ok();
    world.wait_until_clean();
    let told = told();
    assert_eq!(told.lines().count(), 2, "{told}");
    for line in told.lines() {
        let question: serde_json::Value = serde_json::from_str(line).expect("a question");
        assert_eq!(question["request"]["instance"]["state"][0], "--unshare-all", "its own state, as it answered it");
    }
}
