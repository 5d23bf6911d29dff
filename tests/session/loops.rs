//! A loop and its session, where nothing goes wrong: when, what, and how it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use ckptdb::policy::{Improvement, Keep, Retention, Threshold, Trigger, Triggers};
use ckptdb::session::{Overlap, SaveState, SessionOptions, SpikeGuard, State, after_save};
use ckptdb::telemetry::{BLOCKED_SECONDS, SAVE_SECONDS};
use ckptdb::{Checkpoint, Direction, Event, Outcome, Result, Save, Store};

use super::{every, iterations, metric, none, options, state, store};

#[test]
fn a_session_saves_when_its_triggers_say_and_says_why() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let mut session = job.session(every(10)).unwrap();
    assert!(session.resumed().is_none());
    for iteration in session.next_iteration()..=35 {
        let asked = session.should_save(iteration, &none());
        let step = session.step(iteration, &none(), |save| state(save, iteration));
        assert_eq!(asked, step.decision, "asking and stepping agree");
        assert_eq!(step.decision.is_due(), iteration % 10 == 0);
        assert_eq!(step.problems, []);
    }
    session.phase_boundary("warmup");
    session.step(36, &none(), |save| state(save, 36));
    let finished = session.finish(37, &none(), |save| state(save, 37));
    assert!(matches!(finished.save, SaveState::Saved(_)));
    assert_eq!(iterations(&store, "NQ"), [10, 20, 30, 36, 37]);
    let last = job.latest().unwrap().unwrap();
    assert!(last.events.contains(&Event::Final));
    let sessions = job.sessions().unwrap();
    assert_eq!(
        (sessions.started, sessions.completed, sessions.running),
        (1, 1, false)
    );
}

#[test]
fn the_anchor_and_the_best_survive_a_restart_and_the_pruning_of_their_checkpoints() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let with = || SessionOptions {
        triggers: Triggers::from(Trigger::Adaptive(ckptdb::policy::Adaptive {
            base: 10,
            max_multiplier: 1.0,
            target: 100,
        })) | Trigger::Improvement(Improvement {
            metric: "sharpe".to_owned(),
            threshold: Threshold::Relative(0.02),
        }),
        metrics: BTreeMap::from([("sharpe".to_owned(), Direction::Max)]),
        retention: Some(Retention::new([Keep::Latest(1)]).unwrap()),
        prune_every: 1,
        ..every(1)
    };
    let mut session = job.session(with()).unwrap();
    let due = |session: &mut ckptdb::session::Session, iteration, value| {
        let step = session.step(iteration, &metric("sharpe", value), |save| {
            state(save, iteration)
        });
        step.decision.events
    };
    assert_eq!(
        due(&mut session, 1, 1.0),
        [Event::Best("sharpe".into())].into()
    );
    assert_eq!(due(&mut session, 2, 1.01), [].into());
    assert_eq!(due(&mut session, 10, 0.5), [Event::Periodic].into());
    assert_eq!(
        due(&mut session, 15, 1.02),
        [Event::Best("sharpe".into())].into()
    );
    drop(session);
    assert_eq!(iterations(&store, "NQ"), [15], "all others are pruned");
    let mut session = job.session(with()).unwrap();
    assert_eq!(
        due(&mut session, 16, 1.03),
        [].into(),
        "the mark is 1.02 still"
    );
    assert_eq!(due(&mut session, 19, 1.03), [].into());
    assert_eq!(due(&mut session, 20, 1.03), [Event::Periodic].into());
    assert_eq!(
        due(&mut session, 21, 1.05),
        [Event::Best("sharpe".into())].into()
    );
}

