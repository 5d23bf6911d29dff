//! Where to go on after a crash: the newest checkpoint that can really be loaded.

use std::error::Error as _;
use std::ops::ControlFlow;

use super::index_rows::{newest, newest_below};
use super::query;
use crate::checkpoint::CheckpointInfo;
use crate::error::{Error, Result};
use crate::format::Action;
use crate::id::CheckpointId;
use crate::storage::{Records, Rows, failed_here, unless_of_another};
use crate::store::{Checkpoint, Damage, Job};

/// The checkpoint to go on from, and those that were passed over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resumed {
    /// Every byte of it has been read and verified.
    pub checkpoint: Checkpoint,
    /// Newer ones that can't be loaded, the newest first, and why.
    pub skipped: Vec<Damage>,
}

impl Job {
    /// The newest checkpoint of the current line that verifies, every byte of it; none if the job
    /// has none. Newer ones that do not are passed over, and named. Writes nothing: the first save
    /// that continues an older checkpoint (its [`parent`](crate::Save::parent)) records the
    /// rollback.
    ///
    /// Costs one read of the checkpoint.
    ///
    /// ```
    /// # use ckptdb::Store;
    /// # let store = Store::in_memory()?;
    /// let job = store.job("NQ")?;
    /// job.save(1000).bytes("policy", b"weights").commit()?;
    /// let resumed = job.resume()?.expect("a checkpoint was saved");
    /// assert_eq!(resumed.checkpoint.iteration, 1000);
    /// assert!(resumed.skipped.is_empty());
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// From the disk; [`Error::Corrupt`] when there are checkpoints and none of them verifies.
    pub fn resume(&self) -> Result<Option<Resumed>> {
        self.resume_where(&|_| true)
    }

    /// The best by a metric that verifies, every byte of it; none if no checkpoint has the metric.
    /// Better ones that do not are passed over, and named.
    ///
    /// # Errors
    /// [`Error::Undeclared`] when the metric has no direction; [`Error::NotFound`] when the job
    /// knows no such metric; [`Error::Corrupt`] when none of those with the metric verifies.
    pub fn resume_best(&self, metric: &str) -> Result<Option<Resumed>> {
        let mut skipped = Vec::new();
        let store = self.store();
        let ranked = unless_of_another(|| query::ranked_ids(store, self.name(), metric))?;
        for row in ranked {
            let check = || {
                query::check_ranked(store, self.name(), metric, row)?;
                self.verified(row.1, &|_| true)
            };
            match self.passed_over(row.1, unless_of_another(check), &mut skipped)? {
                None => {}
                Some(checkpoint) => {
                    return Ok(Some(Resumed {
                        checkpoint,
                        skipped,
                    }));
                }
            }
        }
        self.none_of(&skipped)
    }

    /// The checkpoint that a reference means, if every byte of it verifies.
    ///
    /// # Errors
    /// As [`Store::resolve`](crate::Store::resolve); [`Error::Corrupt`].
    pub fn resume_at(&self, reference: &str) -> Result<Resumed> {
        let checkpoint = self.store().resolve(reference)?;
        if checkpoint.job != self.name() {
            let what = format!("{reference} for job `{}`", self.name());
            let why = format!("it is of job `{}`; fork it", checkpoint.job);
            return Err(Error::invalid(what, why));
        }
        checkpoint.verify()?;
        Ok(Resumed {
            checkpoint,
            skipped: Vec::new(),
        })
    }

    /// [`Job::resume`] among the checkpoints that `is_wanted` accepts.
    pub(crate) fn resume_where(
        &self,
        is_wanted: &dyn Fn(&CheckpointInfo) -> bool,
    ) -> Result<Option<Resumed>> {
        let mut skipped = Vec::new();
        let mut below = u64::MAX;
        let store = self.store();
        let scan = unless_of_another(|| store.read(|rows| is_index_sound(rows, self.name())))?;
        loop {
            let next =
                unless_of_another(|| store.read(|rows| older(rows, self.name(), below, scan)))?;
            let Some(id) = next else { break };
            below = id;
            let read = unless_of_another(|| self.verified(id, is_wanted));
            if let Some(checkpoint) = self.passed_over(id, read, &mut skipped)? {
                return Ok(Some(Resumed {
                    checkpoint,
                    skipped,
                }));
            }
        }
        self.none_of(&skipped)
    }

