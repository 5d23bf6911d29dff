//! One save after another: room for it, the save, retention, and the hooks after it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::caught::caught;
use super::disk::DiskGuard;
use super::hook::{Done, Hook, Hooks, LowDisk, When, is_best};
use super::options::{MOST_PENDING, OnLowDisk};
use super::problem::{Problem, ProblemKind};
use super::pruner::Pruner;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::store::{Job, Saved};
use crate::telemetry::Batch;

/// A save that is to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    pub(super) iteration: u64,
    /// Whether it is tried however little room there is: there may be no later one.
    pub(super) must: bool,
    /// How long training was held up for it already.
    pub(super) blocked: Duration,
    /// How long it was held up for the save before it.
    pub(super) waited: Duration,
    /// The points that go with it.
    pub(super) telemetry: Batch,
    /// Why it is saved.
    pub(super) events: BTreeSet<Event>,
    /// Whether it runs beside the training.
    pub(super) is_beside: bool,
}

impl Order {
    /// Whether only its turn asks for it: then another one may take its place.
    pub(super) fn is_periodic(&self) -> bool {
        self.events.iter().all(|event| *event == Event::Periodic)
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) order: Order,
    pub(super) result: Result<Saved, Refusal>,
    pub(super) problems: Vec<Problem>,
    /// What it cost, blocked and beside.
    pub(super) cost: Duration,
}

impl Report {
    /// Of a save that failed before anybody took it, or in a way that nobody thought of. Hooks are
    /// told.
    pub(super) fn failed(order: Order, error: Error, hooks: &Hooks) -> Self {
        let message = failed_message(&error);
        let mut problems = Vec::new();
        let problem = Problem::new(order.iteration, ProblemKind::SaveFailed, message);
        hooks.failed(problem, &mut problems);
        Self {
            cost: order.blocked,
            order,
            result: Err(Refusal::Failed(error)),
            problems,
        }
    }
}

/// Why there is no checkpoint.
#[derive(Debug)]
pub(super) enum Refusal {
    LowDisk(LowDisk),
    Failed(Error),
}

/// Commits a save with points of telemetry; called again after room was made, it may have nothing
/// more.
pub(super) type Commit<'c> = &'c mut dyn FnMut(&Batch) -> Option<Result<Saved>>;

/// Points that wait to be stored, for whoever stores next.
#[derive(Clone, Default)]
pub(super) struct Carried(Arc<Mutex<Batch>>);

