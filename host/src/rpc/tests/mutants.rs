//! Every guard here is worth a test that fails without it.

use super::alone::passes;

#[test]
fn each_guard_is_missed_when_it_is_off() {
    for (guard, test) in [
        ("p1_title", "text::tests::p1_a_title_keeps_no_format_and_no_control"),
        ("p1_title", "multiplexer::tmux::tests::p1_no_title_runs_anything_where_the_status_line_expands_names_again"),
        ("p43_token", "rpc::token::tests::p43_every_wrong_token_is_read_to_its_end"),
        ("p47_first_line", "rpc::tests::bounds::p47_other_protocols_are_closed_and_nothing_is_done"),
        ("p48_deadline", "rpc::tests::bounds::p48_a_dripping_stranger_has_five_seconds_in_total"),
        ("p48_deadline", "rpc::tests::bounds::p51_a_line_that_has_begun_is_finished_in_time_or_the_connection_ends"),
        ("p49_line_limit", "rpc::tests::bounds::p49_a_line_may_be_as_long_as_its_limit"),
        ("p58_end_guests", "runs::reap::tests::p58_a_guest_is_ended_only_when_its_supervisor_is_gone"),
        ("p54_pane", "multiplexer::tmux::tests::p54_another_server_that_uses_the_same_names_is_left_alone"),
    ] {
        let report = passes(test, None).unwrap_or_else(|report| panic!("{report}"));
        assert!(report.contains("1 passed"), "there is no test '{test}'");
        let report = passes(test, Some(guard)).expect_err(&format!("'{test}' passes without '{guard}'"));
        assert!(report.contains("panicked"), "'{test}' did not fail without '{guard}', it broke: {report}");
    }
}
