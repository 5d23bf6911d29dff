//! Going back: an earlier checkpoint becomes the head, and what came after it an abandoned line.

use super::line::JobLine;
use crate::error::{Error, Result};
use crate::format::Action;
use crate::id::CheckpointId;
use crate::storage::Change;
use crate::store::{Checkpoint, Job};

/// The longest reason that is recorded, in bytes.
const MOST_REASON: usize = 1024;

impl Job {
    /// Makes an earlier checkpoint the head. What came after it stays, as an abandoned line: never
    /// again `latest` or `best`, and dropped by retention unless it is marked. The telemetry goes
    /// on from there too. The log records it with the reason.
    ///
    /// One transaction; its size grows with the number of checkpoints that change lines.
    ///
    /// ```
    /// # let store = ckptdb::Store::in_memory()?;
    /// let job = store.job("NQ")?;
    /// let good = job.save(1).bytes("policy", b"good").commit()?.checkpoint;
    /// job.save(2).bytes("policy", b"spoilt").commit()?;
    /// job.rollback(good.id, "the loss is NaN")?;
    /// assert_eq!(job.latest()?.unwrap().iteration, 1);
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] when the job has no such checkpoint; [`Error::Deleted`].
    pub fn rollback(&self, to: CheckpointId, reason: &str) -> Result<Checkpoint> {
        let store = self.store();
        let _turn = store.turn()?;
        store.change(|change| {
            let mut line = JobLine::named(change.records(), self.name())?;
            go_back(change, &mut line, to.get(), reason, true)?;
            line.finish(change)
        })?;
        self.store().by_id(to)
    }
}

/// Makes `to` the head, by a rollback if it is not; `cut` says whether the telemetry turns back.
pub(super) fn go_back(
    change: &mut Change<'_>,
    line: &mut JobLine,
    to: u64,
    reason: &str,
    cut: bool,
) -> Result<()> {
    let head = line.record.head.map(|head| head.id);
    let id = CheckpointId::new(to);
    let record = change
        .records()
        .checkpoint(to)?
        .filter(|record| record.saved.job == line.number)
        .ok_or_else(|| {
            let hint = format!("see `ckptdb ls {}`", line.record.name);
            Error::not_found(
                format!("checkpoint {id} in job `{}`", line.record.name),
                hint,
            )
        })?;
    if record.later.deleted.is_some() {
        return Err(Error::Deleted { id });
    }
    let is_rollback = head != Some(to) || cut;
    if is_rollback {
        change.log(Action::Rollback {
            job: line.number,
            from: head,
            to: Some(to),
            reason: reason.chars().take(MOST_REASON / 4).collect(),
        })?;
    }
    // Of the head too: what is deleted is left behind, and does not come back as the head.
    if is_rollback {
        line.roll_back(change, to)?;
    }
    if cut {
        let position = (record.later.progress.segment, record.saved.iteration);
        line.turn_back(change, position)?;
    }
    Ok(())
}
