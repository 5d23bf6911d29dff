//! The end of a session, and the loop that it can drive.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;

use super::caught::caught;
use super::outcome::{SaveState, Stop};
use super::problem::{Problem, ProblemKind};
use super::start::{Saver, Session};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::policy::Call;
use crate::store::{Checkpoint, Outcome, Save, Saved};
use crate::telemetry::Batch;

/// What a training loop has to be saved, as [`Session::run`] needs it.
pub trait State {
    /// Adds all of it to a save.
    fn save<'s>(&'s self, save: Save<'s>) -> Save<'s>;

    /// Takes all of it from a checkpoint.
    ///
    /// # Errors
    /// From the checkpoint; the loop ends with it.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()>;
}

/// How a session ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The outcome that is recorded.
    pub outcome: Outcome,
    /// Why it stopped before its end, if it did.
    pub stop: Option<Stop>,
    /// What became of its last save.
    pub save: SaveState,
    /// As in [`Step::saved`](super::Step::saved): of what was saved since the last step. Of
    /// [`Session::run`], whose steps nobody sees, hooks tell the rest.
    pub saved: Vec<Saved>,
    /// What went wrong since the last step.
    pub problems: Vec<Problem>,
}

/// Why [`Session::run`] ended without coming to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The loop's own error. The state was saved after it, with event `interrupt`, unless
    /// `finished` says why not.
    #[error("the training failed: {error}{}", unsaved(finished))]
    Training {
        /// What the loop returned.
        error: E,
        /// How the session ended.
        finished: Box<Finished>,
    },
    /// A checkpoint could not be loaded into the state.
    #[error("the state could not be loaded")]
    Load(#[source] Error),
}

/// What is to be added to an error's text if the last save failed.
fn unsaved(finished: &Finished) -> String {
    let is_why =
        |problem: &&Problem| matches!(problem.kind, ProblemKind::SaveFailed | ProblemKind::LowDisk);
    match (&finished.save, finished.problems.iter().rfind(is_why)) {
        (SaveState::Saved(_), _) => String::new(),
        (_, Some(problem)) => format!("; its state is not saved: {}", problem.message),
        (_, None) => "; its state is not saved".to_owned(),
    }
}

