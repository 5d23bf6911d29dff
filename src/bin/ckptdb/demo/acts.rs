//! The acts of the demo: train in memory, train and be killed, look at what is left, go on,
//! compare. Each checks what it claims, and fails if that is not so.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ckptdb::{Store, VerifyDepth, VerifyReport};

use super::child::Child;
use super::data::Rng;
use super::message::Message;
use super::plan::Plan;
use super::trainer::{Hyper, Measured, Trainer};
use super::worker::{self, JOB};
use crate::failure::{Exit, Failure};

/// The run that nothing interrupts and nothing saves: what the other one has to equal.
#[derive(Debug)]
pub(super) struct Reference {
    /// Hash of the whole state after every iteration that the other run saves.
    states: BTreeMap<u64, blake3::Hash>,
    /// Hash of the final weights.
    pub(super) weights: blake3::Hash,
    /// Number of weights.
    pub(super) parameters: usize,
    /// How well it ended.
    pub(super) measured: Measured,
    /// How long it took.
    pub(super) took: Duration,
}

/// Act one: all iterations in one go, in memory.
pub(super) fn reference(plan: &Plan) -> Reference {
    let begun = Instant::now();
    let mut trainer = Trainer::new(plan.seed, Hyper::default());
    let mut states = BTreeMap::new();
    while trainer.iteration() < plan.iterations {
        trainer.advance();
        if plan.saves_at(trainer.iteration()) {
            states.insert(trainer.iteration(), trainer.state_hash());
        }
    }
    Reference {
        states,
        weights: trainer.weights_hash(),
        parameters: trainer.parameters(),
        measured: trainer.measure(),
        took: begun.elapsed(),
    }
}

/// What is known of the killed process from the outside.
#[derive(Debug)]
pub(super) struct Killed {
    /// Its process id.
    pub(super) process: u32,
    /// Iterations whose saves it acknowledged.
    pub(super) acknowledged: Vec<u64>,
    /// The iteration that it was saving when it was killed.
    pub(super) in_flight: u64,
    /// How far into that save the kill came.
    pub(super) after: Duration,
    /// How long the shortest of its saves took before.
    pub(super) shortest_save: Duration,
}

/// Act two: a process trains and saves; half-way it is killed in the middle of a save. The kill
/// comes within three fifths of the time that a save takes at the least, at a point that the
/// seed decides.
pub(super) fn train_and_kill(plan: &Plan) -> Result<Killed, Failure> {
    let mut child = Child::start(plan)?;
    let mut acknowledged = Vec::new();
    let mut shortest_save = Duration::MAX;
    let mut begun = Instant::now();
    let mut in_flight = loop {
        match child.next() {
            Some(Message::Started(_)) => {}
            Some(Message::Saving(iteration)) => {
                begun = Instant::now();
                if acknowledged.len() as u64 >= plan.saves_before_kill() {
                    break iteration;
                }
            }
            Some(Message::Saved(iteration)) => {
                shortest_save = shortest_save.min(begun.elapsed());
                acknowledged.push(iteration);
            }
            None => return Err(child.ended_early()),
        }
    };
    let share = 0.6 * Rng::new(plan.seed, 4).symmetric().abs();
    thread::sleep(shortest_save.mul_f32(share).saturating_sub(begun.elapsed()));
    let after = begun.elapsed();
    child.kill()?;
    // What it said before the kill may still be on its way.
    while let Some(message) = child.next() {
        match message {
            Message::Saving(iteration) => in_flight = iteration,
            Message::Saved(iteration) => acknowledged.push(iteration),
            Message::Started(_) => {}
        }
    }
    Ok(Killed {
        process: child.id(),
        acknowledged,
        in_flight,
        after,
        shortest_save,
    })
}

/// What became of the save that the kill interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing of it is to be seen.
    Absent,
    /// It was durable, and the kill only cut off its acknowledgement.
    Durable,
    /// It had just been acknowledged.
    Acknowledged,
}

/// What the store held after the kill.
#[derive(Debug)]
pub(super) struct Found {
    /// How long it took to open the store.
    pub(super) opened: Duration,
    /// What became of the interrupted save.
    pub(super) outcome: Outcome,
    /// Checkpoints that are there, each equal to the reference run's state.
    pub(super) checkpoints: u64,
    /// The newest one's iteration.
    pub(super) newest: u64,
    /// What `verify` says.
    pub(super) verified: VerifyReport,
}

