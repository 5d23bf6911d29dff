//! Orbax's preservation policies decide the same as ours on random histories, where the rules mean
//! the same. `record.py` says how `decisions.json` came to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ckptdb::policy::{Candidate, Keep, Retention, Situation};
use ckptdb::{CheckpointId, Direction, Timestamp};
use serde_json::Value;

const DECISIONS: &str = include_str!("decisions.json");

fn rule(recorded: &Value) -> Keep {
    let number = recorded[1].as_u64().unwrap();
    let best = |direction| Keep::Best {
        metric: "reward".to_owned(),
        count: number,
        direction: Some(direction),
    };
    match recorded[0].as_str().unwrap() {
        "latest" => Keep::Latest(number),
        "best" => best(Direction::Max),
        "least" => best(Direction::Min),
        "every" => Keep::Every(number.try_into().unwrap()),
        "nearest" => Keep::Nearest(number.try_into().unwrap()),
        "within" => Keep::Within(Duration::from_hours(number)),
        other => panic!("a rule called {other}"),
    }
}

/// What ours keep of a recorded history, in Orbax's order.
fn kept(case: &Value) -> String {
    let numbers = |name: &str| -> Vec<f64> {
        let list = case[name].as_array().unwrap().iter();
        list.map(|number| number.as_f64().unwrap()).collect()
    };
    let steps: Vec<u64> = case["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_u64().unwrap())
        .collect();
    let metrics: Vec<BTreeMap<String, f64>> = numbers("rewards")
        .into_iter()
        .map(|reward| BTreeMap::from([("reward".to_owned(), reward)]))
        .collect();
    let (events, tags) = (BTreeSet::new(), BTreeSet::new());
    let now = Timestamp::from_millis(1_000_000_000_000);
    let hours = case["ages"].as_array().unwrap().iter();
    let at = hours.map(|age| now.as_millis() - age.as_i64().unwrap() * 3_600_000 - 1_800_000);
    let candidates: Vec<Candidate<'_>> = (1..)
        .zip(&steps)
        .zip(&metrics)
        .zip(at)
        .map(|(((id, step), metrics), at)| Candidate {
            id: CheckpointId::new(id),
            iteration: *step,
            saved_at: Timestamp::from_millis(at),
            events: &events,
            metrics,
            tags: &tags,
            pinned: false,
            abandoned: false,
            bytes: 1,
        })
        .collect();
    let rules = case["rules"].as_array().unwrap().iter().map(rule);
    let situation = Situation {
        now,
        head: Some(CheckpointId::new(candidates.len() as u64)),
        ..Situation::default()
    };
    let retention = Retention::new(rules).unwrap();
    let plan = retention.plan("job", &situation, &candidates).unwrap();
    let marks = plan
        .verdicts
        .iter()
        .map(|verdict| if verdict.keep { 'x' } else { '.' });
    marks.collect()
}

#[test]
fn orbax_decides_the_same_where_the_rules_mean_the_same() {
    let recorded: Value = serde_json::from_str(DECISIONS).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    let mut rules = BTreeMap::new();
    for case in cases {
        // Ours keep the head whatever the rules are.
        let mut wanted = case["kept"].as_str().unwrap().to_owned();
        wanted.pop();
        wanted.push('x');
        assert_eq!(kept(case), wanted, "{case}");
        for rule in case["rules"].as_array().unwrap() {
            *rules.entry(rule[0].as_str().unwrap()).or_insert(0) += 1;
        }
    }
    println!(
        "{} histories, Orbax {}: {rules:?}",
        cases.len(),
        recorded["orbax"]
    );
    assert!(rules.values().all(|count| *count > 50), "{rules:?}");
}
