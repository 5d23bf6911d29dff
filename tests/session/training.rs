//! Eight jobs train in one store for 10,000 iterations each, through kills, interrupts, full
//! disks, NaN and clocks that are set: nothing that was acknowledged and that a rule protects is
//! lost, and every session goes on from where the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ckptdb::policy::{Improvement, Keep, Retention, Threshold, Trigger, Triggers};
use ckptdb::session::{
    Done, MinFree, Overlap, ProblemKind, SaveState, Session, SessionOptions, SpikeGuard, Step,
    after_save,
};
use ckptdb::{
    CheckpointInfo, Direction, Event, ManualClock, MemoryMedium, Store, Timestamp, VerifyDepth,
};

use super::options;
use crate::support::{LimitedMedium, Limits};

const JOBS: usize = 8;
const LAST: u64 = 10_000;
const LATEST: usize = 4;
const BEST: usize = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// What the model knows of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    iteration: u64,
    sharpe: f64,
    phase: bool,
}

impl Known {
    fn of(info: &CheckpointInfo) -> Self {
        Self {
            iteration: info.iteration,
            sharpe: info.metrics.get("sharpe").copied().unwrap_or(f64::NAN),
            phase: info
                .events
                .iter()
                .any(|event| event.family() == "phase_boundary"),
        }
    }
}

/// One job: its session, and what must be there, by id.
struct Trainer {
    name: String,
    session: Option<Session>,
    iteration: u64,
    known: BTreeMap<u64, Known>,
    told: Told,
    done: bool,
}

/// What was told to be durable, by saves beside the training too.
type Told = Arc<Mutex<Vec<(u64, Known)>>>;

fn settings(job: usize, told: &Told) -> SessionOptions {
    let told = Arc::clone(told);
    let tell = move |done: &Done| {
        let known = Known::of(&done.checkpoint);
        told.lock().unwrap().push((done.checkpoint.id.get(), known));
        Ok(())
    };
    let sharpe = Improvement {
        metric: "sharpe".to_owned(),
        threshold: Threshold::Relative(0.2),
    };
    SessionOptions {
        triggers: Triggers::from(Trigger::Iterations(100.try_into().unwrap()))
            | Trigger::Improvement(sharpe)
            | Trigger::PhaseBoundary
            | Trigger::Interrupt
            | Trigger::Final,
        retention: Some(
            Retention::new([
                Keep::Latest(LATEST as u64),
                Keep::Best {
                    metric: "sharpe".to_owned(),
                    count: BEST as u64,
                    direction: None,
                },
                Keep::Event("phase_boundary".to_owned()),
            ])
            .unwrap(),
        ),
        prune_every: 3,
        metrics: BTreeMap::from([("sharpe".to_owned(), Direction::Max)]),
        background: (job % 2 == 1).then_some(Overlap::Wait),
        telemetry_batch: 500,
        min_free: MinFree::NONE,
        signals: false,
        hooks: vec![after_save("tell", tell)],
        spike: Some(SpikeGuard {
            max_rollbacks: 1_000,
            sigma: 1e6,
            ..SpikeGuard::new("loss")
        }),
        ..SessionOptions::default()
    }
}

/// The weights of an iteration: of which half stays the same for long.
fn weights(job: usize, iteration: u64) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(job).unwrap(); 600];
    bytes.extend((iteration / 1000).to_le_bytes().repeat(64));
    bytes.extend(iteration.to_le_bytes().repeat(8));
    bytes
}

fn sharpe(job: usize, iteration: u64) -> f64 {
    let noise = (iteration.wrapping_mul(2_654_435_761) % 1000) as f64 / 1000.0;
    (iteration as f64 / 3000.0) + noise * 0.3 + job as f64
}

impl Trainer {
    /// What the rules protect, by the simplest reading of them.
    fn protected(&self) -> BTreeSet<u64> {
        let mut kept: BTreeSet<u64> = self.known.keys().rev().take(LATEST).copied().collect();
        let phases = self.known.iter().filter(|(_, known)| known.phase);
        kept.extend(phases.map(|(id, _)| *id));
        let mut ranked: Vec<_> = self
            .known
            .iter()
            .filter(|(_, k)| k.sharpe.is_finite())
            .collect();
        ranked.sort_by(|a, b| b.1.sharpe.total_cmp(&a.1.sharpe).then(a.0.cmp(b.0)));
        kept.extend(ranked.into_iter().take(BEST).map(|(id, _)| *id));
        kept
    }

