//! The guest's requests, from a real guest to a real tmux window: through our own words and as raw lines on TCP.

use workmux_tests::{Finished, Tmux, World, dial, require_engine};

fn agent(world: &World, tmux: &Tmux, script: &str) -> Finished {
    world.agent(&["bash", "-c", script]).envs(tmux.variables("test")).run()
}

const OK: &str = "{\"type\":\"Ok\"}";

#[test]
fn a_guest_of_the_documented_protocol_is_served_over_tcp() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    let script = dial(&[
        r#"{"type":"Heartbeat"}"#,
        r#"{"type":"SetStatus","status":"Working","prompt":null}"#,
        r#"{"type":"SetTitle","title":"from  tcp"}"#,
        r#"{"type":"SetStatus","status":"done"}"#,
        r#"  {"type":"Heartbeat"}  "#,
    ]);
    let run = agent(&world, &tmux, &script).ok();
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), [OK; 5], "{run}");
    assert_eq!(tmux.window_option("test", "@workmux_status"), "✅");
    assert_eq!(tmux.windows(), ["from tcp"]);
    // It needs no network for that.
    world.user_config("sandbox: { backend: bubblewrap, network: { policy: deny } }\n");
    let run = agent(&world, &tmux, &dial(&[r#"{"type":"SetStatus","status":"clear"}"#])).ok();
    assert_eq!(run.stdout.trim(), OK);
    assert_eq!(tmux.window_option("test", "@workmux_status"), "");
}

#[test]
fn p50_what_is_not_served_gets_an_error_and_the_connection_goes_on() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    let script = dial(&[
        r#"{"type":"Remove","name":"x"}"#,
        r#"{"type":"Exec","command":"id","args":[]}"#,
        r#"{"type":"ClipboardRead"}"#,
        r#"{"type":"Merge","name":"x"}"#,
        r#"{"type":"Teleport"}"#,
        r#"{"type":"SetStatus"}"#,
        r#"{"type":"SetStatus","status":"working","evil":1}"#,
        r#"not json"#,
        r#"{"type":"Heartbeat"}"#,
    ]);
    let run = agent(&world, &tmux, &script).ok();
    let answers: Vec<serde_json::Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&str> = answers.iter().map(|a| a["code"].as_str().unwrap_or(a["type"].as_str().unwrap())).collect();
    let expected = [
        "unsupported",
        "unsupported",
        "unsupported",
        "not_found",
        "unknown_type",
        "bad_field",
        "bad_field",
        "malformed",
        "Ok",
    ];
    assert_eq!(codes, expected, "{run}");
    assert_eq!(tmux.windows().len(), 1);
    assert_eq!(world.git(&world.main(), &["branch", "--format=%(refname:short)"]).ok().stdout, "main\n");
}

#[test]
fn p45_a_wrong_token_and_another_runs_token_are_refused() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let other = world.agent(&["sh", "-c", "echo $WM_RPC_TOKEN"]).run().ok().stdout;
    for token in ["0".repeat(64), other.trim().to_owned(), String::new(), "x".repeat(100)] {
        let script = format!("WM_RPC_TOKEN={token}; {}", dial(&[r#"{"type":"Heartbeat"}"#]));
        let run = world.agent(&["bash", "-c", &script]).run();
        assert!(run.stdout.contains("\"message\":\"Invalid token\"") && !run.stdout.contains(OK), "{run}");
    }
    let script =
        dial(&[r#"{"type":"Heartbeat"}"#]).replace("printf '{\"token\":\"%s\"}\\n' \"$WM_RPC_TOKEN\" >&3; ", "");
    let run = world.agent(&["bash", "-c", &script]).run();
    assert!(!run.stdout.contains(OK), "{run}");
}

#[test]
fn the_guests_own_words_reach_the_window() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    // At the end of a run nobody works any more; what is to be seen stays.
    let working = world.waiting_as(&world.main(), "true", |script| {
        let script = format!("workmux set-window-status working; {script}");
        world.agent(&["sh", "-c", &script]).envs(tmux.variables("test"))
    });
    assert_eq!(tmux.window_option("test", "@workmux_status"), "🤖");
    working.go_on().wait().ok();
    for (status, icon) in [("working", ""), ("waiting", "💬"), ("done", "✅"), ("clear", "")] {
        agent(&world, &tmux, &format!("workmux set-window-status {status}")).ok();
        assert_eq!(tmux.window_option("test", "@workmux_status"), icon, "{status}");
    }
    agent(&world, &tmux, "workmux heartbeat && workmux register-agent < /dev/null").ok();
    agent(&world, &tmux, "workmux set-title 'a title'").ok();
    assert_eq!(tmux.windows(), ["a title"]);
    agent(&world, &tmux, "workmux set-window-status nonsense").code(2);
    // A hook hands its object over on standard input.
    agent(&world, &tmux, "echo '{\"prompt\":\"x\"}' | workmux set-window-status waiting").ok();
    assert_eq!(tmux.window_option("test", "@workmux_status"), "💬");
    agent(&world, &tmux, "WORKMUX_DISABLE_SET_WINDOW_STATUS=1 workmux set-window-status done").ok();
    assert_eq!(tmux.window_option("test", "@workmux_status"), "💬");
    world.assert_clean();
}

#[test]
fn p35_in_a_shell_there_is_no_host_to_ask() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    world.shell(&["workmux", "add", "branch", "--prompt", "x"]).run().code(1).warns("workmux sandbox");
    assert_eq!(world.git(&world.main(), &["branch", "--format=%(refname:short)"]).ok().stdout, "main\n");
}

/// Titles that a terminal multiplexer or a terminal would act on.
fn hostile_titles(canary: &str) -> Vec<String> {
    [
        format!("#(touch {canary})"),
        format!("##(touch {canary})"),
        format!("#{{E:#(touch {canary})}}"),
        format!("x#[fg=red]#(touch {canary})y"),
        format!("#\u{ad}(touch {canary})"),
        format!("#\u{1}(touch {canary})#\u{7f}(touch {canary})"),
        format!("#{{l:#(touch {canary})}}"),
        format!("\u{1b}]0;x\u{7}\u{1b}[2J#(touch {canary})"),
        format!("-t other #(touch {canary})"),
        "a\nb\r\u{202e}c\u{2028}d".to_owned(),
    ]
    .to_vec()
}

#[test]
fn p1_a_title_is_only_text() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    let canary = world.home().join("canary");
    // A status line that expands the name once more, shown to a client that is there.
    tmux.ask(&["set-option", "-g", "status-interval", "1"]);
    tmux.ask(&["set-option", "-g", "window-status-current-format", "#{E:window_name}#{T:window_name}"]);
    tmux.ask(&["set-option", "-g", "status-right", "#{E:window_name}"]);
    let mut client = workmux_tests::Pty::start(tmux.command(&["attach-session", "-t", "test"]));
    client.wait_for("ready>");
    let titles = hostile_titles(canary.to_str().unwrap());
    let requests: Vec<String> =
        titles.iter().map(|title| serde_json::json!({"type": "SetTitle", "title": title}).to_string()).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    for some in requests.chunks(5) {
        let run = agent(&world, &tmux, &dial(some)).ok();
        assert!(run.stdout.lines().all(|line| line == OK), "{run}");
        let name = tmux.ask(&["display-message", "-p", "-t", "test", "#{window_name}"]);
        assert!(!name.contains('#') && !name.chars().any(char::is_control), "{name}");
        // What the status line makes of the name, now.
        for format in ["#{E:window_name}", "#{T:window_name}", "#{E:window-status-current-format}"] {
            tmux.ask(&["display-message", "-p", "-t", "test", format]);
        }
    }
    tmux.ask(&["refresh-client", "-S"]);
    assert!(!canary.exists());
    assert_eq!(tmux.windows().len(), 1);

    // Without the guard such a title runs: this test can fail. tmux often ends the program before it has begun, and
    // does not start the same one again: hence many tries.
    let mut tries = 0..;
    workmux_tests::wait_until("a title that runs something", || {
        let title = format!("#(touch {} # {:?})", canary.display(), tries.next());
        let request = serde_json::json!({"type": "SetTitle", "title": title}).to_string();
        let run = world.agent(&["bash", "-c", &dial(&[&request])]).envs(tmux.variables("test"));
        run.mutant("p1_title").run().ok();
        canary.exists()
    });
    drop(client);
}

#[test]
fn p54_outside_of_a_multiplexer_status_and_title_are_fine_and_do_nothing() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    let before = tmux.ask(&["list-windows", "-a", "-F", "#{window_name} #{@workmux_status}"]);
    let script = dial(&[
        r#"{"type":"SetStatus","status":"working"}"#,
        r#"{"type":"SetTitle","title":"nobody"}"#,
        r#"{"type":"SetStatus","status":"nonsense"}"#,
    ]);
    let outside: [&[(&str, String)]; 4] = [
        &[],
        &[("TMUX", "/nonexistent,1,0".into()), ("TMUX_PANE", "%0".into())],
        &[("TMUX", format!("{},1,0", tmux.socket().display())), ("TMUX_PANE", "%77".into())],
        &[("TMUX", "garbage".into()), ("TMUX_PANE", "%0;kill-server".into())],
    ];
    for variables in outside {
        let run = world.agent(&["bash", "-c", &script]).envs(variables.iter().cloned()).run().ok();
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(&lines[..2], [OK, OK], "{variables:?}\n{run}");
        assert!(lines[2].contains("\"Error\""), "{run}");
        assert_eq!(run.stderr, "", "{variables:?}");
    }
    assert_eq!(tmux.ask(&["list-windows", "-a", "-F", "#{window_name} #{@workmux_status}"]), before);
    let log = world.read(world.state().join("workmux.log"));
    assert!(log.contains("not shown: not started inside tmux"), "{log}");
}

#[test]
fn p54_only_the_runs_own_window_changes() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = World::bubblewrap();
    let tmux = world.tmux();
    tmux.ask(&["new-window", "-d", "-n", "other", "sleep 600"]);
    agent(&world, &tmux, "workmux set-window-status waiting; workmux set-title mine").ok();
    assert_eq!(tmux.windows(), ["mine", "other"]);
    assert_eq!(tmux.window_option("test:1", "@workmux_status"), "");
    // The pane is gone in mid-run: nothing else is touched.
    let waiting = world.waiting_as(&world.main(), "workmux set-window-status done", |script| {
        world.agent(&["sh", "-c", script]).envs(tmux.variables("test:1"))
    });
    tmux.ask(&["kill-window", "-t", "test:1"]);
    waiting.go_on().wait().ok();
    assert_eq!(tmux.windows(), ["mine"]);
    assert_eq!(tmux.window_option("test", "@workmux_status"), "💬");
}

#[test]
fn p47_other_protocols_and_silent_strangers_do_not_disturb() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let strangers = "for i in 1 2 3 4 5 6; do exec {fd}<>\"/dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT\"; done; \
                     exec 4<>\"/dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT\"; \
                     printf 'POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}' >&4; cat <&4; ";
    let script = format!("{strangers}{}", dial(&[r#"{"type":"Heartbeat"}"#]));
    let run = world.agent(&["bash", "-c", &script]).run().ok();
    assert_eq!(run.stdout.lines().last(), Some(OK), "{run}");
    assert!(!run.stdout.contains("HTTP/"), "{run}");
}
