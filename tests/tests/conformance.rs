//! The conformance kit on every backend of ours, on real engines; and on one that is wrong on purpose.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use workmux_tests::{Finished, Sandbox, World, on_every_sandbox, require_engine};

on_every_sandbox!(no_rule_fails);

/// All rules on an engine that takes half a second for each command, beside other tests.
const ALL: Duration = Duration::from_secs(600);

fn check(world: &World, words: &[&str]) -> Finished {
    world.workmux(&["plugin", "check"]).args(words).within(ALL).run()
}

/// Each rule with its verdict and the reason.
#[track_caller]
fn verdicts(finished: &Finished) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}\n{finished}"));
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let rules = report["rules"].as_array().unwrap().iter();
    rules.map(|rule| (text(rule, "rule"), text(rule, "verdict"), text(rule, "why"))).collect()
}

fn no_rule_fails(on: Sandbox) {
    let world = on.world();
    let junit = world.home().join("report.xml");
    let finished = check(&world, &[on.backend(), "--json", "--junit", junit.to_str().unwrap()]).ok();
    let all = verdicts(&finished);
    assert_eq!(all.len(), 26, "{finished}");
    for (rule, verdict, why) in &all {
        let outlives = rule.starts_with("K6");
        assert!(verdict == "pass" || outlives && verdict == "not-applicable", "{rule}: {verdict}: {why}");
    }
    let xml = world.read(&junit);
    assert!(xml.contains("tests=\"26\" failures=\"0\"") && xml.ends_with("</testsuite>\n"), "{xml}");
    let left = std::fs::read_dir(world.home().join(".cache/workmux/kit")).unwrap().count();
    assert_eq!(left, 0, "where it was tried goes with it");
    world.assert_clean();
}

#[test]
fn a_library_is_named_by_its_path_and_what_it_never_claimed_does_not_apply() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let library = world.install_plugin("minimal");
    let finished = check(&world, &[library.to_str().unwrap()]).ok();
    assert!(
        finished.stdout.ends_with("minimal 0.1.0: 19 pass, 0 fail, 7 not applicable, 0 unverified\n"),
        "{finished}"
    );
    finished.says("✓ K301  each byte of each word arrives\n").says("– K404  ").says("does not isolate");
    // Nobody but the kit trusts it now.
    world.workmux(&["plugin", "list"]).run().ok().says("minimal").never_says("trusted");
}

#[test]
fn a_backend_that_runs_nothing_fails_by_the_number_of_what_it_lacks() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    let library = world.install_plugin("hostile");
    let finished = check(&world, &[library.to_str().unwrap(), "--json", "--only", "K1", "--only", "K2"]).code(1);
    let all = verdicts(&finished);
    let of = |number: &str| all.iter().find(|(rule, ..)| rule == number).map(|(_, verdict, _)| verdict.as_str());
    assert_eq!(of("K202"), Some("fail"), "{finished}");
    for sin in ["exit@prepare", "segv@exec"] {
        let run = world.workmux(&["plugin", "check"]).arg(&library).args(["--json", "--only", "K202"]);
        let finished = run.env("WORKMUX_HOSTILE", sin).within(ALL).run().code(1);
        let all = verdicts(&finished);
        assert!(all.len() == 1 && all[0].1 == "fail" && all[0].2.contains("hostile"), "{sin}: {finished}");
    }
}

#[test]
fn what_cannot_be_tried_is_said() {
    require_engine!("bubblewrap");
    let world = World::bubblewrap();
    check(&world, &["nobody"]).code(1).warns("nobody");
    check(&world, &["./nobody.so"]).code(1).warns("cannot find the library ./nobody.so");
    let text = world.home().join("libworkmux_backend_text.so");
    world.write(&text, "no library\n");
    check(&world, &[text.to_str().unwrap()]).code(1).warns("libworkmux_backend_text.so");
    check(&world, &["bubblewrap", "--only", "K9"]).code(1).warns("there is no rule 'K9'").warns("the first is K101");
}
