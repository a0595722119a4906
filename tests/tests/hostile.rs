//! Hostile guests against the supervisor and its sockets (P45, P46, P48, P51, P57, P63), and hostile backends against
//! the whole program (P72 to P80), at the command line.

mod hostile {
    mod backend;
    mod guest;
}
