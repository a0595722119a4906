//! `copy`: files go both ways, and `scp`'s own status comes back.

use super::case::{Needs, contract};

#[test]
fn files_are_copied_both_ways() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let home = lima.world().home().to_owned();
        lima.world().write(home.join("here"), "to the guest\n");
        let run = |words: &[&str]| lima.limactl(words).dir(&home).run();
        run(&["copy", "here", "vm:/var/tmp/there"]).ok();
        lima.shell("vm", &["cat", "/var/tmp/there"]).run().ok().says("to the guest");
        run(&["cp", "vm:/var/tmp/there", "back"]).ok();
        assert_eq!(lima.world().read(home.join("back")), "to the guest\n");
        run(&["copy", "here", "vm:in-home"]).ok();
        lima.shell("vm", &["sh", "-c", "cat ~/in-home"]).run().ok().says("to the guest");
    });
}

#[test]
fn directories_are_copied_on_request() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        let home = lima.world().home().to_owned();
        lima.world().write(home.join("folder/deep/file"), "deep\n");
        let run = |words: &[&str]| lima.limactl(words).dir(&home).run();
        assert_ne!(run(&["copy", "folder", "vm:/var/tmp/"]).code, Some(0));
        run(&["copy", "-r", "folder", "vm:/var/tmp/"]).ok();
        lima.shell("vm", &["cat", "/var/tmp/folder/deep/file"]).run().ok().says("deep");
    });
}

#[test]
fn what_cannot_be_copied_fails() {
    contract(Needs::Boot, |lima| {
        lima.boot("vm", "");
        lima.create("stopped", "");
        lima.run(&["copy", "vm:/nowhere", "."]).code(1).warns("No such file");
        assert_ne!(lima.run(&["copy", "/nowhere", "vm:/tmp/"]).warns("No such file").code, Some(0));
        lima.run(&["copy", "nope:/etc/hosts", "."]).code(1).warns("does not exist");
        lima.run(&["copy", "stopped:/etc/hosts", "."]).code(1).warns("stopped");
        lima.run(&["copy", "vm:a:b", "."]).code(1).warns("multiple colons");
    });
}