#[test]
fn seconds_are_measured_by_a_clock_that_nobody_sets() {
    let (store, clock, _) = store();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            triggers: Trigger::Interval(Duration::from_mins(1)).into(),
            ..every(1)
        })
        .unwrap();
    let mut saves = 0;
    for iteration in 1..=100 {
        clock.advance(Duration::from_secs(10));
        if iteration % 7 == 0 {
            // Somebody sets the clock to 1970.
            clock.set(ckptdb::Timestamp::from_millis(0));
        }
        let step = session.step(iteration, &none(), |save| state(save, iteration));
        saves += u64::from(matches!(step.save, SaveState::Saved(_)));
    }
    assert_eq!(saves, 16);
}

#[test]
fn retention_runs_every_so_many_saves_and_decides_as_a_look_at_all_would() {
    let rules = || {
        Retention::new([
            Keep::Latest(3),
            Keep::Best {
                metric: "reward".to_owned(),
                count: 2,
                direction: None,
            },
            Keep::Every(50.try_into().unwrap()),
            Keep::Event("phase_boundary".to_owned()),
        ])
        .unwrap()
    };
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            retention: Some(rules()),
            prune_every: 4,
            metrics: BTreeMap::from([("reward".to_owned(), Direction::Max)]),
            ..every(1)
        })
        .unwrap();
    for iteration in 1..=230_u64 {
        let reward = (iteration * 7919 % 104) as f64;
        if iteration % 40 == 0 {
            session.phase_boundary("curriculum");
        }
        let step = session.step(iteration, &metric("reward", reward), |save| {
            state(save, iteration)
        });
        assert_eq!(step.problems, []);
        if iteration % 4 == 0 {
            let plan = job.plan(&rules()).unwrap();
            let dropped: Vec<_> = plan.dropped().collect();
            assert_eq!(dropped, [], "at {iteration} nothing more is to go");
        }
    }
    session.finish(230, &none(), |save| state(save, 230));
    let kept = iterations(&store, "NQ");
    for wanted in [40, 50, 80, 100, 120, 150, 160, 200, 228, 229, 230] {
        assert!(kept.contains(&wanted), "{wanted} in {kept:?}");
    }
    assert!(kept.len() <= 13, "{kept:?}");
}

#[test]
fn what_is_saved_beside_the_training_is_what_it_was_then() {
    for overlap in [Overlap::Wait, Overlap::Skip, Overlap::Replace] {
        let (store, _, _) = store();
        let job = store.job("NQ").unwrap();
        let mut session = job
            .session(SessionOptions {
                background: Some(overlap),
                ..every(1)
            })
            .unwrap();
        let mut weights = vec![0_u8; 200_000];
        let mut left_out = 0;
        for iteration in 1..=60_u64 {
            weights.fill(u8::try_from(iteration).unwrap());
            if iteration % 20 == 0 {
                session.phase_boundary("curriculum");
            }
            let loss = metric("loss", 1.0 / iteration as f64);
            let step = session.step(iteration, &loss, |save| save.bytes("w", &weights));
            left_out += step.problems.len();
        }
        let finished = session.finish(61, &none(), |save| save.bytes("w", &weights));
        assert!(matches!(finished.save, SaveState::Saved(_)), "{finished:?}");
        left_out += finished.problems.len();
        let saved = iterations(&store, "NQ");
        assert_eq!(
            saved.len() + left_out,
            61,
            "{overlap:?}: each is saved, or said not to be"
        );
        assert_eq!(saved.last(), Some(&61));
        for asked_for in [20, 40, 60] {
            assert!(saved.contains(&asked_for), "{overlap:?}: {saved:?}");
        }
        let points = job.telemetry().unwrap().points("loss", 0..=100).unwrap();
        let logged: Vec<u64> = points.iter().map(|point| point.iteration).collect();
        assert_eq!(logged, (1..=60).collect::<Vec<u64>>(), "{overlap:?}");
        if overlap == Overlap::Wait {
            assert_eq!(left_out, 0);
        }
        for checkpoint in job.list().unwrap() {
            let checkpoint = checkpoint.unwrap();
            let value = u8::try_from(checkpoint.iteration.min(60)).unwrap();
            let bytes = checkpoint.read("w").unwrap();
            assert!(
                bytes.iter().all(|byte| *byte == value),
                "at {}",
                checkpoint.iteration
            );
        }
    }
}

