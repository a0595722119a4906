//! The plugin's half: turns a [`Backend`] into the object that crosses. Written once; authors only write
//! [`export_backend!`](crate::export_backend).
//!
//! No panic leaves this file: each entry, each poll and each drop is guarded, and what was caught becomes an
//! [`Error`] of that call.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use abi_stable::library::RootModuleResult;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RErr, RNone, ROk, RResult, RSome, RStr, RString};
use async_ffi::FutureExt as _;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    AbiBackend, AbiBackend_TO, AbiSession, AbiSession_TO, BackendObject, BackendRoot, BackendRootRef, HostObject,
    Outcome, Probe, Reply,
};
use crate::context::{CallFacts, Services};
use crate::{
    Backend, Capability, Context, Error, ErrorKind, Exec, Features, PROTOCOL, Plan, Result, Session, SessionInfo, Stdio,
};

/// Exports a type as the backend of this library.
///
/// ```text
/// export_backend!(Acme, manifest = include_str!("../backend.toml"));
/// ```
///
/// The type implements [`Backend`] and [`Default`]. Once per library, in a `cdylib`, built with unwinding panics.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty, manifest = $manifest:expr) => {
        #[cfg(panic = "abort")]
        compile_error!("a backend must be built with panic = \"unwind\": the host turns its panics into errors");

        #[allow(unsafe_code, reason = "exporting symbols under the names the host looks for")]
        const _: () = {
            const TEXT: &str = $manifest;

            #[used]
            #[unsafe(no_mangle)]
            static WORKMUX_BACKEND_MANIFEST: $crate::__private::EmbeddedManifest<{ TEXT.len() }> =
                $crate::__private::embed(TEXT);

            #[used]
            #[unsafe(no_mangle)]
            static WORKMUX_BACKEND_PROBE: $crate::abi::Probe = $crate::__private::probe();

            extern "C" fn root() -> $crate::abi::RootResult {
                $crate::__private::create::<$backend>()
            }

            #[used]
            #[unsafe(no_mangle)]
            static WORKMUX_BACKEND_V0: $crate::abi::Header = $crate::__private::header(root);
        };
    };
}

/// This build's probe.
pub const fn probe() -> Probe {
    Probe { size: std::mem::size_of::<Probe>() as u32, protocol_major: PROTOCOL.major, protocol_minor: PROTOCOL.minor }
}

/// The library's root module for this backend.
pub fn create<B: Backend + Default>() -> RootModuleResult {
    extern "C" fn make<B: Backend + Default>() -> RResult<BackendObject, RString> {
        quiet_panics();
        match guarded(B::default) {
            Ok(backend) => ROk(AbiBackend_TO::from_value(Adapter(Arc::new(backend)), TD_Opaque)),
            Err(e) => RErr(error_text(&e)),
        }
    }
    fn root<B: Backend + Default>() -> BackendRootRef {
        BackendRoot { create: make::<B> }.leak_into_prefix()
    }
    abi_stable::library::__call_root_module_loader(root::<B>)
}

/// What `describe` answers.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) features: Features,
    pub(super) capabilities: Vec<Capability>,
}

/// The body of every verb.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) call: CallFacts,
    pub(super) request: T,
}

/// The body of an answer to `exec` and `attach`; an unknown tag is a clear error on an old host.
#[derive(Serialize, Deserialize)]
#[serde(tag = "exec", rename_all = "kebab-case")]
pub(super) enum ExecAnswer {
    Plan {
        plan: Plan,
    },
    Session {
        #[serde(default)]
        info: SessionInfo,
    },
}

struct Adapter<B>(Arc<B>);

impl<B> Clone for Adapter<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Backend> AbiBackend for Adapter<B> {
    fn describe(&self) -> Outcome {
        let answer = guarded(|| Description { features: self.0.features(), capabilities: Capability::of(&*self.0) });
        answer.and_then(|d| to_json(&d)).map_or_else(|e| RErr(error_text(&e)), |text| ROk(text.into()))
    }

