//! Retention by examples, by properties, and rule by rule.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

/// A checkpoint that owns what a candidate borrows.
#[derive(Clone, Debug)]
struct Saved {
    id: u64,
    iteration: u64,
    at: i64,
    events: BTreeSet<Event>,
    metrics: BTreeMap<String, f64>,
    tags: BTreeSet<String>,
    pinned: bool,
    abandoned: bool,
    bytes: u64,
}

impl Saved {
    /// Checkpoint `id` at a thousand iterations for each, a minute apart, without anything.
    fn new(id: u64) -> Self {
        Self {
            id,
            iteration: id * 1000,
            at: id.cast_signed() * 60_000,
            events: BTreeSet::from([Event::Periodic]),
            metrics: BTreeMap::new(),
            tags: BTreeSet::new(),
            pinned: false,
            abandoned: false,
            bytes: 10,
        }
    }

    fn metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            id: CheckpointId::new(self.id),
            iteration: self.iteration,
            saved_at: Timestamp::from_millis(self.at),
            events: &self.events,
            metrics: &self.metrics,
            tags: &self.tags,
            pinned: self.pinned,
            abandoned: self.abandoned,
            bytes: self.bytes,
        }
    }
}

fn best(metric: &str, count: u64) -> Keep {
    Keep::Best {
        metric: metric.to_owned(),
        count,
        direction: Some(Direction::Max),
    }
}

fn every(iterations: u64) -> NonZeroU64 {
    NonZeroU64::new(iterations).unwrap()
}

fn plan(retention: &Retention, situation: &Situation, all: &[Saved]) -> Plan {
    let candidates: Vec<_> = all.iter().map(Saved::candidate).collect();
    retention.plan("NQ", situation, &candidates).unwrap()
}

fn kept(rules: impl IntoIterator<Item = Keep>, all: &[Saved]) -> Vec<u64> {
    let retention = Retention::new(rules).unwrap();
    let plan = plan(&retention, &Situation::default(), all);
    plan.kept().map(CheckpointId::get).collect()
}

#[test]
fn of_a_hundred_exactly_the_fourteen_that_the_rules_mean_stay() {
    let mut all: Vec<Saved> = (1..=100)
        .map(|id| {
            let apart = |peaks: &[u64]| match peaks.iter().position(|peak| *peak == id) {
                Some(place) => 9.0 - f64::from(u8::try_from(place).unwrap()),
                None => f64::from(u8::try_from(id % 7).unwrap()) / 10.0,
            };
            let saved = Saved::new(id).metric("sharpe", apart(&[20, 55, 31]));
            saved.metric("reward", apart(&[70, 12]))
        })
        .collect();
    all[39].events.insert(Event::PhaseEnd);
    let rules = || {
        [
            Keep::Latest(8),
            best("sharpe", 3),
            best("reward", 2),
            Keep::Event("phase_end".to_owned()),
        ]
    };
    let expected = vec![12, 20, 31, 40, 55, 70, 93, 94, 95, 96, 97, 98, 99, 100];
    assert_eq!(kept(rules(), &all), expected);
    // Where they overlap there are fewer.
    all[54].events.insert(Event::PhaseEnd);
    all[39].events.remove(&Event::PhaseEnd);
    all[98].metrics.insert("reward".to_owned(), 100.0);
    let expected = vec![20, 31, 55, 70, 93, 94, 95, 96, 97, 98, 99, 100];
    assert_eq!(kept(rules(), &all), expected);
}

