//! A session: its beginning, and what it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::background::Background;
use super::disk::{DiskGuard, REMEMBERED};
use super::hook::Hooks;
use super::options::{MOST_PENDING, Overlap, SessionOptions};
use super::outcome::SaveState;
use super::problem::Problem;
use super::pruner::Pruner;
use super::spike::Watch;
use super::worker::{Carried, Worker};
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::id::CheckpointId;
use crate::platform::{Clock, io_error};
use crate::policy::{Call, Past, Trigger, Triggers};
use crate::store::{Job, Resumed, Saved, Standing};
use crate::telemetry::Batch;

/// A training loop's handle on a job.
///
/// ```
/// use std::collections::BTreeMap;
/// use ckptdb::policy::{Keep, Retention, Trigger};
/// use ckptdb::session::SessionOptions;
/// use ckptdb::{Direction, Store};
/// # let store = Store::in_memory()?;
/// let job = store.job("NQ")?;
/// let mut session = job.session(SessionOptions {
///     triggers: Trigger::Iterations(100.try_into().unwrap()).into(),
///     retention: Some(Retention::new([Keep::Latest(3)])?),
///     metrics: BTreeMap::from([("loss".to_owned(), Direction::Min)]),
///     ..SessionOptions::default()
/// })?;
/// let mut weights = match session.resumed() {
///     Some(resumed) => resumed.checkpoint.read("weights")?.to_vec(),
///     None => vec![0; 64],
/// };
/// for iteration in session.next_iteration()..=1000 {
///     weights[iteration as usize % 64] += 1;
///     let metrics = BTreeMap::from([("loss".to_owned(), 1.0 / iteration as f64)]);
///     let step = session.step(iteration, &metrics, |save| save.bytes("weights", &weights));
///     if let Some(stop) = step.stop {
///         session.interrupt(iteration, stop);
///         return Ok(());
///     }
/// }
/// session.finish(1000, &BTreeMap::new(), |save| save.bytes("weights", &weights));
/// assert_eq!(job.latest()?.unwrap().iteration, 1000);
/// # Ok::<(), ckptdb::Error>(())
/// ```
///
/// A session that is dropped before its end is recorded as interrupted, or as failed while its
/// thread panics; nothing is saved then, since nobody gives the state. [`Session::run`] has it.
pub struct Session {
    pub(super) job: Job,
    pub(super) triggers: Triggers,
    pub(super) compression: Option<Compression>,
    pub(super) chain_depth: Option<u8>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) number: u64,
    pub(super) resumed: Option<Resumed>,
    /// The checkpoint that the next save continues, if that is not the head.
    pub(super) parent: Option<CheckpointId>,
    pub(super) past: Past,
    /// When periodic triggers began to count.
    pub(super) since: Duration,
    pub(super) is_first: bool,
    /// The session's own progress: whether a save failed, and when to try again.
    pub(super) owed: Option<Owed>,
    /// Why saves that failed were to be done, their turn apart.
    pub(super) owed_events: BTreeSet<Event>,
    pub(super) telemetry: Option<Batch>,
    pub(super) carried: Carried,
    pub(super) telemetry_batch: usize,
    /// How many values wait when they are to be appended: more after an append failed.
    pub(super) telemetry_due: usize,
    pub(super) hooks: Hooks,
    pub(super) saver: Saver,
    pub(super) overlap: Overlap,
    pub(super) watch: Option<Watch>,
    /// What saves in the background have done, for the next step to tell.
    pub(super) saved: Vec<Saved>,
    pub(super) problems: Vec<Problem>,
    pub(super) calls: Vec<Call>,
    /// What became of the last save that is known of, and of which iteration it was.
    pub(super) settled: Option<(u64, SaveState)>,
    pub(super) is_stopping: bool,
    pub(super) is_ended: bool,
    #[cfg(feature = "signals")]
    pub(super) signals: Option<super::signals::Signals>,
}

/// A save that failed: when to try again, and how long to wait after the next failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) at: Duration,
    pub(super) wait: Duration,
}

/// Who saves.
pub(super) enum Saver {
    Here(Box<Worker>),
    Beside(Background),
    /// Nobody any more.
    Closed,
}

