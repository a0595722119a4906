//! P76 to P80: what each sin costs.

use std::time::Duration;

use super::crime::{SECRET, commit, commit_on, goes_on_without};
use super::stage::Stage;

const VERBS: [&str; 15] = [
    "settings",
    "check",
    "rpc_route",
    "prepare",
    "exec",
    "attach",
    "image",
    "pull",
    "build",
    "recipe",
    "freshness",
    "install",
    "explain",
    "verify",
    "release",
];

#[test]
fn p76_a_panic_in_each_verb_is_an_error_of_that_call() {
    for verb in VERBS {
        let report = commit(&format!("panic@{verb}"));
        report.only(&[verb]);
        let said = report.of(verb);
        let told = format!("Panicked backend 'hostile': the backend panicked: hostile in {verb} (");
        assert!(said.starts_with(&told) && said.contains("deed.rs:"), "{said}");
        assert!(!report.stderr.contains("panicked"), "it is told once, by the error: {}", report.stderr);
    }
}

#[test]
fn p76_however_it_panics() {
    for (sin, words) in [
        ("panic-later", "hostile in check, later"),
        ("panic-payload", "no message"),
        ("panic-drop", "hostile in a destructor"),
    ] {
        let report = commit(&format!("{sin}@check"));
        report.only(&["check"]);
        assert!(report.of("check").starts_with("Panicked ") && report.of("check").contains(words), "{report:?}");
    }
}

#[test]
fn p76_a_panic_while_it_starts_is_a_reason_not_to_use_it() {
    for place in ["create", "features", "accessor"] {
        let report = commit(&format!("panic@{place}"));
        report.only(&["find"]);
        let said = report.of("find");
        assert!(said.contains("could not start: the backend panicked") && said.contains(place), "{said}");
    }
}

#[test]
fn p76_a_panic_in_a_session_ends_the_session() {
    commit("none@session").only(&["again"]);
    let report = commit("panic@session-run");
    report.only(&["session", "again"]);
    assert!(report.of("session").contains("hostile in session-run"), "{report:?}");
    for place in ["session-signal", "session-resize", "session-drop"] {
        let report = commit(&format!("panic@{place}"));
        report.only(&["again"]);
        assert!(report.of("session").contains("code: Some(7)"), "{report:?}");
    }
    commit("hang@session-signal").only(&["again"]);
    commit("hang@session-drop").only(&["again"]);
    commit("forever@session").only(&["again"]);
}

#[test]
fn p77_a_call_that_hangs_is_given_up_at_its_deadline() {
    for (sin, verb) in [
        ("hang", "settings"),
        ("hang", "prepare"),
        ("pending", "check"),
        ("panic-cancel", "rpc_route"),
        ("hang-cancel", "exec"),
        ("flood-forever", "release"),
    ] {
        let report = commit(&format!("{sin}@{verb}"));
        report.only(&[verb]);
        assert!(report.of(verb).starts_with("Timeout backend 'hostile': did not answer"), "{report:?}");
    }
}

#[test]
fn p77_without_its_deadline_a_call_waits_for_ever() {
    let time = Duration::from_secs(6);
    // Only the test build can do without.
    assert!(!cfg!(feature = "mutants") || goes_on_without("p77_deadline", "pending@settings", time));
    assert!(!goes_on_without("none", "nothing", time), "the time is enough where nothing hangs");
}

#[test]
fn p77_progress_keeps_a_long_step_alive_but_not_for_ever() {
    let report = commit("progress@prepare");
    report.only(&[]);
    assert!(report.number("steps") >= 10, "{report:?}");
    let report = commit("flood-forever@prepare");
    report.only(&["prepare"]);
    assert!(report.of("prepare").contains("within 6 s"), "{report:?}");
}

#[test]
fn p77_a_flood_is_bounded() {
    let report = commit("flood@check");
    let (lines, steps) = (report.number("lines"), report.number("steps"));
    assert!((1..500).contains(&lines) && (1..500).contains(&steps), "{lines} lines, {steps} steps");
    let failed: &[&str] = if report.of("check").starts_with("Timeout") { &["check"] } else { &[] };
    report.only(failed);
}

#[test]
fn p77_tools_end_with_their_call() {
    let report = commit("tool-hang@check");
    report.only(&["check"]);
    assert!(report.of("check").starts_with("Timeout"), "{report:?}");
    assert_eq!(report.number("children"), 0);

    let report = commit("tool-hang@dropped");
    report.only(&[]);
    assert_eq!(report.number("left by the dropped one"), 0);

    let report = commit("tool-many@check");
    report.only(&[]);
    assert!(report.of("line").contains("more than 32 tools at once"), "{report:?}");
    assert_eq!(report.number("children"), 0);
}