#[test]
fn what_was_handed_over_is_saved_before_a_session_that_is_dropped_is_gone() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let beside = || SessionOptions {
        background: Some(Overlap::Wait),
        ..every(1)
    };
    let mut session = job.session(beside()).unwrap();
    session.step(1, &none(), |save| state(save, 1));
    session.step(2, &none(), |save| state(save, 2));
    drop(session);
    assert_eq!(iterations(&store, "NQ"), [1, 2]);
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut session = job.session(beside()).unwrap();
        session.step(3, &none(), |save| state(save, 3));
        panic!("the training's own");
    }));
    unwound.unwrap_err();
    assert_eq!(iterations(&store, "NQ"), [1, 2, 3]);
    let sessions = job.sessions().unwrap();
    assert_eq!((sessions.interrupted, sessions.failed), (1, 1));
    assert!(!sessions.running);
}

#[test]
fn what_runs_behind_a_step_runs_once_before_it_returns_and_its_panic_is_its_own() {
    for background in [None, Some(Overlap::Wait)] {
        let (store, _, _) = store();
        let options = SessionOptions {
            background,
            ..every(2)
        };
        let mut session = store.job("NQ").unwrap().session(options).unwrap();
        let mut weights = vec![0_u8; 9 << 20];
        let mut ran = 0;
        for iteration in 1..=6 {
            let is_due = iteration % 2 == 0;
            let step = session.step_while(
                iteration,
                &none(),
                |save| save.bytes("w", &weights),
                || {
                    ran += 1;
                    // Beside, it is copied and no more until this returns.
                    std::thread::sleep(Duration::from_millis(60));
                    let is_saved = iterations(&store, "NQ").contains(&iteration);
                    assert_eq!(is_saved, is_due && background.is_none());
                },
            );
            assert_eq!((ran, step.problems.len()), (iteration, 0), "{background:?}");
            // The copy is whole: the optimizer may change the state.
            weights.fill(u8::try_from(iteration).unwrap());
        }
        let run = || {
            session.step_while(
                8,
                &none(),
                |save| save.bytes("w", &weights),
                || panic!("the backward pass"),
            )
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the backward pass"));
        session.wait();
        assert!(!session.in_flight());
        assert_eq!(iterations(&store, "NQ"), [2, 4, 6, 8], "{background:?}");
        // Told to stop, the state is saved at once, and no pass follows.
        session.stop();
        let step = session.step_while(
            9,
            &none(),
            |save| save.bytes("w", &weights),
            || panic!("a pass after the end"),
        );
        assert!(step.stop.is_some() && matches!(step.save, SaveState::Saved(_)));
        for iteration in [2, 4, 6, 8] {
            let saved = store.resolve(&format!("NQ@{iteration}")).unwrap();
            let value = u8::try_from(iteration.min(7) - 1).unwrap();
            assert!(saved.read("w").unwrap().iter().all(|byte| *byte == value));
        }
    }
}

#[test]
fn training_is_blocked_until_a_save_beside_it_is_handed_over_and_hears_of_it() {
    let store = Store::in_memory().unwrap();
    let times = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let its = times.clone();
    let options = SessionOptions {
        background: Some(Overlap::Wait),
        hooks: vec![after_save("told", move |done| {
            its.lock().unwrap().push(done.times);
            // The next one waits for this.
            std::thread::sleep(Duration::from_millis(200));
            Ok(())
        })],
        ..every(1)
    };
    let mut session = store.job("NQ").unwrap().session(options).unwrap();
    for iteration in 1..=3 {
        session.step(iteration, &none(), |save| state(save, iteration));
    }
    session.finish(3, &none(), |save| state(save, 3));
    let times = times.lock().unwrap();
    // The second is handed over when the first is done, as `Wait` has it.
    assert!(times[0].blocked < Duration::from_millis(150), "{times:?}");
    assert!(times[1].blocked >= Duration::from_millis(150), "{times:?}");
    assert!(
        times
            .iter()
            .all(|time| time.commit > Duration::ZERO && time.encode > Duration::ZERO)
    );
}

#[test]
fn a_spike_goes_back_to_the_last_good_checkpoint_before_it_and_not_for_ever() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            spike: Some(SpikeGuard {
                max_rollbacks: 2,
                ..SpikeGuard::new("loss")
            }),
            ..every(5)
        })
        .unwrap();
    let mut backs = Vec::new();
    let mut iteration = 1;
    while iteration <= 100 {
        let loss = if iteration % 33 == 0 { f64::NAN } else { 1.0 };
        let step = session.step(iteration, &metric("loss", loss), |save| {
            state(save, iteration)
        });
        match step.rolled_back {
            Some(resumed) => {
                let value = resumed.checkpoint.read("weights").unwrap();
                assert_eq!(value, resumed.checkpoint.iteration.to_le_bytes().as_slice());
                backs.push((iteration, resumed.checkpoint.iteration));
                iteration = resumed.checkpoint.iteration + 1;
            }
            None => iteration += 1,
        }
    }
    assert_eq!(backs, [(33, 30), (33, 30)], "the third time it goes on");
    session.finish(100, &none(), |save| state(save, 100));
    let series = job.telemetry().unwrap().points("loss", 0..=100).unwrap();
    let odd = series
        .iter()
        .filter(|point| !point.value.is_finite())
        .count();
    assert_eq!(
        odd, 3,
        "33 once, 66 and 99; what was left behind is not on the line"
    );
}

