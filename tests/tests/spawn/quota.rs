//! How many agents there may be (P40): each bound is met and not passed, and what is refused leaves nothing.

use serde_json::{Value, json};
use workmux_tests::{Sandbox, require_engine};

use super::scene::{
    PUPPET, Puppet, Witness, answers, branches, code, guest, json, on_each, record, records, requests, scene, traces,
    tree,
};

on_each!(p40_agents_start_agents_three_levels_deep_and_no_deeper);

fn spawn(name: &str) -> Value {
    json!({"type": "SpawnAgent", "prompt": "read line", "branch_name": name, "background": true})
}

#[test]
fn p40_ten_requests_at_once_and_the_host_goes_on_answering() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let topic = world.worktree("topic");
    let before = traces(&world);
    // Also what is refused for another reason counts.
    let mut asked = vec![spawn("-D"); 10];
    asked.extend([spawn("kid"), json!({"type": "Heartbeat"}), json!({"type": "Status"})]);
    let answered = answers(requests(&world, &asked).dir(&topic));
    let codes: Vec<&str> = answered.iter().map(code).collect();
    assert_eq!(codes[..10], ["bad_field"; 10], "{answered:?}");
    assert_eq!(codes[10..], ["quota", "Ok", "Output"], "{answered:?}");
    assert_eq!(traces(&world), before);
}

#[test]
fn p40_eight_live_agents_and_of_fifty_requests_at_once_no_more() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    let topic = world.worktree("topic");
    let many = "for i in $(seq 50); do workmux add kid-$i -p 'read line' > /dev/null 2>> .out & done; wait; \
                workmux heartbeat && workmux status --json";
    let run = guest(&world, many).dir(&topic).run().ok();
    let listed: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run}"));
    assert_eq!(listed.as_array().map(Vec::len), Some(8), "{run}");
    let said = world.read(topic.join(".out"));
    assert!(said.contains("8 agents of this family work already") && said.contains("too many agents"), "{said}");
    let children = |all: &[String]| all.iter().filter(|name| name.contains("kid-")).count();
    assert_eq!(children(&branches(&world)), 8);
    assert_eq!(records(&world).len(), 8);
    let found = std::fs::read_dir(tree(&world, "")).expect("the base").count();
    assert_eq!(found, 9, "the children and 'topic'");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}

#[test]
fn p40_one_live_agent_more_once_another_has_ended() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    let own = Puppet::new(&world, "own");
    let child = own.add(&world, "child");
    let mut asked: Vec<Value> = (2..=8).map(|n| spawn(&format!("kid-{n}"))).collect();
    asked.push(spawn("one-more"));
    let answered = own.asks(&asked);
    let codes: Vec<&str> = answered.iter().map(code).collect();
    assert_eq!(codes, ["Ok", "Ok", "Ok", "Ok", "Ok", "Ok", "Ok", "quota"], "{answered:?}");
    let before = traces(&world);
    // They are counted together: a child's are the family's.
    assert_eq!(code(&child.asks(&[spawn("one-more")])[0]), "quota");
    assert_eq!(traces(&world), before);
    own.does("workmux close kid-2");
    assert_eq!(code(&child.asks(&[spawn("one-more")])[0]), "Ok");
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}

#[test]
fn p40_sixty_four_agents_in_all() {
    require_engine!("bubblewrap");
    let world = scene(Sandbox::Bubblewrap);
    let _witness = Witness(&world);
    for (name, mutant, expected) in [("own", "", "quota"), ("loose", "p40_quota", "Ok")] {
        let own = Puppet::by(&world, name, world.workmux(&[]).mutant(mutant));
        let family = json(&world, record(&world, name).join("record.json"))["id"].as_str().expect("an id").to_owned();
        // As if it had had so many already: no more than ten are made in a minute.
        world.write(world.state().join("families").join(&family), "63");
        assert_eq!(code(&own.asks(&[spawn(&format!("{name}-kid"))])[0]), "Ok");
        own.does(&format!("workmux close {name}-kid"));
        let before = traces(&world);
        let answer = &own.asks(&[spawn(&format!("{name}-more"))])[0];
        assert_eq!(code(answer), expected, "{answer}");
        assert_eq!(traces(&world) == before, expected == "quota");
    }
    world.workmux(&["remove", "--all", "--force"]).run().ok();
}

fn p40_agents_start_agents_three_levels_deep_and_no_deeper(on: Sandbox) {
    let world = scene(on);
    let _witness = Witness(&world);
    let mut deepest = Puppet::new(&world, "own");
    for level in 1..=3 {
        deepest = deepest.add(&world, &format!("level-{level}"));
    }
    let said = deepest.does("true");
    assert_eq!(said, "");
    let before = traces(&world);
    let said = deepest.does(&format!("workmux add level-4 -p '{PUPPET}'"));
    assert!(said.contains("at most 3 levels deep"), "{said}");
    assert_eq!(traces(&world), before);
    let shown = world.workmux(&["status", "--tree"]).run().ok().stdout;
    for level in 1..=3 {
        let line = format!("\n{:1$}level-{level} ", "", level * 2);
        assert!(shown.contains(&line), "{shown}");
    }
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.wait_until_clean();
}
