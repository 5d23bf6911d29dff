//! The store against its twin: after any sequence of changes, every answer is the same.

mod twin;

use std::sync::Arc;

use ckptdb::policy::{Keep, Retention};
use ckptdb::{
    Checkpoint, CheckpointId, CheckpointInfo, DType, Direction, Error, Filter, Job, ManualClock,
    MemoryMedium, Options, Result, Store, Timestamp, VerifyDepth,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use self::twin::{EVENTS, Op, Outcome, TIMES, Twin, value};
use crate::support::{LimitedMedium, noise, vector, walk};

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Twin;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Twin> {
        Just(Twin::default()).boxed()
    }

    fn transitions(_: &Twin) -> BoxedStrategy<Op> {
        let job = || 0..3_u8;
        let code = any::<u8>;
        prop_oneof![
            8 => (job(), 0..3_u8, 0..6_u8, code(), code(), proptest::option::weighted(0.2, 0..3_u8),
                  proptest::bool::weighted(0.1))
                .prop_map(|(job, ahead, state, metric, event, tag, pin)| {
                    Op::Save { job, ahead, state, metric, event, tag, pin }
                }),
            3 => (job(), any::<bool>(), code(), code(), any::<bool>())
                .prop_map(|(job, same, metric, event, overwrite)| {
                    Op::Again { job, same, metric, event, overwrite }
                }),
            2 => (code(), 0..3_u8, 0..6_u8)
                .prop_map(|(pick, ahead, state)| Op::Continue { pick, ahead, state }),
            1 => code().prop_map(|pick| Op::GoBack { pick }),
            2 => (code(), job()).prop_map(|(pick, job)| Op::Fork { pick, job }),
            4 => (code(), any::<bool>()).prop_map(|(pick, force)| Op::Delete { pick, force }),
            2 => code().prop_map(|pick| Op::Undelete { pick }),
            1 => job().prop_map(|job| Op::DeleteJob { job }),
            1 => (job(), job()).prop_map(|(job, to)| Op::RenameJob { job, to }),
            2 => (job(), 0..4_u8, 0..3_u8, any::<bool>())
                .prop_map(|(job, latest, best, tagged)| Op::Prune { job, latest, best, tagged }),
            1 => Just(Op::Reclaim),
            1 => (code(), any::<bool>()).prop_map(|(pick, pinned)| Op::Pin { pick, pinned }),
            2 => (code(), 0..3_u8, any::<bool>())
                .prop_map(|(pick, tag, move_it)| Op::Tag { pick, tag, move_it }),
            1 => (code(), 0..2_u8).prop_map(|(pick, value)| Op::Annotate { pick, value }),
            1 => (job(), any::<bool>(), any::<bool>())
                .prop_map(|(job, larger, change)| Op::Declare { job, larger, change }),
            1 => Just(Op::Reopen),
            1 => Just(Op::Compact),
            1 => Just(Op::Kill),
            3 => (0..40_u8, any::<bool>()).prop_map(|(calls, fresh)| Op::Fault { calls, fresh }),
            1 => (code(), code(), code(), code())
                .prop_map(|(pick, entry, from, to)| Op::Load { pick, entry, from, to }),
            1 => any::<bool>().prop_map(|full| Op::Verify { full }),
            1 => (0..6_u8).prop_map(|to| Op::Clock { to }),
        ]
        .boxed()
    }

    fn apply(mut state: Twin, op: &Op) -> Twin {
        state.apply(op);
        state
    }
}

/// The store, and the ids of the twin's checkpoints.
struct Real {
    store: Store,
    memory: MemoryMedium,
    medium: Arc<LimitedMedium>,
    clock: Arc<ManualClock>,
    /// What is to go wrong in the next operation: after how many calls, and whether it is repeated
    /// with a fresh handle.
    fault: Option<(u8, bool)>,
    ids: Vec<CheckpointId>,
    /// The twin before the operation: what the picks were taken from.
    before: Twin,
}

fn declare(job: &Job, larger: bool, change: bool) -> Result<()> {
    let direction = if larger {
        Direction::Max
    } else {
        Direction::Min
    };
    if change {
        job.redirect_metric("score", direction)
    } else {
        job.declare_metric("score", direction)
    }
}