    fn invoke(&self, op: RStr<'_>, body: RString, host: HostObject) -> async_ffi::FfiFuture<RResult<Reply, RString>> {
        let (backend, op) = (Arc::clone(&self.0), op.to_string());
        let call = Guarded::new(async move { dispatch(&*backend, &op, &body, host).await });
        async move {
            match call.await {
                Ok(reply) => ROk(reply),
                Err(e) => RErr(error_text(&e)),
            }
        }
        .into_ffi()
    }
}

async fn dispatch<B: Backend>(backend: &B, op: &str, body: &str, host: HostObject) -> Result<Reply> {
    /// Reads the request, makes the context, runs the verb, writes the answer.
    macro_rules! verb {
        (|$cx:ident, $request:ident| $call:expr) => {{
            let Envelope { call, request: $request } = from_json(body)?;
            let $cx = Context::new(Arc::new(HostServices(host)), call);
            let $cx = &$cx;
            $call.await?
        }};
    }
    let plain = |body: Result<String>| Ok(Reply { body: body?.into(), session: RNone });
    let exec = |answer: Exec| match answer {
        Exec::Plan(plan) => Ok(Reply { body: to_json(&ExecAnswer::Plan { plan })?.into(), session: RNone }),
        Exec::Session(session) => Ok(Reply {
            body: to_json(&ExecAnswer::Session { info: session.info() })?.into(),
            session: RSome(AbiSession_TO::from_value(SessionAdapter(Some(Arc::from(session))), TD_Opaque)),
        }),
    };
    let images = || backend.images().ok_or_else(|| Error::unsupported("images are not provided by this backend"));
    match op {
        "settings" => plain(to_json(&verb!(|cx, request| backend.settings(cx, request)))),
        "check" => plain(to_json(&verb!(|cx, request| backend.check(cx, request)))),
        "rpc_route" => plain(to_json(&verb!(|cx, request| backend.rpc_route(cx, request)))),
        "prepare" => plain(to_json(&verb!(|cx, request| backend.prepare(cx, request)))),
        "explain" => plain(to_json(&verb!(|cx, request| backend.explain(cx, request)))),
        "verify" => plain(to_json(&verb!(|cx, request| backend.verify(cx, request)))),
        "release" => plain(to_json(&verb!(|cx, request| backend.release(cx, request)))),
        "exec" => exec(verb!(|cx, request| backend.exec(cx, request))),
        "attach" => match backend.attach() {
            Some(attach) => exec(verb!(|cx, request| attach.attach(cx, request))),
            None => Err(Error::unsupported("attach is not provided by this backend")),
        },
        "instances.list" => match backend.instances() {
            Some(instances) => plain(to_json(&verb!(|cx, request| instances.list(cx, request)))),
            None => Err(Error::unsupported("instances are not provided by this backend")),
        },
        "instances.stop" => match backend.instances() {
            Some(instances) => plain(to_json(&verb!(|cx, request| instances.stop(cx, request)))),
            None => Err(Error::unsupported("instances are not provided by this backend")),
        },
        "instances.delete" => match backend.instances() {
            Some(instances) => plain(to_json(&verb!(|cx, request| instances.delete(cx, request)))),
            None => Err(Error::unsupported("instances are not provided by this backend")),
        },
        "images.image" => plain(to_json(&verb!(|cx, request| images()?.image(cx, request)))),
        "images.pull" => plain(to_json(&verb!(|cx, request| images()?.pull(cx, request)))),
        "images.build" => plain(to_json(&verb!(|cx, request| images()?.build(cx, request)))),
        "images.recipe" => plain(to_json(&verb!(|cx, request| images()?.recipe(cx, request)))),
        "images.freshness" => plain(to_json(&verb!(|cx, request| images()?.freshness(cx, request)))),
        "install" => match backend.install() {
            Some(install) => plain(to_json(&verb!(|cx, request| install.install(cx, request)))),
            None => Err(Error::unsupported("install is not provided by this backend")),
        },
        _ => Err(Error::unsupported(format!("this backend does not know the verb '{op}' (protocol {PROTOCOL})"))),
    }
}

