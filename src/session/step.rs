//! A step: whether to save now, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::background::Handed;
use super::caught::caught;
use super::draft::Draft;
use super::options::Overlap;
use super::outcome::{SaveState, Step, Stop};
use super::problem::{Problem, ProblemKind};
use super::start::{Owed, Saver, Session};
use super::worker::{Order, Refusal, Report};
use crate::error::Error;
use crate::event::Event;
use crate::platform::Clock;
use crate::policy::{Call, Decision, Moment};
use crate::store::Save;
use crate::telemetry::Batch;

/// After a failure, a save is tried again so much later, then twice that, up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// How long training waits for a save.
struct Waited {
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl Waited {
    fn so_far(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.began)
    }

    /// Runs what is no waiting.
    fn not_for(&mut self, run: &mut dyn FnMut()) {
        let before = self.clock.elapsed();
        run();
        self.began += self.clock.elapsed().saturating_sub(before);
    }
}

impl Session {
    /// Whether a step at this iteration would save, and why. Nothing is saved, and nothing changes.
    pub fn should_save(&self, iteration: u64, metrics: &BTreeMap<String, f64>) -> Decision {
        self.decide(iteration, metrics, &self.calls_of())
    }

    /// One iteration is done: saves if that is due, with what `fill` gives. Metrics are recorded
    /// with the checkpoint, and as telemetry.
    ///
    /// Never fails: what goes wrong is in [`Step::problems`], and training goes on.
    pub fn step<'s>(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
    ) -> Step {
        self.step_while(iteration, metrics, fill, || ())
    }

    /// [`Session::step`] behind `run`, which only reads the state: the next forward and backward
    /// pass. With [`background`](super::SessionOptions::background), what is to be saved is copied
    /// while that goes on, by other threads if it is large and
    /// [`threads`](crate::Options::threads) allows, and the copy is whole when this returns, before
    /// the optimizer changes the state ([`Save::copy_while`]). Otherwise `run` follows the save.
    /// When training is to stop, or was rolled back, there is no next pass: `run` is left out.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use ckptdb::Store;
    /// # use ckptdb::session::{Overlap, SessionOptions};
    /// # let store = Store::in_memory()?;
    /// # let options = SessionOptions { background: Some(Overlap::Wait), ..Default::default() };
    /// # let mut session = store.job("NQ")?.session(options)?;
    /// # let backward = |weights: &[u8]| weights.len() as u8;
    /// # let metrics = BTreeMap::new();
    /// let mut weights = vec![0_u8; 1 << 20];
    /// let mut gradient = 0;
    /// for iteration in 1..=3 {
    ///     session.step_while(
    ///         iteration,
    ///         &metrics,
    ///         |save| save.bytes("weights", &weights),
    ///         || gradient = backward(&weights),
    ///     );
    ///     weights[0] += gradient;
    /// }
    /// # session.finish(3, &metrics, |save| save.bytes("weights", &weights));
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Panics
    /// When `run` does; the save is not lost by that.
    pub fn step_while<'s>(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
        run: impl FnOnce(),
    ) -> Step {
        let (mut run, mut panic) = (Some(run), None);
        let mut once = || {
            if let Some(run) = run.take() {
                panic = caught(run).err();
            }
        };
        let step = self.step_beside(iteration, metrics, fill, &mut once);
        if step.stop.is_none() && step.rolled_back.is_none() {
            once();
        }
        if let Some(panic) = panic {
            self.saved.splice(0..0, step.saved);
            self.problems.splice(0..0, step.problems);
            resume_unwind(panic.0);
        }
        step
    }

    fn step_beside<'s>(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
        run: &mut dyn FnMut(),
    ) -> Step {
        self.collect();
        self.log_values(iteration, metrics);
        let stop = self.stop_reason();
        let mut step = Step {
            decision: Decision::default(),
            save: SaveState::NotDue,
            stop,
            rolled_back: None,
            saved: Vec::new(),
            problems: Vec::new(),
        };
        step.rolled_back = self.guard(iteration, metrics);
        if step.rolled_back.is_none() {
            let mut calls = self.calls_of();
            if stop.is_some() {
                calls.push(Call::Interrupt);
            }
            step.decision = self.decide(iteration, metrics, &calls);
            if stop.is_some() && !step.decision.is_due() {
                // Told to stop, the state is saved whatever the triggers are.
                step.decision.events.insert(Event::Interrupt);
            }
            self.is_first = false;
            self.calls.clear();
            self.past.previous = Some(iteration);
            let is_retry = self.is_retry_due();
            if step.decision.is_due() || stop.is_some() || is_retry {
                let mut events = step.decision.events.clone();
                if events.is_empty() {
                    events.insert(Event::Custom("retry".to_owned()));
                }
                let must = stop.is_some();
                step.save = self.save(iteration, metrics, (&events, must), fill, run);
            }
        }
        if stop.is_some() {
            self.wait();
            step.save = self.known(iteration, step.save);
        }
        self.flush_telemetry(iteration);
        step.saved = std::mem::take(&mut self.saved);
        step.problems = std::mem::take(&mut self.problems);
        step
    }

    /// Waits until everything that is saved in the background is durable, or failed.
    pub fn wait(&mut self) {
        if let Saver::Beside(background) = &self.saver {
            background.wait();
        }
        self.collect();
    }

    /// Whether a save that was handed over is not done yet.
    pub fn in_flight(&self) -> bool {
        matches!(&self.saver, Saver::Beside(background) if background.is_busy())
    }

    pub(super) fn decide(
        &self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        calls: &[Call],
    ) -> Decision {
        let moment = Moment {
            iteration,
            elapsed: self.clock.elapsed().saturating_sub(self.since),
            metrics,
            calls,
        };
        self.triggers.decide(&moment, &self.past)
    }

    fn calls_of(&self) -> Vec<Call> {
        let mut calls = self.calls.clone();
        if self.is_first {
            calls.push(Call::First);
        }
        calls
    }

    fn stop_reason(&self) -> Option<Stop> {
        #[cfg(feature = "signals")]
        if let Some(signals) = &self.signals
            && let Some(name) = signals.pending()
        {
            return Some(Stop::Signal(name));
        }
        self.is_stopping.then_some(Stop::Asked)
    }

    fn is_retry_due(&self) -> bool {
        self.owed
            .is_some_and(|owed| self.clock.elapsed() >= owed.at)
    }

    /// Saves for these events, here or beside; with `must`, there may be no later save. What is
    /// copied is copied while `run` goes on, which may be left out.
    pub(super) fn save<'s>(
        &mut self,
        iteration: u64,
        metrics: &BTreeMap<String, f64>,
        (events, must): (&BTreeSet<Event>, bool),
        fill: impl FnOnce(Save<'s>) -> Save<'s>,
        run: &mut dyn FnMut(),
    ) -> SaveState {
        let mut events = events.clone();
        let owed = std::mem::take(&mut self.owed_events);
        events.extend(owed.iter().cloned());
        if !must && self.owed.is_some() && !self.is_retry_due() {
            self.owe(events);
            return SaveState::LeftOut;
        }
        let events = &events;
        let asked = self.clock.elapsed();
        if self.parent.is_some() {
            // Only the first save names the checkpoint that it continues.
            self.wait();
        }
        let began = self.clock.elapsed();
        let mut save = self.job.save(iteration);
        if let Some(compression) = self.compression {
            save = save.compression(compression);
        }
        if let Some(depth) = self.chain_depth {
            save = save.chain_depth(depth);
        }
        let mut save = fill(save);
        for (name, value) in metrics {
            save = save.metric(name, *value);
        }
        for event in events {
            save = save.event(event.clone());
        }
        if let Some(parent) = self.parent {
            save = save.parent(parent);
        }
        if must {
            save = save.overwrite();
        }
        let entries = save.names().map(str::to_owned).collect();
        let draft = Draft::new(self.job.name(), iteration, events, metrics, entries);
        let (save, veto) = self.hooks.before(draft, save, &mut self.problems);
        if let Some((hook, reason)) = veto.filter(|_| !must) {
            // What failed before, or while this waited, is still to be saved.
            self.owed_events.extend(owed);
            return SaveState::Vetoed(hook, reason);
        }
        let pending = self.telemetry.as_mut().map(std::mem::take);
        let telemetry = pending.unwrap_or_default();
        self.count_from(began, iteration, events, metrics);
        let order = Order {
            iteration,
            must,
            blocked: Duration::ZERO,
            waited: began.saturating_sub(asked),
            telemetry,
            events: events.clone(),
            is_beside: matches!(self.saver, Saver::Beside(_)),
        };
        self.hand_over(began, order, save, run)
    }

    /// Triggers count from a save that is under way; should it fail, that is taken back.
    fn count_from(
        &mut self,
        began: Duration,
        iteration: u64,
        events: &BTreeSet<Event>,
        metrics: &BTreeMap<String, f64>,
    ) {
        if events.contains(&Event::Periodic) {
            self.past.anchor = Some(iteration);
            self.past.is_asked = true;
            self.since = began;
        }
        for event in events {
            if let Event::Best(name) = event
                && let Some(baseline) = self.past.baselines.get_mut(name)
                && let Some(value) = metrics.get(name)
            {
                baseline.best = Some(*value);
            }
        }
    }

    /// Does a save here, or hands it to the thread that does.
    fn hand_over(
        &mut self,
        began: Duration,
        mut order: Order,
        save: Save<'_>,
        run: &mut dyn FnMut(),
    ) -> SaveState {
        let clock = Arc::clone(&self.clock);
        let mut waited = Waited { clock, began };
        order.blocked = waited.so_far();
        if let Saver::Here(worker) = &mut self.saver
            && !order.must
        {
            let mut save = Some(save);
            let report = worker.perform(order, &mut |points| {
                let save = save.take()?.telemetry(points.clone());
                Some(save.commit())
            });
            return self.settle(report);
        }
        // What only its turn asks for may be left out; all else is saved.
        let overlap = if order.must || !order.is_periodic() {
            Overlap::Wait
        } else {
            self.overlap
        };
        if let Saver::Beside(background) = &self.saver
            && overlap == Overlap::Skip
            && background.is_busy()
        {
            // Nothing is copied for it.
            self.keep_points(order.telemetry);
            self.left_out(order.iteration);
            return SaveState::LeftOut;
        }
        // It is copied: to be sent to the thread, or to be tried twice.
        // What may be the last save does not wait for a pass.
        let mut nothing = || ();
        let run = if order.must { &mut nothing } else { run };
        let copied = caught(|| save.copy_while(|| waited.not_for(run)));
        let owned = match copied {
            Ok(Ok((owned, ()))) => owned,
            Ok(Err(error)) => return self.not_handed_over(order, error),
            Err(panic) => {
                let why = format!("it panicked: {}", panic.said());
                let error = Error::invalid("what was to be saved", why);
                return self.not_handed_over(order, error);
            }
        };
        order.blocked = waited.so_far();
        match &mut self.saver {
            Saver::Here(worker) => {
                let report =
                    worker.perform(order, &mut |points| Some(owned.commit_with(points.clone())));
                self.settle(report)
            }
            Saver::Beside(background) => {
                if let Err(error) = self.job.check_process() {
                    return self.not_handed_over(order, error);
                }
                let handed = background.submit(order, owned, overlap, &|| waited.so_far());
                self.handed_over(handed)
            }
            Saver::Closed => SaveState::LeftOut,
        }
    }

    /// What becomes of a save that was handed to the thread.
    fn handed_over(&mut self, handed: Handed) -> SaveState {
        match handed {
            Handed::Queued => SaveState::Queued,
            Handed::Replaced(iteration) => {
                self.left_out(iteration);
                SaveState::Queued
            }
        }
    }

    /// A save that another one left no time for. Periodic triggers count from it all the same.
    fn left_out(&mut self, iteration: u64) {
        let what = "the save is left out: another one runs";
        let problem = Problem::new(iteration, ProblemKind::Skipped, what);
        self.problems.push(problem);
    }

    /// A save that failed before anybody took it.
    fn not_handed_over(&mut self, mut order: Order, error: Error) -> SaveState {
        self.keep_points(std::mem::take(&mut order.telemetry));
        let report = Report::failed(order, error, &self.hooks);
        self.settle(report)
    }

    fn keep_points(&mut self, points: Batch) {
        if let Some(batch) = &mut self.telemetry {
            batch.put_before(points);
        }
    }

    /// Takes note of what became of saves in the background.
    pub(super) fn collect(&mut self) {
        let reports = match &self.saver {
            Saver::Beside(background) => background.reports(),
            _ => Vec::new(),
        };
        self.take_in(reports);
    }

    /// Takes note of what became of these, for the next step to tell.
    pub(super) fn take_in(&mut self, reports: Vec<Report>) {
        for report in reports {
            if let SaveState::Saved(saved) = self.settle(report) {
                self.saved.push(*saved);
            }
        }
    }

    /// Takes note of what became of a save.
    pub(super) fn settle(&mut self, report: Report) -> SaveState {
        self.problems.extend(report.problems);
        let iteration = report.order.iteration;
        let state = match report.result {
            Ok(saved) => {
                self.parent = None;
                if self.owed.take().is_some() {
                    // What failed may have been between.
                    self.take_back();
                }
                // Half of what it was before counts on, so that one slow save is not for ever.
                let cost = self
                    .past
                    .cost
                    .map_or(report.cost, |old| (old + report.cost) / 2);
                self.past.cost = Some(cost);
                self.log_times(iteration, &saved.times, report.order.is_beside);
                SaveState::Saved(Box::new(saved))
            }
            Err(refusal) => {
                self.take_back();
                self.owe(report.order.events);
                let wait = self.owed.map_or(FIRST_RETRY, |owed| owed.wait);
                self.owed = Some(Owed {
                    at: self.clock.elapsed().saturating_add(wait),
                    wait: (wait * 2).min(LONGEST_RETRY),
                });
                match refusal {
                    Refusal::LowDisk(_) => SaveState::LeftOut,
                    Refusal::Failed(_) => SaveState::Failed,
                }
            }
        };
        self.settled = Some((iteration, state.clone()));
        state
    }

    /// What became of a save that was queued, after waiting for it.
    pub(super) fn known(&mut self, iteration: u64, state: SaveState) -> SaveState {
        match (state, self.settled.take()) {
            (SaveState::Queued, Some((of, settled))) if of == iteration => {
                if matches!(settled, SaveState::Saved(_)) {
                    // It was taken note of last.
                    self.saved.pop();
                }
                settled
            }
            (state, _) => state,
        }
    }

    /// What was to be saved for more than its turn is said of the next save.
    fn owe(&mut self, events: BTreeSet<Event>) {
        let lasting = |event: &Event| !matches!(event, Event::Periodic | Event::Best(_));
        self.owed_events.extend(events.into_iter().filter(lasting));
    }

    /// Triggers count on from what is stored, not from a save that failed.
    fn take_back(&mut self) {
        self.past.is_asked = false;
        match self.job.standing(self.parent) {
            Ok(standing) => {
                self.past.anchor = standing.anchor;
                self.past.baselines = standing.baselines;
            }
            Err(error) => tracing::warn!(%error, "triggers count from a save that failed"),
        }
    }
}
