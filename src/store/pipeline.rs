//! The chunks of a save on their way: named, looked up and encoded beside each other, and handed
//! back in the order in which they were cut, so that equal saves make equal stores.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, Range};
use std::sync::{Arc, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::bases::{Base, encoded, keep};
use super::chains::Chains;
use super::heal::Presence;
use super::threads::{AHEAD, BESIDE_BYTES, MOST_THREADS, STAGE_BYTES, may_start};
use crate::codec::{Compression, Encoder, Narrow, Texture};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, MAX_CHUNK_BYTES};
use crate::id::ChunkId;
use crate::storage::{NewChunk, unless_of_another};
use crate::store::Store;
use crate::sync::{Mutex, MutexGuard};
use crate::tensor::DType;

/// A chunk's raw bytes.
#[derive(Debug)]
pub(super) enum Raw<'e> {
    Lent(&'e [u8]),
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>, Range<usize>),
}

impl Deref for Raw<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
            Self::Shared(bytes, range) => bytes.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// What a chunk may be stored as, if the store has not got it.
#[derive(Debug)]
pub(super) enum Work<'e> {
    /// What has changed since this chunk of the parent, or whatever is short.
    Chunk {
        texture: Texture,
        parent: Option<ChunkRef>,
        /// The caller says that it is the parent's.
        is_unchanged: bool,
    },
    /// The rounding of other chunks of the save, which have been taken in before.
    Copy {
        narrow: Narrow,
        wide: Vec<Raw<'e>>,
        masters: Vec<ChunkId>,
    },
}

/// A chunk to prepare.
#[derive(Debug)]
pub(super) struct Task<'e> {
    pub(super) raw: Raw<'e>,
    pub(super) work: Work<'e>,
}

/// A chunk as it can be taken in.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) chunk: ChunkRef,
    /// What the store had of it.
    pub(super) presence: Presence,
    /// Encoded, unless it is there.
    pub(super) new: Option<NewChunk>,
}

/// The chunks that a save has brought: staged ones with their numbers. The store may not show them
/// yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Fresh(Arc<Mutex<HashMap<ChunkId, Option<u64>>>>);

impl Fresh {
    pub(super) fn chunks(&self) -> MutexGuard<'_, HashMap<ChunkId, Option<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.chunks().contains_key(id)
    }
}

/// Buffers of chunks that have been written, for those that follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer with room for whatever was in it before.
    fn take(&self) -> Vec<u8> {
        self.buffers().pop().unwrap_or_default()
    }

    /// Puts what is short into a buffer of its own length: many of them wait to be written, and
    /// what waits is counted by its length.
    fn swap_if_short(&self, stored: &mut Vec<u8>) {
        if stored.len() < stored.capacity() / 2 {
            let short = stored.as_slice().into();
            self.buffers().push(std::mem::replace(stored, short));
        }
    }

    /// Keeps the buffers of chunks that have been written.
    pub(super) fn give(&self, written: Vec<NewChunk>) {
        let mut buffers = self.buffers();
        let mut bytes: usize = buffers.iter().map(Vec::capacity).sum();
        for chunk in written {
            bytes += chunk.stored.capacity();
            if bytes > STAGE_BYTES {
                break;
            }
            buffers.push(chunk.stored);
        }
    }
}

/// Prepares chunks, one after the other.
pub(super) struct Worker<'s> {
    store: &'s Store,
    encoder: Encoder,
    chains: Chains,
    fresh: Fresh,
    spare: Spare,
}

impl<'s> Worker<'s> {
    pub(super) fn new(
        store: &'s Store,
        (effort, chains): (Compression, Chains),
        (fresh, spare): (Fresh, Spare),
    ) -> Self {
        Self {
            store,
            encoder: store.idle().take(effort),
            chains,
            fresh,
            spare,
        }
    }

    /// Names a chunk, looks it up, and encodes it if the store has not got it.
    fn prepare(&mut self, task: &Task<'_>) -> Result<Prepared> {
        self.store.go_on(task.raw.len(), "saving")?;
        unless_of_another(|| self.try_to_prepare(task))
    }

