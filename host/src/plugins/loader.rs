//! Loads a library into this process: the only file that does.
//!
//! All symbols are bound at once: a missing one is an error here instead of the process's end at the first call. A
//! library is never unloaded; its threads, statics and objects would be left dangling.

use std::ffi::c_void;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use workmux_plugin_api::abi::import::{self, ImportError, LoadedBackend};
use workmux_plugin_api::abi::{HEADER_SYMBOL, PROBE_SYMBOL};

use super::Rejection;

/// What to do about a library that this program cannot use.
pub(super) const FIX: &str = "install a version of it for this workmux, or remove it";

/// Loads the library at `path` and makes its backend. Runs the library's code, which may do anything: on a thread that
/// can be given up.
#[expect(unsafe_code, reason = "loading a library and believing what it exports")]
pub(super) fn load(path: &Path) -> Result<LoadedBackend, Rejection> {
    // SAFETY: running the library's constructors is what the user asked for; who could have written the file and
    // whether it is whole were checked before, and a child has loaded it once.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|e| Rejection::new(format!("it cannot be loaded: {}", reason(&e))))?;
    let probe = symbol(&library, PROBE_SYMBOL);
    let header = symbol(&library, HEADER_SYMBOL);
    // Never unloaded, also not where it is refused: its constructors have run.
    std::mem::forget(library);
    let (probe, header) = (probe?, header);
    // SAFETY: `probe` is the address of the symbol in a library that stays loaded.
    unsafe { import::check_probe(probe) }.map_err(refused)?;
    // SAFETY: the same, and the probe accepted the library.
    unsafe { import::import(header?) }.map_err(refused)
}

#[expect(unsafe_code, reason = "looking up a symbol")]
fn symbol(library: &Library, name: &str) -> Result<*const c_void, Rejection> {
    // SAFETY: only the address is taken.
    let address = unsafe { library.get::<*const c_void>(name) }.map_or(std::ptr::null_mut(), |found| found.into_raw());
    if address.is_null() {
        let what = format!("it is not a workmux backend of this generation: it does not export '{name}'");
        return Err(Rejection::new(what).fix(FIX));
    }
    Ok(address.cast_const())
}

fn refused(error: ImportError) -> Rejection {
    Rejection::new(error.to_string()).fix(FIX)
}

/// The loader's own words without its path, which is a descriptor of ours.
fn reason(error: &libloading::Error) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match text.split_once(": ") {
        Some((path, rest)) if path.starts_with("/proc/") => rest.to_owned(),
        _ => text,
    }
}
