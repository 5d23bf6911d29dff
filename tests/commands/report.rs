//! `report`: a page that holds all it needs, says in words what it draws, and takes no name for
//! markup.

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::session::SessionOptions;
use ckptdb::telemetry::Batch;
use ckptdb::{DType, Direction, MemoryMedium, Options, Store};

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

/// A job of this name was begun twice, each time with another checkpoint.
#[test]
fn a_job_that_was_deleted_and_forked_anew_began_where_it_began_last() {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("vit").unwrap();
    let fork = |iteration| job.at(iteration).unwrap().unwrap().fork("copy").unwrap();
    fork(3);
    store.delete_job("copy").unwrap();
    fork(1);
    drop((job, store));
    assert_eq!(stored.run(&["report", "copy"]).code(), 0);
    let html = std::fs::read_to_string(stored.folder.path().join("report.html")).unwrap();
    assert!(html.contains("It began as a fork of vit@1."), "{html}");
    assert!(
        html.contains("line has 1 checkpoint, from iteration 1 to 1."),
        "{html}"
    );
    // Each of the two rows has its own.
    assert!(
        html.contains("<td>vit@1</td>") && html.contains("<td>vit@3</td>"),
        "{html}"
    );
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
        "class=\"back\"",
        " 1 checkpoint is deleted. A rollback to iteration 1,000 left 2 checkpoints behind. \
         es forked from iteration 900.",
        "It began as a fork of nq@900.",
        "<td>forked to es</td>",
        "<td>900</td>",
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

/// What the limits on a report are about.
const CHECKPOINTS: u32 = 10_000;
const POINTS: u32 = 1_000_000;
const MOST_BYTES: u64 = 2_000_000;

/// A store of so many checkpoints and points in all, of jobs that have equal shares, each with this
/// many metrics. Every 500th save goes back by two, and every thousandth begins a fork.
fn large(jobs: u32, metrics: u32) -> Stored {
    let stored = Stored::new();
    let medium = Arc::new(MemoryMedium::default());
    let store = Store::create_in(medium.clone(), Options::default()).unwrap();
    let names: Vec<String> = (0..metrics).map(|one| format!("metric-{one:02}")).collect();
    let value = |at: u32| f64::from(at % 1000).sin();
    for job in 0..jobs {
        let name = format!("job-{job:03}");
        let job = store.job(&name).unwrap();
        job.declare_metric(&names[0], Direction::Max).unwrap();
        let iterations = POINTS / jobs / metrics;
        for first in (0..iterations).step_by(10_000) {
            let mut batch = Batch::default();
            for at in first..iterations.min(first + 10_000) {
                let of_each = names.iter().map(|name| (name.as_str(), value(at)));
                batch.log(at.into(), of_each).unwrap();
            }
            job.append(&batch).unwrap();
        }
        let mut ids = Vec::new();
        for number in 1..=CHECKPOINTS / jobs {
            let state = number.to_le_bytes();
            let mut save = job.save((number * 7).into()).bytes("x", &state);
            for name in &names {
                save = save.metric(name, value(number));
            }
            if number % 500 == 0 {
                save = save.parent(ids[ids.len() - 3]);
            }
            ids.push(save.commit().unwrap().checkpoint.id);
            if number % 1000 == 0 {
                let latest = job.latest().unwrap().unwrap();
                latest.fork(&format!("{name}-{number}")).unwrap();
            }
        }
    }
    drop(store);
    std::fs::write(stored.path(), medium.to_vec()).unwrap();
    stored
}

/// The bytes of a report on a store.
fn bytes(stored: &Stored) -> u64 {
    let said = stored.run(&["report", "--json"]);
    assert_eq!(said.code(), 0, "{}", said.text());
    said.json()["bytes"].as_u64().unwrap()
}

#[test]
fn however_much_there_is_of_one_job_the_page_stays_small() {
    let stored = large(1, 5);
    let bytes = bytes(&stored);
    assert!(bytes < MOST_BYTES, "{bytes}");
    let html = std::fs::read_to_string(stored.folder.path().join("report.html")).unwrap();
    assert!(
        html.contains("from iteration 7 to 70,000"),
        "all of it is told"
    );
    assert!(
        html.contains("lines are left out."),
        "of 20 lines and 10 forks"
    );
}

#[test]
fn however_many_jobs_there_are_the_page_stays_small_and_says_what_it_leaves_out() {
    let stored = large(100, 7);
    let bytes = bytes(&stored);
    assert!(bytes < MOST_BYTES, "{bytes}");
    let html = std::fs::read_to_string(stored.folder.path().join("report.html")).unwrap();
    assert!(html.contains("68 jobs, saved before these; `ckptdb report JOB` shows one"));
    assert!(html.contains("4 more metrics are left out."), "{bytes}");
    assert!(html.contains(" and 1 more</td>"), "of seven, six");
}

#[test]
fn a_report_leaves_out_checkpoints_whose_records_are_damaged_and_says_so() {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("vit").unwrap();
    let save = job
        .save(4)
        .bytes("x", b"4")
        .attribute("note", &"this-is-the-one".into());
    save.commit().unwrap();
    job.save(5).bytes("x", b"5").commit().unwrap();
    drop((job, store));
    let page = |stored: &Stored| {
        let said = stored.run(&["report"]);
        assert_eq!(said.code(), 0, "{}", said.text());
        std::fs::read_to_string(stored.folder.path().join("report.html")).unwrap()
    };
    assert!(!page(&stored).contains("<dt>damaged</dt>"));
    let mut bytes = std::fs::read(stored.path()).unwrap();
    let needle = b"this-is-the-one";
    let places = bytes.windows(needle.len()).enumerate();
    let places = places.filter(|(_, found)| found == needle);
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    for place in places {
        bytes[place] ^= 1;
    }
    std::fs::write(stored.path(), bytes).unwrap();
    let html = page(&stored);
    assert!(
        html.contains("<dt>damaged</dt>"),
        "{}",
        stored.run(&["verify"]).text()
    );
    assert!(html.contains("The job&#39;s line has 4 checkpoints"));
}
