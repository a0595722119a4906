//! Ages and sizes in words.

use std::time::{SystemTime, UNIX_EPOCH};

/// Months and years of a person's "how long ago", in seconds.
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 12 * MONTH;

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// How long ago something was, such as `2 hours ago`.
pub(super) fn ago(then: Option<u64>, now: u64) -> String {
    let Some(then) = then else { return "unknown".to_owned() };
    let Some(seconds) = now.checked_sub(then) else { return "in the future".to_owned() };
    let units = [(YEAR, "year"), (MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")];
    match units.into_iter().find(|(unit, _)| seconds >= *unit) {
        None => "just now".to_owned(),
        Some((unit, name)) => {
            let count = seconds / unit;
            format!("{count} {name}{} ago", if count == 1 { "" } else { "s" })
        }
    }
}

/// Bytes in binary units with one decimal, such as `3.4 GiB`.
pub(super) fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "unknown".to_owned() };
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Several of a thing.
pub(super) fn plural(noun: &str) -> String {
    format!("{noun}{}", if noun.ends_with('x') { "es" } else { "s" })
}

/// A number of things.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}(s)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_units_of_a_person() {
        for (seconds, words) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (2 * HOUR, "2 hours ago"),
            (DAY - 1, "23 hours ago"),
            (29 * DAY, "29 days ago"),
            (MONTH, "1 month ago"),
            (YEAR - 1, "11 months ago"),
            (3 * YEAR, "3 years ago"),
        ] {
            assert_eq!(ago(Some(YEAR * 50 - seconds), YEAR * 50), words);
        }
        assert_eq!(ago(Some(2), 1), "in the future");
        assert_eq!(ago(None, 1), "unknown");
    }

    #[test]
    fn sizes_have_one_decimal_in_binary_units() {
        assert_eq!(size(Some(0)), "0 B");
        assert_eq!(size(Some(1536)), "1.5 KiB");
        assert_eq!(size(Some(3_650_722_202)), "3.4 GiB");
        assert_eq!(size(Some(u64::MAX)), "16777216.0 TiB");
        assert_eq!(size(None), "unknown");
    }
}
