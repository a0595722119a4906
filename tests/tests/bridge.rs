//! A backend out of process: the example `bridge` with its sample does all that a sandbox is for, and programs that are
//! wrong on purpose cost one command and one message that names them.

mod bridge {
    mod sample;
    mod scene;
    mod trust;
    mod wrong;
}