    fn try_to_prepare(&mut self, task: &Task<'_>) -> Result<Prepared> {
        let raw = &*task.raw;
        if let Work::Chunk {
            parent: Some(parent),
            is_unchanged: true,
            ..
        } = &task.work
            && self.may_stay(parent, raw)?
        {
            return Ok(Prepared {
                chunk: *parent,
                presence: Presence::Present,
                new: None,
            });
        }
        let chunk = named(raw)?;
        let id = chunk.chunk();
        let is_due = match &task.work {
            Work::Chunk { parent, .. } => parent.is_some_and(|parent| parent.chunk() == id),
            Work::Copy { .. } => false,
        };
        let presence = if self.fresh.has(&id) {
            Presence::Present
        } else {
            self.store.presence(&id, is_due)?
        };
        let new = match (presence, &task.work) {
            (Presence::Present, _) => {
                self.store.recent().touch(&id);
                None
            }
            (
                Presence::Absent,
                Work::Chunk {
                    texture, parent, ..
                },
            ) => Some(self.encode(&chunk, raw, *texture, parent.as_ref())?),
            // Without a base: that could be a delta against this very chunk.
            (Presence::Damaged, Work::Chunk { texture, .. }) => {
                Some(self.encode(&chunk, raw, *texture, None)?)
            }
            (Presence::Damaged, Work::Copy { .. }) => {
                Some(self.encode(&chunk, raw, Texture::of(DType::Bf16), None)?)
            }
            (
                Presence::Absent,
                Work::Copy {
                    narrow,
                    wide,
                    masters,
                },
            ) => Some(self.copy(&chunk, raw, *narrow, (wide, masters))?),
        };
        Ok(Prepared {
            chunk,
            presence,
            new,
        })
    }

    /// Whether the parent's chunk can stay where the caller says that these are its bytes. A build
    /// with debug assertions looks whether that is so.
    fn may_stay(&self, parent: &ChunkRef, raw: &[u8]) -> Result<bool> {
        let fits = parent.raw_len as usize == raw.len();
        if !fits || self.store.presence(&parent.chunk(), true)? != Presence::Present {
            return Ok(false);
        }
        if cfg!(debug_assertions) && named(raw)? != *parent {
            let why = "it has the generation that it had in the save before, and other bytes";
            return Err(Error::invalid("an entry", why));
        }
        self.store.recent().touch(&parent.chunk());
        Ok(true)
    }

    /// Encodes a chunk, against what the parent has in its place if that is shorter and allowed.
    fn encode(
        &mut self,
        chunk: &ChunkRef,
        raw: &[u8],
        texture: Texture,
        parent: Option<&ChunkRef>,
    ) -> Result<NewChunk> {
        let base = match parent.filter(|_| self.encoder.uses_bases()) {
            Some(parent) => {
                let encoder = &mut self.encoder;
                let mut is_of_use = |base: &[u8]| encoder.may_use(texture, raw, base);
                Base::after(self.store, parent, self.chains, &mut is_of_use)?
            }
            None => None,
        };
        self.encoder.reuse(self.spare.take());
        let mut new = encoded(&mut self.encoder, chunk, raw, texture, base.as_ref());
        self.spare.swap_if_short(&mut new.stored);
        if self.encoder.uses_bases() {
            keep(self.store.recent(), (&new, raw), base, self.chains);
        }
        Ok(new)
    }

    /// Encodes a chunk as the rounding of others.
    fn copy(
        &mut self,
        chunk: &ChunkRef,
        raw: &[u8],
        narrow: Narrow,
        (wide, masters): (&[Raw<'_>], &[ChunkId]),
    ) -> Result<NewChunk> {
        // What is read from a file may have changed since its chunks were named.
        let is_read_again = |wide: &&Raw<'_>| matches!(wide, Raw::Own(_));
        let mut read_again = wide
            .iter()
            .zip(masters)
            .filter(|(wide, _)| is_read_again(wide));
        let are_masters =
            read_again.all(|(wide, id)| blake3::hash(wide).as_bytes() == id.as_bytes());
        let wide: Vec<&[u8]> = wide.iter().map(|wide| &**wide).collect();
        let derived = are_masters.then(|| Encoder::derive(narrow, raw, &wide, masters));
        match derived.flatten() {
            Some(encoded) => Ok(NewChunk {
                id: chunk.chunk(),
                raw_len: chunk.raw_len,
                codec: encoded.codec.code(),
                bases: masters.to_vec(),
                // Nothing is to be written against it.
                position: u8::MAX,
                stored: encoded.bytes,
            }),
            None => self.encode(chunk, raw, Texture::of(DType::Bf16), None),
        }
    }
}

impl Drop for Worker<'_> {
    /// Leaves its encoder to the next save, unless nobody knows what state it is in.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let none = Encoder::new(self.encoder.effort());
        let idle = std::mem::replace(&mut self.encoder, none);
        self.store.idle().give(idle);
    }
}

/// A chunk's name: the hash of its bytes, and their number.
fn named(raw: &[u8]) -> Result<ChunkRef> {
    match u32::try_from(raw.len()) {
        Ok(raw_len) if raw.len() <= MAX_CHUNK_BYTES => Ok(ChunkRef {
            id: *blake3::hash(raw).as_bytes(),
            raw_len,
        }),
        _ => Err(Error::invalid("a chunk", "it is longer than chunks may be")),
    }
}

