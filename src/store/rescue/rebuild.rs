//! Putting decided records in their tables, with the rows and counts that follow from them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::{CheckpointRecord, IndexKey, IndexKind, JobRecord};
use crate::id::CheckpointId;
use crate::storage::Change;
use crate::store::line::JobLine;
use crate::telemetry;

use super::history::History;

/// The jobs of a store that is put together, as far as it has come.
#[derive(Debug)]
pub(super) struct Rebuild {
    lines: BTreeMap<u32, JobLine>,
}

impl Rebuild {
    pub(super) fn new(jobs: BTreeMap<u32, JobRecord>) -> Self {
        let line = |(number, record)| (number, JobLine { number, record });
        Self {
            lines: jobs.into_iter().map(line).collect(),
        }
    }

    /// The first job number that none of them has.
    pub(super) fn next_job(&self) -> u32 {
        self.lines.keys().next_back().map_or(1, |last| last + 1)
    }

    /// What a job is called.
    pub(super) fn job_name(&self, number: u32) -> Option<String> {
        self.lines.get(&number).map(|line| line.record.name.clone())
    }

    /// Puts a checkpoint, with its rows. What it refers to is counted elsewhere.
    pub(super) fn put(
        &mut self,
        change: &mut Change<'_>,
        id: u64,
        record: &CheckpointRecord,
    ) -> Result<()> {
        let number = record.saved.job;
        let unknown = || Error::corrupt(format!("checkpoint id:{id}"), "its job is not known");
        let line = self.lines.get_mut(&number).ok_or_else(unknown)?;
        match record.later.deleted {
            Some(mark) => {
                let checkpoint = CheckpointId::new(id);
                let kind = IndexKind::Deleted;
                let row = IndexKey::new(kind, number, 0, mark.log, checkpoint);
                change.rows().set_index(row, true)?;
                line.count_deleted(1)?;
            }
            None => {
                line.attach(change, id, record)?;
                line.note_metrics(id, record);
            }
        }
        change.put_checkpoint(id, record)
    }

    /// Puts the jobs, with what they count by now.
    pub(super) fn finish(self, change: &mut Change<'_>) -> Result<()> {
        for mut line in self.lines.into_values() {
            if !line.record.removed {
                line.set_name_row(change, true)?;
            }
            // What is declared and in no checkpoint yet has a number too.
            for metric in &line.record.metrics {
                change.intern(&metric.name)?;
            }
            line.recompute(change)?;
            let rows = change.records().0;
            line.record.segment = telemetry::last_segment(rows, line.number)?;
            if let Some(good) = line.record.good {
                let record = change.records().checkpoint(good)?;
                let is_there = record.is_some_and(|record| record.later.deleted.is_none());
                line.record.good = is_there.then_some(good);
            }
            line.finish(change)?;
        }
        Ok(())
    }
}

/// Ids that one log record lists.
const LOST_IDS: usize = 10_000;

/// The ids in lists that a log record has room for; at least one, empty if there are none.
pub(super) fn batches(ids: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let count = ids.len().div_ceil(LOST_IDS).max(1);
    (0..count).map(|n| {
        ids.iter()
            .skip(n * LOST_IDS)
            .take(LOST_IDS)
            .copied()
            .collect()
    })
}

/// Writes the log from its first record, joined where records are lost.
pub(super) fn write_log(change: &mut Change<'_>, history: &History) -> Result<()> {
    for (_, at, action) in history.actions() {
        change.set_time(at);
        change.log(action)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ids_are_as_long_as_a_log_record_has_room_for() {
        let lens = |count: u64| -> Vec<usize> {
            let ids: Vec<u64> = (0..count).collect();
            let all: Vec<Vec<u64>> = batches(&ids).collect();
            assert_eq!(all.concat(), ids);
            all.iter().map(Vec::len).collect()
        };
        assert_eq!(lens(0), [0]);
        assert_eq!(lens(7), [7]);
        assert_eq!(lens(10_000), [10_000]);
        assert_eq!(lens(25_001), [10_000, 10_000, 5_001]);
    }
}
