//! Sessions on disks that are low, full or broken: training goes on, is told, and saving resumes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ckptdb::policy::{Keep, Retention};
use ckptdb::session::{
    Hook, HookResult, LowDisk, MinFree, Overlap, ProblemKind, RunError, SaveState, SessionOptions,
    When, on_failure,
};
use ckptdb::{Medium, VerifyDepth};

use super::{every, iterations, limited, metric, none, refusing, state};
use crate::support::{LimitedMedium, noise};

/// A hook that remembers what it was told.
struct Low(Arc<Mutex<Vec<LowDisk>>>);

impl Hook for Low {
    fn name(&self) -> &'static str {
        "low"
    }
    fn wants(&self, when: When) -> bool {
        when == When::LowDisk
    }
    fn on_low_disk(&mut self, low: &LowDisk) -> HookResult {
        self.0.lock().unwrap().push(*low);
        Ok(())
    }
}

fn used(medium: &LimitedMedium) -> u64 {
    medium.open().unwrap().len().unwrap()
}

#[test]
fn below_the_limit_saves_are_left_out_and_resume_by_themselves() {
    let lows = Arc::default();
    let (store, clock, medium) = limited();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            hooks: vec![Box::new(Low(Arc::clone(&lows)))],
            ..refusing(1)
        })
        .unwrap();
    let step = session.step(1, &metric("loss", 1.0), |save| state(save, 1));
    assert!(matches!(step.save, SaveState::Saved(_)));
    medium.limits.set_capacity(used(&medium) + (1 << 19));
    let mut tried = 0;
    for iteration in 2..=50 {
        clock.advance(Duration::from_secs(1));
        let step = session.step(iteration, &metric("loss", 1.0), |save| {
            state(save, iteration)
        });
        assert!(matches!(step.save, SaveState::LeftOut), "{step:?}");
        tried += step.problems.len();
        let kinds = step.problems.iter().all(|p| p.kind == ProblemKind::LowDisk);
        assert!(kinds, "{:?}", step.problems);
    }
    assert!(
        (3..=10).contains(&tried),
        "told now and then, not at every step: {tried}"
    );
    let told_to_hook: Vec<LowDisk> = lows.lock().unwrap().clone();
    assert_eq!(told_to_hook.len(), tried, "the hook is called as often");
    assert!(
        told_to_hook
            .iter()
            .all(|low| low.free < Some(low.min_free + low.predicted))
    );
    medium.limits.set_capacity(u64::MAX);
    clock.advance(Duration::from_mins(1));
    let step = session.step(51, &metric("loss", 1.0), |save| state(save, 51));
    assert!(matches!(step.save, SaveState::Saved(_)), "{step:?}");
    session.finish(51, &none(), |save| state(save, 51));
    assert_eq!(iterations(&store, "NQ"), [1, 51]);
    let points = job.telemetry().unwrap().points("loss", 0..=100).unwrap();
    assert_eq!(points.len(), 51, "telemetry waited in memory");
}

#[test]
fn on_a_full_disk_retention_makes_room_and_what_it_protects_stays() {
    for background in [None, Some(Overlap::Wait)] {
        let (store, clock, medium) = limited();
        let job = store.job("NQ").unwrap();
        let mut session = job
            .session(SessionOptions {
                background,
                retention: Some(
                    Retention::new([Keep::Latest(2), Keep::Every(10.try_into().unwrap())]).unwrap(),
                ),
                // Not by its turn: only lack of room asks for it.
                prune_every: 1_000_000,
                min_free: MinFree::NONE,
                ..every(1)
            })
            .unwrap();
        let mut failed = 0;
        let mut saved = 0;
        for iteration in 1..=120_u64 {
            clock.advance(Duration::from_secs(100));
            if iteration == 12 {
                session.wait();
                // The engine doubles a small file, beside the ballast, or not at all.
                medium.limits.set_capacity(used(&medium) * 5 / 4);
            }
            let weights = noise(iteration, 150_000);
            let step = session.step(iteration, &none(), |save| save.bytes("w", &weights));
            session.wait();
            failed += step.problems.len();
            saved += u64::from(
                job.latest()
                    .unwrap()
                    .is_some_and(|c| c.iteration == iteration),
            );
            assert_eq!(store.verify(VerifyDepth::Quick).unwrap().damage, []);
        }
        let weights = noise(121, 150_000);
        let finished = session.finish(121, &none(), |save| save.bytes("w", &weights));
        let kept = iterations(&store, "NQ");
        assert!(kept.contains(&10), "{kept:?}");
        assert!(
            failed > 0 && saved > 20,
            "{background:?}: {saved} saved, {failed} told; {kept:?}"
        );
        drop(finished);
        for checkpoint in job.list().unwrap() {
            checkpoint.unwrap().verify().unwrap();
        }
    }
}

#[test]
fn a_save_that_fails_beside_the_training_is_told_at_the_next_step_and_made_good() {
    let (store, clock, medium) = limited();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            background: Some(Overlap::Wait),
            ..every(10)
        })
        .unwrap();
    session.step(10, &metric("loss", 1.0), |save| state(save, 10));
    session.wait();
    medium.limits.kill_after(0);
    let step = session.step(20, &metric("loss", 1.0), |save| state(save, 20));
    assert!(matches!(step.save, SaveState::Queued));
    session.wait();
    medium.limits.revive();
    clock.advance(Duration::from_secs(1));
    let step = session.step(21, &metric("loss", 1.0), |save| state(save, 21));
    let told: Vec<_> = step.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(told, [ProblemKind::SaveFailed]);
    session.wait();
    // A failed sync ends that open file; a reopened store goes on.
    let last = job.latest().unwrap().map(|head| head.iteration);
    assert!(
        last == Some(21) || session.take_problems().len() == 1,
        "{last:?}"
    );
    store.reopen().unwrap();
    clock.advance(Duration::from_secs(100));
    let finished = session.finish(22, &none(), |save| state(save, 22));
    assert!(matches!(finished.save, SaveState::Saved(_)), "{finished:?}");
    let points = job.telemetry().unwrap().points("loss", 0..=30).unwrap();
    assert_eq!(points.len(), 3);
}

