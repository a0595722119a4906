//! Starting and stopping: the processes behind an instance, what is seen of them, and what happens when they die.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpgid;
use serde_json::json;
use workmux_tests::{Process, wait_until};

use super::case::{Lima, Needs, contract, double};

fn end(process: &Process) {
    kill(process.pid, Signal::SIGKILL).expect("it runs");
    wait_until("the process to end", || !process.lives());
}

/// Nothing runs that belongs to the user, and no file says so.
#[track_caller]
fn assert_still(lima: &Lima, name: &str) {
    wait_until("nothing to be left", || lima.left().is_empty());
    for file in ["ha.pid", "ha.sock", "qemu.pid", "ssh.sock"] {
        assert!(!lima.dir(name).join(file).exists(), "{file}");
    }
}

#[test]
fn a_started_instance_runs_in_the_background() {
    contract(Needs::Boot, |lima| {
        lima.create("vm", "");
        assert_eq!(lima.run(&["start", "--tty=false", "vm"]).ok().warns("[hostagent]").warns("READY").stdout, "");
        let one = lima.look("vm");
        assert_eq!(one["status"], "Running");
        let (agent, driver) = (lima.process("vm", "ha.pid"), lima.process("vm", "qemu.pid"));
        assert_eq!(one["hostAgentPID"], agent.pid.as_raw());
        assert_eq!(one["driverPID"], driver.pid.as_raw());
        assert_eq!(getpgid(Some(agent.pid)), Ok(agent.pid), "a process group of its own");
        assert!(one["sshLocalPort"].as_u64().is_some_and(|port| port > 1023), "{one}");
        UnixStream::connect(lima.dir("vm").join("ha.sock")).expect("it answers");
        let events = lima.world().read(lima.dir("vm").join("ha.stdout.log"));
        let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        assert_eq!(last["status"]["running"], true);
        lima.run(&["stop", "vm"]).ok();
        assert_eq!(lima.status("vm"), "Stopped");
        assert_still(lima, "vm");
    });
}

#[test]
fn starting_what_runs_succeeds() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let agent = lima.process("vm", "ha.pid");
        lima.run(&["start", "--tty=false", "vm"]).ok().warns("already running");
        assert!(agent.lives());
        lima.run(&["delete", "vm"]).code(1).warns("expected status").warns("Running");
        lima.run(&["edit", "--tty=false", "vm", "--cpus=1"]).code(1).warns("running instance");
        assert!(agent.lives());
    });
}

#[test]
fn starting_what_is_unknown_creates_it() {
    double(|lima| {
        lima.run(&["start", "--tty=false", "surprise"]).ok().warns("deprecated");
        assert_eq!(lima.status("surprise"), "Running");
    });
}

#[test]
fn a_file_can_be_started_at_once() {
    contract(Needs::Boot, |lima| {
        let template = lima.template("");
        lima.run(&["start", "--tty=false", "--name=vm", &template]).ok();
        assert_eq!(lima.status("vm"), "Running");
    });
}

#[test]
fn a_disk_outlives_its_machine() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["sh", "-c", "echo kept > ~/file; echo lost > /run/user/$(id -u)/file"]).run().ok();
        lima.run(&["stop", "vm"]).ok();
        lima.run(&["start", "--tty=false", "vm"]).ok();
        assert_eq!(lima.shell("vm", &["sh", "-c", "cat ~/file; ls /run/user/$(id -u)"]).run().ok().stdout, "kept\n");
    });
}

#[test]
fn who_works_in_a_guest_may_tidy_up_when_it_stops() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", shared.display()));
        let (script, pipe) = workmux_tests::pausing("true");
        let script = format!("cd '{}'; trap 'echo tidy > tidied; exit' TERM; {script}", shared.display());
        let worker = format!("setsid bash -c {} </dev/null >/dev/null 2>&1 &", workmux_tests::quoted(&script));
        lima.shell("vm", &["sh", "-c", &worker]).run().ok();
        // It holds the other end while it works.
        let told = workmux_tests::told(&shared.join(pipe));
        lima.shell("vm", &["true"]).run().ok();
        lima.run(&["stop", "vm"]).ok();
        drop(told);
        assert_eq!(lima.world().read(shared.join("tidied")), "tidy\n");
    });
}

#[test]
fn deleting_by_force_ends_everything() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["sh", "-c", "mkdir -p ~/a/b; chmod 555 ~/a/b ~/a"]).run().ok();
        lima.run(&["delete", "-f", "vm"]).ok();
        assert!(!lima.dir("vm").exists());
        assert_still(lima, "vm");
    });
}

#[test]
fn stopping_by_force_ends_everything_and_keeps_the_disk() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.shell("vm", &["sh", "-c", "echo kept > ~/file; sync"]).run().ok();
        lima.run(&["stop", "--force", "vm"]).ok();
        assert_eq!(lima.status("vm"), "Stopped");
        assert_still(lima, "vm");
        lima.run(&["stop", "-f", "vm"]).ok();
        lima.run(&["start", "--tty=false", "vm"]).ok();
        lima.shell("vm", &["cat", "file"]).run().ok().says("kept");
    });
}

