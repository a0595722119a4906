//! A library that speaks the ABI without the author API: unreadable answers, missing objects, unguarded panics.

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RErr, RNone, ROk, RResult, RStr, RString};
use async_ffi::{FfiFuture, FutureExt};
use workmux_plugin_api::abi::{
    AbiBackend, AbiBackend_TO, BackendObject, BackendRoot, BackendRootRef, HostObject, Reply, RootResult,
};

use crate::deed::sin;

type Outcome = RResult<RString, RString>;

/// Whether a sin of this file is wanted.
pub(crate) fn wanted() -> bool {
    std::env::var("WORKMUX_HOSTILE").is_ok_and(|wish| wish.starts_with("raw-"))
}

pub(crate) fn root() -> RootResult {
    extern "C" fn make() -> RResult<BackendObject, RString> {
        match sin("raw-create") {
            true => RErr("no \x1b[31mthanks".into()),
            false => ROk(AbiBackend_TO::from_value(Raw, TD_Opaque)),
        }
    }
    fn root() -> BackendRootRef {
        BackendRoot { create: make }.leak_into_prefix()
    }
    abi_stable::library::__call_root_module_loader(root)
}

#[derive(Clone)]
struct Raw;

impl AbiBackend for Raw {
    fn describe(&self) -> Outcome {
        if sin("raw-describe") {
            return ROk("{\"features\": 7".into());
        }
        ROk(r#"{"features":{"mounts":true},"capabilities":["attach","images","install","instances"],"new in a later version":[1]}"#
            .into())
    }

    fn invoke(&self, op: RStr<'_>, _body: RString, host: HostObject) -> FfiFuture<RResult<Reply, RString>> {
        if sin("raw-panic") {
            panic!("unguarded in {op}");
        }
        let answer = |body: String| ROk(Reply { body: body.into(), session: RNone });
        let answer = match () {
            () if sin("raw-garbage") => answer("\0\x1b[31m}{ not json".into()),
            () if sin("raw-half") => answer("{\"value\": {\"a\": ".into()),
            () if sin("raw-type") => answer("[1, 2, 3]".into()),
            () if sin("raw-deep") => answer("[".repeat(1_000_000)),
            () if sin("raw-huge") => answer(format!("{{\"value\":\"{}\"}}", "x".repeat(64 << 20))),
            () if sin("raw-transport") => answer(r#"{"exec":"teleport","to":"moon"}"#.into()),
            () if sin("raw-session") => answer(r#"{"exec":"session"}"#.into()),
            () if sin("raw-code") => {
                answer(r#"{"exec":"plan","plan":{"program":"/bin/sh","failure_codes_from":300}}"#.into())
            }
            () if sin("raw-error") => RErr("not json either \x1b[31m".into()),
            () if sin("raw-kind") => RErr(r#"{"kind":"from-the-future","message":"m","hint":"h"}"#.into()),
            () => answer("null".into()),
        };
        let events = sin("raw-events");
        let later = sin("raw-panic-later");
        async move {
            if events {
                for event in ["", "}", "{\"event\":\"dance\"}"] {
                    host.emit(event.into());
                }
                host.emit("x".repeat(64 << 20).into());
                host.emit(
                    format!("{{\"event\":\"log\",\"level\":\"warning\",\"text\":\"{}\"}}", "y".repeat(8 << 20)).into(),
                );
                for (service, body) in [("fly", "{}"), ("run", "{"), ("sleep", "-1"), ("sleep", "1e400")] {
                    assert!(host.invoke(service.into(), body.into()).await.is_err(), "{service}");
                }
            }
            if later {
                panic!("unguarded in a future");
            }
            answer
        }
        .into_ffi()
    }
}
