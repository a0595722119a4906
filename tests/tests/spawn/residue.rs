//! Spawns that fail half-way (P38), and those that are asked for twice (P39).

use serde_json::json;
use workmux_tests::{Sandbox, World, dial, require_engine};

use super::scene::{
    OBEDIENT, Witness, answers, branches, code, guest, on_each, records, requests, scene, scene_with, traces,
};

on_each!(p39_one_request_on_two_connections_makes_one_child);

/// A step of a spawn, and how it comes to fail: by the user's configuration, by what the guest has committed before, or by
/// what happens to the host meanwhile.
const STEPS: [(&str, &str, &str); 6] = [
    ("its directory cannot be made", "worktree_dir: README.md/below", "true"),
    ("git cannot make the branch", "", "git branch kid/below"),
    ("a file cannot be copied", "files: { copy: [README.md, link/README.md] }", "ln -s / link; git add link"),
    ("a file cannot be linked", "files: { symlink: [dir/file] }", "ln -s / dir; git add dir"),
    ("the prompt cannot be written", "", "ln -s / .workmux; git add .workmux"),
    ("its window cannot be opened", "", "true"),
];

fn failing(step: &(&str, &str, &str), mutant: &str) -> (Vec<String>, Vec<String>, workmux_tests::Finished) {
    let (what, config, script) = step;
    let world = scene_with(Sandbox::Bubblewrap, "", &format!("{OBEDIENT}{config}\n"));
    let topic = world.worktree("topic");
    world.write(world.main().join("link/README.md"), "x");
    world.write(world.main().join("dir/file"), "x");
    let script = format!(
        "{script}; git commit -q --allow-empty -m 'a trap'; workmux heartbeat; \
                          mkfifo .ask; read x < .ask; workmux add kid -p :"
    );
    let run = guest(&world, &script).dir(&topic).mutant(mutant);
    // A server that is gone by then.
    let tmux = what.contains("window").then(|| world.tmux());
    let run = match &tmux {
        Some(tmux) => run.envs(tmux.variables("test")),
        None => run,
    };
    let running = run.start();
    let told = workmux_tests::told(&topic.join(".ask"));
    drop(tmux);
    let before = settled(&world);
    drop(told);
    let finished = running.wait();
    (before, settled(&world), finished)
}

/// What there is, but for what the run itself brings to the host.
fn settled(world: &World) -> Vec<String> {
    let mut all = traces(world);
    all.retain(|line| !line.starts_with("HEAD "));
    all
}

#[test]
fn p38_whatever_step_fails_nothing_is_left() {
    require_engine!("bubblewrap");
    require_engine!("tmux");
    for step in &STEPS {
        let (before, after, finished) = failing(step, "");
        assert_eq!(finished.code, Some(1), "{}: {finished}", step.0);
        assert!(finished.stderr.contains("the host failed to spawn the agent"), "{}: {finished}", step.0);
        // What the guest's own branches are is not the spawn's.
        let all: Vec<&String> = after.iter().filter(|line| !line.contains("kid/below")).collect();
        assert_eq!(all, before.iter().filter(|line| !line.contains("kid/below")).collect::<Vec<_>>(), "{}", step.0);
    }
    // Without the guard something is: this test can fail.
    for step in &STEPS[2..] {
        let (before, after, finished) = failing(step, "p38_undo");
        assert_eq!(finished.code, Some(1), "{}: {finished}", step.0);
        assert_ne!(before, after, "{}", step.0);
    }
}

fn p39_one_request_on_two_connections_makes_one_child(on: Sandbox) {
    let world = scene(on);
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    // Without a name the host would find another one for a second child.
    let request = json!({"type": "SpawnAgent", "prompt": ": one child", "request_id": "the same"}).to_string();
    let (first, second) = (dial(&[&request, &request]), dial(&[&request]));
    let script = format!("({first}) & ({second}) & wait; {second}");
    let answered = answers(guest(&world, &script).dir(&topic));
    assert_eq!(answered.iter().map(code).collect::<Vec<_>>(), ["Ok"; 4]);
    assert_eq!(records(&world).len(), 1);
    assert_eq!(branches(&world), ["main", "one-child", "topic"]);
    // Another run does not know it.
    let again = answers(requests(&world, &[serde_json::from_str(&request).expect("JSON")]).dir(&topic));
    assert_eq!(code(&again[0]), "Ok");
    assert_eq!(branches(&world), ["main", "one-child", "one-child-2", "topic"]);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}

#[test]
fn p38_a_child_that_was_merged_leaves_nothing() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    world.git(&world.main(), &["config", "core.precomposeunicode", "false"]).ok();
    let before = settled(&world);
    let script = "workmux add kid -p 'git commit --allow-empty -qm work'; workmux wait kid; workmux merge kid";
    guest(&world, script).dir(&topic).run().ok();
    assert_eq!(settled(&world), before);
}
