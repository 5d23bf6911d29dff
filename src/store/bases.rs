//! What a new chunk may be a delta against: the chunk at the same place of the same entry in the
//! checkpoint that the job continues from.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chains::Chains;
use super::heal::Presence;
use super::recent::Recent;
use super::request::Request;
use super::walk::{each_chunk, group_of};
use crate::codec::{Against, Codec, Compression, Encoder, Texture};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, Content, Group, KindRecord, MAX_CHAIN_DEPTH, Manifest};
use crate::id::ChunkId;
use crate::storage::{NewChunk, Records, Rows, chunk_row, load_chunk, peek_raw};
use crate::store::{Job, Store};

/// Deltas that one chain may have, and the chunk without base, where loading it takes time.
const LONG_CHAIN: u8 = 32;
/// A chain of text that has no more raw bytes is loaded at once, however little it began with: a
/// state that grows outweighs its first turn soon. It may be as long as chains get.
const TEXT_CHAIN_BYTES: u64 = 4 << 20;

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In an entry.
    Chunk(ChunkPlace<'a>),
    /// In the pack that this entry lies in.
    PackOf(&'a str),
}

/// A chunk's place in an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkPlace<'a> {
    pub(super) entry: &'a str,
    /// Chunks before it.
    pub(super) index: usize,
    /// Bytes before it.
    pub(super) start: u64,
    /// Its own.
    pub(super) bytes: usize,
}

/// The checkpoint that a save continues from.
#[derive(Debug)]
pub(super) struct Parent<'s> {
    store: &'s Store,
    chains: Chains,
    manifest: Option<Manifest>,
    /// Entries that the caller says are still as they are there.
    unchanged: BTreeSet<String>,
    /// The group that was looked at last: entries come in the order of their names.
    group: Option<Group>,
    /// The entry that was looked at last: its chunks, and where each begins.
    entry: Option<(String, Vec<(u64, ChunkRef)>)>,
}

/// What it takes to load a chunk and all that it is a delta against.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// Stored bytes of the deltas.
    deltas: u64,
    /// Those of the chunk without base.
    first: u64,
    /// Raw bytes of all.
    all: u64,
    /// Deltas of which all words differ.
    dense: u8,
}

impl Chain {
    fn of(rows: &dyn Rows, row: &ChunkRow) -> Result<Self> {
        let mut chain = Self::default();
        let mut row = row.clone();
        for _ in 0..MAX_CHAIN_DEPTH {
            chain.all += u64::from(row.raw_len);
            let Some(base) = row.bases.first() else {
                break;
            };
            chain.deltas += u64::from(row.stored_len);
            chain.dense += u8::from(row.codec == Codec::Steps.code());
            let below = chunk_row(rows, base)?;
            row = below.ok_or_else(|| Error::corrupt(format!("chunk {base}"), "it is missing"))?;
        }
        chain.first = u64::from(row.stored_len);
        Ok(chain)
    }
}

/// A chunk that a new one may be written against.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) id: ChunkId,
    pub(super) raw: Arc<Vec<u8>>,
    /// The position of the delta.
    pub(super) position: u8,
    /// How deep the delta would be.
    pub(super) depth: u8,
    is_dense_allowed: bool,
    chain: Chain,
}

