//! Making, checking, changing, protecting and deleting instances that do not run.

use serde_json::json;

use super::case::{Needs, contract, double};

#[test]
fn an_instance_is_created_stopped() {
    contract(Needs::Files, |lima| {
        let template = lima.template("");
        let said = lima.run(&["create", "--tty=false", "--name=vm", &template]).ok().warns("limactl start vm");
        assert_eq!(said.stdout, "");
        assert_eq!(lima.status("vm"), "Stopped");
        for file in ["lima.yaml", "lima-version", "cloud-config.yaml"] {
            assert!(lima.dir("vm").join(file).is_file(), "{file}");
        }
        assert!(!lima.dir("vm").join("ha.pid").exists());
        let written = lima.world().read(lima.dir("vm").join("lima.yaml"));
        assert!(written.contains("images"), "{written}");
    });
}

#[test]
fn what_exists_is_not_created_again() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        let template = lima.template("");
        lima.run(&["create", "--tty=false", "--name=vm", &template]).code(1).warns("already exists");
        lima.run(&["create", "--tty=false", "vm"]).code(1).warns("already exists");
        assert_eq!(lima.list().len(), 1);
    });
}

#[test]
fn a_configuration_comes_from_standard_input() {
    contract(Needs::Files, |lima| {
        let yaml = lima.yaml("cpus: 1");
        lima.limactl(&["create", "--tty=false", "-"]).input(yaml.clone()).run().code(1).warns("--name");
        lima.limactl(&["create", "--tty=true", "--name=vm", "-"]).input(yaml.clone()).run().code(1).warns("--tty=true");
        lima.limactl(&["create", "--tty=false", "--name=vm", "-"]).input(yaml).run().ok();
        assert_eq!(lima.look("vm")["cpus"], 1);
    });
}

#[test]
fn a_file_names_its_instance() {
    contract(Needs::Files, |lima| {
        let template = lima.template("");
        lima.run(&["create", "--tty=false", &template]).ok();
        assert_eq!(lima.status("template"), "Stopped");
        lima.run(&["create", "--tty=false", "--name=x", "/nowhere/x.yaml"]).code(1).warns("no such file");
    });
}

#[test]
fn an_invalid_configuration_leaves_nothing() {
    contract(Needs::Files, |lima| {
        for (more, word) in [
            ("images: []", "images"),
            ("mounts: [{location: relative}]", "absolute"),
            ("mounts: [{location: /srv/x, mountPoint: /etc}]", "system path"),
            ("vmType: marvellous", "vmType"),
            ("provision: [{mode: never, script: x}]", "provision[0].mode"),
            ("memory: plenty", "memory"),
            ("cpus: [", ""),
        ] {
            let text = if more.starts_with("images") { more.to_owned() } else { lima.yaml(more) };
            let finished = lima.limactl(&["create", "--tty=false", "--name=vm", "-"]).input(text).run().code(1);
            assert!(finished.stderr.contains(word), "{more}: {finished}");
            assert!(!lima.dir("vm").exists(), "{more}");
        }
    });
}

#[test]
fn names_have_a_form() {
    contract(Needs::Files, |lima| {
        let template = lima.template("");
        for name in ["a--b", "a_", "-a", "a/b", "a.yaml", "..", &"a".repeat(80)] {
            let name = format!("--name={name}");
            lima.run(&["create", "--tty=false", &name, &template]).code(1);
        }
        assert_eq!(lima.run(&["list", "-q"]).ok().stdout, "");
    });
}

#[test]
fn sockets_must_fit() {
    contract(Needs::Files, |lima| {
        let template = lima.template("");
        let name = format!("--name={}", "a".repeat(70));
        lima.run(&["create", "--tty=false", &name, &template]).code(1).warns("UNIX_PATH_MAX");
    });
}

#[test]
fn templates_are_known_by_name() {
    double(|lima| {
        lima.run(&["create", "--tty=false", "--name=vm", "template:default"]).ok();
        let mounts = lima.look("vm")["config"]["mounts"].clone();
        assert_eq!(mounts[0]["location"], json!(lima.world().home()));
        lima.run(&["create", "--tty=false", "template:nope"]).code(1).warns("nope");
    });
}

#[test]
fn an_image_must_be_there() {
    contract(Needs::Files, |lima| {
        let yaml = "images: [{location: /nowhere/image}]\n";
        lima.limactl(&["create", "--tty=false", "--name=vm", "-"]).input(yaml).run().code(1).warns("/nowhere/image");
    });
}

