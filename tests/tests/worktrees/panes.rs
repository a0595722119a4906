//! What a worktree's window holds: panes and what runs in them, where the window goes and what it is called.

use workmux_tests::{Run, Tmux, World, require_engine};

use super::case::{Worktrees, world};

/// `workmux add` as it is typed in the first window.
fn add(world: &World, tmux: &Tmux, words: &[&str]) -> Run {
    world.add(words).envs(tmux.variables("test:window"))
}

/// One line for each pane of a window.
fn panes(tmux: &Tmux, window: &str, format: &str) -> Vec<String> {
    tmux.ask(&["list-panes", "-t", window, "-F", format]).lines().map(str::to_owned).collect()
}

#[test]
fn panes_are_divided_focused_and_zoomed() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    world.user_config(
        "panes:\n- { command: <agent> }\n- { split: horizontal, percentage: 25 }\n\
         - { split: vertical, size: 5, target: 0, focus: true }\n\
         layouts:\n  zoomed: { panes: [{ command: <agent> }, { split: vertical, zoom: true }] }\n",
    );
    add(&world, &tmux, &["one", "-b"]).run().ok();
    let shape = "#{pane_left},#{pane_top} #{pane_width}x#{pane_height} #{pane_active}";
    // Tmux counts panes from left to right.
    assert_eq!(panes(&tmux, "test:wm-one", shape), ["0,0 89x24 0", "0,25 89x5 1", "90,0 30x30 0"]);
    add(&world, &tmux, &["two", "-b", "--layout", "zoomed"]).run().ok();
    assert_eq!(panes(&tmux, "test:wm-two", "#{pane_active} #{window_zoomed_flag}"), ["0 1", "1 1"]);

    add(&world, &tmux, &["three", "-l", "absent"]).run().code(1).warns("there is no layout 'absent'").warns("zoomed");
    world.user_config("panes: [{ split: vertical }]\n");
    add(&world, &tmux, &["three"]).run().code(1).warns("the first pane divides nothing");
    assert_eq!(world.branches(), ["main", "one", "two"]);
}

/// Four panes of the same size: two agents by name, one by its program, and a command.
const FOUR: &str = "panes:\n- { command: <agent> --chosen }\n- { command: '<agent:mine>', split: horizontal }\n\
                    - { command: gemini --literal, split: vertical, target: 0 }\n\
                    - { command: 'echo \"in ${WM_SANDBOX_GUEST:-host}\"', split: vertical, target: 1 }\n\
                    agents: { mine: { command: codex, args: ['a  b', '$HOME'] } }\n";

#[test]
fn agents_in_sandboxes_get_their_flags_and_no_others_do() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let mut world = world();
    world.stand_in("codex");
    world.stand_in("gemini");
    let tmux = world.tmux();
    let shows = |window: &str, expected: [&str; 4]| {
        // In the order of the configuration.
        let mut ids = panes(&tmux, &format!("test:{window}"), "#{pane_id}");
        ids.sort_by_key(|id| id[1..].parse::<u32>().unwrap());
        for (pane, text) in ids.iter().zip(expected) {
            tmux.wait_for_text(pane, text);
        }
    };
    world.user_config(&format!("sandbox: {{ backend: bubblewrap }}\n{FOUR}"));
    add(&world, &tmux, &["plain", "-p", "true"]).run().ok();
    let plain = [
        "claude began with [--chosen -- true]",
        "codex began with [a  b $HOME --no-daemon]",
        "gemini began with [--literal]",
        "in host",
    ];
    shows("wm-plain", plain);
    add(&world, &tmux, &["boxed", "-S", "-p", "true"]).run().ok();
    let boxed = [
        "claude began with [--chosen --dangerously-skip-permissions -- true]",
        "codex began with [a  b $HOME --no-daemon --yolo --dangerously-bypass-hook-trust]",
        "gemini began with [--literal --yolo]",
        "in host",
    ];
    shows("wm-boxed", boxed);
    world.user_config(&format!("sandbox: {{ backend: bubblewrap, enabled: true, target: all }}\n{FOUR}"));
    add(&world, &tmux, &["all", "-a", "codex", "--no-pane-cmds"]).run().ok();
    let all = ["codex began with [--chosen --no-daemon --yolo", "codex began with [a  b", "gemini began with", ""];
    shows("wm-all", all);
    add(&world, &tmux, &["every"]).run().ok();
    shows("wm-every", ["claude began", "codex began", "gemini began", "in 1"]);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    assert_eq!(tmux.windows(), ["window"]);
    world.wait_until_clean();
}