/// Where chunks are prepared: at once, by the thread that cuts them, until there are many; then by
/// others, while that one goes on.
pub(super) struct Pipeline<'x, 's, 'e> {
    here: Box<Worker<'s>>,
    ready: Option<Prepared>,
    bytes: usize,
    /// Starts the others, if there may be any.
    start: Option<Box<dyn FnOnce() -> Option<Beside<'e>> + 'x>>,
    beside: Option<Beside<'e>>,
}

/// What other threads have to do and have done.
pub(super) struct Beside<'e> {
    tasks: Sender<(usize, Task<'e>)>,
    done: Receiver<(usize, Done)>,
    /// What was done before its turn.
    early: BTreeMap<usize, Result<Prepared>>,
    sent: usize,
    taken: usize,
    /// Raw bytes of those that are on their way, and how many these may be.
    bytes: usize,
    most_bytes: usize,
}

/// The end of a task; none if the thread came to grief, which the scope tells.
type Done = Option<Result<Prepared>>;

/// Runs with a pipeline of so many threads at most, which end with it.
pub(super) fn with_pipeline<'s, 'e, T>(
    threads: usize,
    worker: impl Fn() -> Worker<'s>,
    run: impl for<'x> FnOnce(Pipeline<'x, 's, 'e>) -> Result<T>,
) -> Result<T> {
    let here = Box::new(worker());
    thread::scope(|scope| {
        let start = || {
            // Bounded by bytes and not by number: `Beside::next` waits where too many are on
            // their way.
            let (tasks, to_do) = unbounded();
            let (is_done, done) = unbounded();
            let mut started = 0;
            for _ in 0..threads.min(MOST_THREADS) {
                let (mut worker, to_do, is_done) = (worker(), to_do.clone(), is_done.clone());
                let run = move || work(&mut worker, &to_do, &is_done);
                // Where no more threads are to be had, these do it.
                if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                    break;
                }
                started += 1;
            }
            (started > 0).then(|| Beside {
                tasks,
                done,
                early: BTreeMap::new(),
                sent: 0,
                taken: 0,
                bytes: 0,
                most_bytes: STAGE_BYTES + started * AHEAD * MAX_CHUNK_BYTES,
            })
        };
        run(Pipeline {
            here,
            ready: None,
            bytes: 0,
            start: may_start(threads).then(|| Box::new(start) as Box<dyn FnOnce() -> _>),
            beside: None,
        })
    })
}

/// Prepares what comes, until nothing more can come.
fn work(
    worker: &mut Worker<'_>,
    to_do: &Receiver<(usize, Task<'_>)>,
    is_done: &Sender<(usize, Done)>,
) {
    /// Tells that no answer will come, if none came.
    struct Promise<'a>(usize, &'a Sender<(usize, Done)>, bool);
    impl Drop for Promise<'_> {
        fn drop(&mut self) {
            if !self.2 {
                let _ = self.1.send((self.0, None));
            }
        }
    }
    for (number, task) in to_do {
        let mut promise = Promise(number, is_done, false);
        let prepared = worker.prepare(&task);
        promise.2 = true;
        if is_done.send((number, Some(prepared))).is_err() {
            return;
        }
    }
}

impl<'e> Pipeline<'_, '_, 'e> {
    /// Hands a chunk over.
    pub(super) fn send(&mut self, task: Task<'e>) -> Result<()> {
        self.bytes = self.bytes.saturating_add(task.raw.len());
        if self.bytes >= BESIDE_BYTES
            && let Some(start) = self.start.take()
        {
            self.beside = start();
        }
        match &mut self.beside {
            None => self.ready = Some(self.here.prepare(&task)?),
            Some(beside) => {
                let number = beside.sent;
                beside.sent += 1;
                beside.bytes += task.raw.len();
                // The threads are there as long as this end of the channel.
                let _ = beside.tasks.send((number, task));
            }
        }
        Ok(())
    }

    /// The next chunk, if it `is_wanted` or enough are on their way: these are left there, so that
    /// the other threads have something to do while what comes back is written.
    pub(super) fn next(&mut self, is_wanted: bool) -> Result<Option<Prepared>> {
        match &mut self.beside {
            None => Ok(self.ready.take()),
            Some(beside) => beside.next(is_wanted),
        }
    }
}

