//! What is Lima's own, from end to end, on the stand-in for `limactl`: machines that outlive runs. What runs in every kind
//! of sandbox is another test's.
//!
//! `scene` is the harness, `stop` and `prune` what is done to machines by hand, `refusing` what a `limactl` that does not
//! work costs.

mod lima {
    pub(crate) mod scene;

    mod consent;
    mod drift;
    mod dying;
    mod prune;
    mod refusing;
    mod releases;
    mod starting;
    mod stop;
    mod together;
}
