//! Points that are not in the store yet.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::MAX_SERIES;
use crate::metric::canonical;
use crate::name::check_word;

/// Points in memory, in the order in which they were logged. Iterations never fall.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The iteration of every row.
    pub(super) rows: Vec<u64>,
    /// By metric: rows and values.
    pub(super) columns: BTreeMap<String, Vec<(u32, f64)>>,
}

impl Batch {
    /// Adds values at an iteration. Costs a few dozen bytes a value, until it is stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that can't be a metric's or one metric too many;
    /// [`Error::Conflict`] when the iteration is before the last one.
    pub fn log<'n>(
        &mut self,
        iteration: u64,
        values: impl IntoIterator<Item = (&'n str, f64)>,
    ) -> Result<()> {
        if let Some(last) = self.rows.last().filter(|last| **last > iteration) {
            return Err(Error::conflict(
                format!("iteration {iteration} is before the last one logged, {last}"),
                "telemetry goes forward; append what is pending, and log to a new batch",
            ));
        }
        let mut row = None;
        for (name, value) in values {
            if !self.columns.contains_key(name) {
                check_word("metric", name)?;
                if self.columns.len() == MAX_SERIES {
                    let why = format!("a job's telemetry has {MAX_SERIES} metrics at most");
                    return Err(Error::invalid(format!("metric `{name}`"), why));
                }
                self.columns.insert(name.to_owned(), Vec::new());
            }
            let at = *row.get_or_insert_with(|| self.row_for(iteration));
            let values = self.columns.entry(name.to_owned()).or_default();
            if values.last().is_some_and(|(last, _)| *last == at) {
                // The same metric twice: a row of its own.
                self.rows.push(iteration);
                let at = last_row(&self.rows);
                row = Some(at);
                values.push((at, canonical(value)));
            } else {
                values.push((at, canonical(value)));
            }
        }
        Ok(())
    }