impl Carried {
    pub(super) fn take(&self) -> Batch {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What waits is thinned where it is too much.
    fn keep(&self, mut points: Batch) {
        while points.len() >= MOST_PENDING {
            tracing::warn!("too much telemetry waits: each second value is dropped");
            points.thin();
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = points;
    }
}

/// Does saves, one at a time.
pub(super) struct Worker {
    pub(super) job: Job,
    pub(super) hooks: Hooks,
    pub(super) pruner: Option<Pruner>,
    pub(super) prune_every: u64,
    pub(super) disk: DiskGuard,
    pub(super) on_low_disk: OnLowDisk,
    /// Points of saves that failed: what is stored next takes them along, before its own.
    pub(super) carried: Carried,
}

impl Worker {
    /// Does a save.
    pub(super) fn perform(&mut self, mut order: Order, commit: Commit<'_>) -> Report {
        let mut points = std::mem::take(&mut order.telemetry);
        points.put_before(self.carried.take());
        let clock = self.job.store_clock();
        let began = clock.elapsed();
        let mut problems = Vec::new();
        let result = self.save(&order, &mut || commit(&points), &mut problems);
        if result.is_err() {
            self.carried.keep(points);
        }
        let result = match result {
            Ok(mut saved) => {
                self.disk.saved(saved.stored_bytes);
                let pruned = self.prune_after(&saved, order.iteration, &mut problems);
                let took = clock.elapsed().saturating_sub(began);
                saved.times.blocked = order.waited + order.blocked;
                if !order.is_beside {
                    saved.times.blocked += took;
                }
                self.tell(&saved, pruned, &mut problems);
                Ok(saved)
            }
            Err(refusal) => {
                let (kind, message) = match &refusal {
                    Refusal::LowDisk(low) => (ProblemKind::LowDisk, low_message(low)),
                    Refusal::Failed(error) => (ProblemKind::SaveFailed, failed_message(error)),
                };
                let problem = Problem::new(order.iteration, kind, message);
                self.hooks.failed(problem, &mut problems);
                Err(refusal)
            }
        };
        let cost = order.blocked + clock.elapsed().saturating_sub(began);
        Report {
            order,
            result,
            problems,
            cost,
        }
    }

    fn save(
        &mut self,
        order: &Order,
        commit: &mut dyn FnMut() -> Option<Result<Saved>>,
        problems: &mut Vec<Problem>,
    ) -> Result<Saved, Refusal> {
        let store = self.job.store_handle();
        if let Some(low) = self.disk.look(&store, order.iteration) {
            self.warn(low, problems);
            // Room within the file is as good as room on the disk.
            let made = self.make_room(order.iteration, problems);
            let is_enough =
                made >= low.predicted.max(1) || self.disk.look(&store, order.iteration).is_none();
            if !is_enough && !order.must {
                return Err(Refusal::LowDisk(low));
            }
        }
        let mut result = attempt(commit);
        if let Some(Err(Error::Full { .. })) = &result {
            let low = LowDisk {
                iteration: order.iteration,
                free: None,
                min_free: 0,
                predicted: self.disk.predicted(),
            };
            self.warn(low, problems);
            if self.make_room(order.iteration, problems) > 0 {
                // A save of borrowed bytes can't be done twice; the next step does it anew.
                result = attempt(commit).or(result);
            }
        }
        match result {
            Some(Ok(saved)) => Ok(saved),
            Some(Err(error)) => Err(Refusal::Failed(error)),
            None => {
                let why = "there was nothing to save";
                Err(Refusal::Failed(Error::invalid("a save", why)))
            }
        }
    }

    fn warn(&self, low: LowDisk, problems: &mut Vec<Problem>) {
        let call = |hook: &mut dyn Hook, low: &mut LowDisk| hook.on_low_disk(low);
        self.hooks
            .call((low.iteration, When::LowDisk), &low, problems, call);
    }

    /// Applies retention now and ends the undo windows, if that is what was asked for. Returns the
    /// bytes that it freed within the file.
    fn make_room(&mut self, iteration: u64, problems: &mut Vec<Problem>) -> u64 {
        if self.on_low_disk == OnLowDisk::Refuse {
            return 0;
        }
        self.prune(iteration, problems);
        match self.job.store_handle().reclaim(true) {
            Ok(reclaimed) => reclaimed.bytes,
            Err(error) => {
                let message = format!("no room could be made: {error}");
                problems.push(Problem::new(iteration, ProblemKind::PruneFailed, message));
                0
            }
        }
    }

    fn prune_after(&mut self, saved: &Saved, iteration: u64, problems: &mut Vec<Problem>) -> u64 {
        let every = usize::try_from(self.prune_every).unwrap_or(usize::MAX);
        let Some(pruner) = &mut self.pruner else {
            return 0;
        };
        if !saved.merged {
            pruner.saved(saved.checkpoint.id);
        }
        if pruner.pending() < every {
            return 0;
        }
        self.prune(iteration, problems)
    }

    /// Applies retention. Returns how many were deleted.
    pub(super) fn prune(&mut self, iteration: u64, problems: &mut Vec<Problem>) -> u64 {
        let Some(pruner) = &mut self.pruner else {
            return 0;
        };
        match pruner.run(&self.job) {
            Ok(deleted) => deleted,
            Err(error) => {
                let message = format!("retention was not applied: {error}");
                problems.push(Problem::new(iteration, ProblemKind::PruneFailed, message));
                0
            }
        }
    }

    fn tell(&self, saved: &Saved, pruned: u64, problems: &mut Vec<Problem>) {
        if self.hooks.is_empty() {
            return;
        }
        let done = Done {
            checkpoint: saved.checkpoint.clone(),
            logical_bytes: saved.logical_bytes,
            stored_bytes: saved.stored_bytes,
            times: saved.times,
            pruned,
        };
        let iteration = saved.checkpoint.iteration;
        if is_best(&saved.checkpoint) {
            let call = |hook: &mut dyn Hook, done: &mut Done| hook.on_best(done);
            self.hooks
                .call((iteration, When::Best), &done, problems, call);
        }
        let call = |hook: &mut dyn Hook, done: &mut Done| hook.after_save(done);
        self.hooks
            .call((iteration, When::AfterSave), &done, problems, call);
    }
}

/// A panic in a save (a tensor's view may have one) is an error like others.
fn attempt(commit: &mut dyn FnMut() -> Option<Result<Saved>>) -> Option<Result<Saved>> {
    caught(commit).unwrap_or_else(|panic| {
        let why = format!("it panicked: {}", panic.said());
        Some(Err(Error::invalid("what was to be saved", why)))
    })
}

fn low_message(low: &LowDisk) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let free = low.free.map_or_else(|| "no room".to_owned(), mib);
    format!(
        "the save is left out: {free} free on the disk, {} are left alone, and it may need {}; \
         make room, and saving goes on",
        mib(low.min_free),
        mib(low.predicted)
    )
}

fn failed_message(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("the save failed: {error}: {source}"),
        None => format!("the save failed: {error}"),
    }
}
