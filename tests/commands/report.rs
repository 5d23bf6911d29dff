//! `report`: a page that holds all it needs, says in words what it draws, and takes no name for
//! markup.

use std::collections::BTreeMap;

use ckptdb::session::SessionOptions;
use ckptdb::telemetry::Batch;
use ckptdb::{DType, Direction, Store};

use super::Stored;
use crate::support::{vector, walk};

/// Elements that are not closed.
const VOID: [&str; 3] = ["meta", "!doctype", "!--"];

/// The elements of a page, in order, after a check that each is closed where it has to be.
fn elements(html: &str) -> Vec<&str> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "it closes another one");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        found.push(tag);
        if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

fn filled() -> Stored {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("nq").unwrap();
    job.declare_metric("reward", Direction::Max).unwrap();
    let mut batch = Batch::default();
    for iteration in 0..2000_u32 {
        let value = f64::from(iteration).sin();
        batch.log(iteration.into(), [("logged", value)]).unwrap();
    }
    job.append(&batch).unwrap();
    for step in 1..=12_u32 {
        let weights = walk(1, u64::from(step), 400);
        let save = job.save(u64::from(step) * 100);
        let reward = f64::from(10 - step.abs_diff(8));
        let save = save
            .metric("reward", reward)
            .metric("<script>alert</script>&\"'", 1.0);
        save.tensor("blocks.0.weight", vector(DType::F32, &weights))
            .commit()
            .unwrap();
    }
    let at = |iteration| job.at(iteration).unwrap().unwrap();
    at(300).delete(true).unwrap();
    job.rollback(at(1000).id, "it diverged").unwrap();
    at(900).fork("es").unwrap();
    let options = SessionOptions {
        signals: false,
        ..SessionOptions::default()
    };
    let mut session = job.session(options).unwrap();
    for iteration in 1001..=1040 {
        session.step(iteration, &BTreeMap::new(), |save| save.bytes("x", b"x"));
    }
    session.finish(1041, &BTreeMap::new(), |save| save.bytes("x", b"y"));
    stored
}

#[test]
fn the_page_stands_alone_and_says_all_that_it_draws() {
    let stored = filled();
    let said = stored.run(&["report"]);
    assert_eq!(said.code(), 0, "{}", said.text());
    let html = std::fs::read_to_string(stored.folder.path().join("report.html")).unwrap();
    let elements = elements(&html);
    let count = |name: &str| {
        let is_it = |tag: &&&str| tag.split(' ').next() == Some(name);
        elements.iter().filter(is_it).count()
    };
    assert_eq!((count("script"), count("img"), count("link")), (0, 0, 0));
    assert!(
        !html.contains("http") && !html.contains("url("),
        "nothing is fetched"
    );
    // Three jobs; each drawing has a title, a description, and a table below.
    assert_eq!(count("section"), 3);
    let drawings = elements
        .iter()
        .filter(|tag| tag.contains("role=\"img\""))
        .count();
    assert!(drawings >= 8, "{drawings}");
    assert_eq!(
        (count("figure"), count("details"), count("table")),
        (drawings, drawings, drawings)
    );
    assert_eq!((count("title"), count("desc")), (drawings + 1, drawings));
    for text in [
        "The best is 10 at 800.",
        "class=\"best\"",
        "class=\"deleted\"",
        "class=\"abandoned\"",
        "class=\"fork\"",
        "class=\"band one\"",
        "&lt;script&gt;alert&lt;/script&gt;&amp;&quot;&#39;",
        "In the median, a save was durable after ",
        "Drift of layers",
        "blocks.0",
        "nq@1000",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("ckptdb/"), "what sessions note is no metric");
    let said = stored
        .run(&["report", "nq", "-o", "nq.html", "--drift", "0", "--json"])
        .json();
    assert_eq!(said["schema"], "ckptdb.report/1");
    assert_eq!(said["jobs"], serde_json::json!(["nq"]));
    let html = std::fs::read_to_string(stored.folder.path().join("nq.html")).unwrap();
    assert_eq!(html.len() as u64, said["bytes"].as_u64().unwrap());
    assert!(!html.contains("Drift of layers"));
    let said = stored.run(&["report", "nqq"]);
    assert!(
        said.code() == 4 && said.text().contains("did you mean `nq`?"),
        "{}",
        said.text()
    );
    let said = stored.run(&["report", "-o", "no/such/folder/x.html"]);
    assert!(
        said.code() == 1 && said.text().contains("no/such/folder"),
        "{}",
        said.text()
    );
}

#[test]
fn however_much_there_is_the_page_stays_small() {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("long").unwrap();
    for iteration in 0..1500_u32 {
        let state = iteration.to_le_bytes();
        let save = job.save(iteration.into()).bytes("x", &state);
        save.metric("loss", 1.0 / f64::from(iteration + 1))
            .commit()
            .unwrap();
    }
    drop((job, store));
    assert_eq!(stored.run(&["report", "long"]).code(), 0);
    let bytes = std::fs::metadata(stored.folder.path().join("report.html"))
        .unwrap()
        .len();
    assert!(bytes < 150_000, "{bytes}");
}