/// Act three: every acknowledged checkpoint has to be there and load, the interrupted one
/// wholly or not at all, and nothing else.
pub(super) fn inspect(
    plan: &Plan,
    reference: &Reference,
    killed: &Killed,
) -> Result<Found, Failure> {
    let begun = Instant::now();
    let store = plan.open()?;
    let opened = begun.elapsed();
    let stored = equal_to(reference, &store)?;
    for iteration in &killed.acknowledged {
        if !stored.contains(iteration) {
            return Err(mismatch(format!(
                "iteration {iteration} was acknowledged and is gone"
            )));
        }
    }
    for iteration in &stored {
        if !killed.acknowledged.contains(iteration) && *iteration != killed.in_flight {
            return Err(mismatch(format!(
                "iteration {iteration} is there and was never saved"
            )));
        }
    }
    let outcome = if killed.acknowledged.contains(&killed.in_flight) {
        Outcome::Acknowledged
    } else if stored.contains(&killed.in_flight) {
        Outcome::Durable
    } else {
        Outcome::Absent
    };
    let verified = verify(&store)?;
    let newest = stored.iter().copied().max().unwrap_or(0);
    store.close();
    Ok(Found {
        opened,
        outcome,
        checkpoints: stored.len() as u64,
        newest,
        verified,
    })
}

/// Loads every checkpoint of the job and compares it with the reference run, weights, moments,
/// generator, position and all. Gives their iterations.
fn equal_to(reference: &Reference, store: &Store) -> Result<Vec<u64>, Failure> {
    let mut iterations = Vec::new();
    for checkpoint in store.job(JOB)?.list()? {
        let checkpoint = checkpoint?;
        let iteration = checkpoint.iteration;
        if reference.states.get(&iteration) != Some(&worker::restore(&checkpoint)?.state_hash()) {
            let what = format!("iteration {iteration} is not what the reference run had then");
            return Err(mismatch(what));
        }
        iterations.push(iteration);
    }
    Ok(iterations)
}

fn verify(store: &Store) -> Result<VerifyReport, Failure> {
    let report = store.verify(VerifyDepth::Full)?;
    match report.damage.first() {
        None => Ok(report),
        Some(damage) => Err(mismatch(format!("verify found damage: {}", damage.what))),
    }
}

/// Where the second process took over.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Its process id.
    pub(super) process: u32,
    /// The iteration that it loaded.
    pub(super) at: u64,
    /// How long it took to the end.
    pub(super) took: Duration,
}

/// Act four: another process goes on from what the store has, to the end.
pub(super) fn resume(plan: &Plan, found: &Found) -> Result<Resumed, Failure> {
    let begun = Instant::now();
    let mut child = Child::start(plan)?;
    child.let_end();
    let mut started = None;
    while let Some(message) = child.next() {
        if let Message::Started(iteration) = message {
            started = Some(iteration);
        }
    }
    child.finish()?;
    match started {
        Some(at) if at == found.newest => Ok(Resumed {
            process: child.id(),
            at,
            took: begun.elapsed(),
        }),
        at => Err(mismatch(format!(
            "resumed at {at:?} instead of {}",
            found.newest
        ))),
    }
}

/// What the interrupted run ended with.
#[derive(Debug)]
pub(super) struct Ended {
    /// Hash of the final weights.
    pub(super) weights: blake3::Hash,
    /// How well it ended.
    pub(super) measured: Measured,
    /// Checkpoints in the store, each equal to the reference run's state.
    pub(super) checkpoints: u64,
}

/// Act five: all checkpoints have to be there and equal the reference run, the last one, with
/// which training ended, too.
pub(super) fn compare(plan: &Plan, reference: &Reference, store: &Store) -> Result<Ended, Failure> {
    let mut stored = equal_to(reference, store)?;
    stored.sort_unstable();
    if !stored.iter().eq(reference.states.keys()) {
        return Err(mismatch(format!("the store has the iterations {stored:?}")));
    }
    verify(store)?;
    let last = store.job(JOB)?.at(plan.iterations)?;
    let last = last.ok_or_else(|| mismatch("the final checkpoint is gone".to_owned()))?;
    let trainer = worker::restore(&last)?;
    let weights = trainer.weights_hash();
    if weights != reference.weights {
        return Err(mismatch(format!(
            "final weights {weights}, not {}",
            reference.weights
        )));
    }
    Ok(Ended {
        weights,
        measured: trainer.measure(),
        checkpoints: stored.len() as u64,
    })
}

/// The demo has shown the opposite of what it is for.
fn mismatch(what: String) -> Failure {
    Failure::new(Exit::Failed, what).hint("this is a bug in ckptdb; please report it")
}
