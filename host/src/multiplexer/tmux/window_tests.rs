//! Windows for worktrees, against a real tmux.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::tests::{Server, until};
use super::*;
use crate::config::types::{Placement, Split};
use crate::multiplexer::Where;

fn window(name: &str, cwd: &Path, command: &[&str]) -> NewWindow {
    NewWindow {
        name: name.into(),
        token: format!("token-{name}"),
        place: Where::Beside { pane: "%0".into(), placement: Placement::AfterCurrent },
        cwd: cwd.to_owned(),
        env: vec![("WORKMUX_TRIED".into(), "a b;".into())],
        command: (!command.is_empty()).then(|| command.iter().map(OsString::from).collect()),
    }
}

fn tmux(server: &Server) -> Tmux {
    Tmux::new(&server.location("%0"))
}

#[test]
fn a_window_is_opened_unseen_beside_its_origin_and_found_by_its_mark() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    server.tmux(&["new-window", "-d", "cat"]);
    let tmux = tmux(&server);
    let opened = tmux.open(&window("wm-x", dir.path(), &["cat", "-"])).unwrap();
    assert_eq!(server.value(&opened.window, "#{window_index} #{window_name} #{window_active}"), "1 wm-x 0");
    let mut last = window("wm-y", dir.path(), &["cat", "-"]);
    last.place = Where::Beside { pane: "%0".into(), placement: Placement::Rightmost };
    let last = tmux.open(&last).unwrap();
    assert_eq!(server.value(&last.window, "#{window_index}"), "3");
    server.tmux(&["rename-window", "-t", &opened.window, "renamed"]);
    let found = tmux.windows().unwrap();
    assert_eq!(found, [("token-wm-x".to_owned(), opened.window.clone()), ("token-wm-y".to_owned(), last.window)]);
    tmux.select(&opened.window, false).unwrap();
    assert_eq!(server.value(&opened.window, "#{window_active}"), "1");
    tmux.close(&opened.window).unwrap();
    assert_eq!(tmux.windows().unwrap().len(), 1);
}

#[test]
fn words_and_variables_reach_the_program_exactly() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let script = "printf '%s|' \"$@\" \"$WORKMUX_TRIED\" \"$PWD\"; exec cat";
    let words = ["sh", "-c", script, "sh", "a  b", "", ";", "x;", "$(touch y)", "#{pid}", "-n"];
    let opened = tmux(&server).open(&window("wm-x", dir.path(), &words)).unwrap();
    let expected = format!("a  b||;|x;|$(touch y)|#{{pid}}|-n|a b;|{}|", dir.path().display());
    until(|| server.tmux(&["capture-pane", "-p", "-J", "-t", &opened.pane]).contains(&expected), "the words");
}

#[test]
fn p8_a_directory_can_have_any_name_and_runs_nothing() {
    let server = Server::start();
    let all = tempfile::tempdir().unwrap();
    let (canary, was, second) = (all.path().join("canary"), all.path().join("was"), all.path().join("second"));
    let odd = all.path().join("#(touch canary) #{pid} ##x");
    fs::create_dir(&odd).unwrap();
    let tmux = tmux(&server);
    // A job of tmux's runs in its server's directory: the name cannot hold a path.
    server.tmux(&["set-environment", "-g", "PWD", all.path().to_str().unwrap()]);
    let opened =
        tmux.open(&window("wm-x", &odd, &["sh", "-c", "pwd > \"$0\"; exec cat", was.to_str().unwrap()])).unwrap();
    until(|| fs::read_to_string(&was).is_ok_and(|said| said.ends_with('\n')), "the program runs");
    let said = fs::read_to_string(&was).unwrap();
    assert_eq!(said.trim_end(), odd.to_str().unwrap());
    let new = NewPane {
        split: Split::Horizontal,
        size: None,
        percentage: Some(30),
        cwd: odd.clone(),
        env: Vec::new(),
        command: Some(["sh", "-c", "pwd > \"$0\"; exec cat", second.to_str().unwrap()].map(OsString::from).to_vec()),
    };
    tmux.split(&opened.pane, &new).unwrap();
    until(|| fs::read_to_string(&second).is_ok_and(|said| said.ends_with('\n')), "the second runs");
    assert_eq!(fs::read_to_string(&second).unwrap().trim_end(), odd.to_str().unwrap());
    assert!(!canary.exists());
}

#[test]
fn a_session_has_windows_of_its_own() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let tmux = tmux(&server);
    let first = tmux.open(&NewWindow { place: Where::Session, ..window("wm-s", dir.path(), &[]) }).unwrap();
    let second = NewWindow { place: Where::In(first.session.clone()), ..window("logs", dir.path(), &[]) };
    let second = tmux.open(&second).unwrap();
    assert_eq!(first.session, second.session);
    assert_eq!(server.value(&second.window, "#{session_name} #{session_windows}"), "wm-s 2");
    assert!(tmux.open(&NewWindow { place: Where::Session, ..window("wm-s", dir.path(), &[]) }).is_err());
}

#[test]
fn a_text_is_pasted_and_read_back() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let tmux = tmux(&server);
    let opened = tmux.open(&window("wm-x", dir.path(), &["cat", "-"])).unwrap();
    let pane = tmux.pane(&opened.pane).unwrap();
    tmux.paste(&pane, "one ; $(two) -x Enter").unwrap();
    let text = "one ; $(two) -x Enter\none ; $(two) -x Enter";
    until(|| tmux.capture(&pane, 10).unwrap() == text, "what was typed, and what cat says to it");
    assert_eq!(tmux.capture(&pane, 1).unwrap(), "one ; $(two) -x Enter");
    let new = NewPane {
        split: Split::Vertical,
        size: Some(5),
        percentage: None,
        cwd: dir.path().into(),
        env: Vec::new(),
        command: None,
    };
    let below = tmux.split(&opened.pane, &new).unwrap();
    assert_eq!(server.value(&below, "#{pane_height} #{pane_active}"), "5 0");
    tmux.focus(&below, true).unwrap();
    assert_eq!(server.value(&below, "#{pane_active} #{window_zoomed_flag}"), "1 1");
}

#[test]
fn texts_that_are_pasted_at_once_keep_apart() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let tmux = tmux(&server);
    let opened: Vec<Opened> = (0..4)
        .map(|n| tmux.open(&window(&format!("wm-{n}"), dir.path(), &["sh", "-c", "stty -echo; exec cat"])).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (n, window) in opened.iter().enumerate() {
            let tmux = &tmux;
            scope.spawn(move || {
                let pane = tmux.pane(&window.pane).unwrap();
                for _ in 0..5 {
                    tmux.paste(&pane, &format!("for {n}")).unwrap();
                }
            });
        }
    });
    for (n, window) in opened.iter().enumerate() {
        let pane = tmux.pane(&window.pane).unwrap();
        let of = |line: &str| line == format!("for {n}");
        until(|| tmux.capture(&pane, 20).unwrap().lines().filter(|line| of(line)).count() >= 5, "all of them");
        assert!(tmux.capture(&pane, 20).unwrap().lines().all(of));
    }
    assert_eq!(server.tmux(&["list-buffers"]), "");
    let pane = tmux.pane(&opened[0].pane).unwrap();
    tmux.close(&opened[0].window).unwrap();
    assert!(tmux.paste(&pane, "nobody's").is_err());
    assert_eq!(server.tmux(&["list-buffers"]), "");
}
