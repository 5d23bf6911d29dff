//! Writing anew what is stored already, with more effort than a save had time for.

mod copies;

use std::collections::{BTreeMap, HashSet};

use copies::{Copy, copies};

use super::bases::{Base, ChunkPlace, Parent, Place, encoded, unless_damaged};
use super::heal::Presence;
use super::manifest::{packed, texture_of};
use super::rebase::write;
use super::sweep::sweep;
use super::walk::{each_chunk, each_group};
use crate::codec::{Codec, Compression, Encoder, Texture};
use crate::error::{Error, Result};
use crate::format::{CheckpointRecord, ChunkRef, ChunkRow, Group};
use crate::id::ChunkId;
use crate::storage::{NewChunk, Records, Rows, chunk_row, load_chunk_to};
use crate::store::{Filter, Store};

/// Stored bytes that are written in one transaction.
const BATCH_BYTES: usize = 16 << 20;

/// What a recompression did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recompressed {
    /// Chunks that were looked at.
    pub chunks: u64,
    /// Those that got shorter, and were written anew.
    pub rewritten: u64,
    /// Stored bytes of these, before.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// A chunk that a checkpoint names, and where.
struct Named {
    chunk: ChunkRef,
    texture: Texture,
    /// The entry, or one that the pack holds.
    entry: String,
    /// How many of its chunks are before it, and how many bytes; none for a pack.
    before: Option<(usize, u64)>,
}

struct Recompress<'s> {
    store: &'s Store,
    encoder: Encoder,
    seen: HashSet<ChunkId>,
    /// Of this checkpoint, whether they are in the store yet or not: chunks that were written anew,
    /// and the bases of these. Their rows may not say so yet.
    rewritten: HashSet<ChunkId>,
    needed: HashSet<ChunkId>,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
    /// Of each checkpoint, the chunks that others of it tell. They are derived from these in the
    /// end, when the masters are as they will stay: what something is derived from gets no deeper.
    copies: Vec<Vec<Copy>>,
    /// These chunks. Nothing is written against one meanwhile, which would keep it as it is.
    derivable: HashSet<ChunkId>,
    done: Recompressed,
}

impl Store {
    /// Encodes the chunks of all live checkpoints anew, each against the one at its place in the
    /// parent, and keeps what is shorter. Ids, manifests and content hashes stay; what was saved
    /// with less effort, or before its parent was there, becomes as small as if it were saved now.
    /// [`Compression::Max`] makes chains as long as they can be: they are smaller, and slower to
    /// load. [`Store::compact`] then gives the space back.
    ///
    /// Many chunks a transaction; saves wait for one checkpoint at most. Whenever it is cut off,
    /// what was written stays, and the next goes on. `progress` is told raw bytes, done and in all;
    /// that copies are derived comes after these.
    ///
    /// # Errors
    /// From the disk; what can't be read is left as it is.
    pub fn recompress(
        &self,
        compression: Compression,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Recompressed> {
        let mut work = Recompress {
            store: self,
            encoder: Encoder::new(compression),
            seen: HashSet::new(),
            rewritten: HashSet::new(),
            needed: HashSet::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            copies: Vec::new(),
            derivable: HashSet::new(),
            done: Recompressed::default(),
        };
        let filter = Filter {
            abandoned: true,
            ..Filter::default()
        };
        // By id: a checkpoint comes after what it continues.
        let mut all = BTreeMap::new();
        for found in self.list(&filter)? {
            match found {
                Err(Error::Corrupt { what, why }) => {
                    tracing::warn!(what, why, "a damaged checkpoint is left as it is");
                }
                found => {
                    let found = found?;
                    all.insert(found.id.get(), found.logical_bytes);
                }
            }
        }
        let (mut bytes, total) = (0, all.values().sum());
        for (id, logical_bytes) in all {
            {
                // Given back before `progress` is told, which may use the store.
                let _turn = self.turn()?;
                work.checkpoint(id, compression)?;
            }
            bytes += logical_bytes;
            progress(bytes, total);
        }
        work.derive()?;
        let _turn = self.turn()?;
        sweep(self.engine(), compression)?;
        Ok(work.done)
    }
}

impl Recompress<'_> {
    fn checkpoint(&mut self, id: u64, effort: Compression) -> Result<()> {
        let store = self.store;
        let read = store.read(|rows| {
            let record = Records(rows).known_checkpoint(id)?;
            let parent = match record.saved.parent {
                Some(parent) => Records(rows).checkpoint(parent).ok().flatten(),
                None => None,
            };
            Ok((named(rows, &record)?, record, parent))
        });
        let (all, record, parent) = match read {
            // It was dropped meanwhile, or is damaged: verify says so.
            Err(Error::Corrupt { .. }) => return Ok(()),
            read => read?,
        };
        let manifest = parent.map(|record| record.saved.manifest);
        let mut parent = Parent::with(store, manifest, (effort, store.chains(effort, None)));
        let mut copies = if effort.uses_bases() {
            unless_damaged(copies(store, &record, &self.seen))?.unwrap_or_default()
        } else {
            Vec::new()
        };
        copies.retain(|copy| self.seen.insert(copy.chunk.chunk()));
        self.derivable
            .extend(copies.iter().map(|copy| copy.chunk.chunk()));
        self.done.chunks += copies.len() as u64;
        for named in all {
            self.chunk(&named, &mut parent)?;
        }
        self.copies.push(copies);
        // The next checkpoint's chunks may be written against these.
        self.flush()?;
        self.rewritten.clear();
        self.needed.clear();
        Ok(())
    }