impl Session {
    /// Training came to its end: saves if a trigger asks for it (`final` does by default), applies
    /// retention, waits until all is durable, and records the session as completed.
    pub fn finish<'s>(
        mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
    ) -> Finished {
        if self.past.previous != Some(iteration) {
            self.log_values(iteration, metrics);
        }
        let save = self.last(iteration, metrics, &Call::Final, BTreeSet::new(), fill);
        self.end(
            iteration,
            Outcome::Completed,
            "it came to its end",
            None,
            save,
        )
    }

    /// Training failed: saves the state with events `interrupt` and `custom(failed)`, waits until
    /// that is durable, and records why.
    pub fn fail<'s>(
        mut self,
        iteration: u64,
        reason: &str,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
    ) -> Finished {
        let events = BTreeSet::from([Event::Interrupt, Event::Custom("failed".to_owned())]);
        let none = BTreeMap::new();
        let save = self.last(iteration, &none, &Call::Interrupt, events, fill);
        self.end(iteration, Outcome::Failed, reason, None, save)
    }

    /// Training stops before its end, its state being saved by the last step.
    pub fn interrupt(self, iteration: u64, stop: Stop) -> Finished {
        let reason = match stop {
            Stop::Signal(name) => name,
            Stop::Asked => "it was asked to stop",
        };
        let state = SaveState::NotDue;
        self.end(iteration, Outcome::Interrupted, reason, Some(stop), state)
    }

    /// Runs `body` for every iteration up to and including `last`, from the checkpoint that was
    /// resumed, and steps after each; `body` returns the iteration's metrics. A signal, an error
    /// and a panic save the state before they end the loop; an error is returned, a panic goes on.
    ///
    /// What the state is after an error or a panic is up to `body`: it is saved as it is, as this
    /// iteration, and a session that resumes from it goes on with the next.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run<S: State, E: std::fmt::Display>(
        mut self,
        state: &mut S,
        last: u64,
        mut body: impl FnMut(&mut S, u64) -> std::result::Result<BTreeMap<String, f64>, E>,
    ) -> std::result::Result<Finished, RunError<E>> {
        if let Some(resumed) = &self.resumed {
            state.load(&resumed.checkpoint).map_err(RunError::Load)?;
        }
        let mut iteration = self.next_iteration();
        let mut metrics = BTreeMap::new();
        while iteration <= last {
            match caught(|| body(state, iteration)) {
                Ok(Ok(measured)) => metrics = measured,
                Ok(Err(error)) => {
                    let reason = error.to_string();
                    let finished = self.fail(iteration, &reason, |save| state.save(save));
                    let finished = Box::new(finished);
                    return Err(RunError::Training { error, finished });
                }
                Err(panic) => {
                    let reason = format!("panic: {}", panic.said());
                    self.fail(iteration, &reason, |save| state.save(save));
                    resume_unwind(panic.0);
                }
            }
            let step = self.step(iteration, &metrics, |save| state.save(save));
            self.problems.splice(0..0, step.problems);
            if let Some(stop) = step.stop {
                let mut finished = self.interrupt(iteration, stop);
                finished.save = step.save;
                finished.saved.splice(0..0, step.saved);
                return Ok(finished);
            }
            match step.rolled_back {
                Some(resumed) => {
                    state.load(&resumed.checkpoint).map_err(RunError::Load)?;
                    iteration = resumed.checkpoint.iteration.saturating_add(1);
                }
                None => iteration += 1,
            }
        }
        let last = iteration.saturating_sub(1);
        Ok(self.finish(last, &metrics, |save| state.save(save)))
    }

    /// The last save of a session: of what the triggers ask for at this call, and these events.
    fn last<'s>(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        call: &Call,
        mut events: BTreeSet<Event>,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
    ) -> SaveState {
        self.wait();
        let mut calls = std::mem::take(&mut self.calls);
        calls.push(call.clone());
        events.extend(self.decide(iteration, metrics, &calls).events);
        if events.is_empty() && self.owed.is_some() {
            events.insert(Event::Custom("retry".to_owned()));
        }
        if events.is_empty() {
            return SaveState::NotDue;
        }
        let save = self.save(iteration, metrics, (&events, true), fill, &mut || ());
        self.wait();
        self.known(iteration, save)
    }

    fn end(
        mut self,
        iteration: u64,
        outcome: Outcome,
        reason: &str,
        stop: Option<Stop>,
        save: SaveState,
    ) -> Finished {
        self.close_saver(iteration);
        self.record(iteration, outcome, reason);
        Finished {
            outcome,
            stop,
            save,
            saved: std::mem::take(&mut self.saved),
            problems: std::mem::take(&mut self.problems),
        }
    }

    /// Ends saving, and applies retention once more.
    fn close_saver(&mut self, iteration: u64) {
        let saver = std::mem::replace(&mut self.saver, Saver::Closed);
        let worker = match saver {
            Saver::Here(worker) => Some(*worker),
            Saver::Beside(background) => {
                let (worker, reports) = background.finish();
                self.take_in(reports);
                worker
            }
            Saver::Closed => None,
        };
        // What a failed save was to continue is no part of the head's line yet.
        if let Some(mut worker) = worker.filter(|_| self.parent.is_none()) {
            worker.prune(iteration, &mut self.problems);
        }
    }

    fn record(&mut self, iteration: u64, outcome: Outcome, reason: &str) {
        self.is_ended = true;
        let mut batch: Batch = self.telemetry.take().unwrap_or_default();
        batch.put_before(self.carried.take());
        if let Err(error) = self.job.end_session(self.number, outcome, reason, &batch) {
            let message = format!("how the session ended could not be recorded: {error}");
            let problem = Problem::new(iteration, ProblemKind::Record, message);
            self.problems.push(problem);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let (outcome, reason) = if std::thread::panicking() {
            (Outcome::Failed, "a panic")
        } else {
            (Outcome::Interrupted, "it was dropped before its end")
        };
        let iteration = self.past.previous.unwrap_or(0);
        // What was handed over is saved.
        self.saver = Saver::Closed;
        self.record(iteration, outcome, reason);
    }
}
