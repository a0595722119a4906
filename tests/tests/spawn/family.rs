//! Whom a run may name (P33), what it may not destroy (P34), what an ended agent still gives away, and what is written down
//! of all that (P41).

use std::fs;

use serde_json::{Value, json};
use workmux_tests::{Sandbox, Snapshot, World, require_engine, wait_for};

use super::scene::{Puppet, Witness, branches, code, journal, json, on_each, record, scene, subjects, traces, tree};

on_each!(p33_a_run_names_its_descendants_and_nobody_else, p34_a_merge_overwrites_nothing_that_is_not_committed);

/// What can be asked about one agent.
fn about(name: &str) -> [Value; 5] {
    [
        json!({"type": "Merge", "name": name}),
        json!({"type": "Close", "name": name}),
        json!({"type": "Send", "name": name, "text": "x"}),
        json!({"type": "Capture", "name": name}),
        json!({"type": "Wait", "names": [name], "seconds": 1}),
    ]
}

/// The answers to all of it, each asked again where that was too much at once.
fn asked_about(puppet: &Puppet, name: &str) -> Vec<Value> {
    let answer = |request: &Value| {
        wait_for("an answer that is no 'quota'", || {
            Some(puppet.asks(std::slice::from_ref(request)).remove(0)).filter(|answer| code(answer) != "quota")
        })
    };
    about(name).iter().map(answer).collect()
}

/// Nobody of this name is there, as far as this agent is told.
fn nobody(puppet: &Puppet, name: &str) {
    let message = format!("there is no agent '{name}' that was started from here");
    let expected = json!({"type": "Error", "message": message, "code": "not_found"});
    for answer in asked_about(puppet, name) {
        assert_eq!(answer, expected, "{name}");
    }
}

fn members(puppet: &Puppet) -> Vec<(String, Option<String>)> {
    let said = puppet.does_in_time("workmux status --json");
    let listed: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pair = |one: &Value| (text(&one["name"]).expect("a name"), text(&one["parent"]));
    listed.as_array().expect("a list").iter().map(pair).collect()
}

fn p33_a_run_names_its_descendants_and_nobody_else(on: Sandbox) {
    let world = scene(on);
    let _witness = Witness(&world);
    world.worktree("topic");
    world.git(&world.main(), &["branch", "plain"]).ok();
    let (own, other) = (Puppet::new(&world, "own"), Puppet::new(&world, "other"));
    let _foreign = other.add(&world, "foreign");
    let (child, _sibling) = (own.add(&world, "child"), own.add(&world, "sibling"));
    let grand = child.add(&world, "grand");
    grand.does("true");

    let before = traces(&world);
    for stranger in ["other", "foreign", "main", "topic", "project", "plain", "nobody"] {
        nobody(&own, stranger);
    }
    // Its own worktree can be closed and merged, and that is all: there is nothing to say to oneself.
    for stranger in ["own", "sibling", "other", "nobody"] {
        nobody(&child, stranger);
    }
    assert_eq!(traces(&world), before);
    let some = |parent: &str| Some(parent.to_owned());
    let all = [("child", None), ("grand", some("child")), ("sibling", None)];
    let mut listed = members(&own);
    listed.sort();
    assert_eq!(listed, all.map(|(name, parent)| (name.to_owned(), parent)));
    assert_eq!(members(&child), [("grand".to_owned(), None)]);
    assert_eq!(members(&grand), []);

    // Of its grandchild it has everything done.
    assert_eq!(own.does_in_time("workmux send grand x"), "");
    assert!(!own.does_in_time("workmux capture grand").contains("Error"));
    // It was told something, and says that it is done with it.
    grand.does("echo grand > g && git add g && git commit -qm 'by the grandchild' && workmux set-window-status done");
    let merged = own.does_in_time("workmux merge grand");
    assert!(merged.contains("✓ Merged 'grand' into 'own'"), "{merged}");
    assert!(subjects(&world, "own").contains(&"by the grandchild".to_owned()));
    assert!(!tree(&world, "grand").exists());
    assert!(!own.does_in_time("workmux close sibling").contains("Error"));
    assert!(tree(&world, "sibling").is_dir());
    // A child brings its own work to where it came from; what the user made is the user's to merge.
    child.does("echo child > c && git add c && git commit -qm 'by the child'");
    let merged = child.does_in_time("workmux merge child");
    assert!(merged.contains("✓ Merged 'child' into 'own'"), "{merged}");
    assert!(tree(&world, "child").exists(), "its window would take the request with it");
    let denied = own.does_in_time("workmux merge own");
    assert!(denied.contains("made by the user"), "{denied}");
    let elsewhere = own.does_in_time("workmux merge child --into main");
    assert!(elsewhere.contains("into 'own' only"), "{elsewhere}");
    assert!(subjects(&world, "main").iter().all(|subject| !subject.starts_with("by the")));

    // Without the guard others are found: this test can fail.
    let loose = Puppet::by(&world, "loose", world.workmux(&[]).mutant("p33_family"));
    let answer = &loose.asks(&[json!({"type": "Close", "name": "other"})])[0];
    assert_eq!(code(answer), "Ok", "{answer}");

    written_down(&world);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    assert_eq!(branches(&world), ["main", "plain"]);
    world.wait_until_clean();
}

