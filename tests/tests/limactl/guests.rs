//! What a guest sees: mounts, its own system, the host by name, and what was provisioned.

use std::io::Write;
use std::net::TcpListener;

use super::case::{Needs, contract, double};

#[test]
fn mounts_are_where_they_were_declared_and_read_only_unless_writable() {
    contract(Needs::Boot, |lima| {
        let (shared, other) = (lima.shared(), lima.world().home().join("other"));
        lima.world().write(shared.join("file"), "shared\n");
        lima.world().write(other.join("file"), "other\n");
        lima.world().write(lima.world().home().join("unseen"), "unseen\n");
        let (a, b) = (shared.display(), other.display());
        lima.boot("vm", &format!("mounts: [{{location: '{a}', writable: true}}, {{location: '{b}'}}, {{location: '{b}', mountPoint: /seen/elsewhere}}]"));
        let run = |script: &str| lima.shell("vm", &["sh", "-c", script]).run();
        run(&format!("cat '{a}/file' && echo more > '{a}/new'")).ok().says("shared");
        assert_eq!(lima.world().read(shared.join("new")), "more\n");
        run(&format!("cat '{b}/file' /seen/elsewhere/file")).ok().says("other\nother");
        run(&format!("touch '{b}/new'")).code(1).warns("Read-only");
        run("touch /seen/elsewhere/new").code(1).warns("Read-only");
        run(&format!("cat '{}/unseen'", lima.world().home().display())).code(1).warns("No such file");
        run(&format!("ls '{}'", lima.home().display())).code(2);
        // What appears on the host later is seen too.
        lima.world().write(shared.join("later"), "later\n");
        run(&format!("cat '{a}/later'")).ok().says("later");
    });
}

#[test]
fn a_host_directory_that_is_missing_is_made() {
    contract(Needs::Boot, |lima| {
        let missing = lima.world().home().join("missing/one");
        lima.boot("vm", &format!("mounts: [{{location: '{}', writable: true}}]", missing.display()));
        assert!(missing.is_dir());
    });
}

#[test]
fn a_plain_instance_has_no_mounts() {
    contract(Needs::Boot, |lima| {
        let shared = lima.shared();
        lima.world().write(shared.join("file"), "x");
        let template = lima.template(&format!("mounts: [{{location: '{}'}}]", shared.display()));
        lima.run(&["create", "--tty=false", "--name=vm", "--plain", &template]).ok();
        lima.run(&["start", "--tty=false", "vm"]).ok();
        lima.shell("vm", &["cat", shared.join("file").to_str().unwrap()]).run().code(1);
    });
}

#[test]
fn the_hosts_loopback_has_a_name() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"from the host\n").unwrap());
        let script = format!("exec 3<>/dev/tcp/host.lima.internal/{port}; cat <&3");
        lima.shell("vm", &["bash", "-c", &script]).run().ok().says("from the host");
        served.join().unwrap();
    });
}

#[test]
fn a_guest_has_a_system_of_its_own() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let run = |script: &str| lima.shell("vm", &["sh", "-c", script]).run();
        let host = std::process::id();
        run(&format!("test -e /proc/{host}/environ && tr '\\0' ' ' < /proc/{host}/environ")).code(1);
        run("touch /usr/new").code(1);
        run("echo x > /tmp/mine && echo x > /var/tmp/mine && test -w ~").ok();
        assert!(!std::path::Path::new("/tmp/mine").exists());
        run("sudo -n mkdir -p /opt/x && sudo -u root A=b sh -c 'echo $A > /opt/x/y' && cat /opt/x/y").ok().says("b");
        run("getent hosts host.lima.internal; getent passwd $(id -u)").ok().says("/bin/bash");
    });
}

#[test]
fn what_is_provisioned_runs_at_each_boot_and_its_failure_is_nobodys() {
    contract(Needs::Boot, |lima| {
        let provision = "
provision:
- mode: user
  script: |
    #!/bin/bash
    echo user $HOME {{.User}} >> /var/tmp/ran
- mode: system
  script: |
    #!/bin/sh
    echo system >> /var/tmp/ran
    chmod 666 /var/tmp/ran
- mode: system
  script: |
    #!/bin/sh
    echo failing; exit 9
";
        lima.boot("vm", provision);
        let ran = || lima.shell("vm", &["cat", "/var/tmp/ran"]).run().ok().stdout;
        let home = lima.shell("vm", &["sh", "-c", "echo $HOME $(id -un)"]).run().ok().stdout;
        assert_eq!(ran(), format!("system\nuser {home}"));
        lima.run(&["stop", "vm"]).ok();
        lima.run(&["start", "--tty=false", "vm"]).ok();
        assert_eq!(ran(), format!("system\nuser {home}").repeat(2));
    });
}

#[test]
fn a_variable_of_the_configuration_is_the_guests() {
    double(|lima| {
        lima.boot("vm", "env: {GREETING: 'hello \"you\"'}");
        assert_eq!(lima.shell("vm", &["sh", "-c", "echo $GREETING"]).run().ok().stdout, "hello \"you\"\n");
    });
}
