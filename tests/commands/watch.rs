//! `watch`, as programs read it.

use std::collections::BTreeMap;

use ckptdb::Store;
use ckptdb::session::SessionOptions;
use ckptdb::telemetry::Batch;
use serde_json::Value;

use super::Stored;

#[test]
fn a_look_tells_of_each_job_its_last_save_and_how_its_metrics_go() {
    let stored = Stored::new();
    let said = stored.run(&["watch", "--times", "1"]);
    assert_eq!(said.code(), 0, "{}", said.text());
    let text = said.text();
    assert!(text.contains("vit  iteration 3  saved "), "{text}");
    assert!(text.contains("3 checkpoints"), "{text}");
    // Of a job that logs nothing, what its checkpoints say: a loss that stands still.
    let loss = text.lines().find(|line| line.contains("loss")).unwrap();
    assert!(loss.ends_with("\u{2585}\u{2585}\u{2585}"), "{text}");
    assert!(text.contains("\ndisk: "), "{text}");

    let store = Store::open(stored.path()).unwrap();
    let mut batch = Batch::default();
    for iteration in 0..1000_u32 {
        let value = if iteration == 999 {
            f64::NAN
        } else {
            f64::from(iteration)
        };
        batch.log(iteration.into(), [("reward", value)]).unwrap();
    }
    store.job("vit").unwrap().append(&batch).unwrap();
    let said = stored.run(&["watch", "vit", "--times", "1"]);
    let reward = said.text();
    let reward = reward.lines().find(|line| line.contains("reward")).unwrap();
    let (first, last) = ("\u{2581}", "\u{2588}");
    assert!(reward.contains("NaN") && reward.contains(first) && reward.ends_with(last));
    // A session notes what its saves took.
    let options = SessionOptions {
        signals: false,
        ..SessionOptions::default()
    };
    let mut session = store.job("es").unwrap().session(options).unwrap();
    for iteration in 1..=10 {
        session.step(iteration, &BTreeMap::new(), |save| save.bytes("x", b"x"));
    }
    session.finish(11, &BTreeMap::new(), |save| save.bytes("x", b"y"));
    let said = stored.run(&["watch", "es", "--times", "1"]).text();
    assert!(
        said.contains("blocked ") && !said.contains("METRIC"),
        "{said}"
    );
    let said = stored.run(&["watch", "es", "--times", "1", "--json"]);
    let job = &said.json()["jobs"][0];
    assert!(job["blocked_seconds"].as_f64().unwrap() > 0.0, "{job}");
    assert_eq!(job["metrics"], serde_json::json!([]));
    let said = stored.run(&["watch", "vti", "--times", "1"]);
    assert_eq!(said.code(), 4);
    assert!(
        said.text().contains("did you mean `vit`"),
        "{}",
        said.text()
    );
}

#[test]
fn what_has_not_changed_is_told_once_and_each_look_is_a_line_of_json() {
    let stored = Stored::new();
    let looks = ["watch", "--json", "--interval", "1ms", "--times", "4"];
    let said = stored.run(&looks);
    let text = String::from_utf8(said.0.stdout).unwrap();
    let looks: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The disk's free space may be another each time.
    assert!((1..=4).contains(&looks.len()), "{text}");
    let look = &looks[0];
    assert_eq!(look["schema"], "ckptdb.watch/1");
    let job = &look["jobs"][0];
    assert_eq!((&job["job"], &job["latest"]), (&"vit".into(), &3.into()));
    assert_eq!(
        (&job["running"], &job["checkpoints"]),
        (&false.into(), &3.into())
    );
    let loss = &job["metrics"][0];
    assert_eq!(
        (&loss["name"], &loss["iteration"]),
        (&"loss".into(), &3.into())
    );
    assert_eq!(loss["last"], 1.0);
    assert!(look["disk"]["free_bytes"].as_u64().unwrap() > 0);
}
