//! What is latest, best and newest among many checkpoints of 50 jobs: rows of SQLite with an index
//! for each question, and ckptdb. In turn, in the same run; medians, with all in the page caches.

use std::path::Path;
use std::time::Instant;

use ckptdb::{Direction, Filter, Store};
use rusqlite::{Connection, params};

const JOBS: u64 = 50;
const RUNS: usize = 1001;

/// `[CHECKPOINTS]`.
pub(crate) fn compare(arguments: &[String]) {
    let mut numbers = arguments.iter().map(|text| text.parse().unwrap());
    let total: u64 = numbers.next().unwrap_or(100_000);
    let folder = crate::folder();
    let sqlite = sqlite(&folder.path().join("sqlite"), total);
    let store = ours(&folder.path().join("x.ckptdb"), total);
    let job = store.job("job/7").unwrap();
    let newest = Filter {
        job: Some("job/7".to_owned()),
        limit: Some(20),
        ..Filter::default()
    };
    println!("{total} checkpoints of {JOBS} jobs, medians of {RUNS} runs");
    println!("| | SQLite | ckptdb | of SQLite's time |\n|---|---|---|---|");
    let asked = |order: &str, limit: usize| {
        let question =
            format!("SELECT record FROM checkpoints WHERE job = 7 {order} LIMIT {limit}");
        let mut rows = sqlite.prepare_cached(&question).unwrap();
        let row = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
        assert_eq!(rows.query_map([], row).unwrap().count(), limit);
    };
    let rows: [(&str, &dyn Fn(), &dyn Fn()); 3] = [
        ("latest", &|| asked("ORDER BY iteration DESC", 1), &|| {
            job.latest().unwrap().unwrap();
        }),
        ("best", &|| asked("ORDER BY score DESC", 1), &|| {
            job.best("score").unwrap().unwrap();
        }),
        (
            "newest 20",
            &|| asked("ORDER BY iteration DESC", 20),
            &|| {
                assert_eq!(store.list(&newest).unwrap().count(), 20);
            },
        ),
    ];
    for (what, theirs, ours) in rows {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            for (times, run) in times.iter_mut().zip([theirs, ours]) {
                let begun = Instant::now();
                run();
                times.push(begun.elapsed().as_secs_f64());
            }
        }
        let [theirs, ours] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        });
        let ratio = ours / theirs;
        println!(
            "| {what} | {:.1} us | {:.1} us | {ratio:.2} |",
            theirs * 1e6,
            ours * 1e6
        );
    }
}

fn score(number: u64) -> f64 {
    (number * 7919 % 10_007) as f64
}

/// Rows of 200 bytes, as long as a record of ours.
fn sqlite(path: &Path, total: u64) -> Connection {
    let mut sqlite = Connection::open(path).unwrap();
    let tables = "PRAGMA journal_mode = WAL; PRAGMA cache_size = -131072;
        CREATE TABLE checkpoints (id INTEGER PRIMARY KEY, job INTEGER, iteration INTEGER,
            score REAL, record BLOB);
        CREATE INDEX by_iteration ON checkpoints (job, iteration);
        CREATE INDEX by_score ON checkpoints (job, score);";
    sqlite.execute_batch(tables).unwrap();
    let transaction = sqlite.transaction().unwrap();
    for number in 0..total {
        let [id, job, iteration] = [number, number % JOBS, number / JOBS];
        let integer = |number| i64::try_from(number).unwrap();
        let mut row = transaction
            .prepare_cached("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)")
            .unwrap();
        let values = (integer(id), integer(job), integer(iteration));
        row.execute(params![
            values.0,
            values.1,
            values.2,
            score(number),
            [7_u8; 200]
        ])
        .unwrap();
    }
    transaction.commit().unwrap();
    sqlite
}

fn ours(path: &Path, total: u64) -> Store {
    let store = Store::create(path).unwrap();
    let job = |number| store.job(&format!("job/{number}")).unwrap();
    let jobs: Vec<_> = (0..JOBS).map(job).collect();
    for job in &jobs {
        job.declare_metric("score", Direction::Max).unwrap();
    }
    for number in 0..total {
        let job = &jobs[usize::try_from(number % JOBS).unwrap()];
        let save = job.save(number / JOBS).bytes("state", b"small");
        save.metric("score", score(number)).commit().unwrap();
    }
    store
}
