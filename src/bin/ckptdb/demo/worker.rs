//! The training process: goes on from the store's newest checkpoint, saves as it goes, and says
//! so. It knows nothing of the demo around it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use ckptdb::policy::{Trigger, Triggers};
use ckptdb::session::{MinFree, Problem, SaveState, SessionOptions};
use ckptdb::{Checkpoint, Direction, Error, Event, Job, Result, Save, Store};
use serde_json::{Value, json};

use super::message::Message;
use super::plan::Plan;
use super::trainer::{Hyper, Measured, Progress, Trainer, Weights};
use crate::failure::{Exit, Failure};
use crate::output::Style;

/// The job that the demo trains.
pub(super) const JOB: &str = "demo";
/// The metric by which a checkpoint of it is best.
pub(super) const MAIN_METRIC: &str = "loss";
/// The attribute that says who made a checkpoint, and its value.
pub(super) const MADE_BY: (&str, &str) = ("made_by", "ckptdb demo");
/// The entry that holds what is no tensor.
const PROGRESS: &str = "progress";

/// Trains from wherever the store stands to the end of the plan.
pub(super) fn run(plan: &Plan, style: &Style) -> std::result::Result<(), Failure> {
    let store = plan.open()?;
    train(&store, plan, style)?;
    store.close();
    // Whoever started it says when it may end.
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    Ok(())
}

fn train(store: &Store, plan: &Plan, style: &Style) -> std::result::Result<(), Failure> {
    let job = store.job(JOB)?;
    let mut session = job.session(options(plan)?)?;
    job.set_main_metric(MAIN_METRIC)?;
    let mut trainer = match session.resumed() {
        Some(resumed) => restore(&resumed.checkpoint)?,
        None => Trainer::new(plan.seed, Hyper::default()),
    };
    style.line(Message::Started(trainer.iteration()))?;
    if trainer.iteration() >= plan.iterations {
        // The process before this one was killed when it had saved the last.
        let state = State::of(&trainer, &job, plan)?;
        let fill = |save| state.add_to(save);
        let ended = session.finish(trainer.iteration(), &state.metrics, fill);
        return settle(&ended.save, &ended.problems).map(drop);
    }
    loop {
        trainer.advance();
        let iteration = trainer.iteration();
        let state = State::of(&trainer, &job, plan)?;
        let mut told = Ok(());
        let fill = |save| {
            told = style.line(Message::Saving(iteration));
            state.add_to(save)
        };
        let is_last = iteration >= plan.iterations;
        let (save, problems) = if is_last {
            let ended = session.finish(iteration, &state.metrics, fill);
            told?;
            settle(&ended.save, &ended.problems)?;
            return style.line(Message::Saved(iteration));
        } else {
            let step = session.step(iteration, &state.metrics, fill);
            (step.save, step.problems)
        };
        told?;
        if settle(&save, &problems)? {
            style.line(Message::Saved(iteration))?;
        }
    }
}

/// A session that saves as the plan says, and keeps everything. Ctrl-C ends the whole demo.
fn options(plan: &Plan) -> Result<SessionOptions> {
    let every = NonZeroU64::new(plan.every).map(Trigger::Iterations);
    Ok(SessionOptions {
        triggers: Triggers::new(every.into_iter().chain([Trigger::Final]))?,
        metrics: BTreeMap::from([
            (MAIN_METRIC.to_owned(), Direction::Min),
            ("accuracy".to_owned(), Direction::Max),
        ]),
        min_free: MinFree::NONE,
        signals: false,
        ..SessionOptions::default()
    })
}

/// Whether a save is durable. What goes wrong ends the demo: it is there to show that nothing does.
fn settle(save: &SaveState, problems: &[Problem]) -> std::result::Result<bool, Failure> {
    match problems.first() {
        None => Ok(matches!(save, SaveState::Saved(_))),
        Some(problem) => Err(Failure::new(Exit::Failed, &problem.message)),
    }
}

/// Everything that the next iterations depend on, which is saved in one commit.
struct State {
    metrics: BTreeMap<String, f64>,
    progress: Value,
    tensors: Vec<Weights>,
    seed: u64,
    is_best: bool,
}

impl State {
    fn of(trainer: &Trainer, job: &Job, plan: &Plan) -> Result<Self> {
        let Measured { loss, accuracy } = trainer.measure();
        let saves = plan.saves_at(trainer.iteration());
        Ok(Self {
            metrics: BTreeMap::from([
                (MAIN_METRIC.to_owned(), loss),
                ("accuracy".to_owned(), accuracy),
            ]),
            progress: to_document(&trainer.progress())?,
            tensors: trainer.tensors(),
            seed: plan.seed,
            is_best: saves && is_best(job, loss)?,
        })
    }

    fn add_to<'s>(&'s self, save: Save<'s>) -> Save<'s> {
        let mut save = save
            .document(PROGRESS, &self.progress)
            .attribute("seed", &json!(self.seed))
            .attribute(MADE_BY.0, &json!(MADE_BY.1));
        for tensor in &self.tensors {
            save = save.tensor(&tensor.name, tensor);
        }
        if self.is_best {
            save = save.event(Event::Best(MAIN_METRIC.to_owned()));
        }
        save
    }
}

/// Whether no earlier checkpoint has so low a loss. The store is asked, so that the answer is
/// right after a restart as well.
fn is_best(job: &Job, loss: f64) -> Result<bool> {
    let best = job.best(MAIN_METRIC)?;
    let value = best.and_then(|best| best.metrics.get(MAIN_METRIC).copied());
    Ok(value.is_none_or(|value| Direction::Min.is_better(loss, value)))
}

fn to_document(progress: &Progress) -> Result<serde_json::Value> {
    let invalid = |error: serde_json::Error| Error::Invalid {
        what: format!("document `{PROGRESS}`"),
        why: error.to_string(),
    };
    serde_json::to_value(progress).map_err(invalid)
}

/// The trainer as it was when this checkpoint was saved.
pub(super) fn restore(checkpoint: &Checkpoint) -> Result<Trainer> {
    let document = checkpoint.document(PROGRESS)?;
    let progress = serde_json::from_value(document).map_err(|error| Error::Corrupt {
        what: format!("document `{PROGRESS}` of {}", checkpoint.id),
        why: error.to_string(),
    })?;
    Trainer::restore(progress, |name| checkpoint.tensor(name))
}
