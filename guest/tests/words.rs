//! The guest's words against a host that follows a script.

#![allow(clippy::unwrap_used, reason = "test code, helpers included")]

#[cfg(feature = "mutants")]
mod mutants;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{GUEST, PATIENCE};

const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OK: &str = "{\"type\":\"Ok\"}\n";

/// A host that hands on what it reads and answers every connection with the next text of its script, once both lines
/// have come. An empty text closes the connection.
struct Host {
    port: u16,
    received: Receiver<Vec<Value>>,
}

impl Host {
    fn new(script: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script: Vec<String> = script.iter().map(|text| (*text).to_owned()).collect();
        let (sender, received) = channel();
        thread::spawn(move || {
            for answer in script {
                let mut stream = listener.accept().unwrap().0;
                drop(sender.send(two_lines(&stream)));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { port, received }
    }

    fn guest(&self, words: &[&str]) -> Command {
        let mut command = guest(words);
        command.env("WM_RPC_HOST", "localhost").env("WM_RPC_PORT", self.port.to_string());
        command
    }

    /// What came on the next connection: the opening and the request.
    fn request(&self) -> Value {
        let [opening, request] = self.received.recv_timeout(PATIENCE).unwrap().try_into().unwrap();
        assert_eq!(opening, json!({"token": TOKEN, "protocol": 1}));
        request
    }

    fn asked_nothing(&self) {
        assert!(self.received.try_recv().is_err(), "something was sent");
    }
}

fn two_lines(stream: &TcpStream) -> Vec<Value> {
    let lines = BufReader::new(stream).lines().take(2);
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// The program as guests call it, with an environment of its own.
fn guest(words: &[&str]) -> Command {
    let mut command = Command::new(GUEST);
    command.args(words).env_clear().env("WM_SANDBOX_GUEST", "1").env("WM_RPC_TOKEN", TOKEN).stdin(Stdio::null());
    command.envs(std::env::var_os("WORKMUX_MUTANT").map(|off| ("WORKMUX_MUTANT", off)));
    command
}

/// Exit code, output, errors.
fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn run(mut command: Command) -> (i32, String, String) {
    told(command.output().unwrap())
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

fn quietly() -> (i32, String, String) {
    (0, String::new(), String::new())
}

#[test]
fn each_word_is_its_request() {
    for (words, request) in [
        (&["heartbeat"][..], json!({"type": "Heartbeat"})),
        (&["set-title", "a #(title) é"], json!({"type": "SetTitle", "title": "a #(title) é"})),
        (&["set-window-status", "working"], json!({"type": "SetStatus", "status": "working"})),
        (&["set-window-status", "clear"], json!({"type": "SetStatus", "status": "clear"})),
        (&["register-agent"], json!({"type": "SetStatus", "status": "register"})),
    ] {
        let host = Host::new(&[OK]);
        assert_eq!(run(host.guest(words)), quietly(), "{words:?}");
        assert_eq!(host.request(), request);
    }
}

#[test]
fn p50_a_hello_before_the_answer_and_fields_and_codes_of_later_hosts_are_fine() {
    for answer in [
        "{\"type\":\"Hello\",\"protocol\":1}\n{\"type\":\"Ok\"}\n",
        "{\"type\":\"Hello\",\"protocol\":1,\"more\":[]}\r\n\n {\"type\":\"Ok\",\"took\":7}",
    ] {
        let host = Host::new(&[answer]);
        assert_eq!(run(host.guest(&["heartbeat"])), quietly());
    }
    let host = Host::new(&["{\"type\":\"Error\",\"message\":\"no\\u001b[2J\",\"code\":\"of_tomorrow\"}\n"]);
    let (code, _, errors) = run(host.guest(&["heartbeat"]));
    assert_eq!((code, &*errors), (1, "Error: the host refused 'heartbeat'\n\nCaused by:\n    no\u{fffd}[2J\n"));
}

#[test]
fn a_hooks_prompt_is_sent_as_one_line() {
    for (input, prompt) in [
        (json!({"prompt": "fix\n the\tbug\u{7}", "other": 1}).to_string(), json!("fix the bug")),
        (json!({"prompt": "é".repeat(900)}).to_string(), json!("é".repeat(500))),
        (json!({"prompt": 7}).to_string(), Value::Null),
        (json!({"prompt": ""}).to_string(), Value::Null),
        ("not json".to_owned(), Value::Null),
        ("[]".to_owned(), Value::Null),
        (String::new(), Value::Null),
        (format!("{{\"prompt\":\"{}\"}}", "x".repeat(2_000_000)), Value::Null),
    ] {
        for word in [&["set-window-status", "done"][..], &["register-agent"]] {
            let host = Host::new(&[OK]);
            assert_eq!(told(with_input(host.guest(word), input.as_bytes())), quietly());
            assert_eq!(host.request()["prompt"], prompt, "{}", &input[..input.len().min(40)]);
        }
    }
}

#[test]
fn p51_a_standard_input_that_stays_open_holds_nothing_up() {
    for (input, prompt) in [(&b""[..], Value::Null), (b"{\"prompt\":\"x\"}", json!("x"))] {
        let host = Host::new(&[OK]);
        let mut child = host.guest(&["set-window-status", "waiting"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut open = child.stdin.take().unwrap();
        open.write_all(input).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(host.request()["prompt"], prompt);
        drop(open);
    }
}

#[test]
fn hooks_never_fail_because_of_the_host() {
    let host = Host::new(&["{\"type\":\"Error\",\"message\":\"no such status\"}\n"]);
    let (code, _, errors) = run(host.guest(&["set-window-status", "done"]));
    assert_eq!((code, &*errors), (0, "workmux: the host did not take the status: no such status\n"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut unreachable = guest(&["register-agent"]);
    unreachable.env("WM_RPC_HOST", "127.0.0.1").env("WM_RPC_PORT", closed);
    let (code, output, errors) = run(unreachable);
    assert_eq!((code, &*output, errors.lines().count()), (0, "", 1), "{errors}");
    assert!(errors.starts_with("workmux: could not reach the host: 127.0.0.1:"), "{errors}");
}

#[test]
fn status_can_be_switched_off() {
    for value in ["1", ""] {
        let host = Host::new(&[OK]);
        let mut command = host.guest(&["set-window-status", "done"]);
        command.env("WORKMUX_DISABLE_SET_WINDOW_STATUS", value);
        assert_eq!(run(command), quietly());
        host.asked_nothing();
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_an_error_where_it_matters() {
    let want = "Error: could not reach the host: is this a workmux sandbox?\n\nCaused by:\n    ";
    for words in [
        &["heartbeat"][..],
        &["set-title", "x"],
        &["add", "x"],
        &["status"],
        &["wait", "x"],
        &["send", "x", "y"],
        &["capture", "x"],
        &["merge", "x"],
        &["close", "x"],
    ] {
        let (code, output, errors) = run(guest(words));
        assert_eq!((code, &*output), (1, ""));
        assert_eq!(errors, format!("{want}WM_RPC_HOST and WM_RPC_PORT are not set\n"));
    }
    let mut unresolved = guest(&["heartbeat"]);
    unresolved.env("WM_RPC_HOST", "no-such-host.invalid").env("WM_RPC_PORT", "1");
    let (code, _, errors) = run(unresolved);
    assert!(code == 1 && errors.starts_with(want) && errors.contains("'no-such-host.invalid'"), "{errors}");
}

#[test]
fn p51_a_host_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = guest(&["heartbeat"]);
    command.env("WM_RPC_HOST", "127.0.0.1").env("WM_RPC_PORT", listener.local_addr().unwrap().port().to_string());
    let begun = Instant::now();
    let dripping = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        // A byte at a time: each read succeeds, the whole does not.
        while begun.elapsed() < Duration::from_secs(10) && stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let (code, _, errors) = run(command);
    assert!(code == 1 && errors.contains("no answer from the host: the time is up"), "{errors}");
    assert!((4..15).contains(&begun.elapsed().as_secs()));
    dripping.join().unwrap();
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let too_long = " ".repeat(1024 * 1024 + 4096);
    for answer in ["", "{}\n", "HTTP/1.1 400\n", "{\"type\":\"Unheard\"}\n", "{\"type\":\"Hello\"}\n", &too_long] {
        let host = Host::new(&[answer]);
        let (code, _, errors) = run(host.guest(&["heartbeat"]));
        assert_eq!(code, 1, "{errors}");
    }
}

#[test]
fn add_sends_what_it_was_told_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a prompt");
    std::fs::write(&file, "line\n\n $(x) é\r\n").unwrap();
    let file = file.to_str().unwrap();
    for (words, request, said) in [
        (&["add", "feature/x"][..], json!({"prompt": "", "branch_name": "feature/x"}), "feature/x"),
        (
            &["add", "-b", "x", "-p", " --base\n "],
            json!({"prompt": " --base\n ", "branch_name": "x", "background": true}),
            "x",
        ),
        (&["add", "-SHA", "-P", file], json!({"prompt": "line\n\n $(x) é\r\n"}), "(auto-named)"),
    ] {
        let host = Host::new(&[OK]);
        assert_eq!(run(host.guest(words)), (0, format!("✓ Spawned agent: {said}\n"), String::new()));
        let mut sent = host.request();
        let fields = sent.as_object_mut().unwrap();
        assert_eq!(fields.remove("request_id").unwrap().as_str().map(str::len), Some(32));
        assert_eq!(fields.remove("type"), Some(json!("SpawnAgent")));
        assert_eq!(sent, request);
    }
}

#[test]
fn add_warns_when_it_does_not_use_the_branch() {
    let host = Host::new(&[OK]);
    let (code, output, errors) = run(host.guest(&["add", "-A", "mine", "-p", "x"]));
    assert_eq!((code, &*output), (0, "✓ Spawned agent: (auto-named)\n"));
    assert_eq!(errors, "warning: the branch 'mine' is not used, because -A lets the host name it\n");
    assert!(host.request().get("branch_name").is_none());
}

#[test]
fn add_takes_its_prompt_from_an_editor() {
    let dir = tempfile::tempdir().unwrap();
    let editor = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::os::unix::fs::chown(&path, None, None).unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        format!("{} --wait", path.display())
    };
    let writes = editor("writes", "[ \"$1\" = --wait ] && printf 'from the editor' >\"$2\"");
    let nothing = editor("nothing", "exit 0");
    let fails = editor("fails", "echo text >\"$2\"; exit 3");
    let call = |host: &Host, editor: &str| {
        let mut command = host.guest(&["add", "x", "-e"]);
        command.env("EDITOR", editor).env("TMPDIR", dir.path()).env("PATH", "/usr/bin:/bin");
        run(command)
    };
    let host = Host::new(&[OK]);
    assert_eq!(call(&host, &writes).0, 0);
    assert_eq!(host.request()["prompt"], "from the editor");
    for (editor, why) in
        [(nothing, "the prompt is empty"), (fails, "exit status: 3"), ("/no/editor".to_owned(), "could not be started")]
    {
        let host = Host::new(&[OK]);
        let (code, _, errors) = call(&host, &editor);
        assert!(code == 1 && errors.contains(why), "{errors}");
        host.asked_nothing();
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no draft is left: {left:?}");
}

#[test]
fn p35_what_add_cannot_do_here_is_refused_before_anything_is_sent() {
    for (words, code, want) in [
        (&["add", "x", "--base", "main"][..], 1, "Error: --base is not supported from inside a sandbox\n"),
        (&["add", "x", "-n3"], 1, "Error: --count is not supported from inside a sandbox: call 'add' several times\n"),
        (
            &["add", "x", "-a", "codex"],
            1,
            "Error: --agent is not supported from inside a sandbox: the host's configuration decides it\n",
        ),
        (&["add", "x", "--bogus"], 2, "Error: unknown flag '--bogus'\n"),
        (&["add"], 2, "Error: give the branch to make, or a prompt to have it named after\n"),
        (&["add", "x", "-p", "1", "-e"], 2, "Error: use one of --prompt, --prompt-file and --prompt-editor"),
        (&["add", "x", "-P", "/no/such/file"], 1, "Error: could not read the prompt from '/no/such/file'\n"),
    ] {
        let host = Host::new(&[OK]);
        let (got, output, errors) = run(host.guest(words));
        assert_eq!((got, &*output), (code, ""), "{errors}");
        assert!(errors.starts_with(want), "{errors}");
        host.asked_nothing();
    }
    let host = Host::new(&[OK]);
    let (code, _, errors) = told(with_input(host.guest(&["add", "x"]), b"one\ntwo\n"));
    assert!(code == 1 && errors.contains("standard input"), "{errors}");
    host.asked_nothing();
}

#[test]
fn p49_a_prompt_that_is_too_long_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long");
    // Each of these becomes six bytes of JSON.
    std::fs::write(&file, "\u{1}".repeat(200_000)).unwrap();
    let host = Host::new(&[OK]);
    let (code, _, errors) = run(host.guest(&["add", "x", "-P", file.to_str().unwrap()]));
    assert!(code == 1 && errors.contains("1 MiB"), "{errors}");
    host.asked_nothing();
}

#[test]
fn add_passes_on_why_the_host_failed() {
    let host = Host::new(&["{\"type\":\"Error\",\"message\":\"branch 'x' exists\",\"code\":\"denied\"}\n"]);
    let (code, output, errors) = run(host.guest(&["add", "x"]));
    assert_eq!((code, &*output), (1, ""));
    assert_eq!(errors, "Error: the host failed to spawn the agent\n\nCaused by:\n    branch 'x' exists\n");
}

#[test]
fn p39_an_answer_that_got_lost_is_asked_for_again_under_the_same_id() {
    let host = Host::new(&["", OK]);
    assert_eq!(run(host.guest(&["add", "x"])).0, 0);
    assert_eq!(host.request()["request_id"], host.request()["request_id"]);
}

#[test]
fn wrong_calls_say_what_is_there() {
    for words in [&["host-exec"][..], &["--bogus"]] {
        let (code, output, errors) = run(guest(words));
        assert_eq!((code, &*output), (2, ""));
        let want = format!(
            "Error: unknown command '{}': inside a sandbox there are 'add', 'status', 'wait', 'send', 'capture', \
             'merge', 'close', 'set-window-status', 'set-title', 'register-agent', 'heartbeat'\n",
            words[0]
        );
        assert_eq!(errors, want);
    }
    for words in [
        &[][..],
        &["set-window-status"],
        &["set-window-status", "Working"],
        &["set-window-status", "done", "x"],
        &["set-title"],
        &["register-agent", "x"],
        &["heartbeat", "x"],
        &["init", "a", "b"],
        &["status", "x"],
        &["status", "--json=1"],
        &["status", "--all"],
        &["wait"],
        &["wait", "--timeout", "5"],
        &["wait", "x", "--timeout"],
        &["wait", "x", "--timeout", "0"],
        &["wait", "x", "-t", "soon"],
        &["send"],
        &["send", "x"],
        &["send", "x", ""],
        &["send", "--now", "x", "y"],
        &["capture"],
        &["capture", "x", "y"],
        &["capture", "x", "--lines", "0"],
        &["capture", "x", "-n", "2001"],
        &["merge"],
        &["merge", "x", "y"],
        &["merge", "x", "--rebase", "--squash"],
        &["merge", "x", "--keep", "--cleanup"],
        &["merge", "x", "--into"],
        &["merge", "x", "--force"],
        &["close"],
        &["close", "x", "--force"],
        &["exec", "a", "b"],
    ] {
        assert_eq!(run(guest(words)).0, 2, "{words:?}");
    }
}

#[test]
fn help_and_version_need_no_sandbox() {
    for words in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["add", "--help"],
        &["heartbeat", "--help"],
        &["status", "-h"],
        &["wait", "x", "--help"],
        &["send", "--help"],
        &["capture", "--help"],
        &["merge", "x", "--keep", "-h"],
        &["close", "--help"],
    ] {
        let mut command = guest(words);
        let (code, output, errors) = run({
            command.env_remove("WM_SANDBOX_GUEST");
            command
        });
        assert_eq!((code, &*errors), (0, ""), "{words:?}");
        assert!(output.starts_with("Usage: workmux"), "{output}");
    }
    let version = format!("workmux {} (guest)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(guest(&["--version"])), (0, version, String::new()));
}

#[test]
fn outside_of_a_sandbox_every_word_says_so() {
    for words in [
        &["add", "x"][..],
        &["set-window-status", "done"],
        &["set-title", "x"],
        &["register-agent"],
        &["heartbeat"],
        &["status"],
        &["wait", "x"],
        &["send", "x", "y"],
        &["capture", "x"],
        &["merge", "x"],
        &["close", "x"],
    ] {
        let mut command = guest(words);
        command.env_remove("WM_SANDBOX_GUEST");
        let (code, output, errors) = run(command);
        assert_eq!((code, &*output), (1, ""));
        assert!(errors.contains("outside of a workmux sandbox"), "{errors}");
    }
}

/// An `Output` line.
fn output(message: &str) -> String {
    format!("{}\n", json!({"type": "Output", "message": message}))
}

/// What a host tells of agents, with its `Ok`.
fn members(members: &Value) -> String {
    output(&members.to_string()) + OK
}

fn member(name: &str, status: &str, exit_code: Option<i32>) -> Value {
    json!({"name": name, "branch": format!("b/{name}"), "parent": null, "status": status, "since": null,
           "running": exit_code.is_none(), "exit_code": exit_code})
}

#[test]
fn each_word_about_agents_is_its_request() {
    let merge = |more: Value| {
        let mut request = json!({"type": "Merge", "name": "x"});
        for flag in
            ["rebase", "squash", "ignore_uncommitted", "keep", "no_verify", "no_hooks", "notification", "cleanup"]
        {
            request[flag] = json!(false);
        }
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for (words, request) in [
        (&["send", "x", "fix", "it", "--now"][..], json!({"type": "Send", "name": "x", "text": "fix it --now"})),
        (&["send", "x", "--", "--help"], json!({"type": "Send", "name": "x", "text": "--help"})),
        (&["send", "--", "-x", "a\n\u{1b} é "], json!({"type": "Send", "name": "-x", "text": "a\n\u{1b} é "})),
        (&["send", "x", "--help"], json!({"type": "Send", "name": "x", "text": "--help"})),
        (&["send", "x", "-", "-"], json!({"type": "Send", "name": "x", "text": "- -"})),
        (&["capture", "x"], json!({"type": "Capture", "name": "x"})),
        (&["capture", "--lines=7", "x"], json!({"type": "Capture", "name": "x", "lines": 7})),
        (&["capture", "x", "-n", "2000"], json!({"type": "Capture", "name": "x", "lines": 2000})),
        (&["close", "x"], json!({"type": "Close", "name": "x"})),
        (&["merge", "x"], merge(json!({}))),
        (
            &["merge", "--into", "main", "x", "--rebase", "-k", "-n", "--no-hooks", "--notification"],
            merge(json!({"into": "main", "rebase": true, "keep": true, "no_verify": true, "no_hooks": true,
                         "notification": true})),
        ),
        (
            &["merge", "x", "--squash", "--cleanup", "--ignore-uncommitted"],
            merge(json!({"squash": true, "cleanup": true, "ignore_uncommitted": true})),
        ),
    ] {
        let host = Host::new(&[OK]);
        assert_eq!(run(host.guest(words)), quietly(), "{words:?}");
        assert_eq!(host.request(), request);
    }
}

#[test]
fn a_text_can_come_from_standard_input() {
    for (input, text) in [("one\n two\n\n", "one\n two\n"), ("x", "x"), ("--help\n", "--help")] {
        let host = Host::new(&[OK]);
        assert_eq!(told(with_input(host.guest(&["send", "x", "-"]), input.as_bytes())), quietly());
        assert_eq!(host.request(), json!({"type": "Send", "name": "x", "text": text}));
    }
    let long = "x".repeat(1024 * 1024 + 5);
    for (input, code) in [(&b""[..], 2), (b"\n", 2), (b"\xff", 1), (long.as_bytes(), 1)] {
        let host = Host::new(&[OK]);
        let (got, output, errors) = told(with_input(host.guest(&["send", "x", "-"]), input));
        assert_eq!((got, &*output), (code, ""), "{errors}");
        host.asked_nothing();
    }
}

#[test]
fn messages_are_printed_in_their_order_and_clean() {
    let told = output("one\n\ttwo") + &output("") + &output("a\u{1b}[31mb\u{9b}c");
    let printed = "one\n\ttwo\n\na\u{fffd}[31mb\u{fffd}c\n";
    for words in [&["capture", "x"][..], &["merge", "x"], &["close", "x"]] {
        let host = Host::new(&[&format!("{{\"type\":\"Hello\",\"protocol\":1}}\n{told}{OK}")]);
        assert_eq!(run(host.guest(words)), (0, printed.to_owned(), String::new()), "{words:?}");
        // What was done before it failed is told as well.
        let host = Host::new(&[&format!("{told}{{\"type\":\"Error\",\"message\":\"no\",\"code\":\"denied\"}}\n")]);
        let want = format!("Error: the host refused '{}'\n\nCaused by:\n    no\n", words[0]);
        assert_eq!(run(host.guest(words)), (1, printed.to_owned(), want));
        // A connection that ends after messages has not said how it went.
        let host = Host::new(&[&told]);
        let (code, _, errors) = run(host.guest(words));
        assert!(code == 1 && errors.contains("it closed the connection"), "{errors}");
    }
    // Nobody who asked for nothing is told anything.
    let host = Host::new(&[&(output("x") + OK)]);
    let (code, output, errors) = run(host.guest(&["heartbeat"]));
    assert_eq!((code, &*output), (1, ""));
    assert!(errors.contains("unknown answer 'Output'"), "{errors}");
}

#[test]
fn a_refusal_is_told_by_every_word_about_agents() {
    for words in
        [&["status"][..], &["wait", "x"], &["send", "x", "y"], &["capture", "x"], &["merge", "x"], &["close", "x"]]
    {
        let host = Host::new(&["{\"type\":\"Error\",\"message\":\"no such agent\",\"code\":\"not_found\"}\n"]);
        let want = format!("Error: the host refused '{}'\n\nCaused by:\n    no such agent\n", words[0]);
        assert_eq!(run(host.guest(words)), (1, String::new(), want));
    }
}

#[test]
fn status_is_an_aligned_table() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut all =
        json!([member("long-name", "working", None), member("b", "waiting", None), member("c", "done", Some(3))]);
    all[0]["since"] = json!(now - 7200);
    all[1]["parent"] = json!("c");
    all[2]["name"] = json!("c\u{1b}\n");
    all[2]["of_tomorrow"] = json!([{}]);
    let host = Host::new(&[&members(&all)]);
    let want = "\
NAME       STATUS    SINCE  BRANCH
long-name  working   2h     b/long-name
b          waiting   -      b/b
c\u{fffd}\u{fffd}        exited 3  -      b/c
";
    assert_eq!(run(host.guest(&["status"])), (0, want.to_owned(), String::new()));
    assert_eq!(host.request(), json!({"type": "Status"}));

    all[2]["name"] = json!("c");
    let host = Host::new(&[&members(&all)]);
    let want = "\
NAME       STATUS    SINCE  BRANCH
long-name  working   2h     b/long-name
c          exited 3  -      b/c
  b        waiting   -      b/b
";
    assert_eq!(run(host.guest(&["status", "--tree"])), (0, want.to_owned(), String::new()));

    let host = Host::new(&[&members(&all)]);
    let (code, output, _) = run(host.guest(&["status", "--json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&output).unwrap()), (0, all));

    let host = Host::new(&[&members(&json!([]))]);
    let (code, output, errors) = run(host.guest(&["status"]));
    assert_eq!((code, &*output, &*errors), (0, "", "No agents were started from here.\n"));
}

#[test]
fn an_answer_about_agents_that_is_none_is_an_error() {
    for message in ["", "{}", "[7]", "[{\"name\":\"x\"}]", "[", "[{\"name\":1,\"branch\":\"x\",\"status\":\"done\"}]"] {
        for words in [&["status"][..], &["status", "--json"], &["wait", "x"]] {
            let host = Host::new(&[&(output(message) + OK)]);
            let (code, output, errors) = run(host.guest(words));
            assert_eq!((code, &*output), (1, ""), "{message}");
            assert!(errors.contains("not one of workmux's"), "{errors}");
        }
    }
    let host = Host::new(&[OK]);
    assert_eq!(run(host.guest(&["wait", "x"])).0, 1);
    // Who is not told of is not taken for done. Names may be branches.
    for (names, code) in [(&["x"][..], 0), (&["b/x"], 0), (&["x", "y"], 1), (&["y"], 1)] {
        let host = Host::new(&[&members(&json!([member("x", "done", None)]))]);
        let (got, _, errors) = run(host.guest(&[&["wait"], names].concat()));
        assert_eq!(got, code, "{errors}");
        assert_eq!(errors.contains("did not tell how 'y' is"), code == 1, "{errors}");
    }
}

#[test]
fn wait_asks_until_all_are_finished() {
    let still = members(&json!([member("x", "working", None), member("y", "done", None)]));
    let over = members(&json!([member("x", "working", Some(0)), member("y", "done", None)]));
    let host = Host::new(&[&still, &over]);
    let want = "x: exited 0\ny: done\n";
    assert_eq!(run(host.guest(&["wait", "x", "y", "x"])), (0, want.to_owned(), String::new()));
    for _ in 0..2 {
        assert_eq!(host.request(), json!({"type": "Wait", "names": ["x", "y"], "seconds": 60}));
    }
}

#[test]
fn wait_says_who_failed_and_who_is_late() {
    let mut gone = member("z", "working", None);
    gone["running"] = json!(false);
    let host = Host::new(&[&members(&json!([member("x", "done", Some(3)), member("y", "done", None), gone]))]);
    let want = ("x: exited 3\ny: done\nz: ended\n".to_owned(), "Error: not done: x, z\n".to_owned());
    assert_eq!(run(host.guest(&["wait", "x", "y", "z"])), (1, want.0, want.1));

    let still = members(&json!([member("x", "waiting", None)]));
    let host = Host::new(&[&still, &still, &still, &still]);
    let begun = Instant::now();
    let want = "Error: not done: x\n\nCaused by:\n    the time is over\n";
    let late = run(host.guest(&["wait", "x", "--timeout", "1"]));
    assert_eq!(late, (1, "x: still waiting\n".to_owned(), want.to_owned()));
    assert!((1..10).contains(&begun.elapsed().as_secs()));
    assert_eq!(host.request(), json!({"type": "Wait", "names": ["x"], "seconds": 1}));
}

#[test]
fn wait_takes_no_more_names_than_one_request() {
    let names = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    let all: Vec<_> = names(64).iter().map(|name| member(name, "done", None)).collect();
    let host = Host::new(&[&members(&json!(all))]);
    let call = |names: &[String]| {
        let mut command = host.guest(&["wait"]);
        command.args(names);
        run(command).0
    };
    assert_eq!(call(&names(65)), 2);
    host.asked_nothing();
    assert_eq!(call(&names(64)), 0);
}

#[test]
fn words_of_the_host_alone_are_refused_with_what_to_do_instead() {
    for (words, instead) in [
        (&["remove", "x"][..], "use 'close' or 'merge --cleanup', or remove it on the host"),
        (&["rm", "-f", "x"], "use 'close' or 'merge --cleanup', or remove it on the host"),
        (&["list"], "use 'status', or run it on the host"),
        (&["ls", "--json"], "use 'status', or run it on the host"),
        (&["open", "x"], "run it on the host"),
        (&["path", "x"], "run it on the host"),
        (&["setup"], "run it on the host"),
        (&["init"], "run it on the host"),
    ] {
        let host = Host::new(&[OK]);
        let want = format!("Error: '{}' is not supported from inside a sandbox: {instead}\n", words[0]);
        assert_eq!(run(host.guest(words)), (1, String::new(), want));
        host.asked_nothing();
    }
}