#[test]
fn a_panic_in_what_is_saved_is_a_problem_and_not_the_end() {
    struct Bad;
    impl safetensors::View for &Bad {
        fn dtype(&self) -> safetensors::Dtype {
            safetensors::Dtype::U8
        }
        fn shape(&self) -> &[usize] {
            &[4]
        }
        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            panic!("the device is gone")
        }
        fn data_len(&self) -> usize {
            4
        }
    }
    for background in [None, Some(Overlap::Wait)] {
        let (store, clock, _) = super::store();
        let job = store.job("NQ").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let options = listening(&told, background);
        let mut session = job.session(options).unwrap();
        let step = session.step(1, &none(), |save| save.tensor("w", &Bad));
        assert!(matches!(step.save, SaveState::Failed), "{step:?}");
        assert!(step.problems[0].message.contains("the device is gone"));
        assert_eq!(*told.lock().unwrap(), [step.problems[0].to_string()]);
        clock.advance(Duration::from_secs(1));
        session.step(2, &none(), |save| state(save, 2));
        drop(session);
        assert_eq!(iterations(&store, "NQ"), [2]);
        assert_eq!(store.verify(VerifyDepth::Full).unwrap().damage, []);
    }
}

/// Options to save at each step, with a hook that remembers what failed.
fn listening(told: &Arc<Mutex<Vec<String>>>, background: Option<Overlap>) -> SessionOptions {
    let told = Arc::clone(told);
    let hook = on_failure("listener", move |problem| {
        told.lock().unwrap().push(problem.to_string());
        Ok(())
    });
    SessionOptions {
        background,
        hooks: vec![hook],
        ..every(1)
    }
}

/// A state of which nothing can be saved.
struct Nameless;

impl ckptdb::session::State for Nameless {
    fn save<'s>(&'s self, save: ckptdb::Save<'s>) -> ckptdb::Save<'s> {
        save.bytes("", b"")
    }

    fn load(&mut self, _: &ckptdb::Checkpoint) -> ckptdb::Result<()> {
        Ok(())
    }
}

/// The loop's own error is no reason to be silent about the state that could not be saved after it.
#[test]
fn a_last_save_that_fails_after_the_training_failed_is_told() {
    for background in [None, Some(Overlap::Wait)] {
        let (store, _, _) = super::store();
        let told = Arc::new(Mutex::new(Vec::new()));
        let options = listening(&told, background);
        let session = store.job("NQ").unwrap().session(options).unwrap();
        let failed = session.run(&mut Nameless, 10, |_, _| Err("the market is closed"));
        let text = failed.as_ref().unwrap_err().to_string();
        let begins = "the training failed: the market is closed; its state is not saved: the save";
        assert!(text.starts_with(begins), "{text}");
        let Err(RunError::Training { error, finished }) = failed else {
            panic!("{text}");
        };
        assert_eq!(error, "the market is closed");
        assert!(matches!(finished.save, SaveState::Failed));
        assert_eq!(*told.lock().unwrap(), [finished.problems[0].to_string()]);
    }
}

#[test]
fn options_that_make_no_sense_and_metrics_without_direction_are_refused_at_the_start() {
    let (store, _, _) = super::store();
    let job = store.job("NQ").unwrap();
    let improvement = ckptdb::policy::Improvement {
        metric: "sharpe".to_owned(),
        threshold: ckptdb::policy::Threshold::default(),
    };
    let refused = [
        SessionOptions {
            prune_every: 0,
            ..every(1)
        },
        SessionOptions {
            min_free: MinFree {
                bytes: 1,
                part: f64::NAN,
            },
            ..every(1)
        },
        SessionOptions {
            triggers: ckptdb::policy::Trigger::from(improvement).into(),
            ..every(1)
        },
    ];
    for options in refused {
        assert!(job.session(options).is_err());
    }
    assert_eq!(job.sessions().unwrap().started, 0);
}

#[test]
fn telemetry_that_can_not_be_written_is_thinned_and_told() {
    const STEPS: u64 = 300_000;
    let (store, _clock, medium) = limited();
    let job = store.job("NQ").unwrap();
    let mut session = job.session(every(u64::MAX)).unwrap();
    session.step(0, &none(), |save| state(save, 0));
    medium.limits.kill_after(0);
    let mut told = 0;
    for iteration in 1..=STEPS {
        let values = ["a", "b", "c", "d"].map(|name| (name.to_owned(), 1.0));
        let step = session.step(iteration, &values.into(), |save| state(save, iteration));
        let is_telemetry = |kind| kind == ProblemKind::Telemetry;
        assert!(
            step.problems.iter().all(|p| is_telemetry(p.kind)),
            "{step:?}"
        );
        told += step.problems.len();
    }
    assert!((5..=20).contains(&told), "told {told} times");
    medium.limits.revive();
    store.reopen().unwrap();
    session.finish(STEPS, &none(), |save| state(save, STEPS));
    let points = job.telemetry().unwrap().points("d", 0..=STEPS).unwrap();
    let (first, last) = (points[0].iteration, points[points.len() - 1].iteration);
    assert_eq!((first, last), (1, STEPS));
    // 2^18 of each filled the room; half of them were dropped.
    let kept = STEPS - (1 << 17);
    assert_eq!(points.len() as u64, kept);
}
