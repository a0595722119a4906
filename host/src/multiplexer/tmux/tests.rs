//! Against a real tmux: a server of our own on a socket of our own, and a second one as the user's terminal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::multiplexer::{Icons, RunWindow, Shown, Status};
use crate::tool;

const DEADLINE: Duration = Duration::from_secs(20);

/// A tmux server, ended with the test.
pub(super) struct Server {
    dir: tempfile::TempDir,
}

impl Server {
    /// One session with one window with one pane.
    pub(super) fn start() -> Self {
        Self::running("cat")
    }

    fn running(command: &str) -> Self {
        let server = Self { dir: tempfile::tempdir().unwrap() };
        server.new_session(command);
        server
    }

    fn new_session(&self, command: &str) {
        self.tmux(&["new-session", "-d", "-x", "120", "-y", "20", command]);
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(super) fn try_tmux(&self, words: &[&str]) -> tool::Output {
        let mut command = Command::new("tmux");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("SHELL", "/bin/sh");
        command.env("HOME", self.dir.path()).args(["-u", "-f", "/dev/null", "-S"]).arg(self.socket()).args(words);
        tool::run(&mut command, b"", DEADLINE).unwrap()
    }

    pub(super) fn tmux(&self, words: &[&str]) -> String {
        let output = self.try_tmux(words);
        assert!(output.status.success(), "{words:?}: {}", output.stderr_text());
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    /// A format's value for a target.
    pub(super) fn value(&self, target: &str, format: &str) -> String {
        self.tmux(&["display-message", "-p", "-t", target, format])
    }

    /// Every window with all that we ever change in one.
    fn everything(&self) -> String {
        let format = "#{window_id} #{pane_id} #{window_name} #{@workmux_status} #{@workmux_pane_status} \
                      #{@workmux_ack_status} #{automatic-rename} #{window-status-format}";
        self.tmux(&["list-panes", "-a", "-F", format])
    }

    /// A user's terminal attached to this server.
    fn attach(&self) -> Server {
        self.tmux(&["set-hook", "-g", "client-attached", "wait-for -S attached"]);
        let terminal = Server::running(&format!("TERM=screen exec tmux -u -S '{}' attach", self.socket().display()));
        self.tmux(&["wait-for", "attached"]);
        terminal
    }

    fn pid(&self) -> u32 {
        self.value("", "#{pid}").parse().unwrap()
    }

    pub(super) fn location(&self, pane: &str) -> Location {
        Location { socket: self.socket(), server: Some(self.pid()), pane: pane.into() }
    }

    async fn window(&self, pane: &str) -> RunWindow {
        RunWindow::find(Ok(self.location(pane)), Icons::default(), true).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.try_tmux(&["kill-server"]);
    }
}

/// Asks again until it is so: tmux redraws and runs hooks when it gets to it.
pub(super) fn until(mut so: impl FnMut() -> bool, what: &str) {
    let give_up = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < give_up, "never happened: {what}");
    }
}

fn shown(outcome: Shown) {
    assert_eq!(outcome, Shown::Yes);
}

fn refused(outcome: Shown, why: &str) {
    match outcome {
        Shown::No(reason) => assert!(reason.contains(why), "{reason}"),
        Shown::Yes => panic!("shown, though {why}"),
    }
}

const STATES: &str = "#{@workmux_status}|#{@workmux_pane_status}|#{@workmux_ack_status}";

#[tokio::test]
async fn a_status_is_in_the_options_that_status_lines_read() {
    let server = Server::start();
    let window = server.window("%0").await;
    shown(window.set_status(Status::Working).await);
    assert_eq!(server.value("%0", STATES), "🤖|🤖|");
    shown(window.set_status(Status::Done).await);
    assert_eq!(server.value("%0", STATES), "✅|✅|✅");
    assert!(server.tmux(&["show-hooks", "-w", "-t", "@0"]).contains("pane-focus-in"));
    shown(window.set_status(Status::Working).await);
    assert_eq!(server.value("%0", STATES), "🤖|🤖|");
    for status in [Status::Clear, Status::Register] {
        shown(window.set_status(Status::Waiting).await);
        shown(window.set_status(status).await);
        assert_eq!(server.value("%0", STATES), "||");
        assert_eq!(server.tmux(&["show-hooks", "-w", "-t", "@0"]), "");
    }
    shown(window.set_status(Status::Waiting).await);
    shown(window.clear().await);
    assert_eq!(server.value("%0", STATES), "||");
}

#[tokio::test]
async fn an_icon_may_be_any_text_of_the_users() {
    let server = Server::start();
    for icon in ["-x", "a;", ";", "\\;", "it's \"q\" $HOME {x} , }", "#[fg=red]雪"] {
        let icons = Icons { done: icon.into(), ..Icons::default() };
        let window = RunWindow::find(Ok(server.location("%0")), icons, false).await;
        shown(window.set_status(Status::Done).await);
        assert_eq!(server.tmux(&["show-options", "-wv", "-t", "@0", "@workmux_status"]), icon);
        assert_eq!(server.tmux(&["show-options", "-pv", "-t", "%0", "@workmux_ack_status"]), icon);
    }
}