#[test]
fn every_verdict_says_why() {
    let mut all: Vec<Saved> = (1..=4)
        .map(|id| Saved::new(id).metric("sharpe", f64::from(u32::try_from(id % 3).unwrap())))
        .collect();
    all[0].pinned = true;
    let situation = Situation {
        head: Some(CheckpointId::new(4)),
        good: Some(CheckpointId::new(2)),
        ..Situation::default()
    };
    let retention = Retention::new([Keep::Latest(1), best("sharpe", 1)]).unwrap();
    let told: Vec<String> = plan(&retention, &situation, &all)
        .verdicts
        .iter()
        .map(|verdict| {
            let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
            format!(
                "{} {}",
                if verdict.keep { "keep" } else { "drop" },
                reasons.join("; ")
            )
        })
        .collect();
    let expected = [
        "keep pinned",
        "keep last known good; best sharpe (1/1)",
        "drop older than the latest 1; 4th by sharpe",
        "keep head; latest (1/1)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_limit_of_one_deletes_neither_all_nor_the_one_to_go_on_from() {
    let all: Vec<Saved> = (1..=3).map(Saved::new).collect();
    assert_eq!(kept([Keep::Latest(1)], &all), [3]);
    // No rule at all, and a head that a rollback moved.
    let situation = Situation {
        head: Some(CheckpointId::new(2)),
        ..Situation::default()
    };
    let plan = plan(&Retention::default(), &situation, &all);
    assert_eq!(plan.kept().collect::<Vec<_>>(), [CheckpointId::new(2)]);
}

#[test]
fn the_best_never_evicts_the_latest_and_a_nan_freezes_nothing() {
    let values = [
        5.0,
        f64::NAN,
        4.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        5.0,
        1.0,
    ];
    let all: Vec<Saved> = (1..)
        .zip(values)
        .map(|(id, value)| Saved::new(id).metric("s", value))
        .collect();
    // Of two fives the earlier is the better one.
    assert_eq!(kept([best("s", 1)], &all), [1]);
    assert_eq!(kept([best("s", 2)], &all), [1, 6]);
    assert_eq!(kept([best("s", 9)], &all), [1, 3, 6, 7]);
    assert_eq!(kept([best("s", 1), Keep::Latest(1)], &all), [1, 7]);
    let least = Keep::Best {
        metric: "s".to_owned(),
        count: 1,
        direction: Some(Direction::Min),
    };
    assert_eq!(kept([least], &all), [7]);
}

#[test]
fn a_direction_is_declared_and_never_guessed() {
    let all = [
        Saved::new(1).metric("s", 1.0),
        Saved::new(2).metric("s", 2.0),
    ];
    let candidates: Vec<_> = all.iter().map(Saved::candidate).collect();
    let rule = Keep::Best {
        metric: "s".to_owned(),
        count: 1,
        direction: None,
    };
    let retention = Retention::new([rule]).unwrap();
    let mut situation = Situation::default();
    let refused = retention.plan("NQ", &situation, &candidates);
    assert!(
        matches!(refused, Err(Error::Undeclared { .. })),
        "{refused:?}"
    );
    situation.directions.insert("s".to_owned(), Direction::Min);
    let plan = retention.plan("NQ", &situation, &candidates).unwrap();
    assert_eq!(plan.kept().collect::<Vec<_>>(), [CheckpointId::new(1)]);
}

#[test]
fn milestones_are_kept_exactly_or_by_what_is_nearest() {
    let mut all: Vec<Saved> = (1..=6).map(Saved::new).collect();
    for (saved, iteration) in all
        .iter_mut()
        .zip([4096, 8192, 12_288, 16_384, 20_480, 20_000])
    {
        saved.iteration = iteration;
    }
    assert_eq!(kept([Keep::Every(every(10_000))], &all), [6]);
    // 8192 is nearest to 10,000; 20,000 itself is there.
    assert_eq!(kept([Keep::Nearest(every(10_000))], &all), [2, 6]);
    // Nothing is near a multiple that training has not come to.
    assert_eq!(
        kept([Keep::Nearest(every(1_000_000))], &all),
        Vec::<u64>::new()
    );
    all[0].iteration = 0;
    assert_eq!(kept([Keep::Nearest(every(1_000_000))], &all), [1]);
}

#[test]
fn time_protects_what_is_young_and_a_clock_that_was_set_back_drops_nothing() {
    let all: Vec<Saved> = (1..=5).map(Saved::new).collect();
    let retention = Retention::new([Keep::Within(Duration::from_mins(2))]).unwrap();
    let at = |minutes: i64| {
        let situation = Situation {
            now: Timestamp::from_millis(minutes * 60_000),
            ..Situation::default()
        };
        let plan = plan(&retention, &situation, &all);
        plan.kept().map(CheckpointId::get).collect::<Vec<_>>()
    };
    assert_eq!(at(5), [3, 4, 5]);
    assert_eq!(at(1), [1, 2, 3, 4, 5]);
    assert_eq!(at(100), Vec::<u64>::new());
}

#[test]
fn an_interrupt_is_kept_until_a_session_after_it_completes() {
    let mut all: Vec<Saved> = (1..=3).map(Saved::new).collect();
    all[0].events.insert(Event::Interrupt);
    all[2].events.insert(Event::Interrupt);
    let retention = Retention::new([Keep::Interrupts]).unwrap();
    let after = |completed: Option<u64>| {
        let situation = Situation {
            completed: completed.map(CheckpointId::new),
            ..Situation::default()
        };
        let plan = plan(&retention, &situation, &all);
        plan.kept().map(CheckpointId::get).collect::<Vec<_>>()
    };
    assert_eq!(after(None), [1, 3]);
    assert_eq!(after(Some(2)), [3]);
    assert_eq!(after(Some(3)), Vec::<u64>::new());
}

#[test]
fn an_abandoned_line_is_dropped_unless_it_is_marked() {
    let mut all: Vec<Saved> = (1..=4).map(|id| Saved::new(id).metric("s", 1.0)).collect();
    for saved in &mut all[..3] {
        saved.abandoned = true;
    }
    all[0].tags.insert("paper".to_owned());
    all[1].events.insert(Event::PhaseBoundary("p2".to_owned()));
    let rules = [
        Keep::Latest(2),
        best("s", 1),
        Keep::Every(every(1)),
        Keep::Nearest(every(1000)),
        Keep::LatestPeriodic(3),
    ];
    assert_eq!(kept(rules.clone(), &all), [4]);
    let marks = [Keep::Tagged, Keep::Event("phase_boundary".to_owned())];
    assert_eq!(kept(rules.into_iter().chain(marks), &all), [1, 2, 4]);
    assert_eq!(kept([Keep::Tag("paper".to_owned())], &all), [1]);
}

#[test]
fn periodic_ones_are_counted_by_iteration_and_only_among_themselves() {
    let mut all: Vec<Saved> = (1..=5).map(Saved::new).collect();
    all[4].events = BTreeSet::from([Event::Manual]);
    assert_eq!(kept([Keep::LatestPeriodic(2)], &all), [3, 4]);
}

#[test]
fn a_byte_budget_keeps_the_newest_of_what_nothing_protects_and_sheds_nothing_else() {
    let all: Vec<Saved> = (1..=6).map(Saved::new).collect();
    let with = |bytes: u64| {
        let retention = Retention::new([Keep::Latest(2)]).unwrap().max_bytes(bytes);
        plan(&retention, &Situation::default(), &all)
    };
    let ids = |plan: &Plan| plan.kept().map(CheckpointId::get).collect::<Vec<_>>();
    assert_eq!(ids(&with(45)), [3, 4, 5, 6]);
    assert_eq!(ids(&with(u64::MAX)), [1, 2, 3, 4, 5, 6]);
    let tight = with(5);
    assert_eq!(ids(&tight), [5, 6]);
    assert_eq!((tight.protected_bytes, tight.over_budget), (20, 15));
    assert!(tight.verdicts[0].reasons.contains(&Reason::OverBudget));
    // One that does not fit ends it, though an older one would.
    let mut uneven = all.clone();
    uneven[3].bytes = 1000;
    let retention = Retention::new([Keep::Latest(2)]).unwrap().max_bytes(45);
    let plan = plan(&retention, &Situation::default(), &uneven);
    assert_eq!(ids(&plan), [5, 6]);
}

fn saved() -> impl Strategy<Value = Vec<Saved>> {
    let value = prop_oneof![
        6 => (-3..4_i8).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
    ];
    let one = (
        0..40_u64,
        0..2_000_000_i64,
        proptest::option::of(value.clone()),
        proptest::option::of(value),
        0..8_u8,
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.2),
        0..30_u64,
    );
    proptest::collection::vec(one, 0..40).prop_map(|all| {
        let numbered = (1..).zip(all);
        numbered
            .map(
                |(id, (iteration, at, a, b, event, pinned, abandoned, bytes))| {
                    let mut saved = Saved::new(id);
                    saved.iteration = iteration * 500;
                    saved.at = at;
                    saved.metrics.extend(a.map(|a| ("a".to_owned(), a)));
                    saved.metrics.extend(b.map(|b| ("b".to_owned(), b)));
                    saved.events.extend(match event {
                        0 => Some(Event::PhaseEnd),
                        1 => Some(Event::Interrupt),
                        2 => Some(Event::Best("a".to_owned())),
                        _ => None,
                    });
                    saved.tags.extend((event == 3).then(|| "t".to_owned()));
                    (saved.pinned, saved.abandoned, saved.bytes) = (pinned, abandoned, bytes);
                    saved
                },
            )
            .collect()
    })
}

