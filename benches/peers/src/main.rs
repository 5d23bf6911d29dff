//! Small durable saves beside other stores that do as much: a row of bytes and the index rows of a
//! checkpoint, in one transaction, on the disk when it returns. In turn, in the same run; medians.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- [SAVES] [BYTES]`. With `large
//! [MIB] [ROUNDS]` instead, one state of so many MiB, in rows of 1 MiB; with `queries
//! [CHECKPOINTS]`, what is latest, best and newest among so many. Files go to
//! `CKPTDB_BENCH_DIR`, or the system's temporary folder, and are removed.

#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ckptdb::{Backend, Direction, FileMedium, Job, Locks, Medium, Options, Store};
use redb::{Database, TableDefinition};
use rusqlite::{Connection, params};
use tempfile::TempDir;

/// Index rows that a checkpoint of ours has: iteration, event, commit, metric, and what its job
/// and the log say.
const INDEX_ROWS: u64 = 8;

const STATES: TableDefinition<u64, &[u8]> = TableDefinition::new("states");
const INDEX: TableDefinition<(u64, u64), u64> = TableDefinition::new("index");

mod large;
mod queries;

fn folder() -> TempDir {
    match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(folder) => tempfile::tempdir_in(PathBuf::from(folder)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "large" => return large::compare(rest),
        Some((word, rest)) if word == "queries" => return queries::compare(rest),
        _ => {}
    }
    let mut numbers = arguments.iter().map(|text| text.parse().unwrap());
    let saves: u64 = numbers.next().unwrap_or(2000);
    let bytes = usize::try_from(numbers.next().unwrap_or(2000)).unwrap();
    let folder = folder();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let plain = File::create(folder.path().join("plain")).unwrap();
    let sqlite = sqlite(&folder.path().join("sqlite"));
    let engines = [true, false].map(|quick_repair| {
        let path = folder.path().join(format!("redb-{quick_repair}"));
        (quick_repair, Database::create(path).unwrap())
    });
    let counted = Arc::new(AtomicU64::new(0));
    let (_store, job) = ours(&folder.path().join("x.ckptdb"), &counted);
    let mut state = noise(bytes);
    let before = counted.load(Ordering::Relaxed);
    for number in 0..saves {
        state[..8].copy_from_slice(&number.to_le_bytes());
        let mut take = |what, run: &mut dyn FnMut()| {
            let begun = Instant::now();
            run();
            times
                .entry(what)
                .or_default()
                .push(begun.elapsed().as_secs_f64());
        };
        take("plain: write + fdatasync", &mut || {
            plain.write_all_at(&state, number * bytes as u64).unwrap();
            plain.sync_data().unwrap();
        });
        take("SQLite, WAL, synchronous=FULL", &mut || {
            insert(&sqlite, number, &state)
        });
        for (quick_repair, engine) in &engines {
            let what = if *quick_repair {
                "redb alone, quick-repair"
            } else {
                "redb alone, without"
            };
            take(what, &mut || commit(engine, *quick_repair, number, &state));
        }
        take("ckptdb", &mut || {
            let save = job.save(number).bytes("state", &state);
            save.metric("reward", number as f64).commit().unwrap();
        });
    }
    let syncs = counted.load(Ordering::Relaxed) - before;
    println!("{saves} saves of {bytes} bytes, {INDEX_ROWS} index rows each");
    print(&mut times);
    println!("ckptdb: {:.2} syncs a save", syncs as f64 / saves as f64);
}

fn print(times: &mut BTreeMap<&str, Vec<f64>>) {
    println!("| store | p50 | p99 | of SQLite's p50 |\n|---|---|---|---|");
    let at = |times: &[f64], part: usize| times[(times.len() - 1) * part / 100];
    for times in times.values_mut() {
        times.sort_by(f64::total_cmp);
    }
    let reference = at(&times["SQLite, WAL, synchronous=FULL"], 50);
    for (what, times) in &*times {
        let (p50, p99) = (at(times, 50), at(times, 99));
        println!(
            "| {what} | {:.0} us | {:.0} us | {:.2} |",
            p50 * 1e6,
            p99 * 1e6,
            p50 / reference
        );
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut word = 1_u64;
    let next = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (word >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn sqlite(path: &Path) -> Connection {
    let sqlite = Connection::open(path).unwrap();
    let tables = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE states (id INTEGER PRIMARY KEY, state);
        CREATE TABLE entries (kind INTEGER, at INTEGER, id INTEGER, PRIMARY KEY (kind, at, id))
            WITHOUT ROWID;";
    sqlite.execute_batch(tables).unwrap();
    sqlite
}

fn insert(sqlite: &Connection, number: u64, state: &[u8]) {
    let id = i64::try_from(number).unwrap();
    let transaction = sqlite.unchecked_transaction().unwrap();
    let mut row = transaction
        .prepare_cached("INSERT INTO states VALUES (?, ?)")
        .unwrap();
    row.execute(params![id, state]).unwrap();
    let mut entry = transaction
        .prepare_cached("INSERT INTO entries VALUES (?, ?, ?)")
        .unwrap();
    for kind in 0..i64::try_from(INDEX_ROWS).unwrap() {
        entry.execute(params![kind, id, id]).unwrap();
    }
    drop((row, entry));
    transaction.commit().unwrap();
}

fn commit(engine: &Database, quick_repair: bool, number: u64, state: &[u8]) {
    let mut transaction = engine.begin_write().unwrap();
    transaction.set_quick_repair(quick_repair);
    {
        let mut states = transaction.open_table(STATES).unwrap();
        states.insert(number, state).unwrap();
        let mut index = transaction.open_table(INDEX).unwrap();
        for kind in 0..INDEX_ROWS {
            index.insert((kind, number), number).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[derive(Debug)]
struct CountedMedium(FileMedium, Arc<AtomicU64>);

#[derive(Debug)]
struct CountedBackend(Box<dyn Backend>, Arc<AtomicU64>);

fn ours(path: &Path, syncs: &Arc<AtomicU64>) -> (Store, Job) {
    Store::create(path).unwrap().close();
    let medium = CountedMedium(FileMedium::shared(path), Arc::clone(syncs));
    let store = Store::open_in(Arc::new(medium), Options::default()).unwrap();
    let job = store.job("agent").unwrap();
    job.declare_metric("reward", Direction::Max).unwrap();
    (store, job)
}

impl Medium for CountedMedium {
    fn open(&self) -> std::io::Result<Box<dyn Backend>> {
        let backend = self.0.open()?;
        Ok(Box::new(CountedBackend(backend, Arc::clone(&self.1))))
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn locks(&self) -> std::io::Result<Option<Box<dyn Locks>>> {
        self.0.locks()
    }
    fn free(&self) -> std::io::Result<Option<(u64, u64)>> {
        self.0.free()
    }
}

impl Backend for CountedBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
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
    fn reserve(&self, from: u64, to: u64) -> std::io::Result<()> {
        self.0.reserve(from, to)
    }
    fn release(&self, from: u64, to: u64) -> std::io::Result<()> {
        self.0.release(from, to)
    }
}
