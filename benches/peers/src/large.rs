//! One large state of noise, on the disk when the call returns, and read again: a plain file, rows
//! of SQLite, and ckptdb. In turn, in the same run; medians.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use ckptdb::{DType, Store, TensorSlice};
use rusqlite::{Connection, params};

const ROW: usize = 1 << 20;

/// `[MIB] [ROUNDS]`.
pub(crate) fn compare(arguments: &[String]) {
    let mut numbers = arguments.iter().map(|text| text.parse().unwrap());
    let mib: usize = numbers.next().unwrap_or(1024);
    let rounds: usize = numbers.next().unwrap_or(3);
    let state = crate::noise(mib << 20);
    let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for what in ["plain", "SQLite", "ckptdb"] {
            let folder = crate::folder();
            let path = folder.path().join("x");
            let begun = Instant::now();
            save(what, &path, &state);
            let saved = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            assert!(load(what, &path, state.len()) == state);
            let loaded = begun.elapsed().as_secs_f64();
            times.entry(("save", what)).or_default().push(saved);
            times.entry(("load", what)).or_default().push(loaded);
        }
    }
    for times in times.values_mut() {
        times.sort_by(f64::total_cmp);
    }
    println!("{mib} MiB, medians of {rounds} rounds");
    println!("| | | s | of the plain file's speed |\n|---|---|---|---|");
    for ((does, what), all) in &times {
        let median = |all: &[f64]| all[all.len() / 2];
        let plain = median(&times[&(*does, "plain")]);
        let own = median(all);
        println!("| {does} | {what} | {own:.2} | {:.2} |", plain / own);
    }
}

fn save(what: &str, path: &Path, state: &[u8]) {
    match what {
        "plain" => {
            let mut file = File::create(path).unwrap();
            file.write_all(state).unwrap();
            file.sync_data().unwrap();
        }
        "SQLite" => {
            let sqlite = crate::sqlite(path);
            let transaction = sqlite.unchecked_transaction().unwrap();
            let mut row = transaction
                .prepare_cached("INSERT INTO states VALUES (?, ?)")
                .unwrap();
            for (id, bytes) in (0_i64..).zip(state.chunks(ROW)) {
                row.execute(params![id, bytes]).unwrap();
            }
            drop(row);
            transaction.commit().unwrap();
        }
        _ => {
            let store = Store::create(path).unwrap();
            let tensor = TensorSlice::new(DType::U8, &[state.len()], state).unwrap();
            let save = store.job("NQ").unwrap().save(1).tensor("state", tensor);
            save.commit().unwrap();
        }
    }
}

fn load(what: &str, path: &Path, bytes: usize) -> Vec<u8> {
    match what {
        "plain" => std::fs::read(path).unwrap(),
        "SQLite" => {
            let sqlite = Connection::open(path).unwrap();
            let mut out = Vec::with_capacity(bytes);
            let mut rows = sqlite
                .prepare("SELECT state FROM states ORDER BY id")
                .unwrap();
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                out.extend(row.get::<_, Vec<u8>>(0).unwrap());
            }
            out
        }
        _ => {
            let store = Store::open(path).unwrap();
            let latest = store.resolve("NQ@latest").unwrap();
            let mut out = vec![0; bytes];
            latest.read_into("state", &mut out).unwrap();
            out
        }
    }
}