impl Base {
    /// The base of a delta that follows this chunk of the parent, if there is to be one. What is
    /// stored as it is, and kept by nobody, is shown first, unverified: noise is seldom of use.
    pub(super) fn after(
        store: &Store,
        chunk: &ChunkRef,
        chains: Chains,
        is_of_use: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<Self>> {
        if store.presence(&chunk.chunk(), true)? != Presence::Present {
            return Ok(None);
        }
        let read = store.read(|rows| {
            let Some(row) = chunk_row(rows, &chunk.chunk())? else {
                return Ok(None);
            };
            let may_be_short = row.codec == Codec::Zstd.code();
            let longest = if may_be_short {
                MAX_CHAIN_DEPTH
            } else {
                LONG_CHAIN
            };
            // A chain does not branch: what has several bases is none.
            if row.bases.len() > 1 || row.position.max(row.depth) >= longest - 1 {
                return Ok(None);
            }
            let position = row.position + 1;
            // What was light may still be; where all words differed, they will.
            if row.codec == Codec::Steps.code() && !chains.has(position) {
                return Ok(None);
            }
            let (id, row) = skipped(rows, (chunk.chunk(), row), chains.base(position))?;
            let chunk = ChunkRef {
                id: *id.as_bytes(),
                raw_len: row.raw_len,
            };
            let raw = match store.recent().get(&id) {
                Some(raw) => raw,
                None => {
                    let is_raw = row.codec == Codec::Raw.code();
                    if is_raw && !peek_raw(rows, &id, &row, is_of_use)? {
                        return Ok(None);
                    }
                    Arc::new(load_chunk(rows, &chunk)?)
                }
            };
            let chain = Chain::of(rows, &row)?;
            Ok(Some(Self {
                id,
                raw,
                position,
                depth: row.depth + 1,
                is_dense_allowed: chains.allows(position, chain.dense),
                chain,
            }))
        });
        Ok(unless_damaged(read)?.flatten())
    }

    /// The base that a chunk has, if it has one and that can be read.
    pub(super) fn of(rows: &dyn Rows, row: &ChunkRow) -> Result<Option<Self>> {
        let [id] = row.bases[..] else {
            return Ok(None);
        };
        let read = chunk_row(rows, &id).and_then(|below| {
            let Some(below) = below else {
                return Ok(None);
            };
            let chunk = ChunkRef {
                id: *id.as_bytes(),
                raw_len: below.raw_len,
            };
            Ok(Some(Self {
                id,
                raw: Arc::new(load_chunk(rows, &chunk)?),
                position: row.position,
                depth: row.depth,
                // It is there, so it was allowed.
                is_dense_allowed: true,
                chain: Chain::default(),
            }))
        });
        unless_damaged(read).map(Option::flatten)
    }

    /// Whether a delta of this codec and these lengths may be written: a load takes no more than a
    /// few dense chunks, and of light ones no more bytes than a second chunk without base.
    pub(super) fn allows(&self, codec: Codec, (raw, stored): (usize, usize)) -> bool {
        let Chain {
            deltas, first, all, ..
        } = self.chain;
        let deltas = deltas + stored as u64;
        let is_light = match codec {
            Codec::Steps => false,
            // Text is short when it is worth it, and decodes fast.
            Codec::Zstd => {
                let is_long = all + raw as u64 > TEXT_CHAIN_BYTES;
                !is_long || deltas <= 2 * first && self.depth < LONG_CHAIN
            }
            _ => deltas <= first,
        };
        self.is_dense_allowed || is_light
    }
}

impl<'s> Parent<'s> {
    /// The parent of what is saved next: the checkpoint that is named, or else the job's head.
    pub(super) fn of(
        job: &'s Job,
        request: &Request,
        (effort, chains): (Compression, Chains),
    ) -> Result<Self> {
        let store = job.store();
        let found = store.read(|rows| {
            let records = Records(rows);
            let id = match (request.parent, records.job_named(job.name())?) {
                (Some(id), _) => Some(id),
                (None, Some((_, record))) => record.head.map(|head| head.id),
                (None, None) => None,
            };
            let record = id.map(|id| records.checkpoint(id)).transpose()?;
            let manifest = record.flatten().map(|record| record.saved.manifest);
            Ok(id.zip(manifest))
        });
        let (id, manifest) = unless_damaged(found)?.flatten().unzip();
        let told = |id| {
            let checkpoint = (id, store.engine().openings());
            let generations = store.generations();
            generations.unchanged(job.name(), checkpoint, &request.generations)
        };
        let unchanged = id.map_or_else(BTreeSet::new, told);
        let is_of_use = effort.uses_bases() || !unchanged.is_empty();
        Ok(Self {
            manifest: manifest.filter(|_| is_of_use),
            unchanged,
            ..Self::with(store, None, (effort, chains))
        })
    }