#[test]
fn where_an_agent_was_there_is_the_users_shell_afterwards() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    for (name, words) in [("plain", &["-p", "exit 5"][..]), ("boxed", &["-S", "-p", "exit 5"])] {
        let words = [&[name, "-b"], words].concat();
        add(&world, &tmux, &words).run().ok();
        let pane = format!("test:wm-{name}.0");
        tmux.wait_for_text(&pane, "the agent ended with 5; this is your shell");
        tmux.type_line(&pane, "echo \"$((6 * 7)) $PWD ${WM_SANDBOX_GUEST:-host}\"");
        tmux.wait_for_text(&pane, &format!("42 {} host", world.tree(name).display()));
        let agent = world.agent_of(name);
        assert_eq!((agent["exit_code"].as_i64(), agent["running"].as_bool()), (Some(5), Some(false)), "{agent}");
        // What is meant for an agent is never typed into a shell.
        world.workmux(&["send", name, "touch canary"]).run().code(1).warns("no agent works in");
    }
    // Also where the sandbox cannot be had: then nothing runs.
    world.user_config("sandbox: { backend: bubblewrap, extra_mounts: [/nonexistent-path] }\n");
    add(&world, &tmux, &["broken", "-S", "-b", "-p", "touch canary"]).run().ok();
    tmux.wait_for_text("test:wm-broken.0", "this is your shell");
    assert!(!world.tree("broken").join("canary").exists());
    assert_eq!(world.agent_of("broken")["exit_code"], 125);
}

#[test]
fn p28_what_a_project_wants_in_panes_is_confirmed_once() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    let canary = world.home().join("canary");
    world.project_config(&format!("panes: [{{ command: 'touch {}; cat' }}]\n", canary.display()));
    // Nobody can be asked.
    add(&world, &tmux, &["one", "-b"]).run().ok().warns("'panes'");
    assert_eq!(panes(&tmux, "test:wm-one", "x").len(), 2, "the usual panes");
    tmux.type_line("test:window", "workmux add two -b; echo ended $?");
    tmux.wait_for_text("test:window", "[y/N]");
    assert!(!canary.exists());
    tmux.type_line("test:window", "y");
    tmux.wait_for_text("test:window", "ended 0");
    workmux_tests::wait_until("the command to run", || canary.exists());
    std::fs::remove_file(&canary).unwrap();
    add(&world, &tmux, &["three", "-b"]).run().ok();
    workmux_tests::wait_until("the command to run unasked", || canary.exists());
    assert_eq!(panes(&tmux, "test:wm-three", "x").len(), 1);
}

#[test]
fn windows_go_where_they_should_and_are_called_after_the_worktree() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    tmux.ask(&["new-window", "-d", "-t", "test", "-n", "last"]);
    let current = || tmux.ask(&["display-message", "-p", "-t", "test", "#{window_name}"]);
    add(&world, &tmux, &["one", "-b"]).run().ok();
    assert_eq!((tmux.windows().join(" ").as_str(), current().as_str()), ("window wm-one last", "window"));
    world.user_config("window_placement: rightmost\nwindow_prefix: '{project}: '\n");
    add(&world, &tmux, &["feature/Two"]).run().ok();
    assert_eq!(
        (tmux.windows().join("|").as_str(), current().as_str()),
        ("window|wm-one|last|project: feature-two", "project: feature-two")
    );
    world.user_config("nerdfont: true\n");
    add(&world, &tmux, &["three", "-b"]).run().ok();
    assert!(tmux.windows().contains(&"\u{f418} three".to_owned()), "{:?}", tmux.windows());
    // Its name stays, whatever runs in it.
    tmux.type_line("test:wm-one.0", "printf '\\033kevil\\033\\\\'; echo said");
    tmux.wait_for_text("test:wm-one.0", "said");
    let (code, screen) = tmux.run("test:window", "clear; workmux open one");
    assert!(code == 0 && screen.contains("'one' is open"), "{screen}");
    assert_eq!(tmux.ask(&["show-options", "-wv", "-t", "test:1", "automatic-rename"]), "off");
}

