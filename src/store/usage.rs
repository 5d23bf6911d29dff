//! What the bytes of a store are: by how they are stored, by job, by kind of entry, by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use super::source::{Source, reading};
use super::walk::{each_chunk, each_group};
use crate::codec::{Codec, encoding_name};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, Content, EntryRecord, Group, KindRecord};
use crate::id::ChunkId;
use crate::storage::{Records, Rows, chunk_row};
use crate::store::{Checkpoint, Filter, Store};
use crate::tensor::DType;

/// Raw bytes, and what they take: all that is named, of that what is shared, of the rest what is
/// written against other chunks, and what each of these takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Chunks.
    pub chunks: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// The same as they are stored.
    pub stored_bytes: u64,
    /// Raw bytes as often as live checkpoints name them: what it would be without a store. Chunks
    /// of deleted checkpoints, and bases that only deltas need, are not among these.
    pub logical_bytes: u64,
    /// Of these, what is named once more, and takes nothing.
    pub shared_bytes: u64,
    /// Of `raw_bytes`, those of chunks that are written against others.
    pub delta_bytes: u64,
    /// These as they are stored.
    pub delta_stored_bytes: u64,
}

impl Usage {
    fn add(&mut self, row: &ChunkRow) {
        let (raw, stored) = (u64::from(row.raw_len), u64::from(row.stored_len));
        self.chunks += 1;
        self.raw_bytes += raw;
        self.stored_bytes += stored;
        if !row.bases.is_empty() {
            self.delta_bytes += raw;
            self.delta_stored_bytes += stored;
        }
    }

    /// Counts a naming of a chunk that is counted.
    fn name(&mut self, row: &ChunkRow, is_first: bool) {
        let raw = u64::from(row.raw_len);
        self.logical_bytes += raw;
        if !is_first {
            self.shared_bytes += raw;
        }
    }

    /// Counts a naming, and the chunk itself the first time.
    fn meet(&mut self, row: &ChunkRow, is_first: bool) {
        if is_first {
            self.add(row);
        }
        self.name(row, is_first);
    }
}

/// What the bytes of a store are. A chunk counts once in each table, however many name it; that
/// they do is in [`Usage::shared_bytes`]. Entries so small that they lie in manifests are not among
/// these.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Breakdown {
    /// By how they are stored: `raw`, `zstd`, `planes`, `steps`, `sparse`, `derived`; with a base
    /// ` delta` follows.
    pub encodings: BTreeMap<String, Usage>,
    /// By job: what its live checkpoints name, whoever else does.
    pub jobs: BTreeMap<String, Usage>,
    /// By the kind of entry that named it first: `F32`, `document`, `file`, and `small` for the
    /// packs of small ones.
    pub kinds: BTreeMap<String, Usage>,
}

/// How an entry of a checkpoint is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryStorage {
    /// Its name.
    pub name: String,
    /// Stored bytes of its chunks; of a pack its part, by length. Others may share them.
    pub stored_bytes: u64,
    /// How its chunks are stored: the names of [`Breakdown::encodings`], or `inline`.
    pub encodings: BTreeSet<String>,
    /// Whether it lies in a pack with others.
    pub packed: bool,
    /// The most deltas that have to be undone to load a chunk of it.
    pub depth: u8,
}