impl Job {
    /// Begins a training session: declares metrics, finds the newest checkpoint that verifies, and
    /// records the start. Reads that checkpoint once.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there are checkpoints and none of them verifies;
    /// [`Error::Undeclared`] for an improvement trigger on a metric without a direction;
    /// [`Error::Conflict`] when a direction is declared otherwise.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        let resumed = self.resume()?;
        self.session_from(resumed, options)
    }

    /// What the last saves added to the store, the newest last.
    fn last_added(&self) -> Result<Vec<u64>> {
        let last = self.list()?.take(REMEMBERED);
        // One that is damaged says nothing of the next.
        let added = last.filter_map(Result::ok).map(|found| found.new_bytes);
        let mut added: Vec<u64> = added.collect();
        added.reverse();
        Ok(added)
    }

    /// [`Job::session`] from another checkpoint: of [`Job::resume_best`], say. What came after it
    /// is left behind by the first save.
    ///
    /// # Errors
    /// As [`Job::session`].
    pub fn session_from(
        &self,
        resumed: Option<Resumed>,
        options: SessionOptions,
    ) -> Result<Session> {
        options.check()?;
        self.declare_all(&options.metrics)?;
        let from = resumed.as_ref().map(|resumed| resumed.checkpoint.id);
        let standing = self.standing(from)?;
        self.check_triggers(&options.triggers, &standing)?;
        #[cfg(feature = "signals")]
        let signals = options.signals.then(|| self.listen()).transpose()?;
        let head = self.head_for(resumed.as_ref())?;
        let number = self.begin_session(resumed.as_ref())?;
        let clock = self.store_clock();
        let hooks = Hooks::new(options.hooks, options.hook_limit);
        let carried = Carried::default();
        let worker = Worker {
            job: self.clone(),
            hooks: hooks.clone(),
            pruner: options.retention.map(Pruner::new),
            prune_every: options.prune_every,
            disk: DiskGuard::new(options.min_free, self.last_added()?),
            on_low_disk: options.on_low_disk,
            carried: carried.clone(),
        };
        let saver = match options.background {
            None => Saver::Here(Box::new(worker)),
            Some(_) => Saver::Beside(self.beside(worker)?),
        };
        Ok(Session {
            job: self.clone(),
            triggers: options.triggers,
            since: clock.elapsed(),
            clock,
            number,
            parent: from.filter(|from| head != Some(*from)),
            past: Past {
                anchor: standing.anchor,
                previous: standing.iteration,
                baselines: standing.baselines,
                is_asked: false,
                cost: None,
            },
            is_first: resumed.is_none(),
            resumed,
            owed: None,
            owed_events: BTreeSet::new(),
            carried,
            telemetry: options.telemetry.then(Batch::default),
            telemetry_batch: options.telemetry_batch.clamp(1, MOST_PENDING / 2),
            telemetry_due: options.telemetry_batch.clamp(1, MOST_PENDING / 2),
            hooks,
            compression: options.compression,
            chain_depth: options.chain_depth,
            saver,
            overlap: options.background.unwrap_or(Overlap::Wait),
            watch: options.spike.map(Watch::new),
            saved: Vec::new(),
            problems: Vec::new(),
            calls: Vec::new(),
            settled: None,
            is_stopping: false,
            is_ended: false,
            #[cfg(feature = "signals")]
            signals,
        })
    }

    /// Improvement is of metrics with a direction.
    fn check_triggers(&self, triggers: &Triggers, standing: &Standing) -> Result<()> {
        for trigger in triggers.as_slice() {
            if let Trigger::Improvement(improvement) = trigger
                && !standing.baselines.contains_key(&improvement.metric)
            {
                let (job, metric) = (self.name().to_owned(), improvement.metric.clone());
                return Err(Error::Undeclared { job, metric });
            }
        }
        Ok(())
    }

    /// The job's head. A session of a job with checkpoints begins at one of them.
    fn head_for(&self, resumed: Option<&Resumed>) -> Result<Option<CheckpointId>> {
        let head = self.info()?.and_then(|info| info.head);
        if let (None, Some(head)) = (resumed, head) {
            let what = format!("job `{}` has checkpoints, {head} the newest", self.name());
            let hint = "go on from one of them (`resume`), or train another job";
            return Err(Error::conflict(what, hint));
        }
        Ok(head)
    }

    #[cfg(feature = "signals")]
    fn listen(&self) -> Result<super::signals::Signals> {
        let store = self.store_handle();
        super::signals::Signals::listen()
            .map_err(|error| io_error("listening for signals", store.path(), error))
    }

    fn beside(&self, worker: Worker) -> Result<Background> {
        let store = self.store_handle();
        Background::start(worker)
            .map_err(|error| io_error("starting a thread", store.path(), error))
    }
}

impl Session {
    /// The job.
    pub const fn job(&self) -> &Job {
        &self.job
    }

    /// The checkpoint that training goes on from, and the newer ones that were passed over; none
    /// if the job has none.
    pub const fn resumed(&self) -> Option<&Resumed> {
        self.resumed.as_ref()
    }

    /// The iteration after the one that was resumed; 1 if none was.
    pub fn next_iteration(&self) -> u64 {
        let last = self.resumed.as_ref().map(|from| from.checkpoint.iteration);
        last.map_or(1, |last| last.saturating_add(1))
    }

    /// Asks for the next step to save and stop, as a signal does. What the state is then is up to
    /// the loop.
    pub const fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Says that a phase ends with the next step.
    pub fn phase_end(&mut self) {
        self.calls.push(Call::PhaseEnd);
    }

    /// Says that the next step is at a boundary between phases.
    pub fn phase_boundary(&mut self, name: &str) {
        self.calls.push(Call::PhaseBoundary(name.to_owned()));
    }

    /// Records values of telemetry besides those that steps are told. In memory at first: they are
    /// appended with the next save, or in batches. Never fails: what can't be recorded is a problem
    /// of the next step.
    pub fn log(&mut self, iteration: u64, values: &BTreeMap<String, f64>) {
        self.log_values(iteration, values);
    }

    /// What went wrong since it was asked last, without stopping the training.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        self.collect();
        std::mem::take(&mut self.problems)
    }
}
