//! What really ran: the lines tests leave about engines, the totals cargo prints, and the floors they must reach.
//!
//! A test that needs an engine writes `<engine> <ran|skipped> <test>` into the ledger (`tests/src/engine.rs`). The
//! floors stand in `tests/expected.toml`: a run in which tests silently vanish is a failed run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Tests per engine.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ledger(BTreeMap<String, Counts>);

#[derive(Debug, Default, PartialEq)]
struct Counts {
    ran: BTreeSet<String>,
    skipped: BTreeSet<String>,
}

impl Ledger {
    /// Reads what tests wrote. A test counts once however often it asks.
    pub(crate) fn parse(text: &str) -> Self {
        let mut engines: BTreeMap<String, Counts> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(engine), Some(what), Some(test)) = (words.next(), words.next(), words.next()) else { continue };
            let counts = engines.entry(engine.to_owned()).or_default();
            let list = if what == "ran" { &mut counts.ran } else { &mut counts.skipped };
            list.insert(test.to_owned());
        }
        Self(engines)
    }

    /// How many tests ran on this engine.
    fn ran(&self, engine: &str) -> usize {
        self.0.get(engine).map_or(0, |c| c.ran.len())
    }

    /// Engines on which tests were skipped.
    pub(crate) fn skipped(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, c)| !c.skipped.is_empty()).map(|(engine, _)| engine.as_str()).collect()
    }

    /// Every floor that was not reached, in words.
    pub(crate) fn below(&self, floors: &Floors) -> Vec<String> {
        let short = |(engine, floor): (&String, &usize)| {
            let ran = self.ran(engine);
            (ran < *floor).then(|| format!("{engine}: {ran} test(s) ran, at least {floor} must"))
        };
        floors.engines.iter().filter_map(short).collect()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (engine, counts) in &self.0 {
            write!(f, "  {engine:<14}{:>5} ran", counts.ran.len())?;
            if !counts.skipped.is_empty() {
                write!(f, ", {} SKIPPED: not here", counts.skipped.len())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The totals of what libtest prints.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

impl Totals {
    /// Adds a line of output if it says something countable.
    pub(crate) fn read(&mut self, line: &str) {
        // An example in the documentation may be marked as not to be compiled; a test may not.
        let test = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "));
        if test.is_some_and(|(name, result)| result.starts_with("ignored") && !name.contains("(line ")) {
            self.ignored += 1;
        }
        let Some(line) = line.strip_prefix("test result: ") else { return };
        let count = |what: &str| -> usize {
            let part = line.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
    }
}

/// The numbers of `tests/expected.toml`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Floors {
    total: usize,
    engines: BTreeMap<String, usize>,
}

impl Floors {
    /// Reads the two tables of numbers that the file is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut floors, mut table) = (Self::default(), "");
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                table = name;
                continue;
            }
            let entry = line.split_once('=').and_then(|(k, n)| Some((k.trim(), n.trim().parse::<usize>().ok()?)));
            match (table, entry) {
                ("tests", Some(("total", number))) => floors.total = number,
                ("engines", Some((engine, number))) => _ = floors.engines.insert(engine.to_owned(), number),
                _ => return Err(format!("tests/expected.toml: cannot read '{line}'")),
            }
        }
        Ok(floors)
    }

    /// Why these totals are not enough, if they are not.
    pub(crate) fn total_short(&self, totals: &Totals) -> Option<String> {
        let (passed, floor) = (totals.passed, self.total);
        (passed < floor).then(|| format!("{passed} test(s) passed in all, at least {floor} must"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_once_and_floors_hold() {
        let ledger = Ledger::parse("b ran t1\nb ran t1\nb ran t2\nc skipped t3\nbroken\n");
        let floors = Floors::parse("[tests]\ntotal = 4 # all\n\n[engines]\nb = 2\nc = 1\n").unwrap();
        assert_eq!(ledger.below(&floors), ["c: 0 test(s) ran, at least 1 must"]);
        assert_eq!(ledger.skipped(), ["c"]);
        assert!(floors.total_short(&Totals { passed: 3, ..Totals::default() }).is_some());
        assert!(floors.total_short(&Totals { passed: 4, ..Totals::default() }).is_none());
        assert!(Floors::parse("[engines]\nb = many\n").is_err());
    }

    #[test]
    fn closing_lines_of_libtest_are_added_up() {
        let mut totals = Totals::default();
        totals.read("test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        totals.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        totals.read("test a::b ... ok");
        totals.read("test a::c ... ignored, because");
        totals.read("test src/a.rs - a::b (line 31) ... ignored");
        assert_eq!(totals, Totals { passed: 15, failed: 2, ignored: 1 });
    }
}
