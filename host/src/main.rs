//! The `workmux` program: everything is in the library, see `lib.rs`.

fn main() -> std::process::ExitCode {
    workmux::run()
}
