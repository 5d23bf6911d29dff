//! A save's chunks once they are prepared: counted, staged, and published with the checkpoint.

use std::collections::HashSet;

use super::bases::Parent;
use super::chains::Chains;
use super::heal::{Presence, Uncounted, heal, mend_nodes, recount};
use super::pipeline::{Fresh, Prepared, Spare, Worker};
use super::request::Request;
use super::threads::STAGE_BYTES;
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::format::Manifest;
use crate::id::{ChunkId, NodeId};
use crate::storage::{
    Change, Durability, NewChunk, NodeSet, Room, put_chunk, restore_nodes, retain_manifest,
    sweep_chunk,
};
use crate::store::{Job, Store};

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
    compression: Compression,
    chains: Chains,
    parent: Parent<'s>,
    /// Chunks that this save has brought: that the store had not, or had damaged.
    fresh: Fresh,
    spare: Spare,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
    /// Chunks that the store has, but damaged.
    healing: Vec<NewChunk>,
    healing_bytes: usize,
    /// Chunks whose counts were lost, or that came for a checkpoint that is there already.
    uncounted: HashSet<ChunkId>,
    /// The opening of the database that others had staged in when this began.
    others_staged_in: Option<u64>,
    /// That which its own stages were written in.
    staged_in: Option<u64>,
    pub(super) tally: Tally,
}

impl<'s> Ingest<'s> {
    pub(super) fn new(job: &'s Job, request: &Request) -> Result<Self> {
        let store = job.store();
        let compression = request.compression.unwrap_or(store.options().compression);
        store.recent().begin();
        let engine = store.engine();
        // What others have staged would be gone too.
        let others_staged_in = (engine.undurable() > 0).then(|| engine.openings());
        let chains = store.chains(compression, request.chain_depth);
        let parent = Parent::of(job, request, (compression, chains))?;
        Ok(Self {
            store,
            compression,
            chains,
            parent,
            fresh: Fresh::default(),
            spare: Spare::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            healing: Vec::new(),
            healing_bytes: 0,
            uncounted: HashSet::new(),
            others_staged_in,
            staged_in: None,
            tally: Tally::default(),
        })
    }

    /// Whether all that it brings goes with the last transaction, which mends no chunk: then that
    /// may be staged.
    pub(super) const fn may_be_staged(&self) -> bool {
        self.staged_in.is_none() && self.healing.is_empty()
    }

    /// What prepares its chunks.
    pub(super) fn worker(&self) -> impl Fn() -> Worker<'s> + use<'s> {
        let (store, how) = (self.store, (self.compression, self.chains));
        let (fresh, spare) = (self.fresh.clone(), self.spare.clone());
        move || Worker::new(store, how, (fresh.clone(), spare.clone()))
    }

    /// Threads that prepare chunks, if there are many.
    pub(super) fn threads(&self) -> usize {
        self.store.options().threads
    }

    /// Whether it has a use for bases.
    pub(super) fn uses_bases(&self) -> bool {
        self.compression.uses_bases()
    }