    /// The checkpoint, if it is the one to go on from; if it is damaged, it is named. What can't be
    /// read because the engine could not be opened again says nothing of the checkpoint.
    fn passed_over(
        &self,
        id: u64,
        read: Result<Option<Checkpoint>>,
        skipped: &mut Vec<Damage>,
    ) -> Result<Option<Checkpoint>> {
        match read {
            // Not wanted, or deleted while we looked.
            Err(Error::Deleted { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error)
                if matches!(error, Error::Corrupt { .. })
                    || (matches!(error, Error::Io { .. }) && failed_here()) =>
            {
                skipped.push(Damage {
                    checkpoint: Some(CheckpointId::new(id)),
                    job: Some(self.name().to_owned()),
                    iteration: self.logged_iteration(id),
                    entry: None,
                    what: reason(&error),
                });
                Ok(None)
            }
            read => read,
        }
    }

    /// The answer when there is no checkpoint to go on from: none, or only damaged ones.
    fn none_of(&self, skipped: &[Damage]) -> Result<Option<Resumed>> {
        match skipped.first() {
            None => Ok(None),
            Some(newest) => {
                let count = skipped.len();
                let what = format!("every checkpoint of job `{}` ({count})", self.name());
                Err(Error::corrupt(what, format!("the newest: {}", newest.what)))
            }
        }
    }

    /// The checkpoint with this id, every byte of it read, if it is wanted.
    fn verified(
        &self,
        id: u64,
        is_wanted: &dyn Fn(&CheckpointInfo) -> bool,
    ) -> Result<Option<Checkpoint>> {
        let checkpoint = self.store().by_id(CheckpointId::new(id))?;
        if !is_wanted(&checkpoint) {
            return Ok(None);
        }
        checkpoint.verify()?;
        Ok(Some(checkpoint))
    }

    fn logged_iteration(&self, id: u64) -> Option<u64> {
        let logged = self.store().read(|rows| Records(rows).log(id));
        match logged.ok()??.action {
            Action::Save { iteration, .. } => Some(iteration),
            _ => None,
        }
    }
}

/// What is wrong, with what the system said of it: a sector that can't be read is damage too.
fn reason(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether the index and the job's record agree on which checkpoint is the newest.
fn is_index_sound(rows: &dyn Rows, name: &str) -> Result<bool> {
    let Some((number, job)) = Records(rows).job_named(name)? else {
        return Ok(true);
    };
    Ok(newest(rows, number)? == job.head.map(|head| head.id))
}

/// The newest checkpoint of the current line below an id. Where the index can't be trusted, the
/// checkpoints' own records are asked.
fn older(rows: &dyn Rows, name: &str, below: u64, by_index: bool) -> Result<Option<u64>> {
    let Some((number, _)) = Records(rows).job_named(name)? else {
        return Ok(None);
    };
    if by_index {
        return newest_below(rows, number, below);
    }
    let mut found = None;
    let ids = (0, below.saturating_sub(1));
    Records(rows).checkpoints(ids, true, &mut |id, record| {
        let is_wanted = match record {
            Ok(record) => {
                let later = &record.later;
                record.saved.job == number && later.deleted.is_none() && !later.abandoned
            }
            // It may be the newest one, and is passed over by name, if the log has it of this job.
            Err(_) => match Records(rows).log(id)?.map(|logged| logged.action) {
                Some(Action::Save { job, .. }) => job == number,
                _ => true,
            },
        };
        if is_wanted {
            found = Some(id);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
