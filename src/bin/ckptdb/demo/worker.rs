//! The training process: goes on from the store's newest checkpoint, saves as it goes, and says
//! so. It knows nothing of the demo around it.

use ckptdb::{Checkpoint, DType, Direction, Error, Event, Job, Result, Store, TensorSlice};
use serde_json::json;

use super::message::Message;
use super::plan::Plan;
use super::trainer::{Hyper, Measured, Progress, Trainer};
use crate::failure::Failure;
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
    job.declare_metric(MAIN_METRIC, Direction::Min)?;
    job.declare_metric("accuracy", Direction::Max)?;
    job.set_main_metric(MAIN_METRIC)?;
    let mut trainer = match job.latest()? {
        Some(checkpoint) => restore(&checkpoint)?,
        None => Trainer::new(plan.seed, Hyper::default()),
    };
    style.line(Message::Started(trainer.iteration()))?;
    while trainer.iteration() < plan.iterations {
        trainer.advance();
        if plan.saves_at(trainer.iteration()) {
            style.line(Message::Saving(trainer.iteration()))?;
            save(&job, &trainer, plan)?;
            style.line(Message::Saved(trainer.iteration()))?;
        }
    }
    Ok(())
}

/// Saves everything that the next iterations depend on, in one commit.
fn save(job: &Job, trainer: &Trainer, plan: &Plan) -> Result<()> {
    let Measured { loss, accuracy } = trainer.measure();
    let tensors = trainer.tensors();
    let mut save = job
        .save(trainer.iteration())
        .document(PROGRESS, &to_document(&trainer.progress())?)
        .metric(MAIN_METRIC, loss)
        .metric("accuracy", accuracy)
        .attribute("seed", &json!(plan.seed))
        .attribute(MADE_BY.0, &json!(MADE_BY.1))
        .event(Event::Periodic);
    for tensor in &tensors {
        let slice = TensorSlice::new(DType::F32, &tensor.shape, &tensor.bytes)?;
        save = save.tensor(&tensor.name, slice);
    }
    if is_best(job, loss)? {
        save = save.event(Event::Best(MAIN_METRIC.to_owned()));
    }
    if trainer.iteration() == plan.iterations {
        save = save.event(Event::Final);
    }
    save.commit().map(drop)
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