#[test]
fn flags_change_the_configuration() {
    contract(Needs::Files, |lima| {
        let template = lima.template("");
        let mount = format!("--mount={}:w", lima.shared().display());
        let words = ["create", "--tty=false", "--name=vm", "--cpus=1", "--memory=1.5", "--disk=2", &mount];
        lima.run(&[&words[..], &["--set", ".message = \"hello\"", &template]].concat()).ok();
        let one = lima.look("vm");
        assert_eq!((&one["cpus"], &one["memory"]), (&json!(1), &json!(3u64 << 29)));
        assert_eq!((&one["disk"], &one["message"]), (&json!(2u64 << 30), &json!("hello")));
        let mount = &one["config"]["mounts"][0];
        assert_eq!((&mount["location"], &mount["writable"]), (&json!(lima.shared()), &json!(true)));
        lima.run(&["create", "--tty=false", "--name=x", "--cpus=many", &template]).code(1).warns("invalid argument");
    });
}

#[test]
fn files_are_validated() {
    contract(Needs::Files, |lima| {
        let good = lima.template("");
        assert_eq!(lima.run(&["validate", &good]).ok().warns("OK").stdout, "");
        let bad = lima.template("mounts: [{location: relative}]");
        lima.run(&["validate", &bad]).code(1).warns("absolute");
        lima.run(&["validate", "/nowhere.yaml"]).code(1).warns("no such file");
        assert_eq!(lima.run(&["list", "-q"]).ok().stdout, "");
    });
}

#[test]
fn a_stopped_instance_is_edited_by_flags() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        lima.run(&["edit", "--tty=false", "vm", "--cpus=3"]).ok();
        assert_eq!(lima.look("vm")["cpus"], 3);
        lima.run(&["edit", "--tty=false", "nope", "--cpus=3"]).code(1).warns("not found");
    });
}

#[test]
fn a_refused_edit_is_left_in_the_current_directory() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        let here = lima.world().home().join("here");
        lima.world().folder(&here);
        let edit = lima.limactl(&["edit", "--tty=false", "vm", "--set", ".vmType = \"marvellous\""]).dir(&here);
        edit.run().code(1).warns("lima.REJECTED.yaml");
        assert!(here.join("lima.REJECTED.yaml").is_file());
        assert_eq!(lima.look("vm")["vmType"], "qemu");
    });
}

#[test]
fn protected_instances_are_not_deleted() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        lima.run(&["protect", "vm"]).ok();
        assert_eq!(lima.look("vm")["protected"], true);
        lima.run(&["protect", "vm"]).ok().warns("already protected");
        lima.run(&["delete", "vm"]).code(1).warns("protected");
        lima.run(&["delete", "-f", "vm"]).code(1).warns("protected");
        lima.run(&["unprotect", "vm"]).ok();
        lima.run(&["unprotect", "vm"]).ok();
        lima.run(&["protect", "nope"]).code(1);
        lima.run(&["delete", "vm"]).ok();
        assert!(!lima.dir("vm").exists());
    });
}

#[test]
fn deleting_what_is_not_there_succeeds() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        lima.run(&["delete", "nope", "vm"]).ok().warns("Ignoring non-existent instance");
        assert!(!lima.dir("vm").exists());
        lima.run(&["rm", "-f", "nope"]).ok().warns("Ignoring non-existent instance");
    });
}

#[test]
fn stopping_what_does_not_run_fails() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        lima.run(&["stop", "vm"]).code(1).warns("expected status").warns("Stopped");
        lima.run(&["stop", "nope"]).code(1).warns("lima.yaml");
        lima.run(&["stop", "-f", "vm"]).ok();
        lima.run(&["stop", "-f", "nope"]).code(1);
        assert_eq!(lima.status("vm"), "Stopped");
    });
}

#[test]
fn what_is_left_of_dead_processes_is_cleared_away() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        // No process has this number: it is beyond what the kernel gives.
        for file in ["ha.pid", "qemu.pid"] {
            lima.world().write(lima.dir("vm").join(file), "2000000000\n");
        }
        assert_eq!(lima.status("vm"), "Stopped");
        assert!(!lima.dir("vm").join("ha.pid").exists());
    });
}

#[test]
fn a_number_that_somebody_else_has_now_is_broken() {
    contract(Needs::Files, |lima| {
        lima.create("vm", "");
        lima.world().write(lima.dir("vm").join("ha.pid"), format!("{}\n", std::process::id()));
        let one = lima.look("vm");
        assert_eq!(one["status"], "Broken");
        assert!(one["errors"].to_string().contains("ha.sock"), "{one}");
        lima.run(&["start", "--tty=false", "vm"]).code(1);
        lima.run(&["stop", "vm"]).code(1).warns("Broken");
        std::fs::remove_file(lima.dir("vm").join("ha.pid")).unwrap();
        lima.run(&["delete", "vm"]).ok();
    });
}
