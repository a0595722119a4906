//! The command line itself: what is unknown is refused, as cobra does, and nothing runs as root.

use workmux_tests::given;

use super::case::{Needs, contract, each_release};

#[test]
fn unknown_commands_and_flags_are_refused() {
    contract(Needs::Files, |lima| {
        lima.run(&["frobnicate"]).code(1).warns("unknown command");
        lima.run(&["list", "--frobnicate"]).code(1).warns("unknown flag: --frobnicate");
        lima.run(&["list", "-Z"]).code(1).warns("unknown shorthand flag: 'Z'");
        lima.run(&["--frobnicate", "list"]).code(1).warns("unknown flag: --frobnicate");
        lima.run(&["create", "--name"]).code(1).warns("flag needs an argument");
        lima.run(&["start", "--timeout=soon", "vm"]).code(1).warns("invalid argument");
        lima.run(&["list", "--json=perhaps"]).code(1).warns("invalid argument");
        assert!(!lima.dir("vm").exists());
    });
}

#[test]
fn words_are_counted() {
    contract(Needs::Files, |lima| {
        lima.run(&["stop", "a", "b"]).code(1).warns("accepts at most 1 arg");
        lima.run(&["start", "a", "b"]).code(1).warns("accepts at most 1 arg");
        for command in ["delete", "shell", "validate", "protect"] {
            lima.run(&[command]).code(1).warns("requires at least 1 arg");
        }
        lima.run(&["copy", "one"]).code(1).warns("requires at least 2 arg");
    });
}

#[test]
fn the_version_is_one_line() {
    each_release(|lima, release| {
        let said = lima.run(&["--version"]).ok();
        assert_eq!(said.stdout, format!("limactl version {release}\n"));
    });
}

#[test]
fn help_is_no_failure() {
    contract(Needs::Files, |lima| {
        lima.run(&["--help"]).ok().says("Usage");
        lima.run(&["create", "--help"]).ok().says("create");
        lima.run(&[]).ok().says("Usage");
    });
}

#[test]
fn log_lines_have_levels_and_can_be_json() {
    contract(Needs::Files, |lima| {
        let said = lima.run(&["--log-format", "json", "list", "--json"]).ok();
        assert_eq!(said.stdout, "");
        let line: serde_json::Value = serde_json::from_str(said.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(line["level"], "warning");
        assert!(line["msg"].as_str().unwrap().contains("No instance found") && line["time"].is_string());
        lima.run(&["--log-format=xml", "list"]).code(1).warns("unsupported log-format");
        lima.run(&["list"]).ok().warns("level=warning msg=");
        assert_eq!(lima.run(&["--log-level=error", "list"]).ok().stderr, "");
        lima.run(&["--log-level=loud", "list"]).code(1).warns("not a valid logrus Level");
    });
}

#[test]
fn root_is_refused_as_each_release_does() {
    if !given().user.borrowed {
        return;
    }
    each_release(|lima, release| {
        let run = |words: &[&str]| lima.limactl(words).unrecorded().as_root().run();
        let (list, version) = match release {
            "1.0.7" | "1.2.3" => (1, 0),
            "2.0.3" => (2, 2),
            _ => (1, 1),
        };
        run(&["list", "--json"]).code(list).warns("must not run as the root user");
        assert_eq!(run(&["--version"]).code, Some(version), "{release}");
    });
}

#[test]
fn flags_come_with_releases() {
    each_release(|lima, release| {
        lima.create("vm", "");
        let known = |words: &[&str]| !lima.limactl(words).run().stderr.contains("unknown");
        assert_eq!(known(&["list", "-y"]), release != "1.0.7", "{release}: -y");
        assert_eq!(known(&["shell", "--reconnect", "vm"]), release != "1.0.7", "{release}: --reconnect");
        assert_eq!(known(&["shell", "--preserve-env", "vm"]), release.starts_with('2'), "{release}: --preserve-env");
    });
}
