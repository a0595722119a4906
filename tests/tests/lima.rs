//! What is Lima's own, from end to end, on the stand-in for `limactl`: machines that outlive runs. What runs in every kind
//! of sandbox is another test's.
//!
//! `scene` is the harness, `stop`, `prune` and `install` what is done to machines by hand, `together` and `meanwhile` what is
//! done at once, `starting` and `dying` what becomes of runs when machines do not do as they should, `refusing` a `limactl`
//! that does not work, `drift` and `consent` what a machine may not do as it was started, `inside` and `reaching` what a
//! sandbox sees and writes, `talking` what passes between it and the host, and `releases` all of it on each release of Lima's
//! that the stand-in plays.

mod lima {
    pub(crate) mod scene;

    mod consent;
    mod drift;
    mod dying;
    mod inside;
    mod install;
    mod meanwhile;
    mod prune;
    mod reaching;
    mod refusing;
    mod releases;
    mod starting;
    mod stop;
    mod talking;
    mod together;
}
