//! Triggers by tables, as a loop asks them, and under any question.

use proptest::prelude::*;

use super::*;
use crate::metric::Direction;
use crate::policy::Threshold;

fn every(iterations: u64) -> Trigger {
    Trigger::Iterations(NonZeroU64::new(iterations).unwrap())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Asks at an iteration, after some time, with what came before.
fn ask(triggers: &Triggers, iteration: u64, elapsed: f64, past: &Past) -> Decision {
    let moment = Moment {
        iteration,
        elapsed: seconds(elapsed),
        metrics: &BTreeMap::new(),
        calls: &[],
    };
    triggers.decide(&moment, past)
}

/// The iterations at which a loop saves that counts like this, a second each.
fn saves(triggers: &Triggers, iterations: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut past = Past::default();
    let (mut saves, mut last) = (Vec::new(), 0.0);
    for (iteration, now) in iterations.into_iter().zip(1_u32..) {
        let now = f64::from(now);
        let decision = ask(triggers, iteration, now - last, &past);
        if decision.is_due() {
            saves.push(iteration);
        }
        if decision.is_periodic() {
            past.anchor = Some(iteration);
            past.cost = Some(seconds(0.1));
            last = now;
        }
        past.previous = Some(iteration);
    }
    saves
}

#[test]
fn multiples_are_met_and_where_a_stride_passes_them_the_next_iteration_counts() {
    let triggers = Triggers::from(every(10));
    assert_eq!(saves(&triggers, 0..35), [10, 20, 30]);
    // Strides of 4,096 do not drift away from the multiples of 25,000.
    let strides = (0..).step_by(4096).take(26);
    let triggers = Triggers::from(every(25_000));
    assert_eq!(saves(&triggers, strides), [28_672, 53_248, 77_824, 102_400]);
    // After a resume it counts from what was saved, and an iteration that repeats saves nothing.
    let past = Past {
        anchor: Some(25),
        ..Past::default()
    };
    let triggers = Triggers::from(every(10));
    let due = |iteration| ask(&triggers, iteration, 0.0, &past).is_due();
    assert_eq!(
        [25, 26, 29, 30, 31].map(due),
        [false, false, false, true, true]
    );
}

#[test]
fn iterations_or_seconds_whichever_comes_first_and_then_both_count_anew() {
    let triggers = Triggers::from(every(100)) | Trigger::Interval(seconds(30.0));
    // A second each: after 30 of them, and at no multiple in between but those of 100.
    assert_eq!(saves(&triggers, 0..135), [29, 59, 89, 100, 130]);
}

#[test]
fn the_adaptive_trigger_saves_about_32_times_on_the_way_to_its_target() {
    let triggers = Triggers::from(Trigger::from(Adaptive::default()));
    let found = saves(&triggers, (0..=2_000_000).step_by(100));
    assert!((30..=33).contains(&found.len()), "{}", found.len());
    let intervals: Vec<u64> = found.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(intervals.is_sorted());
    assert!(found[0] < 27_000 && intervals[intervals.len() - 1] > 115_000);
}

#[test]
fn saving_costs_no_more_than_its_part_of_the_time() {
    let triggers = Triggers::from(Trigger::Overhead(0.01));
    let found = saves(&triggers, 0..100);
    // Once to learn the cost of 0.1 s; then it is paid for every 10 s.
    assert_eq!(found, [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]);
    // What costs nothing is due at every moment, what costs too much never; neither panics.
    let past = |cost| Past {
        anchor: Some(0),
        cost: Some(cost),
        ..Past::default()
    };
    assert!(ask(&triggers, 5, 0.0, &past(Duration::ZERO)).is_due());
    assert!(!ask(&triggers, 5, 1e9, &past(Duration::MAX)).is_due());
}

#[test]
fn iterations_that_were_asked_for_are_met_once_or_by_the_first_that_passes_them() {
    let at = |iterations: &[u64]| Triggers::from(Trigger::At(iterations.iter().copied().collect()));
    assert_eq!(saves(&at(&[0, 3, 7]), 0..10), [0, 3, 7]);
    assert_eq!(saves(&at(&[3, 5, 7]), [0, 4, 8, 12]), [4, 8]);
    assert_eq!(
        saves(&at(&[u64::MAX]), [0, u64::MAX - 1, u64::MAX]),
        [u64::MAX]
    );
    // A session that begins beyond them has not passed them.
    assert_eq!(saves(&at(&[3]), [4, 5]), Vec::<u64>::new());
}

#[test]
fn several_metrics_are_watched_at_once_each_its_own_way() {
    let watch = |metric: &str| {
        Trigger::from(Improvement {
            metric: metric.to_owned(),
            threshold: Threshold::default(),
        })
    };
    let triggers = Triggers::from(watch("sharpe")) | watch("loss") | watch("undeclared");
    let baseline = |direction, best| Baseline {
        direction,
        best: Some(best),
    };
    let past = Past {
        baselines: BTreeMap::from([
            ("sharpe".to_owned(), baseline(Direction::Max, 1.0)),
            ("loss".to_owned(), baseline(Direction::Min, 1.0)),
        ]),
        ..Past::default()
    };
    let decide = |sharpe: f64, loss: f64| {
        let metrics = BTreeMap::from([
            ("sharpe".to_owned(), sharpe),
            ("loss".to_owned(), loss),
            ("undeclared".to_owned(), 9.0),
        ]);
        let moment = Moment {
            iteration: 5,
            elapsed: Duration::ZERO,
            metrics: &metrics,
            calls: &[],
        };
        let decision = triggers.decide(&moment, &past);
        assert!(!decision.is_periodic());
        decision
            .events
            .iter()
            .map(Event::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(decide(1.5, 0.5), ["best(loss)", "best(sharpe)"]);
    assert_eq!(decide(1.01, 0.97), ["best(loss)"]);
    assert_eq!(decide(f64::NAN, 2.0), Vec::<String>::new());
}

#[test]
fn what_the_loop_says_is_heard_by_the_trigger_for_it_alone() {
    let calls = [
        Call::First,
        Call::Final,
        Call::PhaseEnd,
        Call::PhaseBoundary("p2".to_owned()),
        Call::Interrupt,
    ];
    let triggers = [
        (Trigger::First, "custom(first)"),
        (Trigger::Final, "final"),
        (Trigger::PhaseEnd, "phase_end"),
        (Trigger::PhaseBoundary, "phase_boundary(p2)"),
        (Trigger::Interrupt, "interrupt"),
    ];
    let metrics = BTreeMap::new();
    for (place, (trigger, event)) in triggers.into_iter().enumerate() {
        let triggers = Triggers::from(trigger);
        for (number, call) in calls.iter().enumerate() {
            let moment = Moment {
                iteration: 1,
                elapsed: Duration::ZERO,
                metrics: &metrics,
                calls: std::slice::from_ref(call),
            };
            let decision = triggers.decide(&moment, &Past::default());
            assert_eq!(decision.is_due(), place == number, "{call:?} for {event}");
            if place == number {
                let events: Vec<String> = decision.events.iter().map(Event::to_string).collect();
                assert_eq!(events, [event]);
                assert!(!decision.causes[0].to_string().is_empty());
            }
        }
    }
}

#[test]
fn several_causes_are_one_save_with_all_its_events() {
    let triggers = Triggers::from(every(10)) | Trigger::Interval(seconds(1.0)) | Trigger::Final;
    let moment = Moment {
        iteration: 10,
        elapsed: seconds(2.0),
        metrics: &BTreeMap::new(),
        calls: &[Call::Final],
    };
    let decision = triggers.decide(&moment, &Past::default());
    let told: Vec<String> = decision.causes.iter().map(Cause::to_string).collect();
    assert_eq!(
        told,
        [
            "every 10 iterations",
            "2.0 s passed, of 1.0",
            "last iteration"
        ]
    );
    assert_eq!(
        decision.events,
        BTreeSet::from([Event::Periodic, Event::Final])
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let improvement = |metric: &str, threshold| {
        Trigger::from(Improvement {
            metric: metric.to_owned(),
            threshold,
        })
    };
    for bad in [
        Trigger::Interval(Duration::ZERO),
        Trigger::Overhead(0.0),
        Trigger::Overhead(1.5),
        Trigger::Overhead(f64::NAN),
        Trigger::from(Adaptive {
            base: 0,
            ..Adaptive::default()
        }),
        improvement("", Threshold::default()),
        improvement("s", Threshold::Relative(-0.1)),
        improvement("s", Threshold::Absolute(f64::NAN)),
    ] {
        let what = format!("{bad:?}");
        assert!(Triggers::new([bad]).is_err(), "{what}");
    }
    Triggers::new(Triggers::default().as_slice().to_vec()).unwrap();
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        (1..u64::MAX).prop_map(every),
        (1..1_000_000_u64).prop_map(|ms| Trigger::Interval(Duration::from_millis(ms))),
        (1..u64::MAX, 1.0..100.0_f64, 1..u64::MAX).prop_map(|(base, max_multiplier, target)| {
            Trigger::from(Adaptive {
                base,
                max_multiplier,
                target,
            })
        }),
        (0.000_001..1.0_f64).prop_map(Trigger::Overhead),
        proptest::collection::btree_set(any::<u64>(), 0..5).prop_map(Trigger::At),
    ]
}

proptest! {
    #[test]
    fn no_question_makes_a_trigger_panic_and_another_trigger_never_unsays_a_save(
        trigger in any_trigger(), other in any_trigger(),
        iteration: u64, millis: u64, anchor: Option<u64>, previous: Option<u64>, cost: Option<u64>,
    ) {
        let past = Past {
            anchor,
            previous,
            cost: cost.map(Duration::from_nanos),
            ..Past::default()
        };
        let moment = Moment {
            iteration,
            elapsed: Duration::from_millis(millis),
            metrics: &BTreeMap::new(),
            calls: &[],
        };
        let one = Triggers::new([trigger.clone()]).unwrap();
        let both = Triggers::new([trigger, other]).unwrap();
        let (one, both) = (one.decide(&moment, &past), both.decide(&moment, &past));
        prop_assert!(both.causes.len() >= one.causes.len());
        prop_assert!(one.events.is_subset(&both.events));
        prop_assert_eq!(one.is_due(), !one.events.is_empty());
    }
}
