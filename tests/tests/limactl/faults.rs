//! What tests of a backend can make go wrong. Each does what the real fault would look like from outside.

use serde_json::{Value, json};
use workmux_tests::wait_until;

use super::case::{Lima, double};

fn start(lima: &Lima, faults: Value, words: &[&str]) -> workmux_tests::Finished {
    lima.create("vm", "");
    lima.fault("vm", faults);
    lima.run(&[&["start", "--tty=false", "vm"][..], words].concat())
}

#[test]
fn a_start_fails() {
    double(|lima| {
        start(lima, json!({"fail_start": "no such luck"}), &[]).code(1).warns("no such luck");
        assert_eq!(lima.status("vm"), "Stopped");
        lima.mend("vm");
        lima.run(&["start", "--tty=false", "vm"]).ok();
    });
}

#[test]
fn a_start_hangs_until_its_time_is_over_and_the_machine_stays() {
    double(|lima| {
        start(lima, json!({"hang_start": true}), &["--timeout", "500ms"]).code(1).warns("did not receive an event");
        lima.wait_for_status("vm", "Running");
        lima.run(&["stop", "-f", "vm"]).ok();
        wait_until("nothing to be left", || lima.left().is_empty());
    });
}

#[test]
fn a_start_ends_degraded_and_the_machine_stays() {
    double(|lima| {
        start(lima, json!({"degraded": "no guest agent"}), &[]).code(1).warns("DEGRADED").warns("no guest agent");
        assert_eq!(lima.status("vm"), "Running");
        lima.shell("vm", &["true"]).run().ok();
    });
}

#[test]
fn while_the_machine_is_made_the_instance_is_broken() {
    double(|lima| {
        lima.create("vm", "");
        lima.fault("vm", json!({"broken_window_ms": 1500}));
        let starting = lima.limactl(&["start", "--tty=false", "vm"]).start();
        lima.wait_for_status("vm", "Broken");
        starting.wait().ok();
        assert_eq!(lima.status("vm"), "Running");
    });
}

#[test]
fn a_boot_takes_its_time() {
    double(|lima| {
        let before = std::time::Instant::now();
        start(lima, json!({"boot_ms": 300}), &[]).ok();
        assert!(before.elapsed().as_millis() >= 300);
    });
}

#[test]
fn the_machine_dies_later() {
    double(|lima| {
        start(lima, json!({"driver_dies_after_ms": 100}), &[]).ok();
        lima.wait_for_status("vm", "Stopped");
    });
}

#[test]
fn the_host_agent_dies_later() {
    double(|lima| {
        start(lima, json!({"hostagent_dies_after_ms": 100}), &[]).ok();
        lima.wait_for_status("vm", "Broken");
        lima.process("vm", "qemu.pid");
    });
}

#[test]
fn nobody_answers_ssh() {
    double(|lima| {
        start(lima, json!({"ssh_refused": true}), &[]).ok();
        assert_eq!(lima.status("vm"), "Running");
        lima.shell("vm", &["true"]).run().code(255).warns("Connection refused");
    });
}

#[test]
fn somebody_else_answers() {
    double(|lima| {
        start(lima, json!({"wrong_port": true}), &[]).ok();
        lima.shell("vm", &["true"]).run().code(255);
        let copied = lima.run(&["copy", "vm:/etc/hosts", "."]);
        assert_ne!(copied.code, Some(0), "{copied}");
    });
}

#[test]
fn nobody_says_a_word() {
    double(|lima| {
        start(lima, json!({"ssh_hangs": true}), &[]).ok();
        lima.shell("vm", &["true"]).unrecorded().behind("timeout", &["1"]).run().code(124);
    });
}

#[test]
fn there_is_no_room() {
    double(|lima| {
        lima.world().write(lima.home().join("_fake.json"), json!({"disk_full": true}).to_string());
        let template = lima.template("");
        lima.run(&["create", "--tty=false", "--name=vm", &template]).code(1).warns("no space left on device");
        assert_eq!(lima.status("vm"), "Stopped");
        lima.run(&["start", "--tty=false", "vm"]).code(1).warns("no space left on device");
    });
}

#[test]
fn every_call_is_noted() {
    double(|lima| {
        lima.create("vm", "");
        let dir = lima.shared();
        lima.limactl(&["list", "--json", "it's"]).env("SECRET", "s3").dir(&dir).run().code(1);
        let log = lima.world().read(lima.home().join("_fake.log"));
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["argv"], json!(["list", "--json", "it's"]));
        assert_eq!((&last["env"]["SECRET"], &last["cwd"]), (&json!("s3"), &json!(dir)));
    });
}

#[test]
fn what_the_stand_in_lacks_is_refused_by_its_name() {
    double(|lima| {
        lima.run(&["restart", "vm"]).code(1).warns("fake-limactl has no command");
        lima.run(&["create", "--tty=false", "--name=vm", "--set", "del(.images)"]).code(1).warns("fake-limactl");
        lima.run(&["start", "--foreground", "vm"]).code(1).warns("fake-limactl");
        assert_eq!(lima.list().len(), 0);
    });
}

#[test]
fn what_is_no_fault_is_refused() {
    double(|lima| {
        start(lima, json!({"fail_stort": "typo"}), &[]).code(1).warns("fail_stort");
    });
}
