//! The contract of `limactl` that the backend for Lima relies on: what each command does in each state of an instance. The
//! stand-in is held to it everywhere, a real one where `WORKMUX_TEST_LIMACTL` names it; `tests/limactl/README.md` says more.

mod limactl {
    pub(crate) mod case;
    pub(crate) mod recording;

    mod arguments;
    mod copying;
    mod creating;
    mod faults;
    mod guests;
    mod listing;
    mod running;
    mod shells;
}
