//! Agents that ask for agents, from end to end: guests in real sandboxes call `workmux add`, `status`, `wait`, `send`,
//! `capture`, `merge` and `close`, honestly and otherwise.
//!
//! `scene` is the harness, `coordinator` the whole way with a real agent, `requests` what a request may hold (P5, P35 to
//! P37), and the others are the promises by their numbers: `names` (P1, P2, P4, P6, P7), `files` and `outside` (P9, P11), `git` (P19 to
//! P21), `configuration` (P26, P31, P32), `family` (P33, P34, P41), `residue` (P38, P39) and `quota` (P40). What the
//! same commands do for a user is another test's.

mod spawn {
    pub(crate) mod scene;

    mod configuration;
    mod coordinator;
    mod family;
    mod files;
    mod git;
    mod names;
    mod outside;
    mod quota;
    mod requests;
    mod residue;
}
