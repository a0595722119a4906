//! Every bound of the RPC service, in one table: the server, its tests and whoever shows them read the same numbers.

use std::time::Duration;

/// How often something may happen: `burst` at once, then `per_second` more each second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many more each second.
    pub per_second: f64,
}

/// The bounds of one run's RPC service.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of one line, its end included.
    pub line: usize,
    /// From connecting to the whole first line.
    pub first_line: Duration,
    /// Connections that have shown the token.
    pub connections: usize,
    /// Connections that have not yet; their slots are separate, so strangers never block the guest.
    pub strangers: usize,
    /// Nesting of JSON values; a request's own object counts as one.
    pub depth: usize,
    /// Fields of one JSON object. No request has a dozen.
    pub fields: usize,
    /// Characters of a `request_id`.
    pub request_id: usize,
    /// Different `request_id`s that one run may use.
    pub request_ids: usize,
    /// One request: its line from the first byte to the last, its work, its answer on the wire, each.
    pub request: Duration,
    /// The work of one `SpawnAgent`.
    pub spawn: Duration,
    /// Characters of a worktree's or branch's name.
    pub name: usize,
    /// Names in one `Wait`.
    pub names: usize,
    /// The longest that a `Wait` may ask to be kept waiting.
    pub wait: Duration,
    /// What a `Wait` may take beyond what it asked for.
    pub wait_margin: Duration,
    /// The work of one `Merge`.
    pub merge: Duration,
    /// The work of one `Close`.
    pub close: Duration,
    /// Lines that one `Capture` may ask for.
    pub captured: u32,
    /// Bytes of all messages of one answer.
    pub output: usize,
    /// An authenticated connection with nothing to say, so that a vanished guest machine frees its slot.
    pub idle: Duration,
    /// Reading what a refused client still sends, so that it can read why it was refused.
    pub linger: Duration,
    /// `SetStatus` and `SetTitle` together.
    pub status: Rate,
    /// `SpawnAgent`.
    pub spawns: Rate,
    /// Requests about descendants together.
    pub family: Rate,
    /// Lines to the record of what the guest was refused.
    pub notes: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 1024 * 1024,
            first_line: Duration::from_secs(5),
            connections: 16,
            strangers: 8,
            depth: 64,
            fields: 64,
            request_id: 64,
            request_ids: 1024,
            request: Duration::from_secs(10),
            spawn: Duration::from_secs(120),
            name: 255,
            names: 64,
            wait: Duration::from_secs(60),
            wait_margin: Duration::from_secs(5),
            merge: Duration::from_secs(120),
            close: Duration::from_secs(30),
            captured: 2000,
            output: 256 * 1024,
            idle: Duration::from_secs(600),
            linger: Duration::from_secs(1),
            status: Rate { burst: 40, per_second: 20.0 },
            spawns: Rate { burst: 10, per_second: 10.0 / 60.0 },
            family: Rate { burst: 20, per_second: 10.0 },
            notes: Rate { burst: 100, per_second: 1.0 },
        }
    }
}

impl Limits {
    /// The table as words and values, for whoever wants to see it.
    pub fn table(&self) -> Vec<(&'static str, String)> {
        let seconds = |duration: &Duration| format!("{} s", duration.as_secs());
        let rate = |rate: &Rate| format!("{} at once, then {:.2} a second", rate.burst, rate.per_second);
        // Without `..`: a new bound does not compile until it is shown.
        let Self {
            line,
            first_line,
            connections,
            strangers,
            depth,
            fields,
            request_id,
            request_ids,
            request,
            spawn,
            name,
            names,
            wait,
            wait_margin,
            merge,
            close,
            captured,
            output,
            idle,
            linger,
            status,
            spawns,
            family,
            notes,
        } = self;
        vec![
            ("bytes of a line", line.to_string()),
            ("time for the first line", seconds(first_line)),
            ("connections with the token", connections.to_string()),
            ("connections without it yet", strangers.to_string()),
            ("nesting of JSON", depth.to_string()),
            ("fields of a JSON object", fields.to_string()),
            ("characters of a request id", request_id.to_string()),
            ("request ids of a run", request_ids.to_string()),
            ("time for a request", seconds(request)),
            ("time for a spawn", seconds(spawn)),
            ("characters of a name", name.to_string()),
            ("names to wait for at once", names.to_string()),
            ("time to be kept waiting", seconds(wait)),
            ("time beyond that", seconds(wait_margin)),
            ("time for a merge", seconds(merge)),
            ("time to close a window", seconds(close)),
            ("lines of a terminal", captured.to_string()),
            ("bytes of an answer's messages", output.to_string()),
            ("time without a request", seconds(idle)),
            ("time to read a refusal", seconds(linger)),
            ("statuses and titles", rate(status)),
            ("spawns", rate(spawns)),
            ("requests about agents", rate(family)),
            ("notes of refusals", rate(notes)),
        ]
    }
}
