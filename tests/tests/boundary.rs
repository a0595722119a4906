//! P13 to P22 from end to end: a hostile guest in a real sandbox with a real git tries everything, and the host's
//! repository stays as it was, but for the work that arrives the honest way.
//!
//! Every check here is also run with its guard switched off (`WORKMUX_MUTANT`) and must then see the breach.

mod boundary {
    pub(crate) mod case;

    mod at_rest;
    mod before;
    mod killed;
    mod live;
    mod nested;
    mod objects;
    mod usable;
}
