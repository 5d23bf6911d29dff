//! A save's bytes on their way in: cut, hashed, looked up, encoded, staged.

use std::collections::{HashMap, HashSet};

use super::heal::{Presence, heal, recount};
use crate::codec::{self, Codec, Texture};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, MAX_CHUNK_BYTES, Manifest};
use crate::id::ChunkId;
use crate::storage::{Change, Durability, NewChunk, Room, put_chunk, sweep_chunk};
use crate::store::Store;

/// New chunks up to so many bytes go with the last transaction; more are staged before it. An
/// eighth of the default cache: beyond that, the engine writes its pages twice.
const STAGE_BYTES: usize = 16 << 20;

/// What a save has brought so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Raw bytes that the store had already.
    pub(super) shared_bytes: u64,
    /// Raw bytes that it had not.
    pub(super) new_bytes: u64,
    /// What these take, encoded.
    pub(super) stored_bytes: u64,
    /// Chunks in all.
    pub(super) chunks: u64,
    /// Chunks that it had not.
    pub(super) new_chunks: u64,
    /// Chunks that it had, damaged, and has now whole.
    pub(super) healed_chunks: u64,
}

/// The chunks of one save.
#[derive(Debug)]
pub(super) struct Ingest<'s> {
    store: &'s Store,
    /// Chunks of this save that the store had not: staged ones with their numbers.
    fresh: HashMap<ChunkId, Option<u64>>,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
    /// Chunks that the store has, but damaged.
    healing: Vec<NewChunk>,
    healing_bytes: usize,
    /// Chunks whose counts were lost, or that came for a checkpoint that is there already.
    uncounted: HashSet<ChunkId>,
    /// The engine's generation that the stages were written under.
    generation: Option<u64>,
    pub(super) tally: Tally,
}