struct Counter {
    weights: Vec<u8>,
    loaded: u64,
}

impl State for Counter {
    fn save<'s>(&'s self, save: Save<'s>) -> Save<'s> {
        save.bytes("weights", &self.weights)
    }
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.weights = checkpoint.read("weights")?.to_vec();
        self.loaded += 1;
        Ok(())
    }
}

fn count(state: &mut Counter, iteration: u64) {
    let place = usize::try_from(iteration).unwrap() % state.weights.len();
    state.weights[place] = state.weights[place].wrapping_add(1);
}

fn fresh() -> Counter {
    Counter {
        weights: vec![0; 32],
        loaded: 0,
    }
}

#[test]
fn an_error_and_a_panic_save_the_state_before_they_leave_the_loop() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let mut counter = fresh();
    let session = job.session(every(10)).unwrap();
    let failed = session.run(&mut counter, 100, |state, iteration| {
        if iteration == 37 {
            return Err("the market is closed");
        }
        count(state, iteration);
        Ok(none())
    });
    assert_eq!(
        failed.unwrap_err().to_string(),
        "the training failed: the market is closed"
    );
    let head = job.latest().unwrap().unwrap();
    assert_eq!(head.iteration, 37);
    assert!(head.events.contains(&Event::Interrupt));
    assert_eq!(head.read("weights").unwrap(), counter.weights);
    assert_eq!(job.sessions().unwrap().failed, 1);

    let mut counter = fresh();
    let session = job.session(every(10)).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.run(
            &mut counter,
            100,
            |state, iteration| -> std::result::Result<_, String> {
                assert!(iteration != 51, "out of bounds");
                count(state, iteration);
                Ok(none())
            },
        )
    }));
    assert!(panicked.is_err());
    assert_eq!(counter.loaded, 1);
    let head = job.latest().unwrap().unwrap();
    assert_eq!(head.iteration, 51);
    assert_eq!(head.read("weights").unwrap(), counter.weights);

    let mut counter = fresh();
    let session = job.session(every(10)).unwrap();
    let finished = session.run(&mut counter, 100, |state, iteration| {
        count(state, iteration);
        Ok::<_, String>(none())
    });
    assert_eq!(finished.unwrap().outcome, Outcome::Completed);
    let sessions = job.sessions().unwrap();
    assert_eq!(
        (sessions.started, sessions.failed, sessions.completed),
        (3, 2, 1)
    );
}