#[tokio::test]
async fn the_users_status_line_shows_the_icon_once() {
    let server = Server::start();
    server.tmux(&["set-option", "-g", "window-status-current-format", "[#W]#F\\;"]);
    let terminal = server.attach();
    let window = server.window("%0").await;
    for _ in 0..2 {
        shown(window.set_status(Status::Working).await);
    }
    // Another run in the same window finds it there.
    shown(server.window("%0").await.set_status(Status::Working).await);
    shown(window.set_title(Title::clean("my work;").unwrap()).await);
    until(|| terminal.tmux(&["capture-pane", "-p"]).contains("[my work;] 🤖*;"), "an icon in the status line");
    let format = server.tmux(&["show-options", "-wv", "-t", "@0", "window-status-current-format"]);
    assert_eq!(format, "[#W]#{?@workmux_status, #{@workmux_status},}#F;");
}

#[tokio::test]
async fn an_icon_to_be_seen_goes_when_it_is_seen_and_no_other() {
    let server = Server::start();
    server.tmux(&["set-option", "-g", "focus-events", "on"]);
    server.tmux(&["split-window", "-d", "-t", "@0", "cat"]);
    server.tmux(&["new-window", "cat"]);
    let _terminal = server.attach();
    let (first, second) = (server.window("%0").await, server.window("%1").await);

    shown(first.set_status(Status::Done).await);
    assert_eq!(server.value("%0", STATES), "✅|✅|✅");
    server.tmux(&["select-window", "-t", "@0"]);
    until(|| server.value("%0", STATES) == "||", "cleared when seen");

    // Nobody has to come back for what they are looking at.
    shown(first.set_status(Status::Waiting).await);
    assert_eq!(server.value("%0", STATES), "||");

    // The other pane of the window is not being looked at, and what waits there stays until it is.
    shown(second.set_status(Status::Waiting).await);
    assert_eq!(server.value("%1", STATES), "💬|💬|💬");
    shown(first.set_status(Status::Working).await);
    server.tmux(&["select-pane", "-t", "%1"]);
    until(|| server.value("%1", "#{@workmux_pane_status}").is_empty(), "the second is seen");
    assert_eq!(server.value("%0", STATES), "🤖|🤖|");
}

#[tokio::test]
async fn two_that_wait_in_one_window_are_seen_one_after_the_other() {
    let server = Server::start();
    server.tmux(&["set-option", "-g", "focus-events", "on"]);
    for _ in 0..2 {
        server.tmux(&["split-window", "-d", "-t", "@0", "cat"]);
    }
    let _terminal = server.attach();
    let (first, second, third) = (server.window("%1").await, server.window("%2").await, server.window("%0").await);
    shown(first.set_status(Status::Done).await);
    shown(second.set_status(Status::Waiting).await);
    // One that takes its own icon away takes nobody's hook.
    shown(third.set_status(Status::Clear).await);
    for pane in ["%1", "%2"] {
        assert!(server.tmux(&["show-hooks", "-w", "-t", "@0"]).contains("pane-focus-in"));
        server.tmux(&["select-pane", "-t", pane]);
        until(|| server.value(pane, "#{@workmux_ack_status}").is_empty(), "seen");
    }
    until(|| server.tmux(&["show-hooks", "-w", "-t", "@0"]).is_empty(), "nothing is left");
}

#[tokio::test]
async fn p4_a_title_is_never_an_option() {
    let server = Server::start();
    let window = server.window("%0").await;
    for title in ["-t", "--", "-", "--help", "-t @1", ";", "a;", "\\;", "kill-server;"] {
        shown(window.set_title(Title::clean(title).unwrap()).await);
        // tmux doubles backslashes when it stores a name.
        assert_eq!(server.value("%0", "#{window_name}"), title.replace('\\', "\\\\"));
    }
}

/// Titles that would run `touch canary` where anything expands them.
fn attacks(canary: &Path) -> Vec<String> {
    let run = format!("touch {}", canary.display());
    let forms = [
        format!("#({run})"),
        format!("##({run})"),
        format!("###({run})"),
        format!("#{{E:#({run})}}"),
        format!("#{{l:#({run})}}"),
        format!("#{{?1,#({run}),}}"),
        format!("#{{T:##({run})}}"),
        format!("#[fg=red]#({run})"),
        format!("#\u{202e}({run})"),
        format!("#\u{1b}({run})"),
        format!("-t #({run})"),
        format!("'; run-shell '{run}' ; #({run}"),
        format!("x; run-shell '{run}';"),
        format!("\"#({run})\""),
        format!("#(\n{run}\n)"),
        format!("$({run}) `{run}` #($({run}))"),
        format!("%H#({run})%%"),
        format!("#{{s/x/#({run})/:x}}"),
        format!("{{ run-shell '{run}' }}"),
        format!("#{{W:#({run})}}"),
    ];
    (0..100).map(|n| format!("{n} {}", forms[n % forms.len()])).collect()
}

