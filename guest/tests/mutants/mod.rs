//! Every guard of the guest program is worth a test that fails without it: a row for each. The table is one for all
//! test programs; each runs its own rows.

use std::process::Command;

/// The guard, the test program, the test.
const MUTANTS: &[(&str, &str, &str)] = &[
    ("p5_no_shell", "command", "p5_words_arrive_byte_for_byte"),
    ("p13_read_only_bind", "unshare", "p13_what_is_bound_read_only_stays_so_with_all_below_it"),
    ("p50_version", "words", "p50_a_hello_before_the_answer_and_fields_and_codes_of_later_hosts_are_fine"),
    ("p51_deadline", "words", "p51_a_host_that_does_not_answer_is_given_up"),
    ("p52_restart", "relay", "p52_a_relay_that_dies_is_started_again_and_the_run_goes_on"),
    ("p56_ended", "relay", "p56_connections_leave_nothing_behind"),
    ("p57_group", "ending", "p57_a_signal_frame_reaches_the_whole_group_of_the_command"),
    ("p61_status", "command", "p61_death_by_signal_is_not_an_exit_code"),
    ("p66_empty", "unshare", "p66_masks_show_something_empty_that_nobody_can_fill"),
    ("p69_variables", "command", "p30_the_environment_arrives_byte_for_byte_and_alone"),
    ("p82_filter", "terminal", "p82_the_command_cannot_type_into_the_terminal"),
];

#[test]
fn each_guard_is_missed_when_it_is_off() {
    let rows: Vec<_> = MUTANTS.iter().filter(|row| row.1 == env!("CARGO_CRATE_NAME")).collect();
    assert!(!rows.is_empty());
    for (guard, _, test) in rows {
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
