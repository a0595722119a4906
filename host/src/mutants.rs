//! Every guard of this crate is worth a test that fails without it: a row for each.
//!
//! Guards whose tests need the built program stand in `tests/`, those about loaded backends in `tests/plugins/`.

use std::sync::{Mutex, PoisonError};

use crate::alone::passes;

const MUTANTS: &[(&str, &str)] = &[
    ("p1_title", "text::tests::p1_a_title_keeps_no_format_and_no_control"),
    ("p1_title", "multiplexer::tmux::tests::p1_no_title_runs_anything_where_the_status_line_expands_names_again"),
    ("p2_slug", "text::tests::p2_a_slug_has_its_own_alphabet"),
    ("p3_hidden", "text::tests::p3_no_printed_text_holds_a_control_character"),
    ("p4_options", "multiplexer::tmux::tests::p4_a_title_is_never_an_option"),
    ("p6_branch", "worktrees::names::tests::p6_names_that_mean_something_else_are_refused"),
    ("p8_directory", "multiplexer::tmux::window_tests::p8_a_directory_can_have_any_name_and_runs_nothing"),
    ("p9_beneath", "worktrees::beneath::tests::p9_no_link_leads_out"),
    ("p12_search_path", "plugins::toolbox::tests::p80_tools_get_a_cleared_environment_and_a_safe_path"),
    ("p14_nofollow", "git::guest_files::tests::p14_links_fifos_and_big_files_are_not_read"),
    ("p14_fsck", "git::tests::attacks::p14_fsck_refuses_trees_that_lead_into_git"),
    ("p14_gitlinks", "git::tests::attacks::p14_gitlinks_of_the_guest_run_nothing_on_the_host"),
    ("p15_allowlist", "git::config::tests::p15_what_is_not_listed_is_absent"),
    ("p15_allowlist", "git::tests::attacks::p15_the_guest_configuration_holds_no_secret_and_no_program"),
    ("p16_in_place", "git::tests::shapes::p16_work_in_a_populated_submodule_arrives"),
    ("p16_in_place", "git::tests::shapes::p16_an_empty_submodule_is_covered"),
    ("p17_pointers", "git::tests::attacks::p17_pointers_that_mislead_are_refused_before_the_start"),
    ("p18_record", "git::tests::attacks::p18_a_repository_that_was_replaced_is_refused"),
    ("p24_left_behind", "launch::left_behind::tests::p24_what_other_programs_obey_is_named_when_it_changed"),
    ("p26_private", "config::tests::frozen::p26_only_our_own_private_file_is_a_frozen_configuration"),
    ("p26_private", "config::tests::frozen::p26_a_frozen_file_needs_a_private_directory"),
    ("p27_tighten", "config::tests::project::p27_a_project_that_loosens_every_key_changes_nothing"),
    ("p29_budget", "config::node::tests::p29_bad_files_are_refused_with_their_line"),
    ("p30_names", "config::tests::merging::p30_values_of_variables_are_exact_and_names_are_checked"),
    ("p40_quota", "worktrees::quota::tests::p40_each_bound_is_met_and_not_passed"),
    ("p43_token", "rpc::token::tests::p43_every_wrong_token_is_read_to_its_end"),
    ("p44_unprinted", "rpc::token::tests::p44_a_token_does_not_print_itself"),
    ("p45_own_token", "rpc::tests::transcripts::p45_the_token_of_another_run_is_a_wrong_one"),
    ("p46_address", "rpc::listener::tests::p46_one_address_never_all_of_them"),
    ("p47_first_line", "rpc::tests::bounds::p47_other_protocols_are_closed_and_nothing_is_done"),
    ("p48_deadline", "rpc::tests::bounds::p48_a_dripping_stranger_has_five_seconds_in_total"),
    ("p48_deadline", "rpc::tests::bounds::p51_a_line_that_has_begun_is_finished_in_time_or_the_connection_ends"),
    ("p49_line_limit", "rpc::tests::bounds::p49_a_line_may_be_as_long_as_its_limit"),
    ("p50_version", "rpc::opening::tests::p50_versions_are_agreed_on_or_both_named"),
    ("p51_deadline", "rpc::tests::bounds::p51_work_that_hangs_is_given_up"),
    ("p52_alone", "rpc::tests::faults::p52_a_panic_ends_one_connection_and_frees_its_slot"),
    ("p53_own_task", "rpc::tests::faults::p53_a_guest_that_leaves_during_a_spawn_finds_it_done_later"),
    ("p54_pane", "multiplexer::tmux::tests::p54_another_server_that_uses_the_same_names_is_left_alone"),
    ("p55_at_once", "rpc::tests::faults::p55_heartbeats_are_answered_while_other_work_runs"),
    ("p56_slot", "rpc::tests::memory::p56_connections_leave_nothing_behind"),
    ("p58_end_guests", "runs::reap::tests::p58_a_guest_is_ended_only_when_its_supervisor_is_gone"),
    ("p61_status", "supervisor::status::tests::p61_codes_and_signals_are_two_things"),
    ("p65_features", "spec::tests::p65_what_a_backend_cannot_enforce_refuses_the_start"),
    ("p66_every_place", "spec::masks::tests::p66_a_file_is_hidden_at_every_path_and_odd_entries_stop_the_start"),
    ("p68_guard", "spec::guard::tests::p68_what_controls_the_host_is_not_mounted_not_even_through_links"),
    ("p69_variables", "spec::environment::tests::p69_nothing_else_of_the_host_gets_in_and_nothing_replaces_ours"),
    ("p72_owner", "plugins::trust::tests::p72_rules"),
    ("p73_elf", "plugins::image::tests::p73_headers"),
    ("p74_pin", "plugins::pins::tests::p74_the_first_use_is_confirmed_and_a_change_asks_again"),
    ("p75_protocol", "plugins::manifest::tests::p75_a_refusal_names_both_versions_and_the_remedy"),
    ("p79_claims", "plugins::answers::tests::p79_a_policy_that_the_features_do_not_cover_is_named"),
    ("p79_claims", "plugins::manifest::tests::p79_claims_must_be_kept"),
    ("p80_environment", "plugins::toolbox::tests::p80_tools_get_a_cleared_environment_and_a_safe_path"),
    ("p80_wishes", "plugins::answers::tests::p80_listening_everywhere_needs_the_users_word"),
];

#[test]
fn each_guard_is_missed_when_it_is_off() {
    let rows = Mutex::new(MUTANTS.iter());
    let next = || rows.lock().unwrap_or_else(PoisonError::into_inner).next();
    // Most of the time is spent waiting for what does not come without its guard.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((guard, test)) = next() {
                    is_missed(guard, test)
                }
            });
        }
    });
}

fn is_missed(guard: &str, test: &str) {
    let report = passes(test, None).unwrap_or_else(|report| panic!("{report}"));
    assert!(report.contains("1 passed"), "there is no test '{test}'");
    let report = passes(test, Some(guard)).expect_err(&format!("'{test}' passes without '{guard}'"));
    assert!(report.contains("panicked"), "'{test}' did not fail without '{guard}', it broke: {report}");
}