#[derive(Clone)]
struct SessionAdapter(Option<Arc<dyn Session>>);

impl Drop for SessionAdapter {
    fn drop(&mut self) {
        // The last one runs the author's destructor.
        let _panicked = drop_guarded(self.0.take());
    }
}

impl AbiSession for SessionAdapter {
    fn run(&self, stdin: i32, stdout: i32, stderr: i32) -> async_ffi::FfiFuture<Outcome> {
        let session = self.0.clone();
        // SAFETY: the contract of `AbiSession::run`: the caller gives three open descriptors away.
        let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let call = Guarded::new(async move {
            let session = session.ok_or_else(|| Error::internal("the session is over"))?;
            session.run(Stdio { stdin, stdout, stderr }).await
        });
        async move {
            match call.await.and_then(|ended| to_json(&ended)) {
                Ok(text) => ROk(text.into()),
                Err(e) => RErr(error_text(&e)),
            }
        }
        .into_ffi()
    }

    fn signal(&self, signal: i32) {
        let _panicked = guarded(|| self.0.as_ref().map(|session| session.signal(signal)));
    }

    fn resize(&self, rows: u16, columns: u16) {
        let _panicked = guarded(|| self.0.as_ref().map(|session| session.resize(rows, columns)));
    }
}

/// The host's services over the object that came with the call.
struct HostServices(HostObject);

#[async_trait]
impl Services for HostServices {
    async fn invoke(&self, op: &str, body: String) -> Result<String> {
        match self.0.invoke(op.into(), body.into()).await {
            ROk(text) => Ok(text.into()),
            RErr(text) => Err(parse_error(&text)),
        }
    }

    fn emit(&self, event: String) {
        self.0.emit(event.into());
    }
}

/// A future whose panics, in poll and in drop, do not leave.
struct Guarded<T>(Option<Pin<Box<dyn Future<Output = Result<T>> + Send>>>);

impl<T> Guarded<T> {
    fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Result<T>> {
        let Some(future) = &mut self.0 else {
            return Poll::Ready(Err(Error::internal("polled after its end")));
        };
        let answer = match guarded(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(panic) => Err(panic),
        };
        // What the call owns is dropped here, inside the guard, so that a panicking destructor is an error as well.
        match (drop_guarded(self.0.take()), answer) {
            (Err(panic), Ok(_)) => Poll::Ready(Err(panic)),
            (_, answer) => Poll::Ready(answer),
        }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // Cancelled: nobody is left to tell.
        let _panicked = drop_guarded(self.0.take());
    }
}

fn drop_guarded<T>(value: T) -> Result<()> {
    guarded(|| drop(value))
}

thread_local! {
    /// How many guards this thread is inside of.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic inside one happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic inside a guard is told by its error and not printed into the user's terminal. The hook is this library's
/// alone: it has a standard library of its own.
fn quiet_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if GUARDS.get() == 0 {
            return loud(panic);
        }
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
        PLACE.with(|last| last.replace(place));
    }));
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    if crate::mutant::off("p76_panics") {
        return Ok(work());
    }
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(GUARDS.get() - 1);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        // A payload whose destructor panics must not take the host down either.
        std::mem::forget(payload);
        let place = PLACE.with(RefCell::take).map_or_else(String::new, |place| format!(" ({place})"));
        Error::new(ErrorKind::Panicked, "the backend panicked").cause(text + &place)
    })
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("cannot write a message as JSON").cause(e.to_string()))
}

pub(super) fn from_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::internal("cannot read a message").cause(e.to_string()))
}

pub(super) fn error_text(error: &Error) -> RString {
    serde_json::to_string(error).unwrap_or_default().into()
}

pub(super) fn parse_error(text: &str) -> Error {
    serde_json::from_str(text).unwrap_or_else(|_| Error::internal("answered with an error that cannot be read"))
}
