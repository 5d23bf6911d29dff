//! The rows that a checkpoint has in the index, and what its job counts of it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::index_rows::{each_commit, newest, set_rows, top};
use crate::error::{Error, Result};
use crate::format::{
    Action, CheckpointRecord, HeadMark, IndexKey, IndexKind, JobRecord, MetricRecord, ordered_bits,
};
use crate::metric::Direction;
use crate::storage::{Change, Records};

/// A job in a change: its number and its record, which is put back at the end.
#[derive(Debug)]
pub(super) struct JobLine {
    pub(super) number: u32,
    pub(super) record: JobRecord,
}

impl JobLine {
    /// The job with this name, made if there is none.
    pub(super) fn open_or_create(change: &mut Change<'_>, name: &str) -> Result<Self> {
        if let Some((number, record)) = change.records().job_named(name)? {
            return Ok(Self { number, record });
        }
        let number = change.next_job();
        change.log(Action::CreateJob {
            job: number,
            name: name.to_owned(),
        })?;
        let record = JobRecord::new(name.to_owned(), change.at());
        let line = Self { number, record };
        line.set_name_row(change, true)?;
        Ok(line)
    }

    /// The job that somebody named.
    pub(super) fn named(records: Records<'_>, name: &str) -> Result<Self> {
        let (number, record) = records.existing_job(name)?;
        Ok(Self { number, record })
    }

    /// The job with this number.
    pub(super) fn known(change: &Change<'_>, number: u32) -> Result<Self> {
        Ok(Self {
            number,
            record: change.records().known_job(number)?,
        })
    }

    /// Puts the record back.
    pub(super) fn finish(self, change: &mut Change<'_>) -> Result<()> {
        change.put_job(self.number, &self.record)
    }

    /// Puts or removes the row that finds the job by its name.
    pub(super) fn set_name_row(&self, change: &mut Change<'_>, present: bool) -> Result<()> {
        let name = change.intern(&self.record.name)?;
        let kind = IndexKind::JobName;
        let key = IndexKey {
            kind,
            job: 0,
            name,
            order: u64::from(self.number),
            id: 0,
        };
        change.rows().set_index(key, present)
    }

    /// Puts a live checkpoint's rows and counts it.
    pub(super) fn attach(
        &mut self,
        change: &mut Change<'_>,
        id: u64,
        checkpoint: &CheckpointRecord,
    ) -> Result<()> {
        set_rows(change, id, checkpoint, true)?;
        self.count(checkpoint, 1)?;
        change.count_live(1)
    }

    /// Puts a new checkpoint, which the job goes on from.
    pub(super) fn put_head(
        &mut self,
        change: &mut Change<'_>,
        id: u64,
        checkpoint: &CheckpointRecord,
    ) -> Result<()> {
        self.attach(change, id, checkpoint)?;
        self.record.head = Some(head_mark(id, checkpoint));
        self.note_metrics(id, checkpoint);
        change.put_checkpoint(id, checkpoint)
    }

    /// Removes its rows and counts it out.
    pub(super) fn detach(
        &mut self,
        change: &mut Change<'_>,
        id: u64,
        checkpoint: &CheckpointRecord,
    ) -> Result<()> {
        set_rows(change, id, checkpoint, false)?;
        self.count(checkpoint, -1)?;
        change.count_live(-1)
    }

    pub(super) fn count(&mut self, checkpoint: &CheckpointRecord, by: i64) -> Result<()> {
        let record = &mut self.record;
        let of_line = if checkpoint.later.abandoned {
            &mut record.abandoned
        } else {
            &mut record.current
        };
        add(of_line, 1, by, &record.name)?;
        add(&mut record.bytes, checkpoint.saved.bytes, by, &record.name)?;
        add(
            &mut record.new_bytes,
            checkpoint.later.new_bytes,
            by,
            &record.name,
        )
    }

    /// Counts deleted checkpoints.
    pub(super) fn count_deleted(&mut self, by: i64) -> Result<()> {
        add(&mut self.record.deleted, 1, by, &self.record.name)
    }

