//! Every guard of this package is worth a test that fails without it: a row for each.

use std::process::Command;

const MUTANTS: &[(&str, &str)] = &[
    ("p66_every_place", "placing::tests::p66_a_mask_covers_every_place_and_what_is_seen_anyway_is_refused"),
    ("p67_mount_points", "placing::tests::p67_a_mount_point_inside_a_mount_is_there_already_and_no_link"),
];

#[test]
fn each_guard_is_missed_when_it_is_off() {
    for (guard, test) in MUTANTS {
        let run = |off: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test]).env("WORKMUX_MUTANT", off).output().unwrap()
        };
        let with = run("");
        let said = String::from_utf8_lossy(&with.stdout).into_owned();
        assert!(with.status.success() && said.contains("1 passed"), "{test}: {said}");
        assert!(!run(guard).status.success(), "'{test}' passes without '{guard}'");
    }
}
