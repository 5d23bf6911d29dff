//! Retention while training goes on: its cost does not grow with the number of checkpoints.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::CheckpointId;
use crate::policy::{Keep, Plan, Reason, Retention, Verdict};
use crate::store::Job;

/// Applies retention now and then. The first time, it looks at every checkpoint of the job; from
/// then on at those whose reasons to stay can pass, and at the new ones. The others stay whatever
/// is saved: an event, a tag, a pin and a multiple of iterations do not wear off.
#[derive(Debug)]
pub(super) struct Pruner {
    retention: Retention,
    /// What was saved since, or may have to go one day; none before the first time.
    open: Option<BTreeSet<u64>>,
    since: Vec<u64>,
    /// How many were on abandoned lines the last time: a rollback takes reasons away.
    abandoned: u64,
}

impl Pruner {
    pub(super) const fn new(retention: Retention) -> Self {
        Self {
            retention,
            open: None,
            since: Vec::new(),
            abandoned: 0,
        }
    }

    pub(super) fn saved(&mut self, id: CheckpointId) {
        self.since.push(id.get());
    }

    pub(super) const fn pending(&self) -> usize {
        self.since.len()
    }

    /// Applies retention. Returns how many were deleted.
    pub(super) fn run(&mut self, job: &Job) -> Result<u64> {
        let abandoned = job.info()?.map_or(0, |info| info.abandoned);
        // A budget counts every checkpoint's bytes.
        if self.retention.has_budget() || abandoned > self.abandoned {
            self.open = None;
        }
        let among = self.open.as_mut().map(|open| {
            open.extend(&self.since);
            &*open
        });
        let pruned = job.prune_among(&self.retention, among)?;
        self.since.clear();
        self.open = Some(self.passing(&pruned.plan));
        self.abandoned = job.info()?.map_or(0, |info| info.abandoned);
        Ok(pruned.deleted)
    }

    /// Those that stay for reasons that can pass.
    fn passing(&self, plan: &Plan) -> BTreeSet<u64> {
        let nearest = |rule: &Keep| matches!(rule, Keep::Nearest(_));
        let all = self.retention.rules().iter().any(nearest);
        let passes = |verdict: &&Verdict| {
            verdict.keep && (all || verdict.reasons.iter().any(|reason| !is_lasting(reason)))
        };
        let open = plan.verdicts.iter().filter(passes);
        open.map(|verdict| verdict.id.get()).collect()
    }
}

/// Whether no later save can take this reason away.
const fn is_lasting(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Pinned | Reason::Every(_) | Reason::Event(_) | Reason::Tag(_)
    )
}