/// Keeps the newest so many, the best so many, and what has a tag.
fn prune(job: &Job, latest: u64, best: u64, tagged: bool) -> Result<()> {
    let mut rules = Vec::new();
    rules.extend((latest > 0).then_some(Keep::Latest(latest)));
    rules.extend((best > 0).then(|| Keep::Best {
        metric: "score".to_owned(),
        count: best,
        direction: None,
    }));
    rules.extend(tagged.then_some(Keep::Tagged));
    let pruned = job.prune(&Retention::new(rules)?)?;
    assert_eq!(pruned.deleted, pruned.plan.dropped().count() as u64);
    Ok(())
}

fn job_name(name: u8) -> String {
    format!("group/{name}")
}

/// Entries by seed: one small state that lies inline, others with packs and chunks, with parts in
/// common between seeds.
fn entries(state: u8) -> Vec<(String, Vec<u8>)> {
    if state == 0 {
        return vec![("tiny".to_owned(), vec![7; 30])];
    }
    let seed = u64::from(state);
    let mut all = vec![
        ("frozen".to_owned(), noise(1, 70_000)),
        ("weights".to_owned(), walk(1, seed, 16_500)),
    ];
    all.extend((0..70).map(|i| (format!("bias.{i}"), noise(i * (seed / 3), 60))));
    all
}

impl Real {
    fn save(&self, op: &Op, twin: &Twin, expected: usize) -> Result<(Checkpoint, bool)> {
        let target = &twin.checkpoints[expected];
        let job = self.store.job(&job_name(twin.jobs[target.job].name))?;
        let entries = entries(target.state);
        let mut save = job.save(target.iteration);
        for (name, data) in &entries {
            save = if name == "weights" {
                save.tensor(name, vector(DType::F32, data))
            } else {
                save.bytes(name, data)
            };
        }
        match *op {
            Op::Save {
                metric,
                event,
                tag,
                pin,
                ..
            } => {
                save = save.metric("score", value(metric));
                save = save.event(EVENTS[usize::from(event) % 4].parse()?);
                if let Some(tag) = tag {
                    save = save.tag(&format!("t{tag}"));
                }
                if pin {
                    save = save.pin();
                }
            }
            Op::Again {
                metric,
                event,
                overwrite,
                ..
            } => {
                save = save.metric("score", value(metric));
                save = save.event(EVENTS[usize::from(event) % 4].parse()?);
                if overwrite {
                    save = save.overwrite();
                }
            }
            Op::Continue { pick, .. } => {
                let base = self.before.picked(pick, false).unwrap();
                save = save.parent(self.ids[base]);
            }
            _ => unreachable!("no save"),
        }
        save.commit().map(|saved| (saved.checkpoint, saved.merged))
    }

    /// A save that the twin refuses, as it would have been.
    fn refused_save(&self, op: &Op) -> Result<(Checkpoint, bool)> {
        let mut permissive = self.before.clone();
        match *op {
            Op::Save {
                job,
                ahead,
                state,
                metric,
                event,
                pin,
                ..
            } => {
                permissive.apply(&Op::Save {
                    job,
                    ahead,
                    state,
                    metric,
                    event,
                    tag: None,
                    pin,
                });
            }
            Op::Again { job, same, .. } => {
                let job = permissive.job_named(job).unwrap();
                let head = permissive.head(job).unwrap();
                let mut copy = permissive.checkpoints[head].clone();
                if !same {
                    copy.state = copy.state.wrapping_add(1);
                }
                permissive.checkpoints.push(copy);
            }
            _ => unreachable!("never refused"),
        }
        self.save(op, &permissive, permissive.checkpoints.len() - 1)
    }

    fn handle(&self, picked: usize) -> Checkpoint {
        self.store.resolve(&self.ids[picked].to_string()).unwrap()
    }

    fn go_back(&self, base: usize) -> Result<()> {
        let base = self.handle(base);
        let job = self.store.job(&base.job)?;
        job.rollback(base.id, "the model says so").map(drop)
    }

    fn fork(&mut self, source: usize, job: u8) -> Result<()> {
        let source = self.handle(source);
        let fork = source.fork(&job_name(job))?;
        assert_eq!(fork.forked_from, Some(source.id));
        self.ids.push(fork.id);
        Ok(())
    }

