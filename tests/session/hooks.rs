//! Hooks that do their work, and hooks that fail, panic and sleep: no save is lost by one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ckptdb::Job;
use ckptdb::session::{
    Draft, Hook, HookResult, Overlap, ProblemKind, SaveState, Session, SessionOptions, Stop,
    after_save, before_save, on_failure,
};

use super::{every, iterations, metric, none, state, store};

#[test]
fn a_hook_adds_replaces_and_vetoes_before_anything_is_hashed() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            hooks: vec![
                before_save("statistics", |draft: &mut Draft| {
                    assert!(draft.entries.contains("weights"));
                    draft.put_bytes("vecnormalize.pkl", vec![1, 2, 3]);
                    draft.put_bytes("weights", b"replaced".to_vec());
                    draft.put_document("config", serde_json::json!({"lr": 0.1}));
                    draft.put_attribute("seed", 7.into());
                    draft.put_metric("loss", 0.25);
                    draft.put_metric("no\nname", 0.0);
                    draft.put_document("", serde_json::json!({}));
                    draft.put_attribute("long", "x".repeat(70_000).into());
                    Ok(())
                }),
                before_save("second", |draft: &mut Draft| {
                    assert!(
                        draft.entries.contains("vecnormalize.pkl"),
                        "in declared order"
                    );
                    assert_eq!(draft.metrics["loss"].to_bits(), 0.25_f64.to_bits());
                    if draft.iteration == 2 {
                        draft.veto("the market is closed");
                    }
                    Ok(())
                }),
            ],
            ..every(1)
        })
        .unwrap();
    let step = session.step(1, &metric("loss", 9.0), |save| state(save, 1));
    assert!(matches!(step.save, SaveState::Saved(_)), "{step:?}");
    assert_eq!(
        step.problems.len(),
        3,
        "what can't be accepted: {:?}",
        step.problems
    );
    let step = session.step(2, &none(), |save| state(save, 2));
    let SaveState::Vetoed(by, reason) = step.save else {
        panic!("{step:?}");
    };
    assert_eq!(
        (by.as_str(), reason.as_str()),
        ("second", "the market is closed")
    );
    let saved = job.latest().unwrap().unwrap();
    assert_eq!(saved.iteration, 1);
    assert_eq!(saved.read("weights").unwrap(), b"replaced".as_slice());
    assert_eq!(
        saved.read("vecnormalize.pkl").unwrap(),
        [1, 2, 3].as_slice()
    );
    assert_eq!(saved.metrics["loss"].to_bits(), 0.25_f64.to_bits());
    assert_eq!(saved.attributes["seed"], "7");
    // The last save is not vetoed away.
    let finished = session.finish(2, &none(), |save| state(save, 2));
    assert!(matches!(finished.save, SaveState::Saved(_)), "{finished:?}");
}

#[test]
fn hooks_that_fail_panic_and_sleep_are_reported_and_lose_nothing() {
    for background in [None, Some(Overlap::Wait)] {
        let (store, _, _) = store();
        let job = store.job("NQ").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let its = Arc::clone(&told);
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let mut session = job
            .session(SessionOptions {
                background,
                hook_limit: Duration::from_millis(300),
                hooks: vec![
                    before_save("fails", |draft: &mut Draft| {
                        draft.put_bytes("never", vec![]);
                        Err("no network".into())
                    }),
                    before_save("panics", |_: &mut Draft| panic!("index out of bounds")),
                    after_save("sleeps", move |_| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_secs(3));
                        Ok(())
                    }),
                    after_save("told", move |done| {
                        its.lock()
                            .unwrap()
                            .push((done.checkpoint.iteration, done.pruned));
                        Ok(())
                    }),
                ],
                ..every(1)
            })
            .unwrap();
        let mut problems = Vec::new();
        for iteration in 1..=3 {
            let step = session.step(iteration, &none(), |save| state(save, iteration));
            problems.extend(step.problems);
        }
        let finished = session.finish(4, &none(), |save| state(save, 4));
        problems.extend(finished.problems);
        assert_eq!(iterations(&store, "NQ"), [1, 2, 3, 4]);
        assert!(
            problems
                .iter()
                .all(|problem| problem.kind == ProblemKind::Hook)
        );
        let of = |name: &str| problems.iter().filter(|p| p.message.contains(name)).count();
        assert_eq!(
            (of("fails"), of("panics"), of("sleeps")),
            (4, 4, 4),
            "{problems:?}"
        );
        assert_eq!(
            calls.load(Ordering::SeqCst),
            1,
            "while it sleeps it is not called again"
        );
        assert_eq!(*told.lock().unwrap(), [(1, 0), (2, 0), (3, 0), (4, 0)]);
        let saved = job.latest().unwrap().unwrap();
        assert_eq!(
            saved.entries, 1,
            "what a hook asked for that failed is not done"
        );
    }
}