    fn chunk(&mut self, named: &Named, parent: &mut Parent<'_>) -> Result<()> {
        let id = named.chunk.chunk();
        if !self.seen.insert(id) || self.store.presence(&id, true)? != Presence::Present {
            return Ok(());
        }
        let mut raw = Vec::new();
        let read = self.store.read(|rows| {
            let row = chunk_row(rows, &id)?;
            load_chunk_to(rows, &named.chunk, &mut raw).map(|()| row)
        });
        let row = match read {
            Ok(Some(row)) => row,
            Ok(None) | Err(Error::Corrupt { .. } | Error::Io { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        self.done.chunks += 1;
        // Nothing is shorter than what is derived.
        if row.codec == Codec::Derived.code() {
            return Ok(());
        }
        let place = match named.before {
            Some((index, start)) => Place::Chunk(ChunkPlace {
                entry: &named.entry,
                index,
                start,
                bytes: raw.len(),
            }),
            None => Place::PackOf(&named.entry),
        };
        let base = match parent
            .base(place)?
            .filter(|base| self.fits(base, &id, &row))
        {
            Some(base) => Some(base),
            None => self.store.read(|rows| Base::of(rows, &row))?,
        };
        let of = (&named.chunk, &*raw, named.texture);
        if let Some(bases) = self.anew(of, base.as_ref(), row.stored_len) {
            self.rewritten.insert(id);
            self.needed.extend(bases);
        }
        if self.pending_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Encodes a chunk, and keeps that if it is shorter than before. Returns what it is written
    /// against then.
    fn anew(
        &mut self,
        (chunk, raw, texture): (&ChunkRef, &[u8], Texture),
        base: Option<&Base>,
        before: u32,
    ) -> Option<Vec<ChunkId>> {
        let new = encoded(&mut self.encoder, chunk, raw, texture, base);
        (new.stored.len() < before as usize).then(|| {
            let bases = new.bases.clone();
            self.rewrite(new, before);
            bases
        })
    }

    /// Derives the copies, the last checkpoint's first: what was written against one is gone then.
    fn derive(&mut self) -> Result<()> {
        for copies in std::mem::take(&mut self.copies).into_iter().rev() {
            if copies.is_empty() {
                continue;
            }
            let _turn = self.store.turn()?;
            for copy in copies {
                match copy.derived(self.store)? {
                    Some((new, before)) => self.rewrite(new, before),
                    None => self.without_masters(&copy)?,
                }
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Encodes a copy that must stay a chunk of its own, since others are written against it.
    fn without_masters(&mut self, copy: &Copy) -> Result<()> {
        let read = self.store.read(|rows| {
            let Some(row) = chunk_row(rows, &copy.chunk.chunk())? else {
                return Ok(None);
            };
            let is_derived = row.codec == Codec::Derived.code();
            if is_derived || row.refs == 0 {
                return Ok(None);
            }
            let base = Base::of(rows, &row)?;
            let mut raw = Vec::new();
            load_chunk_to(rows, &copy.chunk, &mut raw)?;
            Ok(Some((row.stored_len, base, raw)))
        });
        if let Some((before, base, raw)) = unless_damaged(read)?.flatten() {
            let of = (&copy.chunk, &*raw, copy.texture());
            self.anew(of, base.as_ref(), before);
        }
        Ok(())
    }

    fn rewrite(&mut self, new: NewChunk, before: u32) {
        self.done.rewritten += 1;
        self.done.before += u64::from(before);
        self.done.after += new.stored.len() as u64;
        self.pending_bytes += new.stored.len();
        self.pending.push(new);
    }

    fn flush(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        write(self.store.engine(), &std::mem::take(&mut self.pending))
    }

    /// Whether a chunk may be written against this one, which is where its row says. What is a
    /// delta against the chunk lies deeper than it, and has to stay so; and then the base can't lie
    /// above it.
    fn fits(&self, base: &Base, id: &ChunkId, row: &ChunkRow) -> bool {
        let is_base = row.deltas > 0 || self.needed.contains(id);
        let stays = base.depth <= row.depth && base.position <= row.position;
        let is_taken = self.rewritten.contains(&base.id) || self.derivable.contains(&base.id);
        base.id != *id && !is_taken && (!is_base || stays)
    }
}

/// The chunks of a checkpoint, in the order of its entries.
fn named(rows: &dyn Rows, record: &CheckpointRecord) -> Result<Vec<Named>> {
    let mut all = Vec::new();
    each_group(rows, &record.saved.manifest, &mut |group| {
        all.extend(pack(group));
        for entry in &group.entries {
            let (mut index, mut start) = (0, 0);
            each_chunk(rows, entry, &mut |chunk| {
                all.push(Named {
                    chunk: *chunk,
                    texture: texture_of(&entry.kind),
                    entry: entry.name.clone(),
                    before: Some((index, start)),
                });
                index += 1;
                start += u64::from(chunk.raw_len);
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(all)
}

/// A group's pack.
fn pack(group: &Group) -> Option<Named> {
    let (texture, first) = packed(group)?;
    Some(Named {
        chunk: group.pack?,
        texture,
        entry: first.to_owned(),
        before: None,
    })
}