impl<'s> Ingest<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self {
            store,
            fresh: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            healing: Vec::new(),
            healing_bytes: 0,
            uncounted: HashSet::new(),
            generation: None,
            tally: Tally::default(),
        }
    }

    /// Takes a chunk's raw bytes in, unless the store has them.
    pub(super) fn chunk(&mut self, raw: &[u8], texture: Texture) -> Result<ChunkRef> {
        let too_long = || Error::invalid("a chunk", "it is longer than chunks may be");
        let raw_len = u32::try_from(raw.len()).map_err(|_| too_long())?;
        if raw.len() > MAX_CHUNK_BYTES {
            return Err(too_long());
        }
        let id = ChunkId::new(*blake3::hash(raw).as_bytes());
        let chunk = ChunkRef {
            id: *id.as_bytes(),
            raw_len,
        };
        self.tally.chunks += 1;
        let presence = if self.fresh.contains_key(&id) {
            Presence::Present
        } else {
            self.store.presence(&id)?
        };
        if presence == Presence::Present {
            self.tally.shared_bytes += u64::from(raw_len);
            return Ok(chunk);
        }
        let (codec, stored) =
            codec::encode(texture, raw).unwrap_or_else(|| (Codec::Raw, raw.to_vec()));
        let encoded = NewChunk {
            id,
            raw_len,
            codec: codec.code(),
            stored,
        };
        if presence == Presence::Damaged {
            self.tally.shared_bytes += u64::from(raw_len);
            self.heal_later(encoded)?;
            return Ok(chunk);
        }
        self.tally.new_chunks += 1;
        self.tally.new_bytes += u64::from(raw_len);
        self.tally.stored_bytes += encoded.stored.len() as u64;
        self.pending_bytes += encoded.stored.len();
        self.pending.push(encoded);
        self.fresh.insert(id, None);
        if self.pending_bytes >= STAGE_BYTES {
            self.stage()?;
        }
        Ok(chunk)
    }

    /// Counts bytes that lie in the checkpoint's own record.
    pub(super) const fn inline(&mut self, bytes: u64) {
        self.tally.new_bytes += bytes;
        self.tally.stored_bytes += bytes;
    }

    /// Writes a damaged chunk anew: with the last transaction, or before it if there are many.
    fn heal_later(&mut self, chunk: NewChunk) -> Result<()> {
        self.tally.healed_chunks += 1;
        self.fresh.insert(chunk.id, None);
        self.healing_bytes += chunk.stored.len();
        self.healing.push(chunk);
        if self.healing_bytes >= STAGE_BYTES {
            let healing = std::mem::take(&mut self.healing);
            self.healing_bytes = 0;
            let uncounted = self.store.change(|change| heal(change, &healing))?;
            self.uncounted.extend(uncounted);
            self.store.healed(&healing);
        }
        Ok(())
    }

    /// Writes what is pending in a transaction of its own. A crash forgets it; a later durable
    /// commit without ours leaves it noted as staged.
    fn stage(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let at = self.store.now();
        let numbers = self
            .store
            .engine()
            .write(Durability::Staged, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, at)?;
                let mut numbers = Vec::with_capacity(pending.len());
                for chunk in &pending {
                    let number = put_chunk(&mut change, chunk)?;
                    change.rows().stage(number, &chunk.id)?;
                    numbers.push((chunk.id, Some(number)));
                }
                change.finish()?;
                Ok(numbers)
            })?;
        self.fresh.extend(numbers);
        let now = self.store.engine().generation();
        self.generation.get_or_insert(now);
        self.check_stages()
    }

    /// Stages that the engine has forgotten, because it was opened anew, can't be published.
    fn check_stages(&self) -> Result<()> {
        let now = self.store.engine().generation();
        if self.generation.is_some_and(|staged| staged != now) {
            let path = self.store.path().to_owned();
            return Err(Error::Interrupted { path });
        }
        Ok(())
    }

    /// Writes the rest with the last transaction, and takes back the notes of the staged.
    pub(super) fn publish(&mut self, change: &mut Change<'_>) -> Result<()> {
        self.check_stages()?;
        self.heal(change)?;
        for chunk in &self.pending {
            put_chunk(change, chunk)?;
        }
        for number in self.fresh.values().flatten() {
            change.rows().unstage(*number)?;
        }
        Ok(())
    }

    /// Writes anew what a checkpoint that is there already should have: damaged chunks, and such as
    /// have lost their rows.
    pub(super) fn heal_all(&mut self, change: &mut Change<'_>) -> Result<()> {
        self.check_stages()?;
        self.heal(change)?;
        let uncounted = heal(change, &self.pending)?;
        self.uncounted.extend(uncounted);
        let staged = self.fresh.iter().filter(|(_, number)| number.is_some());
        self.uncounted.extend(staged.map(|(id, _)| *id));
        Ok(())
    }

    /// Writes damaged chunks anew.
    fn heal(&mut self, change: &mut Change<'_>) -> Result<()> {
        let uncounted = heal(change, &self.healing)?;
        self.uncounted.extend(uncounted);
        Ok(())
    }

    /// Counts again what lost its count, once all else is in its place.
    pub(super) fn recount(
        &self,
        change: &mut Change<'_>,
        unwritten: Option<&Manifest>,
    ) -> Result<()> {
        recount(change, &self.uncounted, unwritten)
    }

    /// Forgets that what has been published now was damaged.
    pub(super) fn forget_damage(&self) {
        self.store.healed(&self.healing);
    }

    /// Removes what a save staged that will not be published. What can't be removed now is noted,
    /// and goes when the store is opened next.
    pub(super) fn abandon(self) {
        let staged: Vec<(ChunkId, u64)> = self
            .fresh
            .into_iter()
            .filter_map(|(id, number)| Some((id, number?)))
            .collect();
        if staged.is_empty() {
            return;
        }
        let removed = self
            .store
            .engine()
            .write(Durability::Durable, Room::Ballast, |rows| {
                staged
                    .iter()
                    .try_for_each(|(id, number)| sweep_chunk(rows, *number, id).map(drop))
            });
        if let Err(error) = removed {
            tracing::warn!(%error, "a failed save's chunks stay until the store is opened again");
        }
    }
}