impl Beside<'_> {
    fn next(&mut self, is_wanted: bool) -> Result<Option<Prepared>> {
        loop {
            let waits = is_wanted || self.bytes >= self.most_bytes;
            if self.sent == self.taken || !waits {
                return Ok(None);
            }
            if let Some(prepared) = self.early.remove(&self.taken) {
                self.taken += 1;
                let prepared = prepared?;
                self.bytes = self.bytes.saturating_sub(prepared.chunk.raw_len as usize);
                return Ok(Some(prepared));
            }
            match self.done.recv() {
                Ok((number, Some(prepared))) => {
                    self.early.insert(number, prepared);
                }
                // The scope ends with that thread's panic.
                Ok((_, None)) | Err(_) => return Err(Error::invalid("a save", "a thread ended")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::ops::ControlFlow;

    use super::*;
    use crate::codec::{Codec, Compression};
    use crate::format::ChunkRow;
    use crate::store::{Options, Saved};
    use crate::tensor::TensorSlice;

    /// Bytes of weights that differ a little from step to step.
    fn weights(seed: u64, step: u64, count: u64) -> Vec<u8> {
        let word = |place: u64| (seed << 40 ^ place).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 41;
        let value = |place| 0x3F00_0000 + u32::try_from(word(place)).unwrap();
        (0..count)
            .flat_map(|place| (value(place) + u32::try_from(step).unwrap()).to_le_bytes())
            .collect()
    }

    /// A bf16 copy of them, rounded to the nearest, to even between two.
    fn rounded(weights: &[u8]) -> Vec<u8> {
        let words = weights.chunks(4);
        let words = words.map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        let round = |word: u32| (word + 0x7FFF + (word >> 16 & 1)) >> 16;
        let halves = words.map(|word| u16::try_from(round(word)).unwrap());
        halves.flat_map(u16::to_le_bytes).collect()
    }

    fn tensor(dtype: DType, bytes: &[u8]) -> Result<TensorSlice<'_>> {
        let bits = usize::try_from(dtype.bits()).unwrap();
        TensorSlice::new(dtype, &[bytes.len() * 8 / bits], bytes)
    }

    /// A state of all kinds of entries: packs, chunks, copies, equal ones, and bytes from a reader.
    fn save(store: &Store, step: u64, reader: impl Read) -> Result<Saved> {
        let large: Vec<_> = (0..4).map(|seed| weights(seed, step, 700_000)).collect();
        let small: Vec<_> = (0..60).map(|seed| weights(seed, step, 90)).collect();
        let (twin, copy) = (weights(0, step, 700_000), rounded(&large[1]));
        let job = store.job("NQ")?;
        let mut save = job.save(step).tensor("a.copy", tensor(DType::Bf16, &copy)?);
        for (number, bytes) in large.iter().chain(&small).chain([&twin]).enumerate() {
            save = save.tensor(&format!("layer.{number}"), tensor(DType::F32, bytes)?);
        }
        save.file("optimizer.pt", reader).commit()
    }

    fn store(threads: usize, compression: Compression) -> Store {
        let options = Options {
            compression,
            threads,
            ..Options::default()
        };
        Store::create_in(Arc::new(crate::storage::MemoryMedium::default()), options).unwrap()
    }

    /// Every chunk's row, by id.
    fn rows(store: &Store) -> BTreeMap<[u8; 32], ChunkRow> {
        let mut found = BTreeMap::new();
        let read = store.read(|rows| {
            rows.each_chunk(&mut |id, bytes| {
                found.insert(*id.as_bytes(), ChunkRow::from_bytes(&id, bytes).unwrap());
                Ok(ControlFlow::Continue(()))
            })
        });
        read.unwrap();
        found
    }

    #[test]
    fn however_many_threads_there_are_a_save_makes_the_same_store() {
        for compression in Compression::ALL {
            let mut told = Vec::new();
            for threads in [1, 2, 5] {
                let store = store(threads, compression);
                let mut tallies = Vec::new();
                for step in 1..=3 {
                    let file = weights(9, step, 2_500_000);
                    let saved = save(&store, step, &*file).unwrap();
                    let all = (saved.chunks, saved.new_chunks, saved.stored_bytes);
                    tallies.push((all, saved.shared_bytes, saved.checkpoint.storage().unwrap()));
                    assert_eq!(saved.checkpoint.read("optimizer.pt").unwrap(), file);
                    saved.checkpoint.verify().unwrap();
                }
                let rows = rows(&store);
                let is_copy = |row: &ChunkRow| row.codec == Codec::Derived.code();
                assert_eq!(rows.values().any(is_copy), compression.uses_bases());
                told.push((tallies, rows));
            }
            assert!(told[0] == told[1] && told[0] == told[2], "{compression}");
        }
    }

    #[test]
    fn a_save_that_fails_on_its_way_leaves_nothing() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("no more"))
            }
        }
        let store = store(4, Compression::None);
        let file = weights(9, 1, 9_000_000);
        let refused = save(&store, 1, file.chain(Fails));
        assert!(matches!(refused, Err(Error::Io { .. })));
        assert_eq!(rows(&store), BTreeMap::new());
        save(&store, 1, &*file)
            .unwrap()
            .checkpoint
            .verify()
            .unwrap();
    }
}