    /// The checkpoint that it continues from.
    pub(super) fn parent(&mut self) -> &mut Parent<'s> {
        &mut self.parent
    }

    /// Takes in a chunk, in the order in which they were cut.
    pub(super) fn take_in(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared {
            chunk,
            presence,
            new,
        } = prepared;
        let raw_len = u64::from(chunk.raw_len);
        self.tally.chunks += 1;
        // It may have come twice before the first was taken in.
        let new = new.filter(|new| !self.fresh.has(&new.id));
        match (presence, new) {
            (Presence::Absent, Some(new)) => {
                self.tally.new_chunks += 1;
                self.tally.new_bytes += raw_len;
                self.take(new)
            }
            (Presence::Damaged, Some(new)) => {
                self.tally.shared_bytes += raw_len;
                self.heal_later(new)
            }
            (_, None) | (Presence::Present, _) => {
                self.tally.shared_bytes += raw_len;
                Ok(())
            }
        }
    }

    /// Keeps a chunk that the store has not, for the last transaction or a stage before it.
    fn take(&mut self, chunk: NewChunk) -> Result<()> {
        self.tally.stored_bytes += chunk.stored.len() as u64;
        self.pending_bytes += chunk.stored.len();
        self.fresh.chunks().insert(chunk.id, None);
        self.pending.push(chunk);
        if self.pending_bytes >= STAGE_BYTES {
            self.stage()?;
        }
        Ok(())
    }

    /// Counts bytes that lie in the checkpoint's own record.
    pub(super) const fn inline(&mut self, bytes: u64) {
        self.tally.new_bytes += bytes;
        self.tally.stored_bytes += bytes;
    }

    /// Writes a damaged chunk anew: with the last transaction, or before it if there are many.
    fn heal_later(&mut self, chunk: NewChunk) -> Result<()> {
        self.tally.healed_chunks += 1;
        self.fresh.chunks().insert(chunk.id, None);
        self.healing_bytes += chunk.stored.len();
        self.healing.push(chunk);
        if self.healing_bytes >= STAGE_BYTES {
            self.heal_now()?;
        }
        Ok(())
    }

    /// Writes damaged chunks anew, ahead of the save.
    fn heal_now(&mut self) -> Result<()> {
        let healing = std::mem::take(&mut self.healing);
        self.healing_bytes = 0;
        if !healing.is_empty() {
            let uncounted = self.store.change(|change| heal(change, &healing))?;
            self.note_uncounted(&uncounted);
            self.store.healed(&healing);
        }
        Ok(())
    }

    /// Takes note of chunks whose rows were lost. What nothing names was no damage: it was
    /// reclaimed while somebody read it, and is new.
    fn note_uncounted(&mut self, uncounted: &[Uncounted]) {
        for chunk in uncounted {
            self.uncounted.insert(chunk.id);
            if !chunk.is_named {
                self.tally.healed_chunks -= 1;
                self.tally.new_chunks += 1;
                self.tally.shared_bytes -= chunk.raw_len;
                self.tally.new_bytes += chunk.raw_len;
                self.tally.stored_bytes += chunk.stored_len;
            }
        }
    }

    /// Writes what is pending in a transaction of its own. A crash forgets it; a later durable
    /// commit without ours leaves it noted as staged.
    fn stage(&mut self) -> Result<()> {
        self.check_stages()?;
        // What is pending may be written against what is to be healed.
        self.heal_now()?;
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let at = self.store.now();
        let engine = self.store.engine();
        let (numbers, written) = engine.write(Durability::Staged, Room::Ordinary, |rows| {
            let mut change = Change::begin(rows, at)?;
            let mut numbers = Vec::with_capacity(pending.len());
            for chunk in &pending {
                let number = put_chunk(&mut change, chunk)?;
                change.rows().stage(number, &chunk.id)?;
                numbers.push((chunk.id, Some(number)));
            }
            change.finish()?;
            // While this runs, the database is not opened anew.
            Ok((numbers, engine.openings()))
        })?;
        self.spare.give(pending);
        self.fresh.chunks().extend(numbers);
        self.staged_in.get_or_insert(written);
        self.check_stages()
    }

    /// Stages that the engine has forgotten, because it was opened anew, can't be published.
    fn check_stages(&self) -> Result<()> {
        let now = self.store.engine().openings();
        if self
            .others_staged_in
            .or(self.staged_in)
            .is_some_and(|staged| staged != now)
        {
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
        for number in self.fresh.chunks().values().flatten() {
            change.rows().unstage(*number)?;
        }
        Ok(())
    }

    /// Brings back what is lost of the manifest, and counts its nodes and what they name. What the
    /// store had no row of, and has nodes that name it, was lost, whether or not anybody has missed
    /// it.
    pub(super) fn retain(
        &mut self,
        change: &mut Change<'_>,
        manifest: &Manifest,
        nodes: &NodeSet,
    ) -> Result<()> {
        let healed = mend_nodes(change, nodes)?;
        let mut new: HashSet<ChunkId> = self.pending.iter().map(|chunk| chunk.id).collect();
        let fresh = self.fresh.chunks();
        new.extend(fresh.iter().filter_map(|(id, number)| number.map(|_| *id)));
        drop(fresh);
        let lost = nodes.named_before(change.records().0, &new)?;
        self.uncounted.extend(lost);
        retain_manifest(change.rows(), manifest, nodes)?;
        self.restore(change, nodes, &healed, Some(manifest))
    }

    /// Brings back what is lost of the manifest of a checkpoint that is there already.
    pub(super) fn mend(&mut self, change: &mut Change<'_>, nodes: &NodeSet) -> Result<()> {
        let healed = mend_nodes(change, nodes)?;
        self.restore(change, nodes, &healed, None)
    }

    /// Puts nodes back that are missing beneath those that were counted, and counts again what had
    /// no count, the nodes in `healed` among it.
    fn restore(
        &mut self,
        change: &mut Change<'_>,
        nodes: &NodeSet,
        healed: &[NodeId],
        unwritten: Option<&Manifest>,
    ) -> Result<()> {
        let named = restore_nodes(change.rows(), nodes, healed, unwritten)?;
        self.uncounted.extend(named);
        recount(change, &self.uncounted, unwritten)
    }

    /// Writes anew what a checkpoint that is there already should have: damaged chunks, and such as
    /// have lost their rows.
    pub(super) fn heal_all(&mut self, change: &mut Change<'_>) -> Result<()> {
        self.check_stages()?;
        self.heal(change)?;
        heal(change, &self.pending)?;
        self.uncounted
            .extend(self.pending.iter().map(|chunk| chunk.id));
        let fresh = self.fresh.chunks();
        let staged = fresh.iter().filter(|(_, number)| number.is_some());
        self.uncounted.extend(staged.map(|(id, _)| *id));
        Ok(())
    }

    /// Writes damaged chunks anew.
    fn heal(&mut self, change: &mut Change<'_>) -> Result<()> {
        let uncounted = heal(change, &self.healing)?;
        self.note_uncounted(&uncounted);
        Ok(())
    }

    /// Forgets that what has been published now was damaged.
    pub(super) fn forget_damage(&self) {
        self.store.healed(&self.healing);
    }

    /// Removes what a save staged that will not be published. What can't be removed now is noted,
    /// and goes when the store is opened next.
    pub(super) fn abandon(self) {
        let fresh = std::mem::take(&mut *self.fresh.chunks());
        let staged = fresh
            .into_iter()
            .filter_map(|(id, number)| Some((id, number?)));
        let mut staged: Vec<(ChunkId, u64)> = staged.collect();
        // The last first: what is written against another goes before it.
        staged.sort_unstable_by_key(|(_, number)| std::cmp::Reverse(*number));
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
