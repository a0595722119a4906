//! The guards around loaded backends: switched off one by one, each is missed by a test of this program.

use std::process::Command;
use std::time::Duration;

/// A test that hangs without its guard has failed as well.
const DEADLINE: Duration = Duration::from_secs(120);

const MUTANTS: &[(&str, &str)] = &[
    ("p72_owner", "trusted::p72_a_directory_that_others_can_write_is_passed_over"),
    ("p73_elf", "broken::p73_a_library_for_another_machine"),
    ("p74_pin", "trusted::p74_the_first_use_is_confirmed_and_a_changed_file_asks_again"),
    ("p75_protocol", "broken::p75_another_protocol_is_refused_by_the_manifest_without_loading"),
    ("p76_panics", "hostile::p76_a_panic_in_each_verb_is_an_error_of_that_call"),
    ("p76_panics", "hostile::p76_a_panic_while_it_starts_is_a_reason_not_to_use_it"),
    ("p78_answers", "hostile::p78_answers_that_cannot_be_are_errors"),
    ("p78_answers", "hostile::p78_impossible_ends_of_a_session_are_errors"),
    ("p79_claims", "hostile::p79_claims_that_do_not_hold_are_refused"),
    ("p80_environment", "hostile::p80_tools_see_only_the_variables_of_the_manifest"),
    ("p80_wishes", "hostile::p80_wishes_that_go_too_far_are_refused"),
    ("p81_missing", "called::p81_who_offers_a_capability_is_known_without_loading"),
];

#[test]
fn each_guard_is_missed_when_it_is_off() {
    for (guard, test) in MUTANTS {
        let run = |off: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", &format!("plugins::{test}")]).env("WORKMUX_MUTANT", off);
            workmux::tool::run(&mut command, b"", DEADLINE)
        };
        let with = run("").unwrap();
        let said = String::from_utf8_lossy(&with.stdout).into_owned();
        assert!(with.status.success() && said.contains("1 passed"), "{test}: {said}");
        assert!(!run(guard).is_ok_and(|run| run.status.success()), "'{test}' passes without '{guard}'");
    }
}
