//! The stable boundary under the traits: the only folder that names abi_stable and async-ffi.
//!
//! It is a narrow waist that is meant never to change: three objects with very few methods each, whose requests and
//! answers are JSON. Verbs, fields and features grow inside the messages. [`export`] is the plugin's half, written
//! once for every backend; [`import`] is the host's, an ordinary object with the traits' verbs.
//!
//! Within a major protocol version the layouts here are frozen; `plugin-api/abi-layout.txt` is their committed
//! description and a test compares it.

#![expect(non_local_definitions, reason = "abi_stable's sabi_trait expands to impls inside functions")]
#![allow(missing_docs, reason = "abi_stable's macros generate undocumented items")]
#![allow(unsafe_code, reason = "the ABI: sabi_trait and StableAbi expand to unsafe code")]
#![allow(unreachable_pub, reason = "abi_stable's macros generate them")]
#![allow(clippy::unwrap_used, reason = "abi_stable's macros generate them")]

use abi_stable::StableAbi;
use abi_stable::library::{LibHeader, RootModule};
use abi_stable::package_version_strings;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString};
use async_ffi::FfiFuture;

pub(crate) mod export;
pub mod import;

/// Name of the plain C record that is read before anything else of a library: see [`Probe`].
pub const PROBE_SYMBOL: &str = "WORKMUX_BACKEND_PROBE";
/// Name of the abi_stable header of protocol generation 0.
pub const HEADER_SYMBOL: &str = "WORKMUX_BACKEND_V0";

/// What a library says of itself in plain C: safe to read whatever compiler or abi_stable built the rest.
#[repr(C)]
pub struct Probe {
    /// Bytes of this record; grows with later fields.
    pub size: u32,
    /// [`PROTOCOL`](crate::PROTOCOL) it was built for.
    pub protocol_major: u32,
    /// [`PROTOCOL`](crate::PROTOCOL) it was built for.
    pub protocol_minor: u32,
}

/// What crosses as an answer: JSON, or an error as JSON.
pub(crate) type Outcome = RResult<RString, RString>;

/// The host, as a backend sees it during one call.
#[sabi_trait]
pub trait AbiHost: Send + Sync + Clone {
    /// Takes a log or progress event.
    fn emit(&self, event: RString);
    /// Runs one of the host's services.
    #[sabi(last_prefix_field)]
    fn invoke(&self, op: RStr<'_>, body: RString) -> FfiFuture<Outcome>;
}

/// A command that a backend runs itself.
#[sabi_trait]
pub trait AbiSession: Send + Sync + Clone {
    /// Runs it over these three descriptors, which it owns from now on.
    fn run(&self, stdin: i32, stdout: i32, stderr: i32) -> FfiFuture<Outcome>;
    /// Sends it a signal.
    fn signal(&self, signal: i32);
    /// Tells it the terminal's size.
    #[sabi(last_prefix_field)]
    fn resize(&self, rows: u16, columns: u16);
}

/// A backend.
#[sabi_trait]
pub trait AbiBackend: Send + Sync + Clone {
    /// Features and capabilities, as JSON.
    fn describe(&self) -> Outcome;
    /// Runs one verb: its name, its request as JSON, and the host for the time of the call.
    #[sabi(last_prefix_field)]
    fn invoke(&self, op: RStr<'_>, body: RString, host: HostObject) -> FfiFuture<RResult<Reply, RString>>;
}

/// [`AbiHost`] as it crosses.
pub type HostObject = AbiHost_TO<'static, RBox<()>>;
/// [`AbiSession`] as it crosses.
pub type SessionObject = AbiSession_TO<'static, RBox<()>>;
/// [`AbiBackend`] as it crosses.
pub type BackendObject = AbiBackend_TO<'static, RBox<()>>;

/// The answer of a verb.
#[repr(C)]
#[derive(StableAbi)]
pub struct Reply {
    /// JSON.
    pub body: RString,
    /// Only from `exec` and `attach`.
    pub session: ROption<SessionObject>,
}

/// What a library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = BackendRootRef)))]
#[sabi(missing_field(panic))]
pub struct BackendRoot {
    /// Makes the backend. Called once per load.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn() -> RResult<BackendObject, RString>,
}

impl RootModule for BackendRootRef {
    abi_stable::declare_root_module_statics! {BackendRootRef}
    const BASE_NAME: &'static str = "workmux_backend";
    const NAME: &'static str = "workmux_backend";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The abi_stable header of a library, for [`export_backend!`](crate::export_backend).
#[doc(hidden)]
pub type Header = LibHeader;
/// What a root module function answers, for [`export_backend!`](crate::export_backend).
#[doc(hidden)]
pub type RootResult = abi_stable::library::RootModuleResult;

/// Makes the header that a library exports as [`HEADER_SYMBOL`].
#[doc(hidden)]
pub const fn header(constructor: extern "C" fn() -> abi_stable::library::RootModuleResult) -> LibHeader {
    // SAFETY: `export_backend!` is the only caller and passes `export::root`, which answers a `BackendRootRef`.
    unsafe { LibHeader::from_constructor::<BackendRootRef>(constructor, abi_stable::library::CheckTypeLayout::Yes) }
}

#[cfg(test)]
mod tests {
    use abi_stable::StableAbi;

    /// The committed description; `UPDATE_ABI_LAYOUT=1 cargo test -p workmux-plugin-api` rewrites it, which within a
    /// major protocol version is never the right thing to do.
    #[test]
    fn the_layout_is_the_committed_one() {
        let layout = describe(vec![
            <super::BackendRootRef as StableAbi>::LAYOUT,
            <super::BackendObject as StableAbi>::LAYOUT,
            <super::SessionObject as StableAbi>::LAYOUT,
            <super::HostObject as StableAbi>::LAYOUT,
            <super::Reply as StableAbi>::LAYOUT,
            <async_ffi::FfiFuture<super::Outcome> as StableAbi>::LAYOUT,
        ]);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/abi-layout.txt");
        if std::env::var_os("UPDATE_ABI_LAYOUT").is_some() {
            std::fs::write(path, &layout).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(layout == committed, "the plugin ABI's layout changed; now it is:\n{layout}");
    }

    /// Every type reachable from these: name, size, alignment and fields in order.
    fn describe(mut todo: Vec<&'static abi_stable::type_layout::TypeLayout>) -> String {
        use std::fmt::Write as _;
        let mut seen = std::collections::BTreeSet::new();
        let mut texts = std::collections::BTreeSet::new();
        while let Some(layout) = todo.pop() {
            if !seen.insert(std::ptr::from_ref(layout)) {
                continue;
            }
            let name = layout.full_type();
            let mut text = format!("{name}: {} bytes, aligned to {}\n", layout.size(), layout.alignment());
            for field in layout.get_fields().into_iter().flatten() {
                let _infallible = writeln!(text, "    {}: {}", field.name(), field.full_type());
                for function in field.function_range().iter() {
                    let _infallible = writeln!(text, "        {function}");
                }
                todo.push(field.layout());
            }
            todo.extend(layout.phantom_fields().iter().map(|f| f.layout()));
            // abi_stable prints lifetimes over several lines; they say nothing about the layout.
            texts.insert(
                text.lines()
                    .filter(|l| !l.is_empty() && !l.contains("lifetime indices"))
                    .fold(String::new(), |all, line| all + line.trim_end() + "\n"),
            );
        }
        texts.into_iter().collect()
    }
}
