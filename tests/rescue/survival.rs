//! What must survive of a file in which sectors are garbage: by the tables of the sound file, read
//! with the engine, and by `docs/format.md`; nothing of the salvage is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;

use memchr::memmem;
use redb::{Key, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

pub(crate) const SECTOR: usize = 512;
/// In an extent, or a frame of a bundle: the number of the part, that of all and a mark of a
/// bundle's, how many bases the chunk has, its id, how much of its stored bytes follows, and where
/// these begin, with the ids of the bases.
const PART: usize = 4;
const PARTS: usize = 5;
const IN_BUNDLE: u8 = 0x80;
const BASES: usize = 7;
const PAYLOAD_LEN: Range<usize> = 56..60;
const CHUNK: Range<usize> = 16..48;
const PAYLOAD: usize = 64;

/// The copies of something in the file; one that is whole is enough.
type Copies = Vec<Range<usize>>;

/// What each checkpoint needs.
pub(crate) struct Survival {
    /// What none can do without: the store's identity, and the job.
    common: Vec<Copies>,
    checkpoints: BTreeMap<u64, Vec<Copies>>,
}

#[derive(Default)]
struct Chunk {
    parts: Vec<Copies>,
    bases: Vec<[u8; 32]>,
}

impl Survival {
    /// Of a store with one job, whose checkpoints are in this order and have these entries, each of
    /// them one chunk.
    pub(crate) fn of(image: &[u8], entries: &BTreeMap<u64, Vec<Vec<u8>>>) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(image).unwrap();
        let database = redb::Database::open(file.path()).unwrap();
        let copies = |bytes: &[u8]| -> Copies {
            let found = memmem::find_iter(image, bytes);
            found.map(|at| at..at + bytes.len()).collect()
        };
        let mut chunks: BTreeMap<[u8; 32], Chunk> = BTreeMap::new();
        let extents = rows(&database, "extents");
        for part in extents.iter().flat_map(|(_, row)| parts(row)) {
            let chunk = chunks.entry(part[CHUNK].try_into().unwrap());
            let chunk = chunk.or_default();
            if part[PART] == 0 {
                let bases = part[PAYLOAD..].chunks(32).take(part[BASES].into());
                chunk.bases = bases.map(|id| id.try_into().unwrap()).collect();
            }
            chunk.parts.push(copies(part));
        }
        let records = rows(&database, "checkpoints");
        assert_eq!(records.len(), entries.len());
        let needs = |record: &[u8], entries: &[Vec<u8>]| {
            let mut needs = vec![copies(record)];
            let mut ids: Vec<[u8; 32]> = entries.iter().map(|e| blake3::hash(e).into()).collect();
            while let Some(id) = ids.pop() {
                let chunk = &chunks[&id];
                needs.extend_from_slice(&chunk.parts);
                ids.extend_from_slice(&chunk.bases);
            }
            assert!(needs.iter().all(|copies| !copies.is_empty()));
            needs
        };
        let each = records.iter().zip(entries);
        let checkpoints = each.map(|((_, record), (at, entries))| (*at, needs(record, entries)));
        let identity = rows(&database, "settings").swap_remove(0);
        let job = rows(&database, "jobs").swap_remove(0);
        Self {
            common: vec![copies(&identity.1), copies(&job.1)],
            checkpoints: checkpoints.collect(),
        }
    }

    /// The checkpoints of which all that they need is somewhere beside these sectors.
    pub(crate) fn beside(&self, hit: &BTreeSet<usize>) -> BTreeSet<u64> {
        let is_whole = |place: &Range<usize>| {
            let mut sectors = place.start / SECTOR..=(place.end - 1) / SECTOR;
            sectors.all(|sector| !hit.contains(&sector))
        };
        let survive = |needs: &[Copies]| needs.iter().all(|copies| copies.iter().any(is_whole));
        if !survive(&self.common) {
            return BTreeSet::new();
        }
        let all = self.checkpoints.iter();
        all.filter(|(_, needs)| survive(needs))
            .map(|(at, _)| *at)
            .collect()
    }
}

/// The bytes of the row that [`harm`](super::repair::harm) chooses; none if there is none.
pub(crate) fn nth<K: Key + 'static>(image: &[u8], name: &str, row: usize) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let database = redb::Database::open(file.path()).unwrap();
    let definition: TableDefinition<'_, K, &[u8]> = TableDefinition::new(name);
    let table = database
        .begin_read()
        .unwrap()
        .open_table(definition)
        .unwrap();
    let rows = usize::try_from(table.len().unwrap()).unwrap();
    let place = row * rows.div_ceil(super::repair::ROWS).max(1);
    let found = table.iter().unwrap().nth(place);
    found.map_or_else(Vec::new, |found| found.unwrap().1.value().to_vec())
}

/// The parts of chunks in a row of the extents: one that fills it, or the frames of a bundle.
pub(crate) fn parts(row: &[u8]) -> Vec<&[u8]> {
    if row.is_empty() || row[PARTS] & IN_BUNDLE == 0 {
        return row.chunks(row.len().max(1)).collect();
    }
    let mut parts = Vec::new();
    let mut rest = row;
    while rest.len() > PAYLOAD && rest[..4] == *b"CKX1" {
        let payload = u32::from_le_bytes(rest[PAYLOAD_LEN].try_into().unwrap()) as usize;
        let (part, after) = rest.split_at(PAYLOAD + payload);
        parts.push(part);
        rest = after;
    }
    parts
}

/// The rows of a table of a sound file.
pub(crate) fn rows_of(image: &[u8], name: &str) -> Vec<(u64, Vec<u8>)> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    rows(&redb::Database::open(file.path()).unwrap(), name)
}

fn rows(database: &redb::Database, name: &str) -> Vec<(u64, Vec<u8>)> {
    let definition: TableDefinition<'_, u64, &[u8]> = TableDefinition::new(name);
    let table = database.begin_read().unwrap().open_table(definition);
    let rows = table.unwrap().range::<u64>(..).unwrap().map(|row| {
        let (key, value) = row.unwrap();
        (key.value(), value.value().to_vec())
    });
    rows.collect()
}