#[test]
fn p77_what_takes_the_process_down_is_named_with_a_code_of_ours() {
    for (sin, words) in
        [("exit", "ended the program"), ("abort", "aborted"), ("segv", "crashed"), ("overflow", "crashed")]
    {
        let report = commit(&format!("{sin}@check"));
        assert_eq!(report.code, Some(125), "{sin}: {report:?}");
        let line = report.stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("workmux: the backend 'hostile' {words}")), "{sin}: {}", report.stderr);
    }
}

#[test]
fn p73_what_dies_or_hangs_when_it_is_loaded_does_so_in_a_child() {
    for (sin, words) in [
        ("exit", "loading it ends the program (exit code 42)"),
        ("abort", "loading it crashes (signal 6)"),
        ("segv", "loading it crashes (signal 11)"),
        ("hang", "loading it does not come to an end"),
    ] {
        let report = commit(&format!("{sin}@create"));
        report.only(&["find"]);
        assert!(report.of("find").contains(words), "{sin}: {report:?}");
    }
}

#[test]
fn p78_answers_that_cannot_be_are_errors() {
    for (sin, verb, words) in [
        ("mask-up", "settings", "demands a mask for '../../home'"),
        ("mask-absolute", "settings", "demands a mask for '/etc/passwd'"),
        ("mask-empty", "settings", "demands a mask for ''"),
        ("masks", "settings", "too many masks"),
        ("name-empty", "prepare", "names its instance ''"),
        ("name-escape", "prepare", "names its instance 'ab'"),
        ("name-option", "prepare", "names its instance '--rm'"),
        ("name-long", "prepare", "names its instance 'aaaa"),
        ("home-relative", "prepare", "not an absolute path"),
        ("home-up", "prepare", "not an absolute path"),
        ("variable", "prepare", "sets the variable 'A=B'"),
        ("state-huge", "prepare", "too many state"),
        ("instance-image", "prepare", "names its image '../x y'"),
        ("image-empty", "image", "names its image ''"),
        ("image-up", "image", "names its image '../../x'"),
        ("image-lines", "image", "names its image 'a b'"),
        ("image-long", "image", "names its image 'aaaa"),
        ("recipe-up", "recipe", "names its file '../outside'"),
        ("recipe-absolute", "recipe", "names its file '/tmp/outside'"),
        ("recipe-dots", "recipe", "names its file '..'"),
        ("recipe-empty", "recipe", "names its file ''"),
        ("recipe-control", "recipe", "names its file 'a"),
        ("recipe-huge", "recipe", "too many bytes of a recipe"),
        ("places", "install", "too many places"),
        ("error-escape", "prepare", "no"),
        ("program-empty", "exec", "the program is ''"),
        ("program-relative", "exec", "the program is 'sh'"),
        ("program-up", "exec", "the program is '/usr/../bin/sh'"),
        ("program-nul", "exec", "the program is '/bin/sh'"),
        ("argument-nul", "exec", "must not contain NUL"),
        ("cwd-relative", "exec", "the directory is 'somewhere'"),
        ("cwd-nul", "exec", "the directory is '/ab'"),
        ("plan-variable", "exec", "sets the variable ''"),
        ("companion", "exec", "a companion is 'sh'"),
        ("companions", "exec", "too many companions"),
        ("cleanup", "exec", "clean up with './sh'"),
        ("arguments", "exec", "too many arguments"),
    ] {
        let report = commit(sin);
        report.only(&[verb]);
        assert!(report.of(verb).contains(words), "{sin}: {}", report.of(verb));
    }
    let report = commit("notes");
    report.only(&[]);
    assert!(report.of("prepare").starts_with("ok hostile-1 32 "), "{}", report.of("prepare").len());
    commit("refusal").only(&[]);
}

#[test]
fn p78_impossible_ends_of_a_session_are_errors() {
    for sin in ["end-nothing", "end-both", "end-zero", "end-signal", "end-negative"] {
        let report = commit(&format!("{sin}@session"));
        report.only(&["session", "again"]);
        assert!(report.of("session").contains("reports an impossible end"), "{report:?}");
    }
}