impl Store {
    /// What the bytes are that the store holds. Costs a pass over the rows of all chunks and the
    /// manifests of all live checkpoints.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`].
    pub fn breakdown(&self) -> Result<Breakdown> {
        let (mut found, rows_of) = self.read(|rows| {
            let (mut found, mut rows_of) = (Breakdown::default(), HashMap::new());
            rows.each_chunk(&mut |id, bytes| {
                let row = ChunkRow::from_bytes(&id, bytes)
                    .map_err(|error| error.of(format!("chunk {id}")))?;
                let encoding = encoding_of(&row);
                found.encodings.entry(encoding).or_default().add(&row);
                rows_of.insert(id, row);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok((found, rows_of))
        })?;
        let mut named_before = HashSet::new();
        for job in self.jobs()? {
            let filter = Filter {
                job: Some(job.name.clone()),
                abandoned: true,
                ..Filter::default()
            };
            let mut of_job = HashSet::new();
            let sum = found.jobs.entry(job.name).or_default();
            for checkpoint in self.list(&filter)? {
                let checkpoint = match checkpoint {
                    // Verify says what is wrong with it.
                    Err(error @ Error::Corrupt { .. }) => {
                        tracing::warn!(%error, "a checkpoint is not counted");
                        continue;
                    }
                    listed => listed?,
                };
                let mut named = Vec::new();
                let read = each_named(&checkpoint, &mut named);
                for (kind, id) in named {
                    let Some(row) = rows_of.get(&id) else {
                        continue;
                    };
                    sum.meet(row, of_job.insert(id));
                    let is_first = named_before.insert(id);
                    let of_kind = found.kinds.entry(kind.to_owned()).or_default();
                    of_kind.meet(row, is_first);
                    if let Some(stored_so) = found.encodings.get_mut(&encoding_of(row)) {
                        stored_so.name(row, is_first);
                    }
                }
                match read {
                    // Others may reclaim what was listed.
                    Err(Error::Deleted { .. }) => {}
                    Err(error @ Error::Corrupt { .. }) => {
                        tracing::warn!(%error, "not all of a checkpoint is counted");
                    }
                    read => read?,
                }
            }
        }
        Ok(found)
    }
}

impl Checkpoint {
    /// How each entry is stored, in the order of their names. Costs a pass over the manifest and
    /// the rows of its chunks.
    ///
    /// # Errors
    /// From the disk, [`Error::Corrupt`], or [`Error::Deleted`] if it was reclaimed.
    pub fn storage(&self) -> Result<Vec<EntryStorage>> {
        let source = self.source();
        reading(source, |rows| {
            let mut found = Vec::new();
            each_group(rows, &source.record.saved.manifest, &mut |group| {
                for entry in &group.entries {
                    found.push(storage_of(rows, group, entry)?);
                }
                Ok(())
            })?;
            Ok(found)
        })
    }
}

fn storage_of(rows: &dyn Rows, group: &Group, entry: &EntryRecord) -> Result<EntryStorage> {
    let mut storage = EntryStorage {
        name: entry.name.clone(),
        stored_bytes: 0,
        encodings: BTreeSet::new(),
        packed: matches!(entry.content, Content::Packed(_)),
        depth: 0,
    };
    let mut add = |chunk: &ChunkRef, bytes: u64| {
        let id = chunk.chunk();
        let missing = || Error::corrupt(format!("chunk {id}"), "it is missing");
        let row = chunk_row(rows, &id)?.ok_or_else(missing)?;
        let whole = u64::from(row.raw_len).max(1);
        storage.stored_bytes += u64::from(row.stored_len) * bytes / whole;
        storage.encodings.insert(encoding_of(&row));
        storage.depth = storage.depth.max(row.depth);
        Ok(())
    };
    match (&entry.content, &group.pack) {
        (Content::Inline(bytes), _) => {
            storage.stored_bytes = bytes.len() as u64;
            storage.encodings.insert("inline".to_owned());
        }
        (Content::Packed(_), Some(pack)) => add(pack, entry.bytes)?,
        _ => each_chunk(rows, entry, &mut |chunk| {
            add(chunk, u64::from(chunk.raw_len))
        })?,
    }
    Ok(storage)
}

/// Every chunk that a checkpoint names, with the kind of what it belongs to: all of them, or those
/// before what is damaged.
fn each_named(checkpoint: &Checkpoint, named: &mut Vec<(&'static str, ChunkId)>) -> Result<()> {
    let source: Source<'_> = checkpoint.source();
    reading(source, |rows| {
        // A reading may begin anew.
        named.clear();
        let manifest = &Records(rows)
            .known_checkpoint(source.id.get())?
            .saved
            .manifest;
        each_group(rows, manifest, &mut |group| {
            named.extend(group.pack.as_ref().map(|pack| ("small", pack.chunk())));
            for entry in &group.entries {
                let kind = kind_name(&entry.kind);
                each_chunk(rows, entry, &mut |chunk| {
                    named.push((kind, chunk.chunk()));
                    Ok(())
                })?;
            }
            Ok(())
        })
    })
}

const fn kind_name(kind: &KindRecord) -> &'static str {
    match kind {
        KindRecord::Tensor { dtype, .. } => match DType::from_code(*dtype) {
            Some(dtype) => dtype.name(),
            None => "tensor",
        },
        KindRecord::Document => "document",
        KindRecord::File => "file",
    }
}

fn encoding_of(row: &ChunkRow) -> String {
    if row.is_lost() {
        return "lost".to_owned();
    }
    let name = encoding_name(row.codec);
    let says_so = [Codec::Steps, Codec::Derived]
        .map(Codec::code)
        .contains(&row.codec);
    if row.bases.is_empty() || says_so {
        name.to_owned()
    } else {
        format!("{name} delta")
    }
}