async fn no_title_runs_anything(server: &Server) {
    let canary = server.dir.path().join("canary");
    let window = server.window("%0").await;
    let mut wrong = Vec::new();
    for attack in attacks(&canary) {
        let title = Title::clean(&attack).unwrap();
        shown(window.set_title(title.clone()).await);
        let name = server.value("%0", "#{window_name}");
        if name != title.as_str() || name.contains(|c: char| c == '#' || c.is_control()) {
            wrong.push((attack, name));
        }
    }
    // That this test can see a title run: one that was not cleaned does.
    let control = server.dir.path().join("control");
    let mut tries = 0..;
    let runs = || {
        // tmux often ends such a program before it has begun: hence many tries, each another program.
        let raw = format!("#(touch {} # {:?})", control.display(), tries.next());
        server.tmux(&["rename-window", "-t", "@0", "--", &raw]);
        control.exists()
    };
    until(runs, "a title that runs something");
    assert!(!canary.exists(), "a title ran its program");
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn p1_no_title_runs_anything_detached() {
    let server = Server::start();
    no_title_runs_anything(&server).await;
}

#[tokio::test]
async fn p1_no_title_runs_anything_where_the_status_line_expands_names_again() {
    let server = Server::start();
    for (option, format) in [
        ("status-right", "#{E:window_name} #{T:window_name}"),
        ("window-status-current-format", "#{E:#{E:window_name}}"),
        ("pane-border-format", "#{E:window_name}"),
        ("set-titles-string", "#{T:window_name}"),
        ("set-titles", "on"),
    ] {
        server.tmux(&["set-option", "-g", option, format]);
    }
    let _terminal = server.attach();
    no_title_runs_anything(&server).await;
}

#[tokio::test]
async fn p54_outside_tmux_nothing_happens_and_the_reason_is_known() {
    let window = RunWindow::find(Err("not started inside tmux".into()), Icons::default(), true).await;
    refused(window.set_status(Status::Done).await, "not started inside tmux");
    refused(window.set_title(Title::clean("x").unwrap()).await, "not started inside tmux");
    refused(window.clear().await, "not started inside tmux");
}

/// Asks for a status and a title, and sees that both are refused and nothing anywhere is changed.
async fn changes_nothing(server: &Server, window: &RunWindow, why: &str) {
    let before = server.everything();
    refused(window.set_status(Status::Done).await, why);
    refused(window.set_title(Title::clean("wrong").unwrap()).await, why);
    assert_eq!(server.everything(), before);
}

#[tokio::test]
async fn p54_a_closed_pane_changes_no_other() {
    let server = Server::start();
    server.tmux(&["split-window", "-t", "@0", "cat"]);
    server.tmux(&["new-window", "cat"]);
    let window = server.window("%0").await;
    server.tmux(&["kill-pane", "-t", "%0"]);
    changes_nothing(&server, &window, "it is gone").await;
}

#[tokio::test]
async fn p54_a_moved_pane_changes_no_other() {
    let server = Server::start();
    server.tmux(&["split-window", "-t", "@0", "cat"]);
    server.tmux(&["new-window", "cat"]);
    let window = server.window("%0").await;
    server.tmux(&["join-pane", "-s", "%0", "-t", "@1"]);
    changes_nothing(&server, &window, "moved to another window").await;
}

#[tokio::test]
async fn p54_a_pane_with_a_new_process_is_not_ours() {
    let server = Server::start();
    let window = server.window("%0").await;
    server.tmux(&["respawn-pane", "-k", "-t", "%0", "cat"]);
    changes_nothing(&server, &window, "has its name now").await;
}

#[tokio::test]
async fn p54_another_server_that_uses_the_same_names_is_left_alone() {
    let server = Server::start();
    let (window, location) = (server.window("%0").await, server.location("%0"));
    server.tmux(&["kill-server"]);
    until(|| !server.try_tmux(&["-N", "has-session"]).status.success(), "the server's end");
    refused(window.set_status(Status::Done).await, "");
    server.new_session("cat");
    assert_eq!(server.value("", "#{pane_id} #{window_id}"), "%0 @0");
    changes_nothing(&server, &window, "another").await;
    let late = RunWindow::find(Ok(location), Icons::default(), true).await;
    changes_nothing(&server, &late, "the tmux server is another one").await;
}

#[test]
fn p54_a_pane_that_moves_at_the_last_moment_changes_no_other() {
    let server = Server::start();
    server.tmux(&["split-window", "-t", "@0", "cat"]);
    server.tmux(&["new-window", "cat"]);
    let tmux = Tmux::new(&server.location("%0"));
    // What we would have seen just before it moved.
    let stale = Pane { window: "@1".into(), ..tmux.pane("%0").unwrap() };
    let before = server.everything();
    let guarded = tmux.batch().add(["has-session", "-t", &format!("{}.{}", stale.window, stale.id)]);
    guarded.add(["rename-window", "-t", &stale.window, "--", "wrong"]).run().unwrap_err();
    assert_eq!(server.everything(), before);
}
