//! `list`: JSON Lines, names and templates, and what it does about what is unknown or broken.

use serde_json::json;

use super::case::{Needs, contract, double, each_release};

#[test]
fn without_instances_nothing_is_listed() {
    contract(Needs::Files, |lima| {
        for words in [&["list", "--json"][..], &["list"], &["list", "-q"], &["ls", "--format", "{{.Name}}"]] {
            assert_eq!(lima.run(words).ok().warns("No instance found").stdout, "");
        }
    });
}

#[test]
fn each_instance_is_one_line_of_json() {
    contract(Needs::Files, |lima| {
        lima.create("b", "cpus: 2\nmemory: 1GiB\ndisk: 3GiB");
        lima.create("a", "");
        let all = lima.list();
        assert_eq!(all.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["a", "b"]);
        let one = &all[1];
        assert_eq!(one["hostname"], "lima-b");
        assert_eq!(one["status"], "Stopped");
        assert_eq!(one["dir"], json!(lima.dir("b")));
        assert_eq!(one["vmType"], "qemu");
        assert_eq!((&one["cpus"], &one["memory"], &one["disk"]), (&json!(2), &json!(1u64 << 30), &json!(3u64 << 30)));
        assert_eq!(one["sshConfigFile"], json!(lima.dir("b").join("ssh.config")));
        assert_eq!(one["sshAddress"], "127.0.0.1");
        assert_eq!(one["protected"], false);
        assert_eq!(one["LimaHome"], json!(lima.home()));
        assert!(
            one["limaVersion"].is_string() && one["config"].is_object() && one["config"]["user"]["home"].is_string()
        );
        for absent in ["hostAgentPID", "driverPID", "errors", "sshLocalPort"] {
            assert!(one.get(absent).is_none(), "{absent}: {one}");
        }
    });
}

#[test]
fn an_unknown_name_fails_after_the_others() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        let said = lima.run(&["list", "--json", "nope", "vm"]).code(1).warns("No instance matching nope found.");
        assert_eq!(said.stdout.lines().count(), 1);
        lima.run(&["list", "-q", "nope"]).code(1);
        assert_eq!(lima.run(&["list", "--json", "vm"]).ok().stdout.lines().count(), 1);
    });
}

#[test]
fn the_first_release_forgave_an_unknown_name_among_none() {
    each_release(|lima, release| {
        let code = if release == "1.0.7" { 0 } else { 1 };
        lima.run(&["list", "--json", "nope"]).code(code);
    });
}

#[test]
fn names_and_templates_are_lines() {
    contract(Needs::Files, |lima| {
        lima.create("a", "");
        lima.create("b", "");
        assert_eq!(lima.run(&["list", "-q"]).ok().stdout, "a\nb\n");
        assert_eq!(lima.run(&["list", "--format", "{{.Name}} {{.Status}}"]).ok().stdout, "a Stopped\nb Stopped\n");
        let config = lima.dir("a").join("ssh.config");
        let said = lima.run(&["list", "--format={{.SSHLocalPort}} {{.SSHConfigFile}}", "a"]).ok().stdout;
        assert_eq!(said, format!("0 {}\n", config.display()));
        lima.run(&["list", "--format", "{{.Frob}}"]).code(1).warns("Frob");
        lima.run(&["list", "--json", "--format", "json"]).code(1).warns("conflicts");
        lima.run(&["list", "-q", "--json"]).code(1).warns("--quiet");
        lima.run(&["list"]).ok().says("NAME").says("STATUS").says("Stopped");
    });
}

#[test]
fn hidden_directories_are_no_instances() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        for name in [".hidden", "_hidden"] {
            lima.world().folder(&lima.dir(name));
        }
        assert_eq!(lima.run(&["list", "-q"]).ok().stdout, "vm\n");
        assert_eq!(lima.list().len(), 1);
    });
}

#[test]
fn a_directory_without_a_configuration_breaks_list_before_2_2() {
    each_release(|lima, release| {
        lima.create("vm", "");
        lima.world().folder(&lima.dir("stray"));
        if release == "2.2.0" {
            assert_eq!(lima.status("stray"), "Broken");
            assert_eq!(lima.status("vm"), "Stopped");
            lima.run(&["delete", "-f", "stray"]).code(1);
            assert!(lima.dir("stray").exists());
        } else {
            let said = lima.run(&["list", "--json"]).code(1).warns("lima.yaml");
            assert_eq!(said.stdout, "");
            lima.run(&["delete", "-f", "stray"]).ok().warns("Ignoring non-existent instance");
        }
    });
}

#[test]
fn errors_are_texts_since_2_0() {
    each_release(|lima, release| {
        lima.create("vm", "");
        lima.world().write(lima.dir("vm").join("lima.yaml"), "images: {\n");
        let errors = lima.look("vm")["errors"].clone();
        if release.starts_with('2') {
            assert!(errors[0].as_str().is_some_and(|text| text.contains("YAML")), "{errors}");
        } else {
            assert_eq!(errors, json!([{}]));
        }
        lima.run(&["start", "--tty=false", "vm"]).code(1);
    });
}

#[test]
fn the_guests_home_changed_in_2_1() {
    each_release(|lima, release| {
        lima.create("vm", "");
        let one = lima.look("vm");
        let suffix = if release >= "2.1" { "guest" } else { "linux" };
        let user = &lima.world().given().user.name;
        assert_eq!(one["config"]["user"]["home"], json!(format!("/home/{user}.{suffix}")));
        assert_eq!(one["limaVersion"], release);
    });
}

#[test]
fn list_can_be_slow_and_say_something_else_first() {
    double(|lima| {
        lima.create("vm", "");
        let all = |faults: serde_json::Value| lima.world().write(lima.home().join("_fake.json"), faults.to_string());
        all(json!({"garbage_before_json": "warning: hello", "slow_list_ms": 50}));
        let before = std::time::Instant::now();
        let said = lima.run(&["list", "--json"]).ok().stdout;
        assert!(before.elapsed().as_millis() >= 50);
        assert!(said.starts_with("warning: hello\n{"), "{said}");
        all(json!({"version": "1.0.7"}));
        let named = lima.limactl(&["--version"]).without("FAKE_LIMA_VERSION").run().ok().stdout;
        assert_eq!(named, "limactl version 1.0.7\n");
        all(json!({"no_such_fault": true}));
        lima.run(&["list"]).code(1).warns("no_such_fault");
    });
}