#[test]
fn a_worktree_may_be_a_session_of_several_windows() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    world.user_config(
        "mode: session\nwindows:\n- panes: [{ command: <agent> }]\n- { name: logs, panes: [{ command: 'echo log' }] }\n- {}\n",
    );
    add(&world, &tmux, &["topic", "-p", "true"]).run().ok();
    let windows = tmux.ask(&["list-windows", "-t", "=wm-topic", "-F", "#{window_name} #{window_panes}"]);
    assert_eq!(windows, "wm-topic 1\nlogs 1\nwm-topic 2");
    tmux.wait_for_text("=wm-topic:logs", "log");
    assert!(world.agent_of("topic")["running"] == true);
    world.workmux(&["remove", "-f", "topic"]).run().ok();
    assert_eq!(tmux.ask(&["list-sessions", "-F", "#{session_name}"]), "test");
    world.assert_clean();
}

#[test]
fn outside_of_tmux_a_session_may_be_named() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    // Where tmux listens by itself.
    let usual = world.home().join(format!("run/tmux-{}", world.given().user.uid));
    world.folder(&usual);
    std::os::unix::fs::symlink(tmux.socket(), usual.join("default")).unwrap();
    world.user_config("default_session: test\n");
    let outside = |name: &str| world.add(&[name, "-p", "true"]).env("TMUX_TMPDIR", world.home().join("run"));
    outside("topic").run().ok();
    assert_eq!(tmux.windows(), ["window", "wm-topic"]);
    world.user_config("default_session: absent\n");
    outside("other").run().code(1).warns("its window could not be opened");
    assert_eq!(world.branches(), ["main", "topic"]);
}

#[test]
fn panes_start_in_the_directory_of_the_projects_file() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    let app = world.main().join("services/app");
    world.write(app.join(".workmux.yaml"), "worktree_prefix: app-\n");
    world.git(&world.main(), &["add", "."]).ok();
    world.git(&world.main(), &["commit", "-qm", "app"]).ok();
    add(&world, &tmux, &["topic", "-S", "-p", "echo at $PWD; pwd > .workmux/at"]).dir(&app).run().ok();
    let there = world.tree("app-topic").join("services/app");
    tmux.wait_for_text("test:wm-app-topic.0", &format!("at {}", there.display()));
    assert!(there.join(".workmux/PROMPT-topic.md").exists());
    assert_eq!(panes(&tmux, "test:wm-app-topic", "#{pane_start_path}"), [there.to_str().unwrap(); 2]);
    // A branch that lacks the directory starts at its root.
    world.git(&world.main(), &["branch", "old", "HEAD~"]).ok();
    add(&world, &tmux, &["old", "-b"]).dir(&app).run().ok();
    let root = world.tree("app-old");
    assert_eq!(panes(&tmux, "test:wm-app-old", "#{pane_start_path}"), [root.to_str().unwrap(); 2]);
}

#[test]
fn a_session_whose_name_is_taken_is_called_after_the_project_as_well() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    tmux.ask(&["new-session", "-d", "-s", "wm-topic", "cat"]);
    world.user_config("mode: session\n");
    let said = add(&world, &tmux, &["topic", "-b"]).run().ok();
    said.warns("there is a session 'wm-topic' already: this one is 'wm-topic-project'");
    let sessions = || tmux.ask(&["list-sessions", "-F", "#{session_name}"]);
    assert_eq!(sessions(), "test\nwm-topic\nwm-topic-project");
    world.workmux(&["remove", "topic"]).run().ok();
    assert_eq!(sessions(), "test\nwm-topic");
}

#[test]
fn what_is_named_here_may_stay_in_the_background() {
    require_engine!("tmux");
    let world = world();
    let tmux = world.tmux();
    let current = || tmux.ask(&["display-message", "-p", "-t", "test", "#{window_name}"]);
    world.user_config("auto_name: { background: true }\n");
    add(&world, &tmux, &["-p", "fix: the login"]).run().ok();
    add(&world, &tmux, &["ignored", "-A", "-p", "mend: the header"]).run().ok();
    assert_eq!(tmux.windows(), ["window", "wm-mend-header", "wm-fix-login"]);
    assert_eq!(current(), "window");
    add(&world, &tmux, &["topic", "-p", "true"]).run().ok();
    assert_eq!(current(), "wm-topic");
    world.user_config("");
    add(&world, &tmux, &["-p", "echo: the footer"]).run().ok();
    assert_eq!(current(), "wm-echo-footer");
}