fn rule() -> impl Strategy<Value = Keep> {
    let best = |metric: &'static str| {
        (1..6_u64, any::<bool>()).prop_map(move |(count, max)| Keep::Best {
            metric: metric.to_owned(),
            count,
            direction: Some(if max { Direction::Max } else { Direction::Min }),
        })
    };
    prop_oneof![
        (1..10_u64).prop_map(Keep::Latest),
        (1..10_u64).prop_map(Keep::LatestPeriodic),
        best("a"),
        best("b"),
        (1..8_u64).prop_map(|n| Keep::Every(every(n * 500))),
        (1..8_u64).prop_map(|n| Keep::Nearest(every(n * 700))),
        (0..2_000_u64).prop_map(|s| Keep::Within(Duration::from_secs(s))),
        Just(Keep::Event("phase_end".to_owned())),
        Just(Keep::Event("best".to_owned())),
        Just(Keep::Interrupts),
        Just(Keep::Tagged),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Keep>> {
    proptest::collection::vec(rule(), 0..5)
}

fn situation() -> impl Strategy<Value = Situation> {
    let id = || proptest::option::of((1..40_u64).prop_map(CheckpointId::new));
    (0..2_000_000_i64, id(), id(), id()).prop_map(|(now, head, good, completed)| Situation {
        now: Timestamp::from_millis(now),
        head,
        good,
        completed,
        directions: BTreeMap::new(),
    })
}

proptest! {
    #[test]
    fn nothing_that_must_stay_is_ever_dropped(
        all in saved(), rules in rules(), situation in situation(), budget: Option<u64>,
    ) {
        let mut retention = Retention::new(rules).unwrap();
        retention.max_bytes = budget;
        let plan = plan(&retention, &situation, &all);
        prop_assert_eq!(plan.verdicts.len(), all.len());
        let dropped: BTreeSet<_> = plan.dropped().collect();
        for saved in &all {
            let id = CheckpointId::new(saved.id);
            let must = saved.pinned || situation.head == Some(id) || situation.good == Some(id);
            prop_assert!(!(must && dropped.contains(&id)));
        }
        for verdict in &plan.verdicts {
            prop_assert!(!verdict.reasons.is_empty());
            prop_assert!(verdict.reasons.iter().all(|reason| reason.keeps() == verdict.keep));
        }
    }

    #[test]
    fn what_a_plan_keeps_the_same_plan_keeps_again(
        all in saved(), rules in rules(), situation in situation(), budget: Option<u8>,
    ) {
        let mut retention = Retention::new(rules).unwrap();
        retention.max_bytes = budget.map(u64::from);
        let first = plan(&retention, &situation, &all);
        let kept: BTreeSet<_> = first.kept().map(CheckpointId::get).collect();
        let left: Vec<Saved> = all.into_iter().filter(|s| kept.contains(&s.id)).collect();
        let second = plan(&retention, &situation, &left);
        prop_assert_eq!(second.dropped().count(), 0);
    }

    #[test]
    fn another_rule_drops_nothing_more(
        all in saved(), rules in rules(), more in rule(), situation in situation(),
    ) {
        let fewer = Retention::new(rules.clone()).unwrap();
        let more = Retention::new(rules.into_iter().chain([more])).unwrap();
        let kept: BTreeSet<_> = plan(&fewer, &situation, &all).kept().collect();
        let now: BTreeSet<_> = plan(&more, &situation, &all).kept().collect();
        prop_assert!(kept.is_subset(&now));
    }

    #[test]
    fn the_order_of_candidates_and_rules_decides_nothing(
        all in saved(), rules in rules(), situation in situation(),
    ) {
        let forwards = plan(&Retention::new(rules.clone()).unwrap(), &situation, &all);
        let turned: Vec<Saved> = all.into_iter().rev().collect();
        let rules = rules.into_iter().rev();
        let backwards = plan(&Retention::new(rules).unwrap(), &situation, &turned);
        prop_assert_eq!(
            forwards.kept().collect::<Vec<_>>(),
            backwards.kept().collect::<Vec<_>>()
        );
    }

    #[test]
    fn on_random_overlaps_the_union_is_what_each_rule_alone_keeps(
        all in saved(), rules in rules(),
    ) {
        let mut expected = BTreeSet::new();
        for rule in &rules {
            expected.extend(kept([rule.clone()], &all));
        }
        expected.extend(all.iter().filter(|s| s.pinned).map(|s| s.id));
        let found: BTreeSet<_> = kept(rules, &all).into_iter().collect();
        prop_assert_eq!(found, expected);
    }
}
