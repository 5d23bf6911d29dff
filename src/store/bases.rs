//! What a new chunk may be a delta against: the chunk at the same place of the same entry in the
//! checkpoint that the job continues from.

use std::sync::Arc;

use super::heal::Presence;
use super::walk::{chunk_at, group_of};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, Content, Group, MAX_CHAIN_DEPTH, Manifest};
use crate::id::ChunkId;
use crate::storage::{Records, Rows, chunk_row, load_chunk};
use crate::store::{Job, Store};

/// One chunk in so many is stored without a base: a chain costs its whole length whenever its last
/// chunk is loaded.
const SHORT_CHAIN: u8 = 8;
/// The same, of what differs in few places, or is text that grows.
const LIGHT_CHAIN: u8 = MAX_CHAIN_DEPTH;

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In an entry, so many chunks from its start.
    Chunk(&'a str, u64),
    /// In the pack that this entry lies in.
    PackOf(&'a str),
}

/// The checkpoint that a save continues from.
#[derive(Debug)]
pub(super) struct Parent<'s> {
    store: &'s Store,
    manifest: Option<Manifest>,
    /// The group that was looked at last: entries come in the order of their names.
    group: Option<Group>,
}

/// A chunk that a new one may be written against.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) id: ChunkId,
    pub(super) raw: Arc<Vec<u8>>,
    /// The position of the delta.
    pub(super) position: u8,
    /// Stored bytes of the deltas down to the chunk without base, and of that one.
    chain: (u64, u64),
}

impl Base {
    /// Whether a delta of this codec and length may be written: a load takes no more than a few
    /// dense chunks, and of light ones no more bytes than a second chunk without base.
    pub(super) fn allows(&self, codec: Codec, stored: usize) -> bool {
        let (deltas, first) = self.chain;
        let is_light = codec != Codec::Steps && deltas + stored as u64 <= first;
        self.position < SHORT_CHAIN || is_light
    }
}

impl<'s> Parent<'s> {
    /// The parent of what is saved next: the checkpoint that is named, or else the job's head.
    pub(super) fn of(job: &'s Job, named: Option<u64>) -> Result<Self> {
        let store = job.store();
        let manifest = store.read(|rows| {
            let records = Records(rows);
            let id = match (named, records.job_named(job.name())?) {
                (Some(id), _) => Some(id),
                (None, Some((_, record))) => record.head.map(|head| head.id),
                (None, None) => None,
            };
            let record = id.map(|id| records.checkpoint(id)).transpose()?;
            Ok(record.flatten().map(|record| record.saved.manifest))
        });
        Ok(Self {
            store,
            manifest: unless_damaged(manifest)?.flatten(),
            group: None,
        })
    }

    /// A save without a parent, or that shall not look at it.
    pub(super) const fn none(store: &'s Store) -> Self {
        Self {
            store,
            manifest: None,
            group: None,
        }
    }

    /// The group that an entry of this name would be in.
    fn group(&mut self, name: &str) -> Result<Option<&Group>> {
        let Some(manifest) = &self.manifest else {
            return Ok(None);
        };
        let holds = |group: &Group| {
            let names = group.entries.first().zip(group.entries.last());
            names.is_some_and(|(first, last)| (&*first.name..=&*last.name).contains(&name))
        };
        if !self.group.as_ref().is_some_and(holds) {
            let group = self.store.read(|rows| group_of(rows, manifest, name));
            self.group = unless_damaged(group)?;
        }
        Ok(self.group.as_ref())
    }

    /// The base that a delta at this place would be written against, if there is to be one.
    pub(super) fn base(&mut self, place: Place<'_>) -> Result<Option<Base>> {
        let chunk = match place {
            Place::Chunk(name, index) => self.chunk(name, index)?,
            Place::PackOf(name) => self.pack(name)?,
        };
        let Some(chunk) = chunk else {
            return Ok(None);
        };
        if self.store.presence(&chunk.chunk())? != Presence::Present {
            return Ok(None);
        }
        let read = self.store.read(|rows| {
            let Some(row) = chunk_row(rows, &chunk.chunk())? else {
                return Ok(None);
            };
            // A chain does not branch: what has several bases is none.
            if row.bases.len() > 1 || row.position.max(row.depth) >= LIGHT_CHAIN - 1 {
                return Ok(None);
            }
            let position = row.position + 1;
            let (id, row) = skipped(rows, chunk.chunk(), row, position)?;
            let chunk = ChunkRef {
                id: *id.as_bytes(),
                raw_len: row.raw_len,
            };
            let raw = match self.store.recent().get(&id) {
                Some(raw) => raw,
                None => Arc::new(load_chunk(rows, &chunk)?),
            };
            Ok(Some(Base {
                id,
                raw,
                position,
                chain: chain_bytes(rows, &row)?,
            }))
        });
        Ok(unless_damaged(read)?.flatten())
    }

    /// The parent's chunk `index` of an entry.
    fn chunk(&mut self, name: &str, index: u64) -> Result<Option<ChunkRef>> {
        let store = self.store;
        let Some(group) = self.group(name)? else {
            return Ok(None);
        };
        let Some(entry) = group.entries.iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        match &entry.content {
            Content::Inline(_) | Content::Packed(_) => Ok(None),
            Content::Chunks(_) | Content::Tree { .. } => {
                unless_damaged(store.read(|rows| chunk_at(rows, entry, index)))
            }
        }
    }

    /// The parent's pack that this entry lies in.
    fn pack(&mut self, name: &str) -> Result<Option<ChunkRef>> {
        Ok(self.group(name)?.and_then(|group| {
            let entry = group.entries.iter().find(|entry| entry.name == name)?;
            matches!(entry.content, Content::Packed(_)).then_some(group.pack)?
        }))
    }
}

/// What is damaged is of no use as a base, and no reason to fail.
fn unless_damaged<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Corrupt { .. } | Error::Io { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What a delta at this position is written against, of the chain that ends with a chunk. Where all
/// words differ, distance costs little and each delta below a full pass over the chunk: the base is
/// at the position without its lowest bit (the tree of Fenwick 1994), so that a load takes as many
/// deltas as the position has bits, three at most.
fn skipped(
    rows: &dyn Rows,
    mut id: ChunkId,
    mut row: ChunkRow,
    position: u8,
) -> Result<(ChunkId, ChunkRow)> {
    while row.position > position & (position - 1)
        && row.codec == Codec::Steps.code()
        && let [base] = row.bases[..]
    {
        let below = chunk_row(rows, &base)?;
        row = below.ok_or_else(|| Error::corrupt(format!("chunk {base}"), "it is missing"))?;
        id = base;
    }
    Ok((id, row))
}

/// Whether something may come to be written against a delta at this position; 0 is none.
pub(super) fn is_base(codec: Codec, position: u8) -> bool {
    codec != Codec::Steps || position.is_multiple_of(2)
}

/// Stored bytes of the deltas of a chain, and of the chunk that it ends with.
fn chain_bytes(rows: &dyn Rows, row: &ChunkRow) -> Result<(u64, u64)> {
    let mut deltas = 0;
    let mut row = row.clone();
    for _ in 0..MAX_CHAIN_DEPTH {
        let Some(base) = row.bases.first() else {
            break;
        };
        deltas += u64::from(row.stored_len);
        let below = chunk_row(rows, base)?;
        row = below.ok_or_else(|| Error::corrupt(format!("chunk {base}"), "it is missing"))?;
    }
    Ok((deltas, u64::from(row.stored_len)))
}
