//! Going back when a metric shows that training broke.

use std::collections::BTreeMap;

use super::problem::{Problem, ProblemKind};
use super::start::Session;
use crate::checkpoint::CheckpointInfo;
use crate::error::Result;
use crate::store::Resumed;
use crate::telemetry::Batch;

impl Session {
    /// Goes back if a metric shows that training broke.
    pub(super) fn guard(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
    ) -> Option<Resumed> {
        let watch = self.watch.as_mut()?;
        let spike = watch.look(metrics)?;
        let most = watch.guard.max_rollbacks;
        let metric = watch.guard.metric.clone();
        let is_over = watch.rollbacks >= most;
        let report = |session: &mut Self, what: String| {
            let problem = Problem::new(iteration, ProblemKind::Spike, what);
            session.problems.push(problem);
        };
        if is_over {
            report(
                self,
                format!("{spike}; it went back {most} times already and goes on"),
            );
            return None;
        }
        self.wait();
        match self.go_back(iteration, &metric, &spike) {
            Ok(Some(resumed)) => {
                let to = resumed.checkpoint.iteration;
                report(self, format!("{spike}; back to iteration {to}"));
                Some(resumed)
            }
            Ok(None) => {
                report(
                    self,
                    format!("{spike}; there is no checkpoint to go back to"),
                );
                None
            }
            Err(error) => {
                report(self, format!("{spike}; going back failed: {error}"));
                None
            }
        }
    }

    /// Rolls back to the newest checkpoint before this iteration that verifies and whose metric is
    /// sound.
    fn go_back(&mut self, iteration: u64, metric: &str, reason: &str) -> Result<Option<Resumed>> {
        self.append_telemetry(iteration);
        let parent = self.parent;
        let is_sound = |info: &CheckpointInfo| {
            let value = info.metrics.get(metric);
            info.iteration < iteration
                && parent.is_none_or(|parent| info.id <= parent)
                && value.is_none_or(|value| value.is_finite())
        };
        let Some(resumed) = self.job.resume_where(&is_sound)? else {
            return Ok(None);
        };
        let to = resumed.checkpoint.id;
        self.job
            .rollback(to, &format!("{reason} at iteration {iteration}"))?;
        let standing = self.job.standing(Some(to))?;
        self.past.anchor = standing.anchor;
        self.past.baselines = standing.baselines;
        self.past.previous = Some(resumed.checkpoint.iteration);
        self.since = self.clock.elapsed();
        self.parent = None;
        self.owed = None;
        // What waits belongs to what is left behind.
        self.calls.clear();
        self.owed_events.clear();
        self.telemetry = self.telemetry.take().map(|_| Batch::default());
        if let Some(watch) = &mut self.watch {
            watch.went_back();
        }
        Ok(Some(resumed))
    }
}
