//! The last word when a library takes the whole process down: one line that names it, and the exit code for failures
//! that are not the guest's.
//!
//! Nothing can be rescued then; what the process leaves behind ends or is found by other means. Only what happens on
//! the threads of [`super::call`] can be blamed on somebody.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::{Once, OnceLock};

use nix::libc;

/// A failure of ours, not the guest's.
const EXIT: c_int = 125;
const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

thread_local! {
    /// Whose code this thread runs. Constant and without destructor: safe to read in a signal handler.
    static INSIDE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Says for its life that this thread runs code of that backend.
pub(super) fn inside(backend: &'static str) -> Inside {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    Inside(INSIDE.replace(Some(backend)))
}

pub(super) struct Inside(Option<&'static str>);

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// What was there before us: the standard library's own words about overflown stacks.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

#[expect(unsafe_code, reason = "signal and exit handlers")]
fn install() {
    // SAFETY: both handlers only read constants and a thread-local one, write to standard error and end the process or
    // give way; all of that is allowed in a signal handler. The structures are zeroed, which is valid, and then filled.
    unsafe {
        libc::atexit(at_exit);
        let mut before: [libc::sigaction; SIGNALS.len()] = std::mem::zeroed();
        for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
            libc::sigaction(signal, std::ptr::null(), before);
        }
        let _first = BEFORE.set(before);
        for signal in SIGNALS {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = at_signal as Handler as usize;
            // On the alternative stack: the ordinary one may be what overflowed.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_SIGINFO;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn at_exit() {
    if let Some(backend) = INSIDE.get() {
        last_words(backend, "ended the program");
    }
}

#[expect(unsafe_code, reason = "giving way to whoever was there before")]
extern "C" fn at_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if let Some(backend) = INSIDE.get() {
        last_words(backend, if signal == libc::SIGABRT { "aborted" } else { "crashed" });
    }
    let before = SIGNALS.iter().position(|s| *s == signal).and_then(|at| BEFORE.get().map(|all| all[at]));
    // SAFETY: a handler with these flags has this type, and gets what we got; the rest are plain system calls.
    unsafe {
        match before {
            Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
                std::mem::transmute::<usize, Handler>(before.sa_sigaction)(signal, info, context);
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
    }
}

#[expect(unsafe_code, reason = "writing and ending without running anything else")]
fn last_words(backend: &str, what: &str) -> ! {
    for part in ["workmux: the backend '", backend, "' ", what, "; 'workmux plugin info ", backend, "' shows it\n"] {
        // SAFETY: a plain system call on a valid slice.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: never returns.
    unsafe { libc::_exit(EXIT) }
}
