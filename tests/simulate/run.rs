//! Work on a sound disk: its log, and what the store may answer after each part of it.

use std::sync::Arc;

use ckptdb::{ManualClock, Store, Timestamp};

use crate::disk::{Disk, Step};
use crate::image::Image;
use crate::model::Model;
use crate::op::Op;
use crate::oracle::{Allowed, Checked, clock_at, matched, options};
use crate::random::Random;
use crate::work::{Theme, draw};

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) theme: Theme,
    pub(crate) ops: usize,
    pub(crate) early_ack: bool,
    /// Random subsets, torn states and states with garbage at each point.
    pub(crate) each: (usize, usize, usize),
    /// States of a recovery's crash.
    pub(crate) nested: usize,
}

impl Settings {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            theme: if seed % 5 == 4 {
                Theme::Growing
            } else {
                Theme::Small
            },
            ops: 14,
            early_ack: false,
            each: (16, 32, 3),
            nested: 3,
        }
    }
}

/// Work that was done on a disk, and what the store may answer after each part of it.
pub(crate) struct Run {
    pub(crate) start: Image,
    pub(crate) log: Vec<Step>,
    pub(crate) ops: Vec<Op>,
    /// After so many operations.
    pub(crate) acked: Vec<Allowed>,
    /// What each operation goes through, its result included.
    pub(crate) through: Vec<Vec<Allowed>>,
    /// What was on the disk before each operation, and when it was.
    pub(crate) before: Vec<(Image, i64)>,
    /// And after the store was closed.
    pub(crate) end: Image,
    pub(crate) clock: Arc<ManualClock>,
}

impl Run {
    /// Makes the disk one that skipped a sync and said that it did it: the last before an operation
    /// returned, by which its commit is on the disk. None if the operation needed none.
    pub(crate) fn skip_last_sync(&mut self, op: usize) -> Option<()> {
        let place = |number: usize| {
            let mut steps = self.log.iter();
            steps.position(|step| matches!(step, Step::Ack(its) if *its == number))
        };
        let begun = if op == 1 { 0 } else { place(op - 1)? };
        let end = place(op)?;
        let is_sync = |at: &usize| matches!(self.log[*at], Step::Sync);
        let at = (begun..end).rev().find(is_sync)?;
        self.log.remove(at);
        Some(())
    }
}

/// Does one operation and returns the states that it goes through.
pub(crate) fn perform(store: &Store, op: &Op, before: &Model, at: i64) -> Checked<Vec<Allowed>> {
    let id = op.run(store)?.map(|(id, _)| id);
    let steps = op.apply(before, id, at);
    Ok(steps.into_iter().map(Allowed::new).collect())
}

pub(crate) fn last(through: &[Allowed]) -> &Allowed {
    through.last().expect("an operation ends in a state")
}

/// Works on a fresh store as the seed says, and checks every answer on the way.
pub(crate) fn record(settings: &Settings) -> Checked<Run> {
    record_with(settings, alone)
}

/// One handle, on a fresh store.
pub(crate) fn alone(disk: &Disk, clock: &Arc<ManualClock>) -> Checked<Vec<Store>> {
    let store = Store::create_in(Arc::new(disk.clone()), options(clock))?;
    Ok(vec![store])
}

/// The same by handles that take turns, on a fresh store.
pub(crate) fn record_with(
    settings: &Settings,
    open: impl FnOnce(&Disk, &Arc<ManualClock>) -> Checked<Vec<Store>>,
) -> Checked<Run> {
    let mut random = Random::new(settings.seed);
    let clock = clock_at(0);
    let disk = Disk::default();
    let stores = open(&disk, &clock)?;
    let mut turns = Random::new(!settings.seed);
    let mut model = Model::default();
    model.commits.push(0);
    let mut run = Run {
        start: disk.image(),
        log: Vec::new(),
        ops: Vec::new(),
        acked: vec![Allowed::new(model)],
        through: Vec::new(),
        before: Vec::new(),
        end: Image::default(),
        clock: Arc::clone(&clock),
    };
    disk.start_log();
    let mut now = 0;
    for number in 1..=settings.ops {
        now += 60_000 * i64::from(random.byte() % 60);
        clock.set(Timestamp::from_millis(now));
        let before = run.acked[number - 1].clone();
        let fresh = u8::try_from(number).expect("work is short");
        let op = draw(&mut random, &before.model, settings.theme, fresh);
        run.before.push((disk.image(), now));
        if settings.early_ack {
            disk.acknowledge(number);
        }
        let store = turns.pick(&stores);
        let through = perform(store, &op, &before.model, now)?;
        if !settings.early_ack {
            disk.acknowledge(number);
        }
        for store in &stores {
            matched(store, std::slice::from_ref(last(&through)))?;
        }
        run.acked.push(last(&through).clone());
        run.through.push(through);
        run.ops.push(op);
    }
    drop(stores);
    (run.log, run.end) = (disk.log(), disk.image());
    Ok(run)
}