#[test]
fn a_new_best_and_a_failure_are_told() {
    struct Listener(Arc<Mutex<Vec<String>>>);
    impl Hook for Listener {
        fn name(&self) -> &'static str {
            "listener"
        }
        fn on_best(&mut self, done: &ckptdb::session::Done) -> HookResult {
            self.0
                .lock()
                .unwrap()
                .push(format!("best at {}", done.checkpoint.iteration));
            Ok(())
        }
    }
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let failures = Arc::clone(&told);
    let mut session = job
        .session(SessionOptions {
            metrics: [("sharpe".to_owned(), ckptdb::Direction::Max)].into(),
            triggers: ckptdb::policy::Trigger::Improvement(ckptdb::policy::Improvement {
                metric: "sharpe".to_owned(),
                threshold: ckptdb::policy::Threshold::default(),
            })
            .into(),
            hooks: vec![
                Box::new(Listener(Arc::clone(&told))),
                on_failure("log", move |problem| {
                    failures.lock().unwrap().push(problem.to_string());
                    Ok(())
                }),
            ],
            ..every(1)
        })
        .unwrap();
    session.step(1, &metric("sharpe", 1.0), |save| state(save, 1));
    session.step(2, &metric("sharpe", 1.0), |save| state(save, 2));
    session.step(3, &metric("sharpe", 2.0), |save| save.bytes("", b""));
    let told = told.lock().unwrap();
    assert_eq!(told[0], "best at 1");
    assert!(
        told[1].starts_with("iteration 3: the save failed"),
        "{told:?}"
    );
    assert_eq!(told.len(), 2);
}

#[test]
fn what_a_hook_puts_in_the_place_of_an_entry_has_not_its_generation() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    for background in [None, Some(Overlap::Wait)] {
        let mut session = job
            .session(SessionOptions {
                hooks: vec![before_save("statistics", |draft: &mut Draft| {
                    let bytes = vec![u8::try_from(draft.iteration).unwrap(); 200_000];
                    draft.put_tensor("table", ckptdb::DType::U8, &[200_000], bytes);
                    Ok(())
                })],
                background,
                ..every(1)
            })
            .unwrap();
        let first = session.next_iteration();
        for iteration in first..first + 3 {
            let own = vec![7; 200_000];
            let tensor = ckptdb::TensorSlice::new(ckptdb::DType::U8, &[200_000], &own).unwrap();
            session.step(iteration, &none(), |save| {
                save.tensor("table", tensor).generation("table", 1)
            });
            session.wait();
            let saved = job.latest().unwrap().unwrap();
            assert_eq!(saved.iteration, iteration);
            let expected = vec![u8::try_from(iteration).unwrap(); 200_000];
            assert!(saved.read("table").unwrap() == expected, "{iteration}");
        }
    }
}

/// A session that saves at each step, beside what follows; its saves last until the sender is gone.
fn held(job: &Job, overlap: Overlap) -> (Session, Sender<()>) {
    let (go_on, word) = channel();
    let word = Mutex::new(word);
    let options = SessionOptions {
        hooks: vec![after_save("slow", move |_| {
            let _ = word.lock().unwrap().recv();
            Ok(())
        })],
        background: Some(overlap),
        hook_limit: Duration::from_mins(1),
        ..every(1)
    };
    (job.session(options).unwrap(), go_on)
}

