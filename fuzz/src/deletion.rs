//! Deleting, taking back and reclaiming beside a model, under a clock that goes where it likes:
//! nothing reachable is ever deleted, and what is deleted can come back while its window lasts.

use std::sync::Arc;

use ckptdb::{Error, Store, Timestamp};

use crate::disk::Disk;
use crate::model::{Model, Recipe};
use crate::op::{Op, WINDOW};
use crate::oracle::{Allowed, Checked, clock_at, matched, options, verify};
use crate::random::Random;
use crate::run::{last, perform};
use crate::watch::within;
use crate::work::{JOBS, plain};

/// More operations than that of one input only slow the fuzzer down.
const MOST: usize = 24;
/// As far from 1970 as times may be; twice of it still is a time.
const FARTHEST: i64 = i64::MAX / 4;

pub(crate) fn deletion(data: &[u8]) {
    let mut random = Random::of(data);
    if let Err(wrong) = run(&mut random) {
        panic!("{wrong:?}");
    }
}

fn run(random: &mut Random) -> Checked<()> {
    let clock = clock_at(0);
    let disk = Disk::default();
    let store = Store::create_in(Arc::new(disk), options(&clock))?;
    let mut model = Model::default();
    model.commits.push(0);
    let mut now = Allowed::new(model);
    let mut at = 0;
    for number in 0..MOST {
        if random.is_spent() {
            break;
        }
        at = moved(at, random);
        clock.set(Timestamp::from_millis(at));
        let fresh = u8::try_from(number).expect("there are few");
        let op = drawn(random, &now.model, fresh);
        now = within("an operation", || step(&store, &op, &now, at))?;
        within("reading", || matched(&store, std::slice::from_ref(&now)))?;
    }
    verify(&store)
}

/// Times stand, go on, jump and go back.
fn moved(at: i64, random: &mut Random) -> i64 {
    let minutes = i64::from(random.byte());
    let by = match random.below(8) {
        0..=3 => 0,
        4 => 60_000 * minutes,
        5 => -60_000 * minutes,
        6 => WINDOW,
        _ => return [-FARTHEST, 0, WINDOW - 1, FARTHEST][random.below(4)],
    };
    at.saturating_add(by).clamp(-FARTHEST, FARTHEST)
}

/// An operation that need not be a sound one.
fn drawn(random: &mut Random, model: &Model, fresh: u8) -> Op {
    let all = model.ids(|_| true);
    let mut some = || match all.len() {
        0 => 1 + random.below(4) as u64,
        count => all[random.below(count)],
    };
    let id = some();
    let job = *random.pick(&JOBS);
    match random.below(16) {
        0..=4 => {
            // Few recipes, so that checkpoints share chunks with each other.
            let code = random.byte() % 6;
            let recipes = [
                Recipe::Tiny(fresh),
                Recipe::Packs(code),
                Recipe::Shared(code),
            ];
            let mut save = plain(model, job, *random.pick(&recipes));
            save.pin = random.one_in(6);
            save.tag = random.one_in(4).then_some("good");
            let number = model.job_named(job);
            if number.is_some_and(|number| model.tag_holder(number, "good").is_some()) {
                save.tag = None;
            }
            Op::Save(save)
        }
        5..=7 => Op::Delete {
            id,
            force: random.one_in(2),
        },
        8 | 9 => Op::Undelete { id },
        10 => Op::DeleteJob { job },
        11 => Op::Reclaim { now: true },
        12 | 13 => Op::Reclaim { now: false },
        14 => Op::Pin {
            id,
            pinned: random.one_in(2),
        },
        _ => Op::Reopen,
    }
}

/// Does an operation that the store should accept, and sees one refused that it should not.
fn step(store: &Store, op: &Op, now: &Allowed, at: i64) -> Checked<Allowed> {
    if is_sound(op, &now.model) {
        return Ok(last(&perform(store, op, &now.model, at)?).clone());
    }
    match op.run(store) {
        Err(Error::Conflict { .. } | Error::NotFound { .. } | Error::Deleted { .. }) => {}
        // To say again what is so already is no change.
        Ok(None) if matches!(op, Op::Pin { .. }) => {}
        other => panic!("{op:?} should be refused: {other:?}"),
    }
    Ok(now.clone())
}

/// Whether the store should accept an operation, and the model count it as a change.
fn is_sound(op: &Op, model: &Model) -> bool {
    let known = |id: &u64| model.checkpoints.get(id);
    match op {
        Op::Delete { id, force } => known(id).is_some_and(|known| {
            let is_head = model.head(known.job) == Some(*id);
            known.deleted.is_none() && !known.pinned && (*force || !is_head)
        }),
        Op::Undelete { id } => known(id).is_some_and(|known| {
            let job = &model.jobs[known.job];
            let is_taken = job.removed && model.job_named(job.name).is_some();
            known.deleted.is_some() && !is_taken && has_place(model, *id)
        }),
        Op::DeleteJob { job } => model.job_named(job).is_some_and(|job| {
            let all = [model.live(job, false), model.live(job, true)].concat();
            !all.iter().any(|id| model.checkpoints[id].pinned)
        }),
        Op::Pin { id, pinned } => {
            known(id).is_some_and(|known| known.deleted.is_none() && known.pinned != *pinned)
        }
        _ => true,
    }
}

/// Whether a deleted checkpoint has a place to come back to: off the current line always, on it
/// if its iteration was not saved anew.
fn has_place(model: &Model, id: u64) -> bool {
    let known = &model.checkpoints[&id];
    let is_abandoned = match model.head(known.job) {
        Some(head) => !model.descends(head.max(id), head.min(id)),
        None => known.abandoned,
    };
    let line = model.live(known.job, false);
    let mut others = line.iter().map(|other| &model.checkpoints[other]);
    is_abandoned || others.all(|other| other.iteration != known.iteration)
}