/// P41: who asked for what, when, and what came of it.
fn written_down(world: &World) {
    let lines = journal(world);
    let of = |name: &str| json(world, record(world, name).join("record.json"));
    let find = |request: &str, name: &str, by: &Value| {
        let fits = |line: &&Value| line["request"] == request && line["name"] == name && line["record"] == by["id"];
        lines.iter().find(fits).unwrap_or_else(|| panic!("{request} of {name}: {lines:#?}")).clone()
    };
    let (own, child) = (of("own"), of("child"));
    let spawn = find("SpawnAgent", "child", &own);
    assert_eq!((&spawn["result"], &spawn["made"]), (&json!("ok"), &child["id"]));
    assert_eq!(spawn["run"].as_str().map(str::len), Some(32), "{spawn}");
    assert!(spawn["at"].as_u64().is_some_and(|at| at > 1_600_000_000));
    assert_eq!(find("SpawnAgent", "grand", &child)["result"], "ok");
    assert_eq!(find("Merge", "grand", &own)["result"], "ok");
    assert_eq!(find("Close", "sibling", &own)["result"], "ok");
    for request in ["Merge", "Close", "Send", "Capture", "Wait"] {
        let result = find(request, "other", &own)["result"].clone();
        assert!(result.as_str().is_some_and(|why| why.contains("there is no agent 'other'")), "{result}");
    }
    assert!(find("Merge", "own", &own)["result"].as_str().is_some_and(|why| why.contains("made by the user")));
}

