//! A release of redb that loses files in a crash while they grow: what the simulated disk must
//! find, and what it finds only because it models the length apart from the bytes.

use std::io;

use ckptdb::{Backend, Medium};
use redb3::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition};

use crate::disk::Disk;
use crate::image::Image;
use crate::oracle::{Checked, Wrong};
use crate::random::Random;
use crate::states::{Lengths, points};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");
const COMMITS: u64 = 5;
const VALUE: usize = 400_000;

/// The disk as that release sees it.
#[derive(Debug)]
struct Raw(Box<dyn Backend>);

impl StorageBackend for Raw {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

fn broken(error: impl std::fmt::Display) -> Wrong {
    Wrong::Answer(error.to_string())
}

fn open(disk: &Disk) -> Checked<Database> {
    let raw = Raw(disk.open().map_err(broken)?);
    Builder::new()
        .set_cache_size(1 << 20)
        .create_with_backend(raw)
        .map_err(broken)
}

fn value(key: u64) -> Vec<u8> {
    Random::new(key).bytes(VALUE)
}

fn put(database: &Database, key: u64) -> Checked<()> {
    let transaction = database.begin_write().map_err(broken)?;
    {
        let mut table = transaction.open_table(TABLE).map_err(broken)?;
        table.insert(key, value(key).as_slice()).map_err(broken)?;
    }
    transaction.commit().map_err(broken)
}

/// All that was acknowledged is there, and writing goes on.
fn check(image: Image, acked: usize) -> Checked<()> {
    let database = open(&Disk::new(image))?;
    let transaction = database.begin_read().map_err(broken)?;
    for key in 1..=acked as u64 {
        let table = transaction.open_table(TABLE).map_err(broken)?;
        let found = table.get(key).map_err(broken)?;
        if found.is_none_or(|found| found.value() != value(key)) {
            return Err(Wrong::Answer(format!("{key} is lost")));
        }
    }
    drop(transaction);
    put(&database, 1_000)
}

/// Distinct states that were looked at, and how many of them when the first bad one came.
fn search(lengths: Lengths) -> (usize, Option<usize>) {
    let disk = Disk::default();
    let database = open(&disk).expect("a fresh one opens");
    let start = disk.image();
    disk.start_log();
    for key in 1..=COMMITS {
        put(&database, key).expect("the disk is sound");
        disk.acknowledge(usize::try_from(key).expect("there are few"));
    }
    drop(database);
    let mut random = Random::new(1);
    let mut seen = std::collections::HashSet::new();
    let mut first = None;
    for point in points(start, &disk.log(), lengths) {
        point.each(&mut random, (16, 16, 0), &mut |choice| {
            let image = point.image(&choice);
            if first.is_some() || !seen.insert(image.id()) {
                return;
            }
            if let Err(wrong) = crate::quiet::caught(|| check(image, point.acked)) {
                println!("point {}: {choice}: {wrong:?}", point.at);
                first = Some(seen.len());
            }
        });
    }
    (seen.len(), first)
}

#[test]
fn a_file_lost_while_it_grows_is_found_and_only_because_lengths_are_modelled() {
    let (_, found) = search(Lengths::Modelled);
    println!("redb 3.1.3: its growth bug is found after {found:?} states");
    assert!(found.is_some_and(|states| states <= 2_000));
    let (states, found) = search(Lengths::LeftOut);
    println!("without the length: {states} states, {found:?}");
    assert!(states > 200);
    assert_eq!(found, None, "the bug is one of lengths");
}
