//! What a project may do to a key: a closed set of rules, written the same way in our table and in a backend's schema.

use std::cmp::Ordering;

use serde_json::Value;

/// What a project may do to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'a> {
    /// Nothing.
    No,
    /// Anything the user confirmed once, word for word.
    Ask,
    /// Anything.
    Yes,
    /// Only less than the user has; anything where neither the user nor the default says something.
    Lower,
    /// Only further elements.
    Add,
    /// Only elements the user has.
    Subset,
    /// Only this value.
    Only(&'a str),
}

impl<'a> Rule<'a> {
    /// Reads `no`, `ask`, `yes`, `lower`, `add`, `subset` or `only VALUE`.
    pub fn parse(text: &'a str) -> Option<Self> {
        Some(match text {
            "no" => Self::No,
            "ask" => Self::Ask,
            "yes" => Self::Yes,
            "lower" => Self::Lower,
            "add" => Self::Add,
            "subset" => Self::Subset,
            _ => Self::Only(text.strip_prefix("only ")?),
        })
    }
}

/// What follows from a rule for one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// This is the value now.
    Use(Value),
    /// It is, once the user confirmed it.
    Ask,
    /// The user's value stays, for this reason.
    Refuse(String),
}

/// How values of a key compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// As numbers.
    Number,
    /// As amounts of bytes, `8G` or `512MiB`.
    Size,
}

/// Applies `rule` to what a project wants, given what holds without it: the user's value, else the default.
pub(super) fn apply(rule: Rule, wanted: &Value, current: Option<&Value>, unit: Unit) -> Verdict {
    let current = current.filter(|value| !value.is_null());
    // Nothing is lost when nothing changes, and nothing need be said.
    if current == Some(wanted) || crate::mutant::off("p27_tighten") {
        return Verdict::Use(wanted.clone());
    }
    let refuse = |reason: &str| Verdict::Refuse(reason.to_owned());
    match rule {
        Rule::No => refuse("a project may not set it"),
        Rule::Ask => Verdict::Ask,
        Rule::Yes => Verdict::Use(wanted.clone()),
        Rule::Only(value) if as_text(wanted) == value => Verdict::Use(wanted.clone()),
        Rule::Only(value) => Verdict::Refuse(format!("a project may only set it to '{value}'")),
        Rule::Lower => match current.map(|current| compare(wanted, current, unit)) {
            None | Some(Some(Ordering::Less | Ordering::Equal)) => Verdict::Use(wanted.clone()),
            Some(Some(Ordering::Greater)) => refuse("a project may only lower it"),
            Some(None) => refuse("a project may only lower it, and the two values cannot be compared"),
        },
        Rule::Add => match (wanted, current) {
            (Value::Array(wanted), None) => Verdict::Use(Value::Array(wanted.clone())),
            (Value::Array(wanted), Some(Value::Array(current))) => {
                let new = wanted.iter().filter(|item| !current.contains(item));
                Verdict::Use(current.iter().chain(new).cloned().collect())
            }
            _ => refuse("a project may only add to it"),
        },
        Rule::Subset => match (wanted, current) {
            (Value::Array(wanted), Some(Value::Array(current))) if wanted.iter().all(|item| current.contains(item)) => {
                Verdict::Use(Value::Array(wanted.clone()))
            }
            (Value::Array(wanted), None) if wanted.is_empty() => Verdict::Use(Value::Array(Vec::new())),
            _ => refuse("a project may only choose among the entries of your own list"),
        },
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn compare(a: &Value, b: &Value, unit: Unit) -> Option<Ordering> {
    match unit {
        Unit::Size => Some(size(a)?.cmp(&size(b)?)),
        Unit::Number => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
    }
}

/// An amount of bytes: a whole number, or a number and one of `b k m g t`, with or without `b` or `ib` behind it.
/// Every tool that takes such values counts in steps of 1024.
pub(super) fn size(value: &Value) -> Option<u128> {
    if let Some(bytes) = value.as_u64() {
        return Some(bytes.into());
    }
    let text = value.as_str()?.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let decimals = 10u128.checked_pow(u32::try_from(fraction.len()).ok().filter(|n| (1..=9).contains(n))?)?;
    let scaled = whole.parse::<u64>().ok().map(u128::from)? * decimals + fraction.parse::<u128>().ok()?;
    Some(scaled.checked_mul(1 << (10 * power))? / decimals)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_amounts() {
        let g = 1 << 30;
        for (text, bytes) in
            [("8G", 8 * g), ("8GiB", 8 * g), ("8 gb", 8 * g), ("512M", g / 2), ("1.5g", g + g / 2), ("0", 0), ("7", 7)]
        {
            assert_eq!(size(&json!(text)), Some(bytes), "{text}");
        }
        for bad in ["", "G", "8X", "-1G", "1e3", "1..2G", ".5G", "8G 8G", "99999999999999999999T", "٣G"] {
            assert_eq!(size(&json!(bad)), None, "{bad}");
        }
        assert_eq!(size(&json!(1024)), Some(1024));
        assert_eq!(size(&json!(-1)), None);
    }

    #[test]
    fn p27_each_rule_lets_only_its_direction_pass() {
        use Unit::{Number, Size};
        let used = |value| Some(value);
        // Rule, wanted, what holds without it, unit, what comes out (None = refused).
        for (rule, wanted, current, unit, result) in [
            ("no", json!(1), json!(null), Number, None),
            ("no", json!(1), json!(1), Number, used(json!(1))),
            ("yes", json!("x"), json!("y"), Number, used(json!("x"))),
            ("lower", json!(2), json!(4), Number, used(json!(2))),
            ("lower", json!(8), json!(4), Number, None),
            ("lower", json!(4.5), json!(4), Number, None),
            ("lower", json!(8), json!(null), Number, used(json!(8))),
            ("lower", json!("8G"), json!("16G"), Size, used(json!("8G"))),
            ("lower", json!("16G"), json!("8G"), Size, None),
            ("lower", json!("900M"), json!("1G"), Size, used(json!("900M"))),
            ("lower", json!("lots"), json!("1G"), Size, None),
            ("add", json!(["b", "a"]), json!(["a"]), Number, used(json!(["a", "b"]))),
            ("add", json!([]), json!(["a"]), Number, used(json!(["a"]))),
            ("add", json!("b"), json!(["a"]), Number, None),
            ("subset", json!(["a"]), json!(["a", "b"]), Number, used(json!(["a"]))),
            ("subset", json!(["a", "c"]), json!(["a", "b"]), Number, None),
            ("subset", json!(["a"]), json!(null), Number, None),
            ("only true", json!(true), json!(false), Number, used(json!(true))),
            ("only true", json!(false), json!(true), Number, None),
            ("only all", json!("all"), json!("agent"), Number, used(json!("all"))),
            ("only all", json!("agent"), json!("all"), Number, None),
        ] {
            let rule = Rule::parse(rule).unwrap();
            let out = match apply(rule, &wanted, Some(&current), unit) {
                Verdict::Use(value) => Some(value),
                _ => None,
            };
            assert_eq!(out, result, "{rule:?} {wanted} over {current}");
        }
        assert_eq!(apply(Rule::Ask, &json!("x"), None, Number), Verdict::Ask);
        for unknown in ["", "maybe", "only", "Yes", "tighten"] {
            assert_eq!(Rule::parse(unknown), None, "{unknown}");
        }
    }
}
