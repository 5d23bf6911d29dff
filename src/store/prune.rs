//! Applying retention to a job: a plan first, then the deletes that it asks for.

use std::collections::BTreeSet;

use super::delete::mark;
use super::index_rows::all_live;
use super::line::{JobLine, direction_of};
use crate::error::{Error, Result};
use crate::format::{Action, CheckpointRecord, JobRecord};
use crate::id::CheckpointId;
use crate::policy::{Candidate, Plan, Retention, Situation};
use crate::storage::{Records, Rows};
use crate::store::{Checkpoint, Job, Store};

/// Checkpoints that are deleted in one transaction: readers get a turn in between.
const BATCH: usize = 256;

/// What a prune decided and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The decision on every checkpoint, with its reasons.
    pub plan: Plan,
    /// How many were deleted. Each can come back by [`Store::undelete`] while its undo window is
    /// open.
    pub deleted: u64,
}

impl Job {
    /// What this retention would keep and drop, and why. Nothing is changed. Checkpoints whose
    /// records are damaged are left out: nothing is decided on what can't be read.
    ///
    /// Reads the record of every checkpoint of the job.
    ///
    /// # Errors
    /// [`Error::Undeclared`] when a rule ranks by a metric whose direction nobody declared.
    pub fn plan(&self, retention: &Retention) -> Result<Plan> {
        self.plan_among(retention, None)
    }

    /// [`Job::plan`] for these checkpoints alone. Others are as if they were not there.
    fn plan_among(&self, retention: &Retention, among: Option<&BTreeSet<u64>>) -> Result<Plan> {
        let (situation, checkpoints) = self.store().read(|rows| gather(rows, self, among))?;
        let candidates: Vec<Candidate<'_>> = checkpoints
            .iter()
            .map(|checkpoint| Candidate::from(&**checkpoint))
            .collect();
        retention.plan(self.name(), &situation, &candidates)
    }

    /// Deletes what this retention does not keep. The head, the last checkpoint known to be good
    /// and pinned ones are always kept.
    ///
    /// ```
    /// use ckptdb::policy::{Keep, Retention};
    /// # let store = ckptdb::Store::in_memory()?;
    /// let job = store.job("NQ")?;
    /// for iteration in 1..=5 {
    ///     job.save(iteration).bytes("policy", &iteration.to_le_bytes()).commit()?;
    /// }
    /// let pruned = job.prune(&Retention::new([Keep::Latest(2)])?)?;
    /// assert_eq!((pruned.deleted, job.list()?.count()), (3, 2));
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Job::plan`], and from the disk. What was deleted before an error stays so; the next
    /// prune goes on.
    pub fn prune(&self, retention: &Retention) -> Result<Pruned> {
        self.prune_among(retention, None)
    }

    /// [`Job::prune`], with a plan for these checkpoints alone. Its cost is independent of how
    /// many others there are; whoever asks answers for that they would not have changed it.
    pub(crate) fn prune_among(
        &self,
        retention: &Retention,
        among: Option<&BTreeSet<u64>>,
    ) -> Result<Pruned> {
        let store = self.store();
        // Nothing changes between the plan and the deletes.
        let _turn = store.turn()?;
        let plan = self.plan_among(retention, among)?;
        let dropped: Vec<CheckpointId> = plan.dropped().collect();
        for batch in dropped.chunks(BATCH) {
            self.delete_all(store, batch)?;
        }
        Ok(Pruned {
            plan,
            deleted: dropped.len() as u64,
        })
    }

    fn delete_all(&self, store: &Store, ids: &[CheckpointId]) -> Result<()> {
        store.make_room(|change| {
            let known = change.records().job_named(self.name())?;
            let Some((number, record)) = known else {
                return Ok(());
            };
            let mut line = JobLine { number, record };
            for id in ids {
                let checkpoint = change.records().known_checkpoint(id.get())?;
                let log = change.log(Action::Delete {
                    checkpoint: id.get(),
                    forced: false,
                })?;
                mark(change, &mut line, id.get(), checkpoint, log)?;
            }
            line.recompute(change)?;
            line.finish(change)
        })
    }
}

/// What a plan is made from: all checkpoints of a job, and where it stands.
fn gather(
    rows: &dyn Rows,
    job: &Job,
    among: Option<&BTreeSet<u64>>,
) -> Result<(Situation, Vec<Checkpoint>)> {
    let (number, record) = Records(rows).existing_job(job.name())?;
    let ids = match among {
        Some(ids) => ids.iter().copied().collect(),
        None => all_live(rows, number)?,
    };
    let mut checkpoints = Vec::with_capacity(ids.len());
    for id in ids {
        let read = match among {
            // Some of them may be gone by now.
            Some(_) => Records(rows).checkpoint(id).transpose(),
            None => Some(Records(rows).known_checkpoint(id)),
        };
        let Some(read) = read else { continue };
        match read {
            Ok(record) if record.later.deleted.is_some() || record.saved.job != number => {}
            Ok(record) => checkpoints.push(opened(job, id, record)),
            Err(Error::Corrupt { what, why }) => {
                tracing::warn!(what, why, "nothing is decided on a damaged checkpoint");
            }
            Err(other) => return Err(other),
        }
    }
    Ok((situation(job, &record), checkpoints))
}

fn opened(job: &Job, id: u64, record: CheckpointRecord) -> Checkpoint {
    Checkpoint::new(job.store().clone(), id, record, job.name().to_owned())
}

fn situation(job: &Job, record: &JobRecord) -> Situation {
    let declared = record.metrics.iter().filter_map(|metric| {
        let direction = direction_of(metric)?;
        Some((metric.name.clone(), direction))
    });
    Situation {
        now: job.store().options().clock.now(),
        head: record.head.map(|head| CheckpointId::new(head.id)),
        good: record.good.map(CheckpointId::new),
        directions: declared.collect(),
        completed: record.sessions.completed_head.map(CheckpointId::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_among_some_has_those_that_are_live_and_of_this_job() {
        let store = Store::in_memory().unwrap();
        let save = |job: &str, iteration| {
            let job = store.job(job).unwrap();
            let saved = job.save(iteration).bytes("own", b"x").commit().unwrap();
            saved.checkpoint
        };
        let of_job: Vec<_> = (1..=4).map(|iteration| save("NQ", iteration)).collect();
        let other = save("ES", 1);
        of_job[1].delete(false).unwrap();
        let among: BTreeSet<u64> = [&of_job[0], &of_job[1], &of_job[3], &other]
            .map(|checkpoint| checkpoint.id.get())
            .into_iter()
            .chain([9_999])
            .collect();
        let job = store.job("NQ").unwrap();
        let read = |among: Option<&BTreeSet<u64>>| {
            let found = store.read(|rows| gather(rows, &job, among)).unwrap();
            let ids = found.1.iter().map(|found| found.iteration);
            ids.collect::<Vec<_>>()
        };
        assert_eq!(read(Some(&among)), [1, 4]);
        assert_eq!(read(None), [1, 3, 4]);
        let keep = Retention::new([crate::policy::Keep::Latest(1)]).unwrap();
        assert_eq!(job.plan(&keep).unwrap().dropped().count(), 2);
        let pruned = job.prune_among(&keep, Some(&among)).unwrap();
        assert_eq!((pruned.deleted, read(None)), (1, vec![3, 4]));
    }
}
