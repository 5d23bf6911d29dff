//! A store with something of everything, and all that its tables hold: what tests of damage begin
//! with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::index_rows::whole;
use super::{Options, Store};
use crate::error::Result;
use crate::event::Event;
use crate::format::{
    Action, CheckpointRecord, ChunkRow, IndexKey, IndexKind, JobRecord, LogRecord, MAX_PARTS,
    NameRecord, Record, SegmentRecord, Stamp, TableCode, TelemetryRecord, frames,
};
use crate::id::{ChunkId, NodeId};
use crate::metric::Direction;
use crate::storage::{Durability, MemoryMedium, RawMedium, Records, Room, Rows, Writes, is_bundle};
use crate::telemetry::Batch;
use crate::tensor::{DType, TensorSlice};

/// Bytes without a pattern, others for each seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Floats between 1 and 2 of which each step of training changes the lowest bits.
fn weights(step: u64) -> Vec<u8> {
    let (start, drift) = (noise(1, 80_000), noise(100 + step, 80_000));
    let words = start.as_chunks::<4>().0.iter().zip(drift.as_chunks().0);
    words
        .flat_map(|(start, drift): (_, &[u8; 4])| {
            let start = u32::from_le_bytes(*start) & 0x007f_fff8;
            (0x3f80_0000 | start | u32::from(drift[0] & 7)).to_le_bytes()
        })
        .collect()
}

/// The same, in 16 bits.
fn rounded(weights: &[u8]) -> Vec<u8> {
    let words = weights.as_chunks::<4>().0.iter();
    words.flat_map(|word| [word[2], word[3]]).collect()
}

/// What a checkpoint of the sample holds: chunks of its own, chunks that all share, one that is
/// named many times, deltas, a derived copy, and enough entries for a tree of nodes.
pub(super) fn content(iteration: u64) -> BTreeMap<String, Vec<u8>> {
    let weights = weights(iteration);
    let mut content = BTreeMap::from([
        ("bf16.copy".to_owned(), rounded(&weights)),
        ("f32.weights".to_owned(), weights),
        ("shared".to_owned(), noise(7, 70_000)),
        ("own".to_owned(), noise(1000 + iteration, 66_000)),
    ]);
    if iteration >= 3 {
        content.insert("zeros".to_owned(), vec![0; 10 << 20]);
        for part in 0..60 {
            let seed = 5000 + iteration.max(4) + part;
            content.insert(format!("layer.{part:02}"), noise(seed, 70));
        }
    }
    content
}

/// Saves it.
pub(super) fn save(store: &Store, job: &str, iteration: u64, content: &BTreeMap<String, Vec<u8>>) {
    let handle = store.job(job).unwrap();
    let mut save = handle
        .save(iteration)
        .event(Event::Periodic)
        .metric("loss", [1.0, 0.5, 0.25, 0.5][(iteration % 4) as usize]);
    for (name, bytes) in content {
        let tensor = |dtype, width| TensorSlice::new(dtype, &[bytes.len() / width], bytes);
        save = match name.split_once('.') {
            Some(("f32", _)) => save.tensor(name, tensor(DType::F32, 4).unwrap()),
            Some(("bf16", _)) => save.tensor(name, tensor(DType::Bf16, 2).unwrap()),
            _ => save.bytes(name, bytes),
        };
    }
    save.commit().unwrap();
}

pub(super) fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        recent_bytes: 0,
        threads: 1,
        ..Options::default()
    }
}

/// The bytes of a store with two jobs: five checkpoints, one of them deleted, one reclaimed, one
/// abandoned; a tag, a note, a pin, a fork, telemetry.
pub(super) fn sample() -> Vec<u8> {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    let mut batch = Batch::default();
    for iteration in 1..4 {
        batch.log(iteration, [("loss", 1.0)]).unwrap();
    }
    job.append(&batch).unwrap();
    for iteration in 1..=5 {
        save(&store, "NQ", iteration, &content(iteration));
    }
    let at = |iteration| job.at(iteration).unwrap().unwrap();
    at(1).delete(true).unwrap();
    store.reclaim(true).unwrap();
    at(2).delete(false).unwrap();
    at(3).set_tag("baseline", false).unwrap();
    at(3).set_pinned(true).unwrap();
    at(3).annotate("note", &serde_json::json!("kept")).unwrap();
    at(3).fork("ES").unwrap();
    job.rollback(at(4).id, "test").unwrap();
    store.close();
    medium.to_vec()
}

/// A store with these bytes, after what `tamper` does to its tables.
pub(super) fn tampered(image: &[u8], tamper: impl FnOnce(&mut dyn Writes) -> Result<()>) -> Store {
    let medium = MemoryMedium::new(image.to_vec());
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let kind = (Durability::Durable, Room::Ordinary);
    store.engine().write(kind.0, kind.1, tamper).unwrap();
    store
}

/// All that the tables hold, but for when it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables {
    /// Without their places in chains.
    pub(super) chunks: BTreeMap<ChunkId, ChunkRow>,
    pub(super) nodes: BTreeMap<NodeId, Vec<u8>>,
    /// Keys, and the numbers of the chunks there.
    pub(super) extents: BTreeSet<(u64, u64)>,
    pub(super) checkpoints: BTreeMap<u64, CheckpointRecord>,
    pub(super) jobs: BTreeMap<u64, JobRecord>,
    pub(super) telemetry: BTreeMap<u64, TelemetryRecord>,
    /// With names in the place of their numbers.
    pub(super) index: BTreeSet<(IndexKey, Option<String>)>,
    /// Every name, and whether it is found by itself.
    pub(super) names: BTreeMap<String, bool>,
    pub(super) staged: Vec<(u64, ChunkId)>,
    /// What happened and when, but for repairs.
    pub(super) log: BTreeMap<u64, (i64, Action)>,
    pub(super) live: u64,
    pub(super) lost: u64,
}

