//! What a session costs: `cargo bench --bench session -- prune [N]`, `-- telemetry [MILLIONS]` and
//! `-- beside [MIB]`.
#![expect(
    clippy::unwrap_used,
    reason = "a measurement stops at the first surprise"
)]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures files and time")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ckptdb::policy::{Keep, Retention, Trigger};
use ckptdb::session::{MinFree, SessionOptions};
use ckptdb::telemetry::Batch;
use ckptdb::{Event, Store};

#[path = "session/beside.rs"]
mod beside;
#[path = "support/noise.rs"]
mod noise;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let what = arguments.next();
    let count = arguments.next();
    let number = |default: u64| count.as_ref().map_or(default, |text| text.parse().unwrap());
    match what.as_deref() {
        Some("prune") => prune(number(50_000)),
        Some("telemetry") => telemetry(number(10) * 1_000_000),
        Some("beside") => beside::measure(number(256)),
        _ => println!("one of: prune [CHECKPOINTS], telemetry [MILLIONS OF POINTS], beside [MIB]"),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A job with so many checkpoints that a rule protects for ever.
fn protected(store: &Store, name: &str, count: u64) {
    let job = store.job(name).unwrap();
    for iteration in 1..=count {
        let state = iteration.to_le_bytes();
        let save = job.save(iteration).bytes("state", &state);
        save.event(Event::PhaseEnd).commit().unwrap();
    }
}

/// The median time of a step that saves, and of one that saves and applies retention.
fn steps(store: &Store, name: &str) -> (Duration, Duration) {
    let session = |prune_every| {
        let rules = [Keep::Latest(8), Keep::Event("phase_end".to_owned())];
        let options = SessionOptions {
            triggers: Trigger::Iterations(1.try_into().unwrap()).into(),
            retention: Some(Retention::new(rules).unwrap()),
            prune_every,
            min_free: MinFree::NONE,
            signals: false,
            ..SessionOptions::default()
        };
        store.job(name).unwrap().session(options).unwrap()
    };
    let time = |prune_every| {
        let mut session = session(prune_every);
        let first = session.next_iteration();
        let mut times = Vec::new();
        for iteration in first..first + 200 {
            let begun = Instant::now();
            let step = session.step(iteration, &BTreeMap::new(), |save| {
                save.file("state", std::io::Cursor::new(iteration.to_le_bytes()))
            });
            assert!(step.problems.is_empty());
            times.push(begun.elapsed());
        }
        median(times)
    };
    (time(1_000_000), time(1))
}

/// What a save with retention costs, beside few checkpoints and beside many.
fn prune(many: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    for count in [100, many] {
        let name = format!("job-{count}");
        protected(&store, &name, count);
        let (save, pruning) = steps(&store, &name);
        println!(
            "{count} checkpoints: a save {save:?}, with retention {pruning:?} ({:.2}x)",
            pruning.as_secs_f64() / save.as_secs_f64()
        );
    }
}

/// So many points of ten metrics, in batches of a session's size.
fn telemetry(points: u64) {
    const METRICS: u64 = 10;
    let names: Vec<String> = (0..METRICS).map(|n| format!("metric/{n}")).collect();
    let value = |row: u64, metric: u64| {
        let noise = (row * 7919 + metric * 104_729) % 10_007;
        1.0 / (1.0 + row as f64 * 1e-4) + f64::from(u32::try_from(noise).unwrap()) * 1e-6
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("NQ").unwrap();
    let rows = points / METRICS;
    let (mut logging, mut storing, mut batches) = (Duration::ZERO, Duration::ZERO, 0_u64);
    let mut batch = Batch::default();
    for row in 1..=rows {
        let begun = Instant::now();
        let values = (0..)
            .zip(&names)
            .map(|(n, name)| (name.as_str(), value(row, n)));
        batch.log(row, values).unwrap();
        logging += begun.elapsed();
        if batch.len() >= 4096 || row == rows {
            let begun = Instant::now();
            job.append(&batch).unwrap();
            storing += begun.elapsed();
            batch = Batch::default();
            batches += 1;
        }
    }
    let raw = reference(&folder.path().join("raw"), points * 16, batches);
    read(&job, rows);
    store.compact().unwrap();
    let bytes = path.metadata().unwrap().len();
    println!("{points} points in {batches} appends");
    println!(
        "  in memory: {:.0} ns a point",
        logging.as_nanos() as f64 / points as f64
    );
    println!(
        "  stored: {:.0} ns a point, {:.1}x a plain write and sync of 16 bytes a point, as often",
        storing.as_nanos() as f64 / points as f64,
        storing.as_secs_f64() / raw.as_secs_f64()
    );
    println!(
        "  {:.2} bytes a point in the file, of 16: {:.2}",
        bytes as f64 / points as f64,
        bytes as f64 / points as f64 / 16.0
    );
}

/// What reading costs.
fn read(job: &ckptdb::Job, rows: u64) {
    let took = |run: &dyn Fn()| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    let telemetry = job.telemetry().unwrap();
    let summing = took(&|| assert_eq!(telemetry.summaries().unwrap().len(), 10));
    let all = 0..=u64::MAX / 2;
    let sampling = took(&|| {
        let buckets = telemetry.downsample("metric/3", 1..=rows, 1000).unwrap();
        assert!(buckets.len() <= 1000);
    });
    let reading = took(&|| {
        let points = telemetry.points("metric/3", all.clone()).unwrap();
        assert_eq!(points.len() as u64, rows);
    });
    let range = took(&|| {
        let points = telemetry
            .points("metric/3", rows / 2..=rows / 2 + 999)
            .unwrap();
        assert_eq!(points.len(), 1000);
    });
    println!(
        "  summaries of all metrics {summing:?}; of one metric ({rows} points): all {reading:?}, \
         1,000 buckets {sampling:?}, a range of 1,000 {range:?}"
    );
}

/// The same bytes written plainly, and synced as often.
fn reference(path: &Path, bytes: u64, times: u64) -> Duration {
    let part = vec![7; usize::try_from(bytes / times).unwrap()];
    let mut file = File::create(path).unwrap();
    let begun = Instant::now();
    for _ in 0..times {
        file.write_all(&part).unwrap();
        file.sync_data().unwrap();
    }
    begun.elapsed()
}