    fn run(&mut self, op: &Op, twin: &Twin) -> Result<()> {
        let pick = |pick: u8, deleted: bool| self.before.picked(pick, deleted);
        match *op {
            Op::Save { .. } | Op::Again { .. } | Op::Continue { .. } => {
                let (checkpoint, merged) = match twin.outcome {
                    Outcome::Saved(index) | Outcome::Merged(index) => self.save(op, twin, index)?,
                    _ => self.refused_save(op)?,
                };
                match twin.outcome {
                    Outcome::Saved(index) => {
                        assert!(!merged);
                        assert_eq!(index, self.ids.len());
                        self.ids.push(checkpoint.id);
                    }
                    Outcome::Merged(index) => assert!(merged && checkpoint.id == self.ids[index]),
                    _ => {}
                }
                Ok(())
            }
            Op::GoBack { pick: p } => self.go_back(pick(p, false).unwrap()),
            Op::Fork { pick: p, job } => self.fork(pick(p, false).unwrap(), job),
            Op::Delete { pick: p, force } => {
                self.store.delete(self.ids[pick(p, false).unwrap()], force)
            }
            Op::Undelete { pick: p } => self
                .store
                .undelete(self.ids[pick(p, true).unwrap()])
                .map(drop),
            Op::DeleteJob { job } => self.store.delete_job(&job_name(job)).map(drop),
            Op::RenameJob { job, to } => {
                self.store.rename_job(&job_name(job), &job_name(to), false)
            }
            Op::Prune {
                job,
                latest,
                best,
                tagged,
            } => {
                let job = self.store.job(&job_name(job))?;
                prune(&job, latest.into(), best.into(), tagged)
            }
            Op::Reclaim => self.store.reclaim(true).map(drop),
            Op::Pin { pick: p, pinned } => self.handle(pick(p, false).unwrap()).set_pinned(pinned),
            Op::Tag {
                pick: p,
                tag,
                move_it,
            } => self
                .handle(pick(p, false).unwrap())
                .set_tag(&format!("t{tag}"), move_it),
            Op::Annotate { pick: p, value } => self
                .handle(pick(p, false).unwrap())
                .annotate("note", &value.into()),
            Op::Declare {
                job,
                larger,
                change,
            } => {
                let job = self.store.job(&job_name(job))?;
                declare(&job, larger, change)
            }
            _ => self.disturb(op),
        }
    }