    /// Compares what is listed with what is known; takes note of what is new and what went.
    fn compare(&mut self, store: &Store) {
        self.known.extend(self.told.lock().unwrap().drain(..));
        let job = store.job(&self.name).unwrap();
        let mut listed = BTreeMap::new();
        for checkpoint in job.list().unwrap() {
            let checkpoint = checkpoint.unwrap();
            if !checkpoint.abandoned {
                listed.insert(checkpoint.id.get(), Known::of(&checkpoint));
            }
        }
        let new = listed
            .iter()
            .filter(|(id, _)| !self.known.contains_key(*id));
        let new: Vec<_> = new.map(|(id, known)| (*id, known.clone())).collect();
        self.known.extend(new);
        for (id, known) in &listed {
            self.known.insert(*id, known.clone());
        }
        let protected = self.protected();
        let lost: Vec<_> = protected
            .iter()
            .filter(|id| !listed.contains_key(id))
            .collect();
        assert!(
            lost.is_empty(),
            "{}: {lost:?} of {:?} are lost",
            self.name,
            self.known
        );
        self.known.retain(|id, _| listed.contains_key(id));
    }

    fn finish(&mut self, at: usize, metrics: &BTreeMap<String, f64>) {
        let session = self.session.take().unwrap();
        let state = weights(at, self.iteration);
        let finished = session.finish(self.iteration, metrics, |save| {
            save.bytes("weights", &state)
        });
        self.done = matches!(finished.save, SaveState::Saved(_));
    }

    /// What a step says that is now durable, or left behind.
    fn note(&mut self, store: &Store, step: &Step) {
        let is_told = !self.told.lock().unwrap().is_empty();
        if is_told && step.rolled_back.is_none() {
            self.compare(store);
        }
        if let Some(resumed) = &step.rolled_back {
            let to = resumed.checkpoint.id.get();
            self.known.retain(|id, _| *id <= to);
            self.compare(store);
            self.iteration = resumed.checkpoint.iteration;
        }
        if let SaveState::Saved(saved) = &step.save {
            let known = Known::of(&saved.checkpoint);
            self.known.insert(saved.checkpoint.id.get(), known);
            self.compare(store);
        }
    }
}

