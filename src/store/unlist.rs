//! A checkpoint whose record can't be read any more is taken off its job's lines, so that training
//! can go on from an older one. What it refers to stays counted, and a repair looks for its record
//! elsewhere.

use std::ops::ControlFlow;

use super::index_rows::whole;
use super::line::JobLine;
use crate::error::{Error, Result};
use crate::format::{CheckpointRecord, IndexKey, IndexKind};
use crate::storage::Change;

impl JobLine {
    /// Removes the index rows of a live checkpoint without its record, and counts the job anew.
    /// Costs a pass over the index and the checkpoints.
    pub(super) fn unlist(&mut self, change: &mut Change<'_>, id: u64, why: &Error) -> Result<()> {
        tracing::warn!(job = self.record.name, id, %why, "a damaged checkpoint is on no line now");
        for row in rows_of(change, id)? {
            change.rows().set_index(row, false)?;
        }
        let counted = &mut self.record;
        (counted.current, counted.abandoned) = (0, 0);
        (counted.bytes, counted.new_bytes) = (0, 0);
        let mut of_job = Vec::new();
        change
            .records()
            .checkpoints((0, u64::MAX), false, &mut |_, record| {
                let is_live = |record: &CheckpointRecord| {
                    record.saved.job == self.number && record.later.deleted.is_none()
                };
                of_job.extend(record.ok().filter(is_live));
                Ok(ControlFlow::Continue(()))
            })?;
        of_job.iter().try_for_each(|record| self.count(record, 1))?;
        self.forget_good(change, id)?;
        change.count_live(-1)
    }
}

/// The rows of a live checkpoint, by its id alone.
fn rows_of(change: &Change<'_>, id: u64) -> Result<Vec<IndexKey>> {
    let mut found = Vec::new();
    for kind in IndexKind::of_live() {
        change.records().0.index(whole(kind), false, &mut |key| {
            if key.id == id {
                found.push(key);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}