    /// What happens around the changes: nobody is to notice anything of it.
    fn disturb(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::Reopen => {
                self.store.clone().close();
                self.open()
            }
            Op::Compact => self.store.compact().map(drop),
            Op::Kill => {
                self.memory = MemoryMedium::new(self.memory.to_vec());
                self.medium = LimitedMedium::new(Arc::new(self.memory.clone()));
                self.open()
            }
            Op::Fault { calls, fresh } => {
                self.fault = Some((calls, fresh));
                Ok(())
            }
            Op::Load {
                pick: p,
                entry,
                from,
                to,
            } => {
                let picked = self.before.picked(p, false).unwrap();
                self.load_some(picked, entry, (from, to))
            }
            Op::Verify { full } => {
                let depth = if full {
                    VerifyDepth::Full
                } else {
                    VerifyDepth::Quick
                };
                let report = self.store.verify(depth)?;
                assert!(report.is_clean(), "{:#?}", report.damage);
                Ok(())
            }
            Op::Clock { to } => {
                self.clock
                    .set(Timestamp::from_millis(TIMES[usize::from(to)]));
                Ok(())
            }
            _ => unreachable!("a change"),
        }
    }

    fn open(&mut self) -> Result<()> {
        self.store = Store::open_in(self.medium.clone(), options(&self.clock))?;
        Ok(())
    }

    /// Part of one entry, and all of it.
    fn load_some(&self, picked: usize, entry: u8, (from, to): (u8, u8)) -> Result<()> {
        let state = entries(self.before.checkpoints[picked].state);
        let (name, data) = &state[usize::from(entry) % state.len()];
        let place = |part: u8| data.len() * usize::from(part) / 255;
        let (from, to) = (place(from.min(to)), place(from.max(to)));
        let found = self.handle(picked);
        let range = found.read_range(name, from as u64..to as u64)?;
        assert_eq!(range, data[from..to]);
        let mut out = vec![0; data.len()];
        found.read_into(name, &mut out)?;
        assert_eq!(out, *data);
        Ok(())
    }

    /// All that is said of the jobs and checkpoints.
    fn seen(&self) -> String {
        let all = |deleted| {
            let filter = Filter {
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            let listed = self.store.list(&filter).unwrap();
            let listed = listed.map(|found| CheckpointInfo::clone(&found.unwrap()));
            listed.collect::<Vec<_>>()
        };
        let jobs = self.store.jobs().unwrap();
        format!("{jobs:?} {:?} {:?}", all(false), all(true))
    }

    /// Runs an operation to its end, through the fault that is to happen in it.
    fn run_through(&mut self, op: &Op, twin: &Twin) -> Result<()> {
        let Some((calls, fresh)) = self.fault.take() else {
            return self.run(op, twin);
        };
        let before = self.seen();
        let limits = Arc::clone(&self.medium.limits);
        limits.kill_after(calls.into());
        let result = self.run(op, twin);
        let died = limits.is_dead();
        limits.revive();
        let failed = match result {
            Err(error @ (Error::Io { .. } | Error::SyncFailed { .. })) => error,
            Err(error @ Error::Engine { .. }) if died => error,
            other => return other,
        };
        assert!(died, "{failed:?}");
        // After a failed sync, a handle is of no use any more.
        if fresh || matches!(failed, Error::SyncFailed { .. }) {
            self.store.clone().close();
            self.open()?;
        }
        let seen = match self.store.verify(VerifyDepth::Full) {
            Ok(report) => {
                assert!(report.is_clean(), "{failed:?}: {:#?}", report.damage);
                self.seen()
            }
            Err(error) => panic!("after {failed:?}: {error:?}"),
        };
        // It has happened wholly or not at all, which the comparison with the twin finds out; but a
        // reclaim goes from checkpoint to checkpoint.
        if seen == before || matches!(op, Op::Reclaim) {
            return self.run(op, twin);
        }
        if let Outcome::Saved(index) = twin.outcome {
            let job = twin.checkpoints[index].job;
            let job = self.store.job(&job_name(twin.jobs[job].name))?;
            self.ids.push(job.latest()?.unwrap().id);
        }
        Ok(())
    }

    /// Everything that can be asked has the twin's answer.
    fn compare(&self, twin: &Twin) {
        for (number, job) in twin.jobs.iter().enumerate().filter(|(_, job)| !job.removed) {
            let handle = self.store.job(&job_name(job.name)).unwrap();
            let ids = |list: &[usize]| list.iter().map(|i| self.ids[*i]).collect::<Vec<_>>();
            let latest = handle.latest().unwrap().map(|checkpoint| checkpoint.id);
            assert_eq!(latest, twin.head(number).map(|i| self.ids[i]), "latest");
            let mut line = ids(&twin.live(number, false));
            line.reverse();
            let listed: Vec<_> = handle.list().unwrap().map(|c| c.unwrap().id).collect();
            assert_eq!(listed, line, "list");
            match twin.ranking(number) {
                Some(ranking) => match handle.ranking("score", 100) {
                    Ok(found) => {
                        let found: Vec<_> = found.iter().map(|checkpoint| checkpoint.id).collect();
                        assert_eq!(found, ids(&ranking), "ranking");
                    }
                    Err(error) => panic!("ranking: {error:?}"),
                },
                None => assert!(matches!(
                    handle.best("score"),
                    Err(Error::Undeclared { .. } | Error::NotFound { .. })
                )),
            }
        }
        let counts = self.store.jobs().unwrap();
        let expected = twin.counts();
        assert_eq!(counts.len(), expected.len(), "jobs");
        for info in counts {
            let name: u8 = info.name.rsplit('/').next().unwrap().parse().unwrap();
            let found = (info.checkpoints, info.abandoned, info.deleted);
            assert_eq!(Some(&found), expected.get(&name), "counts of {}", info.name);
        }
        let all = Filter {
            abandoned: true,
            ..Filter::default()
        };
        let total: usize = twin
            .checkpoints
            .iter()
            .filter(|c| !c.deleted && !c.reclaimed)
            .count();
        assert_eq!(
            self.store
                .list(&all)
                .unwrap()
                .map(Result::unwrap)
                .filter(|c| c.deleted_at.is_none())
                .count(),
            total
        );
        for (index, wanted) in twin.checkpoints.iter().enumerate() {
            self.compare_one(wanted, self.ids[index], twin);
        }
    }

    fn compare_one(&self, wanted: &twin::TwinCheckpoint, id: CheckpointId, twin: &Twin) {
        let reference = id.to_string();
        if wanted.reclaimed {
            assert!(matches!(
                self.store.resolve(&reference),
                Err(Error::NotFound { .. })
            ));
            return;
        }
        let found = if wanted.deleted {
            assert!(matches!(
                self.store.resolve(&reference),
                Err(Error::Deleted { .. })
            ));
            self.store.resolve_deleted(&reference).unwrap()
        } else {
            self.store.resolve(&reference).unwrap()
        };
        assert_eq!(found.job, job_name(twin.jobs[wanted.job].name));
        assert_eq!(found.iteration, wanted.iteration);
        assert_eq!(found.saved_at.as_millis(), wanted.saved_at);
        assert_eq!(found.parent, wanted.parent.map(|parent| self.ids[parent]));
        let events: std::collections::BTreeSet<String> =
            found.events.iter().map(ToString::to_string).collect();
        assert_eq!(events, wanted.events);
        let metric = found.metrics.get("score").map(|v| v.to_bits());
        let canonical = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
        assert_eq!(
            metric,
            wanted.metric.map(|code| canonical(value(code)).to_bits())
        );
        assert_eq!(found.pinned, wanted.pinned);
        assert_eq!(
            found.attributes.get("note").cloned(),
            wanted.attribute.map(|v| v.to_string())
        );
        if !wanted.deleted {
            assert_eq!(found.abandoned, wanted.abandoned);
            let tags: Vec<String> = wanted.tags.iter().map(|tag| format!("t{tag}")).collect();
            assert_eq!(found.tags.iter().cloned().collect::<Vec<_>>(), tags);
        }
        let mut state = entries(wanted.state);
        state.sort();
        let loaded: Vec<(String, Vec<u8>)> = found
            .load()
            .unwrap()
            .into_iter()
            .map(|(n, (_, data))| (n, data.to_vec()))
            .collect();
        assert_eq!(loaded, state);
    }
}