    /// A checkpoint that goes is not the last one known good: that is then the one that was
    /// verified before it, if there is one. Costs a pass over the log.
    pub(super) fn forget_good(&mut self, change: &Change<'_>, id: u64) -> Result<()> {
        if self.record.good != Some(id) {
            return Ok(());
        }
        self.record.good = None;
        let mut verified = BTreeSet::new();
        change.records().each_log(&mut |_, record| {
            if let Ok(Action::Verified { checkpoint }) = record.map(|record| record.action) {
                verified.insert(checkpoint);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for other in verified.into_iter().rev().filter(|other| *other != id) {
            let record = change.records().checkpoint(other).ok().flatten();
            let is_of_job = |record: &CheckpointRecord| {
                record.saved.job == self.number && record.later.deleted.is_none()
            };
            if record.as_ref().is_some_and(is_of_job) {
                self.record.good = Some(other);
                break;
            }
        }
        Ok(())
    }

    /// Takes note of a checkpoint's metrics: which the job has, and which is the best.
    pub(super) fn note_metrics(&mut self, id: u64, checkpoint: &CheckpointRecord) {
        for (name, value) in checkpoint.metrics() {
            let metric = self.metric_mut(name);
            if !value.is_finite() {
                continue;
            }
            let Some(direction) = direction_of(metric) else {
                continue;
            };
            let better = match metric.best {
                Some((bits, best)) => {
                    let best_value = f64::from_bits(bits);
                    let is_tie = ordered_bits(value) == ordered_bits(best_value);
                    direction.is_better(value, best_value) || (is_tie && id < best)
                }
                None => true,
            };
            if better {
                metric.best = Some((value.to_bits(), id));
            }
        }
    }

    /// The job's record of a metric, made if there is none.
    pub(super) fn metric_mut(&mut self, name: &str) -> &mut MetricRecord {
        let metrics = &mut self.record.metrics;
        let at = match metrics.binary_search_by(|metric| metric.name.as_str().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                let fresh = MetricRecord {
                    name: name.to_owned(),
                    larger: None,
                    best: None,
                };
                metrics.insert(at, fresh);
                at
            }
        };
        &mut metrics[at]
    }

    /// Finds the head and every best anew, after rows went or changed lines.
    pub(super) fn recompute(&mut self, change: &Change<'_>) -> Result<()> {
        let records = change.records();
        let rows = records.0;
        let head = newest(rows, self.number)?;
        self.record.head = head.map(|id| mark_of(records, id)).transpose()?;
        for metric in &mut self.record.metrics {
            metric.best = match (metric.larger, records.name_number(&metric.name)?) {
                (Some(larger), Some(name)) => top(rows, self.number, name, larger)?,
                _ => None,
            };
        }
        Ok(())
    }

    /// Moves a live checkpoint to an abandoned line, or back to the current one.
    pub(super) fn move_line(
        &mut self,
        change: &mut Change<'_>,
        id: u64,
        abandoned: bool,
    ) -> Result<()> {
        let mut checkpoint = match change.records().known_checkpoint(id) {
            Err(error @ Error::Corrupt { .. }) => return self.unlist(change, id, &error),
            checkpoint => checkpoint?,
        };
        self.detach(change, id, &checkpoint)?;
        checkpoint.later.abandoned = abandoned;
        self.attach(change, id, &checkpoint)?;
        change.put_checkpoint(id, &checkpoint)
    }

    /// Makes the line that ends in `to` the current one. What is on neither stays, abandoned.
    pub(super) fn roll_back(&mut self, change: &mut Change<'_>, to: u64) -> Result<()> {
        let mut line = vec![to];
        while let Some(parent) = parent_of(change.records(), line[line.len() - 1])? {
            line.push(parent);
        }
        line.reverse();
        let mut rows = Vec::new();
        for kind in [IndexKind::Commit, IndexKind::AbandonedCommit] {
            each_commit(change.records().0, self.number, kind, &mut |id| {
                rows.push((id, kind == IndexKind::AbandonedCommit));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for (id, abandoned) in rows {
            let belongs = line.binary_search(&id).is_ok();
            if belongs == abandoned {
                self.move_line(change, id, !belongs)?;
            }
        }
        self.leave_deleted(change, &line)?;
        self.recompute(change)
    }

    /// What is deleted is left behind too, or on the line again, should it come back.
    fn leave_deleted(&self, change: &mut Change<'_>, line: &[u64]) -> Result<()> {
        let mut deleted = Vec::new();
        each_commit(
            change.records().0,
            self.number,
            IndexKind::Deleted,
            &mut |id| {
                deleted.push(id);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        for id in deleted {
            let abandoned = line.binary_search(&id).is_err();
            match change.records().checkpoint(id) {
                Ok(Some(mut checkpoint)) if checkpoint.later.abandoned != abandoned => {
                    checkpoint.later.abandoned = abandoned;
                    change.put_checkpoint(id, &checkpoint)?;
                }
                Ok(_) | Err(Error::Corrupt { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

/// The mark of a checkpoint that is a job's head.
pub(super) fn head_mark(id: u64, checkpoint: &CheckpointRecord) -> HeadMark {
    let saved = &checkpoint.saved;
    HeadMark {
        id,
        iteration: saved.iteration,
        at: saved.saved_at,
    }
}

/// The mark of the checkpoint with this id: by the log, where its record is damaged.
fn mark_of(records: Records<'_>, id: u64) -> Result<HeadMark> {
    let damage = match records.known_checkpoint(id) {
        Ok(checkpoint) => return Ok(head_mark(id, &checkpoint)),
        Err(error @ Error::Corrupt { .. }) => error,
        Err(other) => return Err(other),
    };
    match records.log(id)?.map(|record| (record.action, record.at)) {
        Some((Action::Save { iteration, .. }, at)) => Ok(HeadMark { id, iteration, at }),
        _ => Err(damage),
    }
}

/// A metric's direction, once declared.
pub(super) fn direction_of(metric: &MetricRecord) -> Option<Direction> {
    metric.larger.map(|larger| {
        if larger {
            Direction::Max
        } else {
            Direction::Min
        }
    })
}

/// A checkpoint's parent, dropped and damaged checkpoints included: the log remembers them.
pub(super) fn parent_of(records: Records<'_>, id: u64) -> Result<Option<u64>> {
    match records.checkpoint(id) {
        Ok(Some(checkpoint)) => return Ok(checkpoint.saved.parent.filter(|parent| *parent < id)),
        Ok(None) | Err(Error::Corrupt { .. }) => {}
        Err(other) => return Err(other),
    }
    match records.log(id)?.map(|record| record.action) {
        Some(Action::Save { parent, .. }) => Ok(parent.filter(|parent| *parent < id)),
        _ => Ok(None),
    }
}

/// Whether `ancestor` is on the way from `id` to its root, or `id` itself.
pub(super) fn descends(records: Records<'_>, id: u64, ancestor: u64) -> Result<bool> {
    let mut at = id;
    while at > ancestor {
        match parent_of(records, at)? {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
    Ok(at == ancestor)
}

fn add(counter: &mut u64, amount: u64, by: i64, job: &str) -> Result<()> {
    let sum = if by < 0 {
        counter.checked_sub(amount)
    } else {
        counter.checked_add(amount)
    };
    *counter = sum.ok_or_else(|| {
        Error::corrupt(
            format!("the record of job `{job}`"),
            "its counts do not add up",
        )
    })?;
    Ok(())
}