#[test]
fn p78_unreadable_answers_are_errors() {
    const ALL: &[&str] = &VERBS;
    for (sin, verb, words) in [
        ("raw-garbage", "settings", "cannot read a message"),
        ("raw-half", "settings", "cannot read a message"),
        ("raw-type", "settings", "cannot read a message"),
        ("raw-deep", "settings", "recursion limit"),
        ("raw-huge", "settings", "which is more than"),
        ("raw-error", "check", "an error that cannot be read"),
        ("raw-transport", "exec", "unknown variant `teleport`"),
        ("raw-session", "exec", "session but sent none"),
        ("raw-code", "exec", "expected u8"),
        ("raw-kind", "exec", "Internal backend 'hostile': m -> h"),
        ("raw-panic-later", "exec", "panicked in 'exec'"),
    ] {
        let report = commit(sin);
        assert!(report.of(verb).contains(words), "{sin}: {}", report.of(verb));
        let failed: Vec<&str> = ALL.iter().copied().filter(|verb| !report.of(verb).starts_with("ok")).collect();
        report.only(&failed);
    }
    for (sin, words) in [("raw-describe", "cannot read a message"), ("raw-create", "error that cannot be read")] {
        let report = commit(sin);
        report.only(&["find"]);
        assert!(report.of("find").contains(words), "{report:?}");
    }
    let report = commit("raw-events");
    assert_eq!((report.code, report.number("lines")), (Some(0), 0), "{report:?}");
    assert!(report.of("release").starts_with("ok"), "{report:?}");

    // Beyond the author API nothing catches a panic; it is still named.
    let report = commit("raw-panic");
    assert_eq!(report.code, Some(125), "{report:?}");
    assert!(report.stderr.contains("workmux: the backend 'hostile'"), "{report:?}");
}

#[test]
fn p79_claims_that_do_not_hold_are_refused() {
    for (sin, words) in [
        (
            "no-attach",
            "claims the capabilities attach, images, install, instances, its code offers images, install, instances",
        ),
        (
            "no-images",
            "claims the capabilities attach, images, install, instances, its code offers attach, install, instances",
        ),
        ("no-mounts", "claims isolation 'process' but cannot mount"),
    ] {
        let report = commit(sin);
        report.only(&["find"]);
        assert!(report.of("find").contains(words), "{report:?}");
    }
    let report = commit("no-network");
    report.only(&["prepare"]);
    assert!(report.of("prepare").starts_with("Refused backend 'hostile': cannot provide a sandbox with network"));
}

#[test]
fn p80_wishes_that_go_too_far_are_refused() {
    for (sin, words) in [
        ("wide", "listen on '0.0.0.0'"),
        ("wide-six", "listen on '::'"),
        ("wide-mapped", "listen on '::ffff:0.0.0.0'"),
        ("multicast", "listen on '224.0.0.1'"),
        ("host-option", "names its guests' host '-oProxyCommand=x'"),
        ("host-lines", "names its guests' host 'a b'"),
    ] {
        let report = commit(sin);
        report.only(&["rpc_route"]);
        assert!(report.of("rpc_route").contains(words), "{report:?}");
    }
}

#[test]
fn p80_tools_see_only_the_variables_of_the_manifest() {
    let report = commit("environment");
    report.only(&[]);
    let mut seen: Vec<&str> = report.of("prepare").split(' ').skip(3).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["PATH=/usr/bin", "WORKMUX_TEST_PASSED=passed"]);
    assert!(!commit("request").of("prepare").contains(SECRET));
}

#[test]
fn p80_a_trace_has_a_line_for_each_call_and_tool_and_no_value() {
    let stage = Stage::new();
    stage.install("hostile");
    stage.install("minimal");
    let traced = |wish: &str| {
        let report = commit_on(&stage, wish);
        let trace = std::fs::read_to_string(stage.at("trace")).unwrap();
        std::fs::remove_file(stage.at("trace")).unwrap();
        (report, trace)
    };
    let (report, trace) = traced("environment");
    report.only(&[]);
    assert!(!trace.contains("passed") && !trace.contains(SECRET), "{trace}");
    let one = |words: &str| {
        let lines: Vec<&str> = trace.lines().filter(|line| line.contains(words)).collect();
        assert_eq!(lines.len(), 1, "{words}: {trace}");
        lines[0].to_owned()
    };
    for verb in ["load", "settings", "check", "rpc_route", "prepare", "exec", "pull", "release"] {
        let line = one(&format!(" plugin hostile {verb}: "));
        assert!(line.contains(" ms") && line.ends_with(", ok"), "{line}");
        assert_eq!(line.contains(" bytes there, "), verb != "load", "{line}");
    }
    let tool = one(" plugin hostile runs env: ");
    assert!(tool.contains("0 bytes there, ") && tool.ends_with(", exit status: 0"), "{tool}");
    assert!(!tool.contains(" 0 back"), "it printed its variables: {tool}");

    let (_, trace) = traced("panic@prepare");
    assert!(
        trace.lines().any(|line| line.contains(" hostile prepare: ") && line.ends_with("failed (Panicked)")),
        "{trace}"
    );
    let (_, trace) = traced("tool-hang@dropped");
    assert!(trace.lines().any(|line| line.contains(" hostile release: ") && line.ends_with(", given up")), "{trace}");
}
