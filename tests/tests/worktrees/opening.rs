//! `workmux open`: what it opens again is what was made, once, and never something half made.

use std::fs;

use serde_json::Value;
use workmux_tests::{require_engine, wait_for, wait_until};

use super::case::{Worktrees, world};

#[test]
fn two_at_once_start_one_agent() {
    let mut world = world();
    let starts = world.home().join("starts");
    world.put_program("claude", &format!("#!/bin/sh\necho started >> {}\nexec cat\n", starts.display()));
    world.add(&["topic"]).run().ok();
    world.user_config("agent: claude\n");
    let both = [world.workmux(&["open", "topic"]).start(), world.workmux(&["open", "topic"]).start()];
    let said = both.map(|open| open.wait().ok().stdout);
    let count = |text: &str| said.iter().filter(|said| said.contains(text)).count();
    let one = "✓ Opened 'topic' in the background";
    assert_eq!((count(one), count("'topic' works in the background")), (1, 1), "{said:?}");
    wait_until("an agent", || starts.exists());
    world.workmux(&["close", "topic"]).run().ok();
    assert_eq!(world.read(&starts), "started\n");
}

#[test]
fn p38_what_is_half_made_is_not_opened() {
    let world = world();
    let begun = world.home().join("begun");
    world.user_config(&format!("post_create: ['touch {}; sleep 1000']\n", begun.display()));
    let adding = world.add(&["half"]).start();
    wait_until("the hook to run", || begun.exists());
    world.workmux(&["open", "half"]).run().code(1).warns("'half' is being made at this moment");
    // Killed, with its hook.
    drop(adding);
    let refused = world.workmux(&["open", "half"]).run().code(1);
    refused.warns("was not made to its end").warns("workmux remove half");
    world.user_config("");
    world.workmux(&["remove", "-f", "half"]).run().ok();
    world.assert_nothing_made();
    world.add(&["half"]).run().ok();
    world.workmux(&["open", "half"]).run().ok();
}

#[test]
fn a_sandbox_is_opened_again_as_it_was_made() {
    require_engine!("bubblewrap");
    let world = world();
    let library = world.install_plugin("minimal");
    world.workmux(&["plugin", "trust"]).arg(library).run().ok();
    let backend = || {
        let [record] = &world.records()[..] else { panic!("one record") };
        let config: Value = serde_json::from_str(&world.read(record.join("config.json"))).expect("JSON");
        config["config"]["sandbox"]["backend"].clone()
    };
    world.add(&["topic", "-S", "--backend", "minimal", "-p", "true"]).run().ok();
    assert_eq!(backend(), "minimal");
    let open = |words: &[&str]| {
        world.workmux(&["close", "topic"]).run().ok();
        world.workmux(&["open", "topic"]).args(words).run().ok();
        assert!(world.agent_of("topic")["sandboxed"] == true);
        backend()
    };
    assert_eq!(open(&[]), "minimal");
    assert_eq!(open(&["-S", "--backend", "bubblewrap"]), "bubblewrap");
    assert_eq!(open(&[]), "bubblewrap");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.assert_clean();
}

/// A guest's child has what its parent had, whatever has come to lie in its checkout.
#[test]
fn p26_a_guests_child_is_opened_again_by_what_was_frozen() {
    require_engine!("bubblewrap");
    let world = world();
    world.add(&["own", "-S", "-p", "workmux add child -p 'echo first'"]).run().ok();
    let child = || {
        let fits = |record: &std::path::PathBuf| {
            let record: Option<Value> =
                serde_json::from_str(&fs::read_to_string(record.join("record.json")).ok()?).ok();
            record.filter(|record| record["handle"] == "child" && record["maker"].is_null())
        };
        world.records().into_iter().find(|record| fits(record).is_some())
    };
    let record = wait_for("the child to be made", child);
    let config = || world.read(record.join("config.json"));
    let before = config();
    let canary = world.home().join("canary");
    let evil = format!(
        "agent: touch {0}\npanes: [{{ command: 'touch {0}' }}]\nsandbox: {{ enabled: false, network: {{ policy: allow }} }}\n",
        canary.display()
    );
    world.write(world.tree("child").join(".workmux.yaml"), evil);
    world.user_config("sandbox: { backend: absent, enabled: false }\n");
    world.workmux(&["close", "child"]).run().ok();
    world.workmux(&["open", "child", "-S", "--backend", "minimal"]).run().code(1).warns("leave out --backend");
    world.workmux(&["open", "child", "-p", "echo \"in ${WM_SANDBOX_GUEST:-host}\""]).run().ok();
    wait_until("the child to speak", || world.printed().contains("in 1"));
    assert!(world.agent_of("child")["sandboxed"] == true);
    assert_eq!(config(), before);
    assert!(!canary.exists());
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.assert_clean();
}

#[test]
fn an_agent_that_does_not_begin_is_said() {
    require_engine!("tmux");
    let mut world = world();
    world.put_program("claude", "#!/bin/sh\nexit 7\n");
    let said = world.add(&["topic", "-p", "x"]).run().ok();
    said.says("✓ Created worktree 'topic'")
        .warns("the agent of 'topic' ended at once with 7")
        .warns("workmux open topic");
    let said = world.add(&["other", "-a", "absent-agent", "-p", "x"]).run().ok();
    said.warns("the agent of 'other' ended at once with 127").warns("workmux open other");
    // Where there is a window, what it shows is not said twice.
    let tmux = world.tmux();
    let said = world.add(&["shown", "-p", "x"]).envs(tmux.variables("test:window")).run().ok();
    said.never_says("ended at once");
    drop(tmux);
    world.put_program("claude", "#!/bin/sh\nexit 0\n");
    world.add(&["done", "-p", "x"]).run().ok().never_says("ended at once");
}