#[test]
fn a_save_that_is_skipped_since_another_one_runs_asks_for_no_bytes() {
    /// Counts how often its bytes are asked for.
    struct Counted(Arc<AtomicU64>);
    impl safetensors::View for Counted {
        fn dtype(&self) -> safetensors::Dtype {
            safetensors::Dtype::U8
        }

        fn shape(&self) -> &[usize] {
            &[4]
        }

        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            self.0.fetch_add(1, Ordering::SeqCst);
            vec![1; 4].into()
        }

        fn data_len(&self) -> usize {
            4
        }
    }
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let (mut session, go_on) = held(&job, Overlap::Skip);
    let asked = Arc::new(AtomicU64::new(0));
    let mut step = |iteration| {
        let view = Counted(Arc::clone(&asked));
        session
            .step(iteration, &none(), |save| save.tensor("x", view))
            .save
    };
    assert!(matches!(step(1), SaveState::Queued));
    let once = asked.load(Ordering::SeqCst);
    assert!(once > 0);
    for iteration in 2..5 {
        assert!(matches!(step(iteration), SaveState::LeftOut));
    }
    assert_eq!(asked.load(Ordering::SeqCst), once);
    drop(go_on);
    session.wait();
    assert_eq!(job.list().unwrap().count(), 1);
}

/// Of saves that wait for one that runs, the newest is done; what is left out is told, and what the
/// trainer waited for, at the steps after.
#[test]
fn the_save_that_waits_is_replaced_by_the_next_and_each_reports_when_it_is_done() {
    let (store, clock, _) = store();
    let job = store.job("NQ").unwrap();
    let (mut session, go_on) = held(&job, Overlap::Replace);
    let mut told = Vec::new();
    for iteration in 1..=4 {
        let loss = metric("loss", 1.0);
        let step = session.step(iteration, &loss, |save| state(save, iteration));
        assert!(matches!(step.save, SaveState::Queued), "{step:?}");
        assert!(step.saved.is_empty(), "{step:?}");
        told.extend(step.problems);
        if iteration == 1 {
            // It is under way, so that it is no more the one that waits.
            while iterations(&store, "NQ").is_empty() {
                std::thread::yield_now();
            }
        }
    }
    let skipped: Vec<_> = told
        .iter()
        .map(|told| (told.iteration, told.kind))
        .collect();
    let expected = [(2, ProblemKind::Skipped), (3, ProblemKind::Skipped)];
    assert_eq!(skipped, expected);
    clock.advance(Duration::from_secs(1));
    drop(go_on);
    session.wait();
    assert_eq!(iterations(&store, "NQ"), [1, 4]);
    let step = session.step(5, &none(), |save| state(save, 5));
    let saved: Vec<_> = step
        .saved
        .iter()
        .map(|saved| saved.checkpoint.iteration)
        .collect();
    assert_eq!(saved, [1, 4]);
    assert!(step.saved.iter().all(|saved| saved.logical_bytes > 0));
    // The second waited for the hook of the first.
    let queued: Vec<_> = step.saved.iter().map(|saved| saved.times.queued).collect();
    assert_eq!(queued, [Duration::ZERO, Duration::from_secs(1)]);
    // The end saves the same iteration again, and tells of both.
    let finished = session.finish(5, &none(), |save| state(save, 5));
    let SaveState::Saved(last) = &finished.save else {
        panic!("{finished:?}")
    };
    assert_eq!(last.checkpoint.iteration, 5);
    let before: Vec<_> = finished
        .saved
        .iter()
        .map(|saved| saved.checkpoint.iteration)
        .collect();
    assert_eq!(before, [5]);
    let points = job.telemetry().unwrap().points("loss", 0..=10).unwrap();
    assert_eq!(points.len(), 4, "points of what is left out are kept");
}

#[test]
fn who_is_interrupted_is_told_of_the_save_that_was_under_way() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let options = SessionOptions {
        background: Some(Overlap::Wait),
        ..every(1)
    };
    let mut session = job.session(options).unwrap();
    session.step(1, &none(), |save| state(save, 1));
    let finished = session.interrupt(1, Stop::Asked);
    assert_eq!(finished.saved.len(), 1);
}
