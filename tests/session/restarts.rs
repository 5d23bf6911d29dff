//! Sessions that begin somewhere else than at the head, and what a failure leaves to be done.

use std::time::Duration;

use ckptdb::Event;
use ckptdb::policy::{Keep, Retention, Trigger};
use ckptdb::session::{Draft, Hook, Overlap, SaveState, SessionOptions, before_save, on_failure};

use super::{every, iterations, limited, metric, none, refusing, state, store};

#[test]
fn what_a_session_goes_on_from_stays_though_it_is_not_the_head() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    let good = state(job.save(90), 90).commit().unwrap().checkpoint;
    state(job.save(100), 100).commit().unwrap();
    let resumed = job.resume_at("NQ@90").unwrap();
    let _session = job.session_from(Some(resumed), every(10)).unwrap();
    // Somebody makes room before the first save.
    let pruned = job
        .prune(&Retention::new([Keep::Latest(1)]).unwrap())
        .unwrap();
    assert_eq!(pruned.deleted, 0);
    store.reclaim(true).unwrap();
    good.verify().unwrap();
}

#[test]
fn saves_beside_the_training_continue_each_other_from_wherever_it_began() {
    let (store, _, _) = store();
    let job = store.job("NQ").unwrap();
    for iteration in [50, 60] {
        state(job.save(iteration), iteration).commit().unwrap();
    }
    let resumed = job.resume_at("NQ@50").unwrap();
    let with = SessionOptions {
        background: Some(Overlap::Wait),
        ..every(1)
    };
    let mut session = job.session_from(Some(resumed), with).unwrap();
    for iteration in 51..60 {
        session.step(iteration, &none(), |save| state(save, iteration));
    }
    session.finish(60, &none(), |save| state(save, 60));
    assert_eq!(iterations(&store, "NQ"), (50..=60).collect::<Vec<u64>>());
    assert_eq!(job.info().unwrap().unwrap().abandoned, 1);
    let none_of_it = job.session_from(None, every(1));
    assert!(
        none_of_it.is_err(),
        "a job with checkpoints begins at one of them"
    );
}

#[test]
fn a_save_has_to_be_measured_in_every_session() {
    let (store, clock, _) = store();
    let job = store.job("NQ").unwrap();
    let with = || SessionOptions {
        triggers: Trigger::Overhead(0.5).into(),
        ..every(1)
    };
    for first in [1, 11] {
        let mut session = job.session(with()).unwrap();
        for iteration in first..first + 10 {
            clock.advance(Duration::from_secs(1));
            session.step(iteration, &none(), |save| state(save, iteration));
        }
        drop(session);
        assert!(
            iterations(&store, "NQ").last() >= Some(&first),
            "from {first}"
        );
    }
}

/// A hook that lets nothing be saved at this iteration.
fn closed_at(iteration: u64) -> Box<dyn Hook> {
    before_save("hours", move |draft: &mut Draft| {
        if draft.iteration == iteration {
            draft.veto("the market is closed");
        }
        Ok(())
    })
}

#[test]
fn the_reason_of_a_save_that_failed_is_the_next_ones() {
    let (store, clock, medium) = limited();
    let job = store.job("NQ").unwrap();
    let mut session = job
        .session(SessionOptions {
            hooks: vec![closed_at(4)],
            ..refusing(1000)
        })
        .unwrap();
    session.step(1, &none(), |save| state(save, 1));
    medium.limits.set_capacity(1);
    session.phase_end();
    let step = session.step(2, &metric("loss", 0.5), |save| state(save, 2));
    assert!(matches!(step.save, SaveState::LeftOut));
    session.phase_boundary("warmup");
    let step = session.step(3, &metric("loss", 0.5), |save| state(save, 3));
    assert!(
        matches!(step.save, SaveState::LeftOut),
        "it waits to be tried again"
    );
    medium.limits.set_capacity(u64::MAX);
    clock.advance(Duration::from_secs(1));
    let step = session.step(4, &metric("loss", 0.5), |save| state(save, 4));
    assert!(matches!(step.save, SaveState::Vetoed(..)), "{step:?}");
    session.step(5, &metric("loss", 0.5), |save| state(save, 5));
    let head = job.latest().unwrap().unwrap();
    assert_eq!(head.iteration, 5);
    for event in [Event::PhaseEnd, Event::PhaseBoundary("warmup".into())] {
        assert!(head.events.contains(&event), "{:?}", head.events);
    }
    drop(session);
    let points = job.telemetry().unwrap().points("loss", 0..=9).unwrap();
    assert_eq!(points.len(), 4);
}

#[test]
fn the_reason_of_a_save_that_fails_while_a_vetoed_one_waits_for_it_is_the_next_ones() {
    let (store, clock, medium) = limited();
    let job = store.job("NQ").unwrap();
    for iteration in [1, 2] {
        state(job.save(iteration), iteration).commit().unwrap();
    }
    // Only the first save names the checkpoint that it continues: the second waits for it.
    let resumed = job.resume_at("NQ@1").unwrap();
    let options = SessionOptions {
        background: Some(Overlap::Wait),
        hooks: vec![
            closed_at(4),
            on_failure("slow", |_| {
                std::thread::sleep(Duration::from_millis(200));
                Ok(())
            }),
        ],
        ..refusing(1)
    };
    let mut session = job.session_from(Some(resumed), options).unwrap();
    medium.limits.set_capacity(1);
    session.phase_end();
    session.step(3, &none(), |save| state(save, 3));
    session.step(4, &none(), |save| state(save, 4));
    medium.limits.set_capacity(u64::MAX);
    clock.advance(Duration::from_secs(10));
    session.step(5, &none(), |save| state(save, 5));
    session.wait();
    let head = job.latest().unwrap().unwrap();
    assert_eq!(head.iteration, 5);
    assert!(head.events.contains(&Event::PhaseEnd), "{:?}", head.events);
}