/// The record in this row.
pub(super) fn record<T: Record>(rows: &dyn Rows, key: u64) -> T {
    let bytes = rows.record(T::TABLE, key).unwrap().unwrap();
    T::from_bytes(rows.tag(), &key.to_be_bytes(), &bytes).unwrap()
}

/// Writes a record in a row as it is, stamp and all.
pub(super) fn put<T: Record>(rows: &mut dyn Writes, key: u64, record: &T) -> Result<()> {
    let bytes = record.to_bytes(rows.tag(), &key.to_be_bytes()).unwrap();
    rows.put_record(T::TABLE, key, &bytes)
}

/// The keys of a table of records.
pub(super) fn keys(rows: &dyn Rows, table: TableCode) -> Vec<u64> {
    let mut keys = Vec::new();
    let noted = rows.record_range(table, (0, u64::MAX), false, &mut |key, _| {
        keys.push(key);
        Ok(ControlFlow::Continue(()))
    });
    noted.unwrap();
    keys
}

impl Tables {
    pub(super) fn of(store: &Store) -> Self {
        store.read(|rows| Ok(Self::of_rows(rows))).unwrap()
    }

    fn of_rows(rows: &dyn Rows) -> Self {
        let mut found = Self::default();
        found.read_content(rows);
        found.read_records(rows);
        found.read_index(rows);
        found.staged = rows.staged(usize::MAX).unwrap();
        let head = Records(rows).head().unwrap();
        (found.live, found.lost) = (head.live, head.lost);
        found
    }

    fn read_content(&mut self, rows: &dyn Rows) {
        rows.each_chunk(&mut |id, bytes| {
            let row = ChunkRow::from_bytes(&id, bytes).unwrap();
            // A row that is made anew does not know its place in the chain.
            let (depth, position) = (0, 0);
            let row = ChunkRow {
                depth,
                position,
                ..row
            };
            self.chunks.insert(id, row);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        rows.each_node(&mut |id, value| {
            self.nodes.insert(id, value.to_vec());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        rows.each_extent(&mut |key, bytes| {
            if is_bundle(bytes) {
                let numbers = frames(bytes).map(|(_, frame)| (key, frame.header.number));
                self.extents.extend(numbers);
            } else {
                self.extents.insert((key, key / MAX_PARTS as u64));
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }

    fn read_records(&mut self, rows: &dyn Rows) {
        let stamp = Stamp::default();
        for key in keys(rows, TableCode::Checkpoints) {
            let mut checkpoint: CheckpointRecord = record(rows, key);
            checkpoint.later.stamp = stamp;
            self.checkpoints.insert(key, checkpoint);
        }
        for key in keys(rows, TableCode::Jobs) {
            let job: JobRecord = record(rows, key);
            self.jobs.insert(key, JobRecord { stamp, ..job });
        }
        for key in keys(rows, TableCode::Telemetry) {
            // What a segment sums up of its blocks can be derived at any time.
            let row = match record(rows, key) {
                TelemetryRecord::Segment(segment) => TelemetryRecord::Segment(SegmentRecord {
                    parent: segment.parent,
                    ..SegmentRecord::default()
                }),
                block @ TelemetryRecord::Block(_) => block,
            };
            self.telemetry.insert(key, row);
        }
        for key in keys(rows, TableCode::Log) {
            let logged: LogRecord = record(rows, key);
            if !matches!(
                logged.action,
                Action::Repair { .. } | Action::Salvage { .. }
            ) {
                self.log.insert(key, (logged.at, logged.action));
            }
        }
    }

    fn read_index(&mut self, rows: &dyn Rows) {
        let mut names = BTreeMap::new();
        for key in keys(rows, TableCode::Names) {
            let name: NameRecord = record(rows, key);
            let number = Records(rows).name_number(&name.text).unwrap();
            names.insert(key, name.text.clone());
            let is_found = number.is_some_and(|number| u64::from(number) == key);
            self.names.insert(name.text, is_found);
        }
        let kinds = (IndexKind::Commit, IndexKind::AbandonedMetric);
        rows.index((whole(kinds.0).0, whole(kinds.1).1), false, &mut |key| {
            // Names may have other numbers after they are given out anew.
            let name = names.get(&u64::from(key.name)).cloned();
            self.index.insert((IndexKey { name: 0, ..key }, name));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }
}

/// The bytes of a store in which no copy of these bytes is left as it was, where there are any.
pub(super) fn without(image: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    let places: Vec<usize> = memchr::memmem::find_iter(&image, bytes).collect();
    for at in places {
        image[at + bytes.len() - 1] ^= 1;
    }
    image
}

/// A store with these bytes.
pub(super) fn opened(image: &[u8]) -> Store {
    let medium = Arc::new(MemoryMedium::new(image.to_vec()));
    Store::open_in(medium, options()).unwrap()
}

/// The bytes of a store's file once it is closed.
pub(super) fn closed(store: &Store) -> Vec<u8> {
    store.engine().close().unwrap();
    let raw = RawMedium::open(store.engine().medium()).unwrap();
    raw.bytes(0, usize::try_from(raw.len()).unwrap())
}
