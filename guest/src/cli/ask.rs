//! One request for a word, and how it looks when it fails.

use std::time::Duration;

use workmux_guest::words::Request;

use super::require_sandbox;
use crate::output;
use crate::rpc_client::{Failure, collect};

/// Said by every word that cannot do without the host.
pub(super) const UNREACHABLE: &str = "could not reach the host: is this a workmux sandbox?";

/// Asks, and hands over what the host tells before its answer. Gives the exit code; what failed has been said.
pub(super) fn ask(word: &str, request: &Request, limit: Duration, tell: Option<&mut dyn FnMut(String)>) -> u8 {
    if let Err(code) = require_sandbox(word) {
        return code;
    }
    match collect(request, limit, tell) {
        Ok(()) => 0,
        Err(failure @ (Failure::Refused(_) | Failure::TooLong)) => {
            let who = if matches!(failure, Failure::TooLong) { "cannot send" } else { "the host refused" };
            output::error(&format!("{who} '{word}'"), Some(failure.reason()))
        }
        Err(failure) => output::error(UNREACHABLE, Some(failure.reason())),
    }
}
