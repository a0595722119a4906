//! Each guard switched off in a process of its own: the test that claims to hold it must then fail.
#![cfg(feature = "mutants")]

use std::process::Command;

const MUTANTS: &[(&str, &str)] = &[
    ("p14_nofollow", "guest_files::tests::p14_links_fifos_and_big_files_are_not_read"),
    ("p14_nofollow", "tests::attacks::p14_a_broken_private_dir_takes_nothing_away"),
    ("p14_fsck", "tests::attacks::p14_fsck_refuses_trees_that_lead_into_git"),
    ("p14_gitlinks", "tests::attacks::p14_gitlinks_of_the_guest_run_nothing_on_the_host"),
    ("p15_allowlist", "config::tests::p15_what_is_not_listed_is_absent"),
    ("p15_allowlist", "tests::attacks::p15_the_guest_configuration_holds_no_secret_and_no_program"),
    ("p17_pointers", "tests::attacks::p17_pointers_that_mislead_are_refused_before_the_start"),
    ("p18_record", "tests::attacks::p18_a_repository_that_was_replaced_is_refused"),
];

#[test]
fn every_guard_is_missed_when_it_is_off() {
    for (guard, test) in MUTANTS {
        let run = |off: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", &format!("git::{test}")]).env("WORKMUX_MUTANT", off).output().unwrap()
        };
        let with = run("");
        let said = String::from_utf8_lossy(&with.stdout).into_owned();
        assert!(with.status.success() && said.contains("1 passed"), "{test}: {said}");
        assert!(!run(guard).status.success(), "{test} does not notice that {guard} is off");
    }
}