fn options(clock: &Arc<ManualClock>) -> Options {
    Options {
        cache_bytes: 4 << 20,
        clock: clock.clone(),
        ..Options::default()
    }
}

struct Test;

impl StateMachineTest for Test {
    type SystemUnderTest = Real;
    type Reference = Machine;

    fn init_test(twin: &Twin) -> Real {
        let memory = MemoryMedium::default();
        let medium = LimitedMedium::new(Arc::new(memory.clone()));
        let clock = Arc::new(ManualClock::default());
        Real {
            store: Store::create_in(medium.clone(), options(&clock)).unwrap(),
            memory,
            medium,
            clock,
            fault: None,
            ids: Vec::new(),
            before: twin.clone(),
        }
    }

    fn apply(mut real: Real, twin: &Twin, op: Op) -> Real {
        let result = if twin.outcome == Outcome::Nothing {
            Ok(())
        } else {
            real.run_through(&op, twin)
        };
        match (&twin.outcome, result) {
            (
                Outcome::Refused,
                Err(Error::Conflict { .. } | Error::NotFound { .. } | Error::Undeclared { .. }),
            ) => {}
            (Outcome::Refused, other) => panic!("{op:?} should be refused: {other:?}"),
            (_, Ok(())) => {}
            (outcome, Err(error)) => panic!("{op:?} should be {outcome:?}: {error:?}"),
        }
        real.compare(twin);
        real.before = twin.clone();
        real
    }

    fn teardown(real: Real, _: Twin) {
        let report = real.store.verify(VerifyDepth::Full).unwrap();
        assert!(report.is_clean(), "{:#?}", report.damage);
        assert_eq!(report.orphans, 0);
        // When everything is gone, no chunk and no node stays.
        for info in real.store.jobs().unwrap() {
            let filter = Filter {
                job: Some(info.name.clone()),
                abandoned: true,
                ..Filter::default()
            };
            for checkpoint in real.store.list(&filter).unwrap() {
                checkpoint.unwrap().set_pinned(false).unwrap();
            }
            real.store.delete_job(&info.name).unwrap();
        }
        real.store.reclaim(true).unwrap();
        let stats = real.store.stats().unwrap();
        assert_eq!((stats.checkpoints, stats.chunks, stats.nodes), (0, 0, 0));
        assert!(real.store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}

fn cases() -> u32 {
    std::env::var("CKPTDB_MODEL_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(120)
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/model.txt",
        ))),
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_changes_leaves_what_the_twin_says(sequential 1..40 => Test);
}
