//! Lima's backend beyond what is common to all sandboxes: the life of its machines, what goes wrong with them, and what of
//! them a sandbox reaches. All of it on the stand-in (`tests/limactl/README.md`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lima {
    pub(crate) mod case;

    mod consent;
    mod developing;
    mod drifting;
    mod dying;
    mod pruning;
    mod reaching;
    mod releases;
    mod starting;
    mod stopping;
    mod talking;
}