fn p34_a_merge_overwrites_nothing_that_is_not_committed(on: Sandbox) {
    let world = scene(on);
    let _witness = Witness(&world);
    let own = Puppet::new(&world, "own");
    let dir = tree(&world, "own");
    let work = |name: &str, script: &str| {
        let said = own.does(&format!(
            "workmux add {name} -p {} && workmux wait {name} --timeout 20",
            workmux_tests::quoted(&format!("{script} && git commit -qm 'by {name}'"))
        ));
        assert!(said.contains("Spawned") && !said.contains("rror"), "{said}");
    };
    work("readme", "echo theirs > README.md && git add README.md");
    work("new", "mkdir d && echo theirs > d/new && git add d");
    work("hidden", "echo theirs > x.ignored && git add -f x.ignored");
    work("deep", "mkdir y.ignored && echo theirs > y.ignored/z && git add -f y.ignored");
    let refused = |name: &str, why: &str| {
        let look = || {
            (Snapshot::without(&dir, &[".ask", ".said-so-far"]), own.does("git log --format=%s; git status --short"))
        };
        let before = look();
        let said = own.does(&format!("workmux merge {name} || echo refused"));
        assert!(said.ends_with("refused\n") && said.contains(why), "{name}: {said}");
        let after = look();
        assert_eq!(before.0.changes(&after.0), [""; 0], "{name}");
        assert_eq!(before.1, after.1, "{name}");
        assert!(tree(&world, name).is_dir() && branches(&world).contains(&name.to_owned()), "{name}");
    };
    // Changed in the target: whether or not the merge changes it as well.
    own.does("echo ours > README.md");
    refused("readme", "changes that are not committed");
    refused("new", "changes that are not committed");
    own.does("git checkout -q README.md; git rm -q --cached README.md");
    refused("new", "changes that are not committed");
    own.does("git reset -q");
    // Not known to git: in the way, and in the way although git would take ignored files for worthless.
    own.does("mkdir d; echo ours > d/new");
    refused("new", "d/new");
    own.does("rm -r d; echo ours > d");
    refused("new", "d");
    own.does("rm d; echo ours > x.ignored");
    refused("hidden", "x.ignored");
    own.does("echo ours > y.ignored");
    refused("deep", "y.ignored");
    own.does("rm x.ignored y.ignored");
    // Both changed: nothing is left half done.
    own.does("echo ours > README.md; git commit -qam 'ours'");
    refused("readme", "README.md");
    for flag in ["--squash", "--rebase"] {
        let said = own.does(&format!("workmux merge readme {flag} || echo refused; git status --porcelain"));
        assert!(said.ends_with("refused\n"), "{flag}: {said}");
        assert!(world.git(&dir, &["status", "--porcelain"]).ok().stdout.is_empty());
    }
    // What the child has not committed is not merged and not lost.
    fs::write(tree(&world, "new").join("more"), "theirs").expect("its worktree is there");
    refused("new", "not committed");
    let said = own.does("workmux merge new --ignore-uncommitted");
    assert!(said.contains("Merged") && said.contains("Kept"), "{said}");
    assert_eq!(world.read(tree(&world, "new").join("more")), "theirs");
    assert_eq!(world.read(dir.join("d/new")), "theirs\n");

    // Without the guard a changed target is merged into: this test can fail.
    let loose = Puppet::by(&world, "loose", world.workmux(&[]).mutant("p34_target"));
    let said = loose.does(
        "workmux add other -p 'echo x > x && git add x && git commit -qm x'; workmux wait other; echo ours > README.md; \
         workmux merge other",
    );
    assert!(said.contains("Merged 'other'"), "{said}");
    let loose = Puppet::by(&world, "looser", world.workmux(&[]).mutant("p34_ignored"));
    let said = loose.does(
        "workmux add another -p 'echo theirs > x.ignored && git add -f x.ignored && git commit -qm x'; workmux wait another; \
         echo ours > x.ignored; workmux merge another; cat x.ignored",
    );
    assert!(said.ends_with("\ntheirs\n"), "{said}");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}

/// In a window a shell of the user's takes an agent's place when it has ended.
#[test]
fn p33_an_ended_agent_is_not_told_anything_and_its_shell_is_not_shown() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    let tmux = world.tmux();
    let canary = world.home().join("canary");
    let attack = |name: &str| {
        let own = Puppet::by(&world, name, world.workmux(&[]).envs(tmux.variables("test")));
        let said = own.does(&format!("workmux add {name}-kid -p 'read line' && workmux status"));
        assert!(said.contains("-kid"), "{said}");
        let window = format!("wm-{name}-kid");
        // While it works it can be told and seen, and what it is told goes into its sandbox.
        own.does(&format!(
            "until workmux send {name}-kid 'the end' 2>/dev/null; do sleep 0.1; done; workmux wait {name}-kid"
        ));
        let pane = format!("test:={window}.0");
        tmux.wait_for_text(&pane, "this is your shell");
        tmux.type_line(&pane, "echo the-users-$((40 + 2))");
        tmux.wait_for_text(&pane, "the-users-42");
        let sent = own.does(&format!("workmux send {name}-kid 'touch {}'", canary.display()));
        let shown = own.does(&format!("workmux capture {name}-kid"));
        // What is typed afterwards has come after it.
        tmux.type_line(&pane, "echo then-$((40 + 3))");
        tmux.wait_for_text(&pane, "then-43");
        (sent, shown, canary.exists())
    };
    let (sent, shown, touched) = attack("own");
    assert!(sent.contains("it has ended") && !touched, "{sent}");
    assert!(shown.contains("it has ended") && !shown.contains("the-users"), "{shown}");
    // Without the guard both reach the shell: this test can fail. The server hands its environment on to every pane.
    tmux.ask(&["set-environment", "-g", "WORKMUX_MUTANT", "p33_ended"]);
    let (sent, shown, touched) = attack("loose");
    assert!(touched, "{sent}");
    assert!(shown.contains("the-users-42"), "{shown}");
}