#[test]
fn an_interrupt_is_kept_until_a_session_completes() {
    let (store, clock, medium) = store();
    let keep = || SessionOptions {
        retention: Some(Retention::new([Keep::Latest(1), Keep::Interrupts]).unwrap()),
        prune_every: 1,
        ..every(10)
    };
    let job = store.job("NQ").unwrap();
    let mut session = job.session(keep()).unwrap();
    for iteration in 1..=12 {
        session.step(iteration, &none(), |save| state(save, iteration));
    }
    session.stop();
    let step = session.step(13, &none(), |save| state(save, 13));
    let stop = step.stop.expect("it was asked to");
    assert!(matches!(step.save, SaveState::Saved(_)));
    session.interrupt(13, stop);
    // It vanishes.
    let mut session = job.session(keep()).unwrap();
    for iteration in session.next_iteration()..=45 {
        session.step(iteration, &none(), |save| state(save, iteration));
    }
    std::mem::forget(session);
    drop(job);
    store.close();
    let store = Store::open_in(medium, options(&clock)).unwrap();
    let job = store.job("NQ").unwrap();
    assert_eq!(iterations(&store, "NQ"), [13, 40]);
    let mut session = job.session(keep()).unwrap();
    assert_eq!(session.next_iteration(), 41);
    for iteration in session.next_iteration()..=60 {
        session.step(iteration, &none(), |save| state(save, iteration));
    }
    session.finish(60, &none(), |save| state(save, 60));
    let session = job.session(keep()).unwrap();
    session.finish(60, &none(), |save| state(save, 60));
    assert_eq!(
        iterations(&store, "NQ"),
        [60],
        "a session after it completed"
    );
    let sessions = job.sessions().unwrap();
    assert_eq!(
        (sessions.vanished, sessions.interrupted, sessions.completed),
        (1, 1, 2)
    );
    assert_eq!(sessions.resumed, 3);
}

/// A clock's time passes while the state is filled in, which the training waits for.
#[test]
fn what_each_save_took_is_noted_in_the_series_of_the_job() {
    for background in [None, Some(Overlap::Wait)] {
        let (store, clock, _) = store();
        let job = store.job("NQ").unwrap();
        let with = SessionOptions {
            background,
            ..every(10)
        };
        let mut session = job.session(with).unwrap();
        for iteration in 1..=35 {
            let step = session.step(iteration, &metric("loss", 0.5), |save| {
                clock.advance(Duration::from_millis(250));
                state(save, iteration)
            });
            assert_eq!(step.problems, []);
        }
        let finished = session.finish(36, &none(), |save| state(save, 36));
        assert_eq!(finished.problems, []);
        let telemetry = job.telemetry().unwrap();
        let summaries = telemetry.summaries().unwrap();
        let (blocked, took) = (&summaries[BLOCKED_SECONDS], &summaries[SAVE_SECONDS]);
        assert_eq!((blocked.count, took.count), (4, 4), "{background:?}");
        assert_eq!((blocked.max, blocked.min), (Some(0.25), Some(0.0)));
        let points = |series| telemetry.points(series, 0..=36).unwrap();
        for (blocked, took) in points(BLOCKED_SECONDS).iter().zip(points(SAVE_SECONDS)) {
            assert!(blocked.value <= took.value);
            assert!(blocked.iteration == took.iteration);
        }
        // What the user logs is his own.
        assert_eq!(summaries["loss"].count, 35);
        assert_eq!(summaries.len(), 3);
    }
}

#[test]
fn who_wants_no_telemetry_gets_none_of_what_saves_took() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let with = SessionOptions {
        telemetry: false,
        ..every(1)
    };
    let mut session = job.session(with).unwrap();
    session.step(1, &metric("loss", 0.5), |save| state(save, 1));
    session.finish(2, &none(), |save| state(save, 2));
    assert!(job.telemetry().unwrap().summaries().unwrap().is_empty());
}
