//! Retention over any history: what must stay stays, a plan repeats itself, and another rule never
//! drops more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ckptdb::policy::{Candidate, Keep, Plan, Retention, Situation};
use ckptdb::{CheckpointId, Direction, Error, Event, Timestamp};

use crate::random::Random;

const MOST: usize = 48;

struct Known {
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

pub(crate) fn retention(data: &[u8]) {
    let mut random = Random::of(data);
    let mut history: Vec<Known> = (0..random.below(MOST))
        .map(|_| known(&mut random))
        .collect();
    // An id is given once.
    let mut seen = BTreeSet::new();
    history.retain(|known| seen.insert(known.id));
    let rules: Vec<Keep> = (0..random.below(6)).map(|_| rule(&mut random)).collect();
    let more = rule(&mut random);
    let budget = random.one_in(3).then(|| random.byte().into());
    let some = |random: &mut Random| -> Option<CheckpointId> {
        random
            .one_in(2)
            .then(|| CheckpointId::new(random.below(MOST) as u64))
    };
    let situation = Situation {
        now: Timestamp::from_millis(time(&mut random)),
        head: some(&mut random),
        good: some(&mut random),
        directions: [("loss".to_owned(), Direction::Min)].into(),
        completed: some(&mut random),
    };
    let candidates: Vec<Candidate<'_>> = history.iter().map(candidate).collect();
    let Ok(retention) = Retention::new(rules.clone()) else {
        return;
    };
    let retention = match budget {
        Some(bytes) => retention.max_bytes(bytes),
        None => retention,
    };
    let plan = match retention.plan("job", &situation, &candidates) {
        Ok(plan) => plan,
        Err(Error::Undeclared { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    check(&plan, &history, &situation);
    let kept: BTreeSet<CheckpointId> = plan.kept().collect();
    let left: Vec<Candidate<'_>> = candidates
        .iter()
        .filter(|candidate| kept.contains(&candidate.id))
        .copied()
        .collect();
    let again = retention
        .plan("job", &situation, &left)
        .expect("it was planned before");
    assert_eq!(
        again.dropped().count(),
        0,
        "a plan that is carried out asks for no more"
    );
    if budget.is_none()
        && let Ok(wider) = Retention::new(rules.into_iter().chain([more]))
        && let Ok(wider) = wider.plan("job", &situation, &candidates)
    {
        let wider: BTreeSet<CheckpointId> = wider.kept().collect();
        assert!(wider.is_superset(&kept), "another rule drops nothing more");
    }
}

fn check(plan: &Plan, history: &[Known], situation: &Situation) {
    let ids: BTreeSet<u64> = history.iter().map(|known| known.id).collect();
    assert_eq!(plan.verdicts.len(), ids.len());
    for verdict in &plan.verdicts {
        assert!(!verdict.reasons.is_empty(), "every decision has a reason");
        let keeps = verdict
            .reasons
            .iter()
            .all(|reason| reason.keeps() == verdict.keep);
        assert!(keeps, "{verdict:?}");
        let must = [situation.head, situation.good].contains(&Some(verdict.id));
        assert!(verdict.keep || !must, "{verdict:?}");
    }
    let dropped: BTreeSet<CheckpointId> = plan.dropped().collect();
    for known in history.iter().filter(|known| known.pinned) {
        let id = CheckpointId::new(known.id);
        assert!(!dropped.contains(&id), "{id} is pinned");
    }
}

fn time(random: &mut Random) -> i64 {
    let far = [i64::MIN, -1, 0, i64::MAX];
    if random.one_in(4) {
        *random.pick(&far)
    } else {
        i64::from(random.byte()) * 60_000
    }
}

fn value(random: &mut Random) -> f64 {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
    if random.one_in(3) {
        *random.pick(&odd)
    } else {
        f64::from(random.byte()) - 100.0
    }
}

fn event(random: &mut Random) -> Event {
    let all = [
        Event::Periodic,
        Event::Best("loss".to_owned()),
        Event::PhaseEnd,
        Event::PhaseBoundary("a".to_owned()),
        Event::Interrupt,
        Event::Final,
    ];
    random.pick(&all).clone()
}

fn known(random: &mut Random) -> Known {
    let iteration = if random.one_in(9) {
        u64::MAX - random.below(2) as u64
    } else {
        random.below(200) as u64
    };
    let mut metrics = BTreeMap::new();
    for name in ["loss", "undeclared"] {
        if random.one_in(2) {
            metrics.insert(name.to_owned(), value(random));
        }
    }
    Known {
        id: random.below(MOST) as u64,
        iteration,
        at: time(random),
        events: (0..random.below(3)).map(|_| event(random)).collect(),
        metrics,
        tags: (0..random.below(2)).map(|_| "good".to_owned()).collect(),
        pinned: random.one_in(6),
        abandoned: random.one_in(4),
        bytes: if random.one_in(8) {
            u64::MAX
        } else {
            random.byte().into()
        },
    }
}

fn candidate(known: &Known) -> Candidate<'_> {
    Candidate {
        id: CheckpointId::new(known.id),
        iteration: known.iteration,
        saved_at: Timestamp::from_millis(known.at),
        events: &known.events,
        metrics: &known.metrics,
        tags: &known.tags,
        pinned: known.pinned,
        abandoned: known.abandoned,
        bytes: known.bytes,
    }
}

fn rule(random: &mut Random) -> Keep {
    let some = |random: &mut Random| {
        let number = if random.one_in(6) {
            u64::MAX
        } else {
            random.below(9) as u64
        };
        number.max(1).try_into().expect("it is at least 1")
    };
    match random.below(11) {
        0 => Keep::Latest(random.below(9) as u64),
        1 => Keep::LatestPeriodic(random.below(9) as u64),
        2 | 3 => Keep::Best {
            metric: (*random.pick(&["loss", "undeclared", ""])).to_owned(),
            count: random.below(5) as u64,
            direction: random.one_in(2).then_some(Direction::Max),
        },
        4 => Keep::Every(some(random)),
        5 => Keep::Nearest(some(random)),
        6 => Keep::Within(Duration::from_millis(time(random).unsigned_abs())),
        7 => Keep::Event(
            (*random.pick(&["interrupt", "phase_boundary", "best(loss)", "x"])).to_owned(),
        ),
        8 => Keep::Interrupts,
        9 => Keep::Tag("good".to_owned()),
        _ => Keep::Tagged,
    }
}