    /// The row that values of this iteration go to: the last one if it has it.
    fn row_for(&mut self, iteration: u64) -> u32 {
        if self.rows.last() != Some(&iteration) {
            self.rows.push(iteration);
        }
        last_row(&self.rows)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.columns.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The last iteration.
    pub fn last(&self) -> Option<u64> {
        self.rows.last().copied()
    }

    /// Puts points back that were logged before these; where these began anew from an earlier
    /// iteration, what they replace is dropped.
    pub(crate) fn put_before(&mut self, mut before: Self) {
        if let (Some(first), Some(last)) = (self.rows.first(), before.last())
            && last > *first
        {
            before.cut_from(*first);
        }
        self.prepend(before);
    }

    /// Drops what was logged at this iteration or after it.
    pub(crate) fn cut_from(&mut self, iteration: u64) {
        let rows = self.rows.partition_point(|row| *row < iteration);
        self.rows.truncate(rows);
        let cut = u32::try_from(rows).unwrap_or(u32::MAX);
        for column in self.columns.values_mut() {
            column.retain(|(row, _)| *row < cut);
        }
        self.columns.retain(|_, column| !column.is_empty());
    }

    /// Drops each second value of every metric; the first one stays.
    pub(crate) fn thin(&mut self) {
        let mut is_used = vec![false; self.rows.len()];
        for column in self.columns.values_mut() {
            let mut stays = false;
            column.retain(|_| {
                stays = !stays;
                stays
            });
            for (row, _) in column {
                is_used[*row as usize] = true;
            }
        }
        let place = |next: &mut u32, used: &bool| {
            let at = *next;
            *next += u32::from(*used);
            Some(at)
        };
        let places: Vec<u32> = is_used.iter().scan(0, place).collect();
        let mut used = is_used.iter();
        self.rows.retain(|_| used.next().copied().unwrap_or(false));
        for (row, _) in self.columns.values_mut().flatten() {
            *row = places[*row as usize];
        }
    }

    /// Rows that were logged before these, of the same segment.
    pub(super) fn prepend(&mut self, mut before: Self) {
        let shift = u32::try_from(before.rows.len()).unwrap_or(u32::MAX);
        before.rows.append(&mut self.rows);
        for (name, values) in std::mem::take(&mut self.columns) {
            let moved = values.into_iter().map(|(row, value)| (row + shift, value));
            before.columns.entry(name).or_default().extend(moved);
        }
        *self = before;
    }

    /// Takes the first rows away: so many, or as many as have so many values.
    pub(super) fn split(&mut self, most_rows: usize, most_values: usize) -> Self {
        let mut counts = vec![0_usize; self.rows.len()];
        for (row, _) in self.columns.values().flatten() {
            if let Some(count) = counts.get_mut(*row as usize) {
                *count += 1;
            }
        }
        let (mut rows, mut values) = (0, 0);
        for count in counts.iter().take(most_rows) {
            if rows > 0 && values + count > most_values {
                break;
            }
            rows += 1;
            values += count;
        }
        let rest = self.rows.split_off(rows);
        let cut = u32::try_from(rows).unwrap_or(u32::MAX);
        let mut taken = Self {
            rows: std::mem::replace(&mut self.rows, rest),
            columns: BTreeMap::new(),
        };
        for (name, column) in &mut self.columns {
            let at = column.partition_point(|(row, _)| *row < cut);
            let rest = column.split_off(at);
            let of_taken = std::mem::replace(column, rest);
            for (row, _) in column.iter_mut() {
                *row -= cut;
            }
            if !of_taken.is_empty() {
                taken.columns.insert(name.clone(), of_taken);
            }
        }
        self.columns.retain(|_, column| !column.is_empty());
        taken
    }
}

fn last_row(rows: &[u64]) -> u32 {
    u32::try_from(rows.len().saturating_sub(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_iteration_share_a_row_and_a_repeated_metric_gets_its_own() {
        let mut batch = Batch::default();
        batch.log(1, [("a", 1.0)]).unwrap();
        batch.log(1, [("b", 2.0)]).unwrap();
        batch.log(1, [("a", 3.0)]).unwrap();
        assert_eq!(batch.rows, [1, 1]);
        assert_eq!(batch.columns["a"], [(0, 1.0), (1, 3.0)]);
        batch.log(0, [("a", 1.0)]).unwrap_err();
        batch.log(2, [("no\nname", 1.0)]).unwrap_err();
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn thinned_metrics_keep_each_second_value_of_their_own() {
        let mut batch = Batch::default();
        for i in 0..10_u32 {
            batch.log(i.into(), [("a", f64::from(i))]).unwrap();
            // Only where the other's values go.
            if i % 4 == 1 {
                batch.log(i.into(), [("b", f64::from(i))]).unwrap();
            }
        }
        batch.thin();
        let points = |name: &str| -> Vec<(u64, f64)> {
            let of = |(row, value): &(u32, f64)| (batch.rows[*row as usize], *value);
            batch.columns[name].iter().map(of).collect()
        };
        let even = [(0, 0.0), (2, 2.0), (4, 4.0), (6, 6.0), (8, 8.0)];
        assert_eq!(points("a"), even);
        assert_eq!(points("b"), [(1, 1.0), (9, 9.0)]);
        assert_eq!(batch.rows, [0, 1, 2, 4, 6, 8, 9]);
    }

    #[test]
    fn split_and_prepend_undo_each_other() {
        let mut batch = Batch::default();
        for i in 0..100_u32 {
            batch.log(i.into(), [("a", f64::from(i))]).unwrap();
            if i % 3 == 0 {
                batch.log(i.into(), [("b", -f64::from(i))]).unwrap();
            }
        }
        let mut cut = batch.clone();
        cut.cut_from(40);
        assert_eq!((cut.last(), cut.len()), (Some(39), 40 + 14));
        let mut again = Batch::default();
        again.log(40, [("a", 1.0)]).unwrap();
        again.put_before(batch.clone());
        assert_eq!((again.last(), again.len()), (Some(40), 41 + 14));
        let mut more = Batch::default();
        more.log(99, [("b", 1.0)]).unwrap();
        more.put_before(batch.clone());
        assert_eq!(
            more.len(),
            100 + 34 + 1,
            "the same iteration turns nothing back"
        );
        let whole = batch.clone();
        let first = batch.split(70, 60);
        assert!(first.len() <= 60 && first.rows.len() <= 70 && !first.is_empty());
        batch.prepend(first);
        assert_eq!(batch, whole);
    }
}
