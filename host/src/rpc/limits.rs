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
    /// Fields of one JSON object. No request has ten.
    pub fields: usize,
    /// Characters of a `request_id`.
    pub request_id: usize,
    /// Different `request_id`s that one run may use.
    pub request_ids: usize,
    /// One request: its line from the first byte to the last, its work, its answer on the wire, each.
    pub request: Duration,
    /// The work of one `SpawnAgent`.
    pub spawn: Duration,
    /// An authenticated connection with nothing to say, so that a vanished guest machine frees its slot.
    pub idle: Duration,
    /// Reading what a refused client still sends, so that it can read why it was refused.
    pub linger: Duration,
    /// `SetStatus` and `SetTitle` together.
    pub status: Rate,
    /// `SpawnAgent`.
    pub spawns: Rate,
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
            idle: Duration::from_secs(600),
            linger: Duration::from_secs(1),
            status: Rate { burst: 40, per_second: 20.0 },
            spawns: Rate { burst: 10, per_second: 10.0 / 60.0 },
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
            idle,
            linger,
            status,
            spawns,
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
            ("time without a request", seconds(idle)),
            ("time to read a refusal", seconds(linger)),
            ("statuses and titles", rate(status)),
            ("spawns", rate(spawns)),
            ("notes of refusals", rate(notes)),
        ]
    }
}
