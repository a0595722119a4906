//! Branches with hostile names and prompts with hostile texts (P1, P2, P4, P6, P7): refused by name, or a slug wherever
//! something else than git sees them.

use serde_json::{Value, json};
use workmux_tests::{Pty, Sandbox, World, require_engine};

use super::scene::{OBEDIENT, Witness, answers, code, requests, scene, scene_with, traces, tree};

/// More at once are too many for a run.
const BURST: usize = 10;

/// Asks for a child of each of these names; answers in their order.
fn asked(world: &World, names: &[String], mutant: &str) -> Vec<Value> {
    let ask = |names: &[String]| {
        let all: Vec<Value> = names
            .iter()
            .map(|name| json!({"type": "SpawnAgent", "prompt": ":", "branch_name": name, "background": true}))
            .collect();
        answers(requests(world, &all).dir(world.home().join("project__worktrees/topic")).mutant(mutant))
    };
    names.chunks(BURST).flat_map(ask).collect()
}

#[test]
fn p6_names_that_are_not_plainly_a_branch_are_refused_without_residue() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    world.worktree("topic");
    for words in [&["branch", "taken"][..], &["remote", "add", "origin", "/nowhere"], &["branch", "dir/file"]] {
        world.git(&world.main(), words).ok();
    }
    let canary = world.home().join("canary");
    let touch = format!("touch${{IFS}}{}", canary.display());
    let mut names: Vec<String> = [
        "",
        "-D",
        "--",
        "--help",
        "-",
        "x/-D",
        "HEAD",
        "@",
        "refs/heads/x",
        "refs/x",
        "..",
        "a..b",
        "a@{0}",
        "@{-1}",
        "x.lock",
        "a/x.lock",
        "origin/x",
        "a b",
        "a\tb",
        "a\nb",
        "a\u{1b}[31mb",
        "a\u{7f}b",
        "a~b",
        "a^b",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "../x",
        "a/../../x",
        "/etc/x",
        "é",
        "a\u{202e}b",
        "a'b",
        "a\"b",
        "a;b",
        "a|b",
        "a`b`",
        "a&b",
        "a{b}",
        "a,b",
        "a<b",
        "%s",
        "a!b",
        "main",
        "topic",
        "taken",
        "dir",
        "taken/below",
        "___",
        "=",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend([format!("#({touch})"), format!("$({touch})"), format!("`{touch}`"), "x".repeat(201)]);
    let before = traces(&world);
    for (answer, name) in asked(&world, &names, "").iter().zip(&names) {
        assert!(["bad_field", "denied"].contains(&code(answer)), "{name:?}: {answer}");
        let message = answer["message"].as_str().expect("a message");
        let tells = message.contains(world.home().to_str().expect("UTF-8"));
        assert!(message.len() > 10 && (!tells || name.contains("touch")), "{name:?}: {message}");
        assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message:?}");
    }
    assert_eq!(traces(&world), before);
    assert!(!canary.exists());
    // Without the guard a name with a comma is one: the test sees it.
    let answer = &asked(&world, &["a,b".to_owned()], "p6_branch")[0];
    assert_eq!(code(answer), "Ok", "{answer}");
    assert_ne!(traces(&world), before);
}

#[test]
fn p7_a_worktree_lies_directly_below_the_base_and_has_its_name_alone() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    // Another branch, the same directory; and a directory that nobody knows.
    world.write(tree(&world, "stranger").join("file"), "kept");
    let names = ["Some/Name", "some-name", "SOME_NAME", "stranger"].map(str::to_owned);
    let answers = asked(&world, &names, "");
    let codes: Vec<&str> = answers.iter().map(code).collect();
    assert_eq!(codes, ["Ok", "denied", "denied", "denied"], "{answers:?}");
    let mut found: Vec<String> = std::fs::read_dir(topic.parent().expect("the base"))
        .expect("the base can be listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, ["some-name", "stranger", "topic"]);
    assert_eq!(world.read(tree(&world, "stranger").join("file")), "kept");
}

/// A user whose status line expands names once more, with a client that looks at it or none.
fn p1_windows_have_slugs_for_names_and_nothing_runs(attached: bool) {
    // A slug has no capitals, so a path in it has none: this lies in no world.
    let canary = std::env::temp_dir().join(format!("workmux-canary-{}-{attached}", std::process::id()));
    let canary = canary.to_str().expect("UTF-8");
    let world = scene_with(Sandbox::Bubblewrap, "", &format!("{OBEDIENT}window_prefix: 'own {{project}} '\n"));
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    let tmux = world.tmux();
    for (option, value) in [
        ("status-interval", "1"),
        ("window-status-current-format", "#{E:window_name}#{T:window_name}"),
        ("window-status-format", "#{E:window_name}#{T:window_name}#{E:@workmux_status}"),
        ("status-right", "#{E:window_name}#{T:pane_title}"),
    ] {
        tmux.ask(&["set-option", "-g", option, value]);
    }
    let client = attached.then(|| {
        let mut client = Pty::start(tmux.command(&["attach-session", "-t", "test"]));
        client.wait_for("ready>");
        client
    });
    let expand = || {
        for window in tmux.ask(&["list-windows", "-a", "-F", "#{window_id}"]).lines() {
            for format in ["#{E:window_name}", "#{T:window_name}", "#{E:pane_title}"] {
                tmux.ask(&["display-message", "-p", "-t", window, format]);
            }
        }
        if attached {
            tmux.ask(&["refresh-client", "-S"]);
        }
    };
    let ran = || std::path::Path::new(canary).exists();
    let spawn = |name: &str, prompt: &str, mutant: &str| {
        let request = json!({"type": "SpawnAgent", "prompt": prompt, "branch_name": name, "background": true});
        let run = requests(&world, &[request]).dir(&topic).envs(tmux.variables("test")).mutant(mutant);
        answers(run).remove(0)
    };
    let hostile = format!(
        "#(touch {canary})#{{E:#(touch {canary})}}`touch {canary}`$(touch {canary})\u{1b}]0;#(touch {canary})\u{7}"
    );
    for (name, window) in [
        ("Feature/Login_1", "own project feature-login-1"),
        ("a@b=c+d.e", "own project a-b-c-d-e"),
        ("x/touch/y", "own project x-touch-y"),
    ] {
        // The prompt is a script here: a comment.
        let answer = spawn(name, &format!(": '{}'", hostile.replace('\'', "")), "");
        assert_eq!(code(&answer), "Ok", "{answer}");
        assert!(tmux.windows().contains(&window.to_owned()), "{:?}", tmux.windows());
    }
    expand();
    assert_eq!(tmux.windows().len(), 4);
    assert!(!ran());
    // The test sees a name that reaches tmux as it is. Tmux often ends what it starts before it has begun, and does not
    // start the same one again: hence many tries.
    let mut tries = 0..8;
    workmux_tests::wait_until("a name that runs something", || {
        if let Some(number) = tries.next() {
            let name = format!("#(>{canary};{number})");
            let answer = spawn(&name, ":", "p6_branch,p2_slug");
            assert_eq!(code(&answer), "Ok", "{answer}");
        }
        expand();
        ran()
    });
    std::fs::remove_file(canary).expect("it was there");
    drop(client);
}

#[test]
fn p1_with_a_client_windows_have_slugs_for_names_and_nothing_runs() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    p1_windows_have_slugs_for_names_and_nothing_runs(true);
}

#[test]
fn p2_without_a_client_windows_have_slugs_for_names_and_nothing_runs() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    p1_windows_have_slugs_for_names_and_nothing_runs(false);
}
