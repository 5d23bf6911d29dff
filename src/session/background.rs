//! Saving beside the training: one thread, which does one save at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::caught::caught;
use super::options::Overlap;
use super::worker::{Order, Report, Worker};
use crate::error::Error;
use crate::platform;
use crate::store::OwnedSave;
use crate::telemetry::Batch;

/// What became of a save that was handed over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handed {
    /// It will be done.
    Queued,
    /// It will be done, and the one of this iteration, which waited, will not; its points are taken
    /// along.
    Replaced(u64),
}

/// The thread, and what it shares with the training.
pub(super) struct Background {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Worker>>,
    /// Where that thread is: a forked process has what they share, and no thread.
    process: u32,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queued: Option<(Order, OwnedSave)>,
    busy: bool,
    closing: bool,
    reports: Vec<Report>,
}

impl State {
    /// Whether something is done, or waits to be.
    const fn is_taken(&self) -> bool {
        self.busy || self.queued.is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Background {
    pub(super) fn start(worker: Worker) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ckptdb-save".to_owned())
            .spawn(move || work(&its, worker))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            process: platform::process_id(),
        })
    }

    /// Whether this is the process that has the thread. In another one, nothing is waited for.
    fn is_own(&self) -> bool {
        platform::process_id() == self.process
    }

    /// Hands a save over. What training waits for meanwhile is the one before.
    pub(super) fn submit(
        &self,
        mut order: Order,
        save: OwnedSave,
        overlap: Overlap,
        elapsed: &dyn Fn() -> Duration,
    ) -> Handed {
        let began = elapsed();
        let mut state = self.shared.lock();
        let is_replaceable = |state: &State| {
            let waits = state.queued.as_ref();
            waits.is_none_or(|(waits, _)| waits.is_periodic())
        };
        let mut answer = Handed::Queued;
        match overlap {
            Overlap::Wait => {
                while state.is_taken() {
                    state = self.shared.wait(state);
                }
            }
            Overlap::Replace => {
                while !is_replaceable(&state) {
                    state = self.shared.wait(state);
                }
                let replaced = state.queued.take();
                if let Some((mut old, save)) = replaced {
                    // Off the lock, which each step of the training takes.
                    drop(state);
                    drop(save);
                    state = self.shared.lock();
                    let points = std::mem::take(&mut old.telemetry);
                    order.telemetry.put_before(points);
                    answer = Handed::Replaced(old.iteration);
                }
            }
            // Who skips has asked before, and nobody else hands anything over.
            Overlap::Skip => {}
        }
        order.waited += elapsed().saturating_sub(began);
        state.queued = Some((order, save.handed_over()));
        self.shared.changed.notify_all();
        answer
    }

    /// What has been done since.
    pub(super) fn reports(&self) -> Vec<Report> {
        if !self.is_own() {
            return Vec::new();
        }
        std::mem::take(&mut self.shared.lock().reports)
    }

    pub(super) fn is_busy(&self) -> bool {
        if !self.is_own() {
            return false;
        }
        self.shared.lock().is_taken()
    }

    /// Waits until everything that was handed over is done.
    pub(super) fn wait(&self) {
        if !self.is_own() {
            return;
        }
        let mut state = self.shared.lock();
        while state.is_taken() {
            state = self.shared.wait(state);
        }
    }

    /// Does what was handed over, ends the thread, and gives the worker back.
    pub(super) fn finish(mut self) -> (Option<Worker>, Vec<Report>) {
        let worker = self.close();
        (worker, self.reports())
    }

    fn close(&mut self) -> Option<Worker> {
        if !self.is_own() {
            std::mem::forget(self.thread.take());
            return None;
        }
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.close();
    }
}

fn work(shared: &Shared, mut worker: Worker) -> Worker {
    let mut state = shared.lock();
    loop {
        if let Some((order, save)) = state.queued.take() {
            state.busy = true;
            drop(state);
            let known = Order {
                telemetry: Batch::default(),
                ..order.clone()
            };
            let perform =
                || worker.perform(order, &mut |points| Some(save.commit_with(points.clone())));
            // Whatever happens, nobody waits for it for ever.
            let report = caught(perform).unwrap_or_else(|panic| {
                let why = format!("saving panicked: {}", panic.said());
                Report::failed(known, Error::invalid("a save", why), &worker.hooks)
            });
            // To give back gigabytes takes a while, in which training may ask how far it is.
            drop(save);
            state = shared.lock();
            state.busy = false;
            state.reports.push(report);
            shared.changed.notify_all();
        } else if state.closing {
            return worker;
        } else {
            state = shared.wait(state);
        }
    }
}
