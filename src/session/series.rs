//! Telemetry of a session: in memory first, then with a save or in batches.

use std::collections::BTreeMap;
use std::time::Duration;

use super::options::MOST_PENDING;
use super::problem::{Problem, ProblemKind};
use super::start::Session;
use crate::store::SaveTimes;
use crate::telemetry::{BLOCKED_SECONDS, Batch, SAVE_SECONDS};

impl Session {
    pub(super) fn log_values(&mut self, iteration: u64, values: &BTreeMap<String, f64>) {
        if values.is_empty() {
            return;
        }
        let Some(batch) = &mut self.telemetry else {
            return;
        };
        let turned_back = batch.last().is_some_and(|last| last > iteration);
        if turned_back {
            // What is pending belongs to what is left behind: stored if it can be.
            self.append_telemetry(iteration);
        }
        let Some(batch) = &mut self.telemetry else {
            return;
        };
        if turned_back {
            batch.cut_from(iteration);
        }
        let is_stuck = self.owed.is_some() || self.telemetry_due > self.telemetry_batch;
        if is_stuck && batch.len() >= MOST_PENDING {
            batch.thin();
            let message = "too much telemetry waits: of what waits, each second value is dropped";
            let problem = Problem::new(iteration, ProblemKind::Telemetry, message);
            self.problems.push(problem);
        }
        // One that can't be recorded takes none of the others with it.
        let mut fault = None;
        for (name, value) in values {
            let logged = batch.log(iteration, [(name.as_str(), *value)]);
            fault = fault.or(logged.err());
        }
        if let Some(error) = fault {
            let problem = Problem::new(iteration, ProblemKind::Telemetry, error);
            self.problems.push(problem);
        }
    }

    /// Notes what a save took. One in the background may be known when the training has gone on,
    /// and its points with another save: a series does not go back.
    pub(super) fn log_times(&mut self, iteration: u64, times: &SaveTimes, is_beside: bool) {
        let Some(batch) = &mut self.telemetry else {
            return;
        };
        let gone_on = batch.last().max(self.past.previous);
        let at = gone_on.map_or(iteration, |last| last.max(iteration));
        let behind = if is_beside {
            times.behind()
        } else {
            Duration::ZERO
        };
        let seconds = [
            (BLOCKED_SECONDS, times.blocked.as_secs_f64()),
            (SAVE_SECONDS, (times.blocked + behind).as_secs_f64()),
        ];
        if let Err(error) = batch.log(at, seconds) {
            let problem = Problem::new(iteration, ProblemKind::Telemetry, error);
            self.problems.push(problem);
        }
    }

    /// Appends pending points if there are many, and nobody is saving: a save takes them along.
    pub(super) fn flush_telemetry(&mut self, iteration: u64) {
        let many = self.telemetry.as_ref().map_or(0, Batch::len);
        // After a failure, the next save takes all along, in order.
        if many >= self.telemetry_due && !self.in_flight() && self.owed.is_none() {
            self.append_telemetry(iteration);
        }
    }

    pub(super) fn append_telemetry(&mut self, iteration: u64) {
        let Some(batch) = &mut self.telemetry else {
            return;
        };
        batch.put_before(self.carried.take());
        if let Err(error) = self.job.append(batch) {
            let message = format!("telemetry stays in memory: {error}");
            let problem = Problem::new(iteration, ProblemKind::Telemetry, message);
            self.problems.push(problem);
            // Seldom enough that all tries together cost about as much as the points.
            self.telemetry_due = batch
                .len()
                .saturating_mul(2)
                .clamp(self.telemetry_batch + 1, MOST_PENDING);
            return;
        }
        *batch = Batch::default();
        self.telemetry_due = self.telemetry_batch;
    }
}
