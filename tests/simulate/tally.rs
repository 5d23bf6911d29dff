//! How many states of which operations were looked at, and what was wrong with them.

use std::collections::BTreeMap;

use crate::op::KINDS;

/// States of one kind of operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) points: usize,
    /// Distinct states of the first crash.
    pub(crate) states: usize,
    /// Distinct states of crashes in recoveries.
    pub(crate) nested: usize,
    /// States that were worked on with.
    pub(crate) lived: usize,
    pub(crate) garbled: usize,
    pub(crate) garbled_refused: usize,
    pub(crate) violations: usize,
}

/// Counts by kind of operation, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kinds: BTreeMap<&'static str, Count>,
    /// The first few violations, in full.
    pub(crate) found: Vec<String>,
    /// Distinct states before the first violation.
    pub(crate) states_to_first: Option<usize>,
}

impl Tally {
    fn add_counts(&mut self, other: &BTreeMap<&'static str, Count>) {
        for (kind, count) in other {
            let mine = self.kinds.entry(kind).or_default();
            mine.points += count.points;
            mine.states += count.states;
            mine.nested += count.nested;
            mine.lived += count.lived;
            mine.garbled += count.garbled;
            mine.garbled_refused += count.garbled_refused;
            mine.violations += count.violations;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.add_counts(&other.kinds);
        self.found.extend(other.found);
    }

    pub(crate) fn sum(&self) -> Count {
        let mut all = Self::default();
        for count in self.kinds.values() {
            all.add_counts(&BTreeMap::from([("", *count)]));
        }
        all.kinds.get("").copied().unwrap_or_default()
    }

    pub(crate) fn print(&self) {
        let line = |kind: &str, c: &Count| {
            println!(
                "{kind:<15} {:>7} {:>9} {:>9} {:>8} {:>9} {:>8} {:>10}",
                c.points, c.states, c.nested, c.lived, c.garbled, c.garbled_refused, c.violations
            );
        };
        println!(
            "{:<15} {:>7} {:>9} {:>9} {:>8} {:>9} {:>8} {:>10}",
            "operation", "points", "states", "nested", "lived", "garbage", "refused", "violations"
        );
        for kind in KINDS {
            if let Some(count) = self.kinds.get(kind) {
                line(kind, count);
            }
        }
        line("all", &self.sum());
    }
}
