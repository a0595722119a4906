//! Pairs of things that take turns, and what their times say.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;

/// Does something once.
pub(super) type Action = Box<dyn FnMut() -> Result<()>>;

/// How far ours may lie behind the plain thing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gate {
    /// At most this many times as long.
    Ratio(f64),
    /// At most this many milliseconds more.
    Milliseconds(f64),
    /// Only recorded.
    None,
}

/// Two things that do the same.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) plain: Action,
    pub(super) ours: Action,
    pub(super) gate: Gate,
    pub(super) rounds: usize,
}

impl Pair {
    /// Lets them take turns. The first turn of each is not counted.
    pub(super) fn measure(mut self) -> Result<Outcome> {
        (self.plain)()?;
        (self.ours)()?;
        let mut times = Vec::with_capacity(self.rounds);
        for _ in 0..self.rounds {
            times.push((timed(&mut self.plain)?, timed(&mut self.ours)?));
        }
        Ok(Outcome::of(self.name, self.gate, &times))
    }
}

fn timed(action: &mut Action) -> Result<f64> {
    let started = Instant::now();
    action()?;
    Ok(milliseconds(started.elapsed()))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the times of a pair say.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    /// Medians, in milliseconds.
    plain: f64,
    ours: f64,
    /// Medians over the turns, not relations of medians: a slow moment hits both halves of a turn.
    ratio: f64,
    difference: f64,
    gate: Gate,
    rounds: usize,
}

impl Outcome {
    /// Milliseconds, the plain thing's first.
    pub(super) fn of(name: &'static str, gate: Gate, times: &[(f64, f64)]) -> Self {
        let over = |f: fn(&(f64, f64)) -> f64| median(times.iter().map(f).collect());
        Self {
            name,
            plain: over(|t| t.0),
            ours: over(|t| t.1),
            ratio: over(|t| t.1 / t.0),
            difference: over(|t| t.1 - t.0),
            gate,
            rounds: times.len(),
        }
    }

    /// Whether ours is near enough.
    pub(super) fn holds(&self) -> bool {
        match self.gate {
            Gate::Ratio(most) => self.ratio <= most,
            Gate::Milliseconds(most) => self.difference <= most,
            Gate::None => true,
        }
    }

    /// The line above a table of outcomes.
    pub(super) fn heading() -> String {
        format!("{:<40}{:>10}{:>10}{:>8}{:>10}  limit", "", "plain ms", "ours ms", "ratio", "+ ms")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, plain, ours, ratio, difference, .. } = self;
        write!(f, "{name:<40}{plain:>10.2}{ours:>10.2}{ratio:>8.2}{difference:>10.2}  ")?;
        match self.gate {
            Gate::Ratio(most) => write!(f, "x {most:.2}")?,
            Gate::Milliseconds(most) => write!(f, "+ {most:.0} ms")?,
            Gate::None => return f.write_str("-"),
        }
        f.write_str(if self.holds() { " ✓" } else { " ✗" })
    }
}

/// All outcomes, for programs.
pub(super) fn to_json(outcomes: &[Outcome]) -> Value {
    let list = outcomes.iter().map(|o| {
        let gate = match o.gate {
            Gate::Ratio(most) => json!({ "ratio": most }),
            Gate::Milliseconds(most) => json!({ "milliseconds": most }),
            Gate::None => Value::Null,
        };
        json!({
            "name": o.name, "plain_ms": o.plain, "ours_ms": o.ours, "ratio": o.ratio,
            "difference_ms": o.difference, "rounds": o.rounds, "gate": gate, "holds": o.holds(),
        })
    });
    json!({ "benchmarks": list.collect::<Vec<_>>() })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[n / 2],
        n => (numbers[n / 2 - 1] + numbers[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relation_is_taken_turn_by_turn() {
        let times = [(1.0, 2.0), (100.0, 150.0), (2.0, 4.0)];
        let outcome = Outcome::of("x", Gate::Ratio(1.9), &times);
        assert_eq!((outcome.ratio, outcome.difference, outcome.plain), (2.0, 2.0, 2.0));
        assert!(!outcome.holds());
        assert!(Outcome::of("x", Gate::Milliseconds(2.0), &times).holds());
        assert!(!Outcome::of("nothing measured", Gate::Ratio(1.0), &[]).holds());
    }

    #[test]
    fn they_take_turns() {
        let turns = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let action = |name: char| -> Action {
            let turns = turns.clone();
            Box::new(move || {
                turns.borrow_mut().push(name);
                Ok(())
            })
        };
        let pair = Pair { name: "x", plain: action('p'), ours: action('o'), gate: Gate::Ratio(1e9), rounds: 3 };
        pair.measure().unwrap();
        assert_eq!(*turns.borrow(), "popopopo");
    }
}