#[test]
fn a_killed_machine_takes_its_host_agent_along() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        end(&lima.process("vm", "qemu.pid"));
        lima.wait_for_status("vm", "Stopped");
        wait_until("nothing to be left", || lima.left().is_empty());
        lima.run(&["start", "--tty=false", "vm"]).ok();
    });
}

#[test]
fn a_machine_without_its_host_agent_is_broken() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        end(&lima.process("vm", "ha.pid"));
        let one = lima.look("vm");
        assert_eq!(one["status"], "Broken");
        assert!(one["errors"].to_string().contains("driver is running but host agent is not"), "{one}");
        lima.run(&["stop", "vm"]).code(1).warns("expected status").warns("Broken");
        lima.run(&["delete", "vm"]).code(1).warns("Broken");
        lima.run(&["stop", "-f", "vm"]).ok();
        assert_eq!(lima.status("vm"), "Stopped");
        assert_still(lima, "vm");
        lima.run(&["start", "--tty=false", "vm"]).ok();
    });
}

#[test]
fn a_broken_instance_does_not_start() {
    double(|lima| {
        lima.boot("vm", "");
        end(&lima.process("vm", "ha.pid"));
        lima.run(&["start", "--tty=false", "vm"]).code(1).warns("errors inspecting instance");
        assert_eq!(lima.status("vm"), "Broken");
    });
}

#[test]
fn a_host_agent_without_its_machine_is_broken() {
    double(|lima| {
        lima.create("vm", "");
        lima.fault("vm", json!({"hostagent_outlives_driver": true}));
        lima.run(&["start", "--tty=false", "vm"]).ok();
        end(&lima.process("vm", "qemu.pid"));
        let one = lima.look("vm");
        assert_eq!(one["status"], "Broken");
        assert!(one["errors"].to_string().contains("host agent is running but driver is not"), "{one}");
        lima.run(&["stop", "-f", "vm"]).ok();
        assert_still(lima, "vm");
    });
}

#[test]
fn instances_do_not_touch_each_other() {
    contract(Needs::Boot, |lima| {
        lima.create("a", "");
        lima.create("b", "");
        let starting: Vec<_> = ["a", "b"].map(|name| lima.limactl(&["start", "--tty=false", name]).start()).into();
        for one in starting {
            one.wait().ok();
        }
        let ports: Vec<_> = lima.list().iter().map(|one| one["sshLocalPort"].clone()).collect();
        assert_ne!(ports[0], ports[1]);
        lima.run(&["delete", "-f", "a"]).ok();
        assert_eq!(lima.shell("b", &["hostname"]).run().ok().stdout, "lima-b\n");
    });
}

#[test]
fn two_starts_of_one_instance_collide() {
    double(|lima| {
        lima.create("vm", "");
        lima.fault("vm", json!({"start_together": 2}));
        // One of them may follow the log of the other's host agent, which says nothing any more.
        let starting = [(); 2].map(|()| lima.limactl(&["start", "--tty=false", "--timeout=2s", "vm"]).start());
        let codes = starting.map(|one| one.wait().code);
        assert!(codes.contains(&Some(1)), "{codes:?}");
        lima.wait_for_status("vm", "Running");
    });
}

#[test]
fn a_start_that_is_given_up_leaves_its_machine() {
    double(|lima| {
        lima.create("vm", "");
        lima.fault("vm", json!({"boot_ms": 60_000}));
        let starting = lima.limactl(&["start", "--tty=false", "vm"]).start();
        lima.wait_for_status("vm", "Running");
        let (agent, driver) = (lima.process("vm", "ha.pid"), lima.process("vm", "qemu.pid"));
        drop(starting);
        assert!(agent.lives() && driver.lives());
        lima.run(&["stop", "-f", "vm"]).ok();
        assert_still(lima, "vm");
    });
}

#[test]
fn the_way_in_is_written_for_ssh_itself() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let config = lima.dir("vm").join("ssh.config");
        let ssh = |words: &[&str]| lima.world().program("ssh").arg("-F").arg(&config).args(words).run();
        ssh(&["-O", "check", "lima-vm"]).ok();
        assert!(lima.dir("vm").join("ssh.sock").exists());
        assert_eq!(ssh(&["lima-vm", "hostname"]).ok().stdout, "lima-vm\n");
        ssh(&["lima-vm", "exit 7"]).code(7);
    });
}

#[test]
fn stopping_takes_its_time() {
    double(|lima| {
        lima.create("vm", "");
        lima.fault("vm", json!({"stop_ms": 200}));
        lima.run(&["start", "--tty=false", "vm"]).ok();
        let before = std::time::Instant::now();
        lima.run(&["stop", "vm"]).ok();
        assert!(before.elapsed() >= Duration::from_millis(200));
        assert_eq!(lima.status("vm"), "Stopped");
    });
}
