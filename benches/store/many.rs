//! Queries, opening and pruning among many checkpoints, beside the same among a hundredth of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ckptdb::policy::{Keep, Retention};
use ckptdb::{Backend, Direction, FileMedium, Filter, Medium, Options, Store};
use serde_json::{Value, json};

use super::shown;

/// Jobs that share the checkpoints.
const JOBS: u64 = 50;
/// Prunes, each of one checkpoint, and lists of all, for a median.
const FEW_RUNS: u64 = 9;
/// Times that each query runs, for a median.
const RUNS: usize = 101;

/// A medium that counts the reads of its file.
#[derive(Debug)]
struct Counting(FileMedium, Arc<AtomicU64>);

#[derive(Debug)]
struct CountingBackend(Box<dyn Backend>, Arc<AtomicU64>);

impl Medium for Counting {
    fn open(&self) -> std::io::Result<Box<dyn Backend>> {
        let backend = self.0.open()?;
        Ok(Box::new(CountingBackend(backend, Arc::clone(&self.1))))
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Backend for CountingBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }
    fn try_lock(&self) -> std::io::Result<bool> {
        self.0.try_lock()
    }
    fn unlock(&self) -> std::io::Result<()> {
        self.0.unlock()
    }
    fn allocated(&self) -> std::io::Result<u64> {
        self.0.allocated()
    }
}

type Query<'a> = (&'static str, &'a dyn Fn(&Store));

/// What one query, or pruning, takes: seconds, and reads of the file with nothing cached.
struct Cost {
    what: &'static str,
    seconds: f64,
    reads: u64,
}

pub(super) fn measure(folder: &Path, checkpoints: u64) -> Value {
    let few = checkpoints / 100;
    let least = JOBS * (FEW_RUNS + 1);
    assert!(few >= least, "--checkpoints={} at least", 100 * least);
    let [small, large] = [few, checkpoints].map(|total| costs(folder, total));
    println!("of {JOBS} jobs; medians of {RUNS} runs, and reads of the file with nothing cached");
    println!(
        "| what | {checkpoints} checkpoints | reads | {few} checkpoints | reads | times its time |"
    );
    println!("|---|---|---|---|---|---|");
    let rows = large.iter().zip(&small).map(|(large, small)| {
        let ratio = large.seconds / small.seconds;
        let (time, beside) = (shown(large.seconds), shown(small.seconds));
        let what = large.what;
        println!(
            "| {what} | {time} | {} | {beside} | {} | {ratio:.2} |",
            large.reads, small.reads
        );
        json!({
            "what": what,
            "seconds": large.seconds,
            "reads": large.reads,
            "reference": format!("the same of {few} checkpoints"),
            "reference_seconds": small.seconds,
            "reference_reads": small.reads,
            "times_its_time": ratio,
        })
    });
    let rows: Vec<Value> = rows.collect();
    json!({
        "schema": "ckptdb.bench.many/1",
        "checkpoints": checkpoints,
        "rows": rows,
    })
}

/// Makes a store of so many small checkpoints.
#[expect(clippy::cast_precision_loss, reason = "synthetic metrics")]
fn fill(path: &Path, total: u64) {
    let store = Store::create(path).unwrap();
    let job = |number| store.job(&format!("job/{number}")).unwrap();
    let jobs: Vec<_> = (0..JOBS).map(job).collect();
    for job in &jobs {
        job.declare_metric("score", Direction::Max).unwrap();
    }
    for number in 0..total {
        let job = &jobs[usize::try_from(number % JOBS).unwrap()];
        let score = ((number * 7919) % 10_007) as f64;
        let save = job.save(number / JOBS).bytes("state", b"small");
        save.metric("score", score).commit().unwrap();
    }
}

fn costs(folder: &Path, total: u64) -> Vec<Cost> {
    let path = folder.join(format!("{total}.ckptdb"));
    fill(&path, total);
    let reads = Arc::new(AtomicU64::new(0));
    let open = || {
        let medium = Counting(FileMedium::new(&path), Arc::clone(&reads));
        Store::open_in(Arc::new(medium), Options::default()).unwrap()
    };
    let counted = |run: &mut dyn FnMut()| {
        let before = reads.load(Ordering::Relaxed);
        run();
        reads.load(Ordering::Relaxed) - before
    };
    let mut costs = vec![Cost {
        what: "open",
        reads: counted(&mut || drop(open())),
        seconds: median(&mut || timed(&mut || drop(open()))),
    }];
    let job = |store: &Store| store.job("job/7").unwrap();
    let newest = Filter {
        job: Some("job/7".to_owned()),
        limit: Some(20),
        ..Filter::default()
    };
    let queries: [Query<'_>; 4] = [
        ("latest", &|store| {
            drop(job(store).latest().unwrap().unwrap());
        }),
        ("best", &|store| {
            drop(job(store).best("score").unwrap().unwrap());
        }),
        ("best 8", &|store| {
            drop(job(store).ranking("score", 8).unwrap());
        }),
        ("list, newest 20", &|store| {
            assert!(store.list(&newest).unwrap().count() <= 20);
        }),
    ];
    for (what, query) in queries {
        let store = open();
        let reads = counted(&mut || query(&store));
        let seconds = median(&mut || timed(&mut || query(&store)));
        costs.push(Cost {
            what,
            seconds,
            reads,
        });
    }
    costs.extend(of_all(&open(), &counted, total));
    std::fs::remove_file(&path).unwrap();
    costs
}

/// What has to look at all checkpoints, of the store or of a job.
#[expect(clippy::cast_precision_loss, reason = "a number of checkpoints")]
fn of_all(store: &Store, counted: &dyn Fn(&mut dyn FnMut()) -> u64, total: u64) -> [Cost; 2] {
    let list = || {
        let found = store.list(&Filter::default()).unwrap().count();
        assert_eq!(found as u64, total);
    };
    let reads = counted(&mut || list());
    let times = (0..FEW_RUNS).map(|_| timed(&mut || list()));
    let list = Cost {
        what: "list, all: each",
        seconds: middle(times.collect()) / total as f64,
        reads,
    };
    let job = store.job("job/7").unwrap();
    let mut left = total / JOBS;
    let mut times = Vec::new();
    let mut prune = || {
        left -= 1;
        let rules = Retention::new([Keep::Latest(left)]).unwrap();
        let prune = || assert_eq!(job.prune(&rules).unwrap().deleted, 1);
        times.push(timed(&mut || prune()));
    };
    let reads = counted(&mut || prune());
    (1..FEW_RUNS).for_each(|_| prune());
    let prune = Cost {
        what: "prune a job of its oldest",
        seconds: middle(times),
        reads,
    };
    [list, prune]
}

fn timed(run: &mut dyn FnMut()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

fn median(run: &mut dyn FnMut() -> Duration) -> f64 {
    middle((0..RUNS).map(|_| run()).collect())
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