struct World {
    medium: Arc<LimitedMedium>,
    limits: Arc<Limits>,
    clock: Arc<ManualClock>,
    store: Store,
    trainers: Vec<Trainer>,
    random: Random,
    kills: u64,
    interrupts: u64,
    full: u64,
    spikes: u64,
    failed: u64,
    steps: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let medium = LimitedMedium::new(Arc::new(MemoryMedium::default()));
        let clock = Arc::new(ManualClock::default());
        let store = Store::create_in(medium.clone(), options(&clock)).unwrap();
        let trainers = (0..JOBS).map(|job| Trainer {
            name: format!("market/{job}"),
            session: None,
            iteration: 0,
            known: BTreeMap::new(),
            told: Told::default(),
            done: false,
        });
        Self {
            limits: Arc::clone(&medium.limits),
            medium,
            clock,
            store,
            trainers: trainers.collect(),
            random: Random(seed),
            kills: 0,
            interrupts: 0,
            full: 0,
            spikes: 0,
            failed: 0,
            steps: 0,
        }
    }

    /// The process is gone; another one opens the store.
    fn restart(&mut self) {
        for trainer in &mut self.trainers {
            drop(trainer.session.take());
        }
        self.limits.revive();
        self.limits.set_capacity(u64::MAX);
        let store = std::mem::replace(&mut self.store, Store::in_memory().unwrap());
        store.close();
        self.store = Store::open_in(self.medium.clone(), options(&self.clock)).unwrap();
        self.kills += 1;
    }

    fn start(&mut self, at: usize) {
        let trainer = &mut self.trainers[at];
        let job = self.store.job(&trainer.name).unwrap();
        let session = match job.session(settings(at, &trainer.told)) {
            Ok(session) => session,
            Err(error) => {
                let is_full = matches!(error, ckptdb::Error::Full { .. });
                assert!(is_full || self.limits.is_dead(), "{error}");
                return;
            }
        };
        trainer.compare(&self.store);
        let newest = trainer
            .known
            .values()
            .next_back()
            .map(|known| known.iteration);
        let resumed = session.resumed().map(|resumed| resumed.checkpoint.clone());
        assert_eq!(
            resumed.as_ref().map(|checkpoint| checkpoint.iteration),
            newest
        );
        if let Some(checkpoint) = resumed {
            let bytes = checkpoint.read("weights").unwrap();
            assert_eq!(bytes, weights(at, checkpoint.iteration));
        }
        trainer.iteration = newest.unwrap_or(0);
        trainer.session = Some(session);
    }

    /// One iteration of one job.
    fn step(&mut self, at: usize) {
        if self.trainers[at].session.is_none() {
            self.start(at);
        }
        if self.trainers[at].session.is_none() {
            return;
        }
        let interrupted = self.random.chance(4_000);
        let odd = self.random.chance(2_000);
        let phase = self.random.chance(1_500);
        let trainer = &mut self.trainers[at];
        if trainer.iteration >= LAST {
            // The last iteration was saved, and its end was not.
            trainer.finish(at, &BTreeMap::new());
            return;
        }
        let session = trainer.session.as_mut().unwrap();
        trainer.iteration += 1;
        let iteration = trainer.iteration;
        let mut metrics = BTreeMap::from([
            ("sharpe".to_owned(), sharpe(at, iteration)),
            ("loss".to_owned(), 1.0 / iteration as f64),
        ]);
        if odd {
            metrics.insert("loss".to_owned(), f64::NAN);
        }
        if phase {
            session.phase_boundary("curriculum");
        }
        if interrupted {
            session.stop();
        }
        let state = weights(at, iteration);
        let step = session.step(iteration, &metrics, |save| save.bytes("weights", &state));
        self.steps += 1;
        self.spikes += u64::from(step.rolled_back.is_some());
        let failed = |kind| step.problems.iter().any(|problem| problem.kind == kind);
        self.failed += u64::from(failed(ProblemKind::SaveFailed));
        trainer.note(&self.store, &step);
        if let Some(stop) = step.stop {
            let session = trainer.session.take().unwrap();
            session.interrupt(iteration, stop);
            self.interrupts += 1;
            if !self.limits.is_dead() {
                trainer.compare(&self.store);
            }
        } else if trainer.iteration >= LAST {
            trainer.finish(at, &metrics);
        }
    }

    fn run(&mut self) {
        while let Some(at) = self.pick() {
            if self.random.chance(3_000) {
                let writes = self.random.below(60);
                self.limits.kill_after(writes);
            }
            if self.random.chance(2_500) {
                let used = ckptdb::Medium::open(&*self.medium).unwrap().len().unwrap();
                self.limits.set_capacity(used);
                self.full += 1;
            } else if self.random.chance(300) {
                self.limits.set_capacity(u64::MAX);
            }
            if self.random.chance(500) {
                let millis = i64::try_from(self.random.below(1 << 40)).unwrap();
                self.clock.set(Timestamp::from_millis(millis));
            }
            self.clock.advance(Duration::from_millis(100));
            if self.limits.is_dead() {
                self.restart();
            } else {
                self.step(at);
            }
        }
        if self.limits.is_dead() {
            self.restart();
        }
    }

    fn pick(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..JOBS).filter(|at| !self.trainers[*at].done).collect();
        let place = self.random.below(open.len() as u64);
        open.get(usize::try_from(place).unwrap()).copied()
    }
}

#[test]
fn eight_jobs_train_through_kills_interrupts_full_disks_nan_and_clocks_that_are_set() {
    let mut world = World::new(0x9E37_79B9_7F4A_7C15);
    world.run();
    world.limits.set_capacity(u64::MAX);
    let report = world.store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(report.damage, []);
    for at in 0..JOBS {
        world.trainers[at].compare(&world.store);
        let name = &world.trainers[at].name;
        let job = world.store.job(name).unwrap();
        let head = job.latest().unwrap().unwrap();
        assert_eq!(head.iteration, LAST);
        assert!(head.events.contains(&Event::Final));
        for checkpoint in job.list().unwrap() {
            let checkpoint = checkpoint.unwrap();
            let bytes = checkpoint.read("weights").unwrap();
            assert_eq!(bytes, weights(at, checkpoint.iteration));
        }
        let series = job.telemetry().unwrap().points("sharpe", 1..=LAST).unwrap();
        let iterations: BTreeSet<u64> = series.iter().map(|point| point.iteration).collect();
        assert_eq!(
            iterations.len() as u64,
            LAST,
            "{name}: one line without gaps"
        );
        assert_eq!(series.len() as u64, LAST);
    }
    let World {
        steps,
        kills,
        interrupts,
        full,
        spikes,
        failed,
        ..
    } = world;
    println!(
        "{JOBS} jobs, {steps} steps: {kills} kills, {interrupts} interrupts, {full} full disks, \
         {spikes} spikes, {failed} failed saves"
    );
    assert!(kills > 5 && interrupts > 5 && full > 5 && spikes > 5 && failed > 0);
}