    /// The checkpoint with this manifest, if there is one.
    pub(super) fn with(
        store: &'s Store,
        manifest: Option<Manifest>,
        (effort, chains): (Compression, Chains),
    ) -> Self {
        Self {
            store,
            chains,
            manifest: manifest.filter(|_| effort.uses_bases()),
            unchanged: BTreeSet::new(),
            group: None,
            entry: None,
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

    /// The chunk of the parent at this place, if it has one.
    pub(super) fn at(&mut self, place: Place<'_>) -> Result<Option<ChunkRef>> {
        match place {
            Place::Chunk(place) => self.chunk(place),
            Place::PackOf(name) => self.pack(name),
        }
    }

    /// Whether the caller said that this entry, which is `bytes` long, is as it is there; and it
    /// can be.
    pub(super) fn is_unchanged(
        &mut self,
        name: &str,
        kind: &KindRecord,
        bytes: usize,
    ) -> Result<bool> {
        if !self.unchanged.contains(name) {
            return Ok(false);
        }
        let entry = self.group(name)?;
        let entry = entry.and_then(|group| group.entries.iter().find(|e| e.name == name));
        Ok(entry.is_some_and(|entry| entry.kind == *kind && entry.bytes == bytes as u64))
    }

    /// The base that a delta at this place would be written against, if there is to be one.
    pub(super) fn base(&mut self, place: Place<'_>) -> Result<Option<Base>> {
        match self.at(place)? {
            Some(chunk) => Base::after(self.store, &chunk, self.chains, &mut |_| true),
            None => Ok(None),
        }
    }

    /// The parent's chunk at this place: of as many bytes after as many chunks, or else where it
    /// begins. What has outgrown a pack begins there.
    fn chunk(&mut self, place: ChunkPlace<'_>) -> Result<Option<ChunkRef>> {
        if place.index == 0 && self.chunks(place.entry)?.is_empty() {
            return self.pack(place.entry);
        }
        let chunks = self.chunks(place.entry)?;
        let counted = chunks.get(place.index);
        if let Some((_, chunk)) = counted.filter(|(_, chunk)| chunk.raw_len as usize == place.bytes)
        {
            return Ok(Some(*chunk));
        }
        let after = chunks.partition_point(|(start, _)| *start <= place.start);
        let covers =
            |(start, chunk): &&(u64, ChunkRef)| place.start < start + u64::from(chunk.raw_len);
        let below = after.checked_sub(1).and_then(|at| chunks.get(at));
        Ok(below.filter(covers).map(|(_, chunk)| *chunk))
    }

    /// The chunks of the parent's entry of this name.
    fn chunks(&mut self, name: &str) -> Result<&[(u64, ChunkRef)]> {
        if self.entry.as_ref().is_none_or(|(known, _)| known != name) {
            let store = self.store;
            let group = self.group(name)?;
            let entry = group.and_then(|group| group.entries.iter().find(|e| e.name == name));
            let mut chunks = Vec::new();
            if let Some(entry) = entry {
                let mut start = 0;
                let read = store.read(|rows| {
                    (start, chunks) = (0, Vec::new());
                    each_chunk(rows, entry, &mut |chunk| {
                        chunks.push((start, *chunk));
                        start += u64::from(chunk.raw_len);
                        Ok(())
                    })
                });
                unless_damaged(read)?;
            }
            self.entry = Some((name.to_owned(), chunks));
        }
        Ok(self.entry.as_ref().map_or(&[], |(_, chunks)| chunks))
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
pub(super) fn unless_damaged<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Corrupt { .. } | Error::Io { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The chunk at this position of the chain that ends with `end`, or the nearest below; the end
/// itself where no position is given, or not all words differ from its base's.
fn skipped(
    rows: &dyn Rows,
    end: (ChunkId, ChunkRow),
    position: Option<u8>,
) -> Result<(ChunkId, ChunkRow)> {
    let (mut id, mut row) = end;
    while position.is_some_and(|position| row.position > position)
        && row.codec == Codec::Steps.code()
        && let [base] = row.bases[..]
    {
        let below = chunk_row(rows, &base)?;
        row = below.ok_or_else(|| Error::corrupt(format!("chunk {base}"), "it is missing"))?;
        id = base;
    }
    Ok((id, row))
}

/// Encodes a chunk, against a base if that is shorter and allowed.
pub(super) fn encoded(
    encoder: &mut Encoder,
    chunk: &ChunkRef,
    raw: &[u8],
    texture: Texture,
    base: Option<&Base>,
) -> NewChunk {
    let against = base.map(|base| Against {
        id: base.id.as_bytes(),
        raw: base.raw.as_slice(),
        allows_steps: base.is_dense_allowed,
    });
    let mut encoded = encoder.encode(texture, raw, against);
    let is_refused = |base: &Base| {
        let delta = encoded.as_ref().filter(|encoded| encoded.with_base);
        delta.is_some_and(|delta| !base.allows(delta.codec, (raw.len(), delta.bytes.len())))
    };
    if base.is_some_and(is_refused) {
        encoder.reuse(encoded.map_or_else(Vec::new, |refused| refused.bytes));
        encoded = encoder.encode(texture, raw, None);
    }
    let base = base.filter(|_| encoded.as_ref().is_some_and(|encoded| encoded.with_base));
    let (codec, stored) = match encoded {
        Some(encoded) => (encoded.codec, encoded.bytes),
        None => (Codec::Raw, encoder.copied(raw)),
    };
    NewChunk {
        id: chunk.chunk(),
        raw_len: chunk.raw_len,
        codec: codec.code(),
        position: base.map_or(0, |base| base.position),
        bases: base.map(|base| base.id).into_iter().collect(),
        stored,
    }
}

/// Keeps a new chunk's bytes in memory, if the next save may be written against them, and those of
/// its base, if a later one will be.
pub(super) fn keep(
    recent: &Recent,
    (chunk, raw): (&NewChunk, &[u8]),
    base: Option<Base>,
    chains: Chains,
) {
    let is_dense = chunk.codec == Codec::Steps.code();
    let is_base = !is_dense || chains.builds_on(chunk.position);
    let returns = is_dense && chains.returns_below(chunk.position);
    // Where planes by themselves are shorter than steps from a base, the next are likely to be.
    let is_alone = |base: &Base| base.is_dense_allowed && chunk.codec == Codec::Planes.code();
    let cost = match &base {
        Some(base) if !chunk.bases.is_empty() => base.depth.saturating_add(1),
        Some(base) if is_alone(base) => 0,
        _ => u8::from(chunk.codec != Codec::Raw.code()),
    };
    // Its bytes are given back first: what is kept of the chunk takes their place.
    let base = base.map(|base| base.id);
    match &base {
        Some(base) if returns => recent.touch(base),
        Some(base) if !is_base => recent.drop_followed(base),
        _ => {}
    }
    if is_base {
        let follows = base.as_ref().filter(|_| !returns);
        recent.put(chunk.id, raw, follows, cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(position: u8) -> ChunkId {
        ChunkId::new([position; 32])
    }

    fn base_at(position: u8, of: u8) -> Base {
        Base {
            id: id(of),
            raw: Arc::new(vec![of; 10]),
            position,
            depth: 1,
            is_dense_allowed: true,
            chain: Chain::default(),
        }
    }

    fn chunk(position: u8, codec: Codec, bases: Vec<ChunkId>) -> NewChunk {
        NewChunk {
            codec: codec.code(),
            position,
            bases,
            ..NewChunk::alone(id(position), &[position; 10])
        }
    }

    /// What memory has for the next delta, whatever was kept before.
    #[test]
    fn of_a_chain_what_the_next_deltas_are_written_against_is_kept_and_nothing_else() {
        let store = Store::in_memory().unwrap();
        let chains = store.chains(Compression::Default, Some(3));
        let recent = Recent::new(1000);
        let mut kept = Vec::new();
        for position in 0..9 {
            recent.begin();
            let (new, base) = match position {
                0 => (chunk(0, Codec::Planes, Vec::new()), None),
                _ => {
                    let below = chains.base(position).unwrap();
                    assert!(recent.get(&id(below)).is_some(), "{position}");
                    let new = chunk(position, Codec::Steps, vec![id(below)]);
                    (new, Some(base_at(position, below)))
                }
            };
            keep(&recent, (&new, &[position; 10]), base, chains);
            let is_kept = |number: &u8| recent.get(&id(*number)).is_some();
            kept.push((0..9).filter(is_kept).collect::<Vec<_>>());
        }
        let expected: [&[u8]; 9] = [&[0], &[0, 1], &[0, 2], &[0], &[4], &[4, 5], &[4], &[7], &[]];
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_its_base_was_of_no_use_for_gives_way_first() {
        let store = Store::in_memory().unwrap();
        let chains = store.chains(Compression::Default, Some(3));
        let recent = Recent::new(20);
        recent.begin();
        let alone = chunk(1, Codec::Planes, Vec::new());
        keep(&recent, (&alone, &[1; 10]), Some(base_at(1, 20)), chains);
        let noise = chunk(2, Codec::Raw, Vec::new());
        keep(&recent, (&noise, &[2; 10]), None, chains);
        let delta = chunk(4, Codec::Steps, vec![id(0)]);
        keep(&recent, (&delta, &[4; 10]), Some(base_at(4, 0)), chains);
        // Not by its own choice: the chain is as long as it may be.
        let refused = Base {
            is_dense_allowed: false,
            ..base_at(5, 21)
        };
        let first = chunk(5, Codec::Planes, Vec::new());
        keep(&recent, (&first, &[5; 10]), Some(refused), chains);
        let last = chunk(6, Codec::Planes, Vec::new());
        keep(&recent, (&last, &[6; 10]), None, chains);
        let kept: Vec<u8> = (0..9).filter(|n| recent.get(&id(*n)).is_some()).collect();
        assert_eq!(kept, [4, 5]);
    }
}
