//! The store's handle: creating, opening, closing.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::burst::Burst;
use super::generations::Generations;
use super::recent::Recent;
use super::sweep::sweep;
use super::threads::in_hand;
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::format::{FORMAT_VERSION, Identity};
use crate::id::StoreId;
use crate::platform::{self, Clock, SystemClock, Temporary};
use crate::storage::{
    Change, Durability, Engine, EngineOptions, FileMedium, Medium, MemoryMedium, Room, Rows,
};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How a store is opened. `Default` is right for training on one machine.
///
/// ```
/// use ckptdb::{Options, Store};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("runs.ckptdb");
/// let options = Options { cache_bytes: 32 << 20, ..Options::default() };
/// let store = Store::create_with(&path, options)?;
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the page cache. [`Options::memory_bytes`] says what a save or load takes in all.
    pub cache_bytes: usize,
    /// Bytes that the file takes on the disk beyond what it needs, so that deleting and reclaiming
    /// work when the disk is full; taken by the first change after opening or compacting. 0 for
    /// none.
    pub ballast_bytes: u64,
    /// How long a deleted checkpoint can come back: until the next two commits that are so far
    /// apart.
    pub undo_window: Duration,
    /// Bytes of the entries saved last that are kept in memory: the next save, which stores what
    /// has changed since, need not read those. 0 for none.
    pub recent_bytes: usize,
    /// How entries are encoded.
    pub compression: Compression,
    /// Deltas that a load takes at most to make bytes of which all words change from checkpoint to
    /// checkpoint: up to 8. The more, the fewer bytes, as a rule, and the slower loads, as
    /// `docs/codec.md` has it; 0 is for none. [`Compression::Max`] has no such limit. What is
    /// stored already stays as it is, and another handle goes on by its own options.
    pub chain_depth: u8,
    /// Whether other processes may have the file open too. Experimental: `docs/sharing.md` says
    /// what is not safe yet. Without, who comes second is told that the store is busy.
    pub share: bool,
    /// How long another process that shares the store and writes to it is waited for.
    pub wait: Duration,
    /// Threads that encode the chunks of a large save, beside the one that saves, and threads that
    /// load or copy large entries. 1 or less leaves all to the one that calls.
    pub threads: usize,
    /// Dates checkpoints.
    pub clock: Arc<dyn Clock>,
}

/// Stages of a save need some of the cache.
const LEAST_CACHE: usize = 16 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
            ballast_bytes: 1 << 20,
            undo_window: Duration::from_hours(1),
            recent_bytes: 64 << 20,
            compression: Compression::Default,
            chain_depth: 3,
            share: false,
            wait: Duration::from_mins(1),
            threads: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// The defaults, but with so much memory for the store: half of what is not in hand is the page
    /// cache, half the bytes of the entries saved last. Threads are as many as there is room for.
    /// With less than a thread and 16 MiB of cache take, it is these.
    pub fn within(memory_bytes: usize) -> Self {
        let mut options = Self::default();
        while options.threads > 1 && in_hand(options.threads) > memory_bytes / 2 {
            options.threads -= 1;
        }
        let left = memory_bytes.saturating_sub(in_hand(options.threads));
        options.cache_bytes = (left / 2).max(LEAST_CACHE);
        options.recent_bytes = left.saturating_sub(options.cache_bytes);
        options
    }

    /// The memory that a save or a load takes at most, whatever its size, beside the bytes that are
    /// the caller's: the page cache, the entries saved last, and what is in hand, which are chunks
    /// on their way and the buffers of each thread.
    pub fn memory_bytes(&self) -> usize {
        self.cache_bytes + self.recent_bytes + in_hand(self.threads)
    }
}

/// An open `*.ckptdb` file. Clones are the same store; the file is closed with the last one.
///
/// ```
/// use ckptdb::{Direction, Event, Store};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("runs.ckptdb");
/// let store = Store::create(&path)?;
/// let job = store.job("NQ")?;
/// job.declare_metric("sharpe", Direction::Max)?;
/// job.save(1000)
///     .bytes("vecnormalize.pkl", b"statistics")
///     .metric("sharpe", 1.4)
///     .event(Event::Periodic)
///     .commit()?;
/// let best = store.resolve("NQ@best:sharpe")?;
/// assert_eq!(best.iteration, 1000);
/// assert_eq!(best.read("vecnormalize.pkl")?, b"statistics".as_slice());
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    options: Options,
    /// Held by whoever changes the store, from its first look at what is there to its commit.
    changes: Mutex<()>,
    burst: Burst,
    /// Whether what a crash may have left has been looked for.
    settled: AtomicBool,
    recent: Recent,
    generations: Generations,
}

impl Store {
    /// Makes a new store. Never overwrites: the file appears complete and durable, or not at all.
    ///
    /// # Errors
    /// [`Error::Exists`] when the path is taken.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::create_with(path, Options::default())
    }

    /// [`Store::create`] with options.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        if platform::is_taken(path) {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let made = Temporary::beside(path).and_then(|temporary| {
            let medium = options.medium(temporary.path());
            Self::fill(medium, options.clone())?.engine().close()?;
            temporary.link_to(path)
        });
        made.map_err(|error| named(error, path))?;
        if let Err(error) = platform::sync_parent(path) {
            // A name that may not last is none.
            platform::remove_quietly(path);
            return Err(error);
        }
        Self::open_with(path, options)
    }

    /// Makes a new store in an empty medium.
    ///
    /// # Errors
    /// [`Error::Exists`] when the medium is not empty.
    pub fn create_in(medium: Arc<dyn Medium>, options: Options) -> Result<Self> {
        let path = medium.path().to_owned();
        let failed = |error| platform::io_error("opening", &path, error);
        if !medium
            .open()
            .and_then(|backend| backend.is_empty())
            .map_err(failed)?
        {
            return Err(Error::Exists { path });
        }
        Self::fill(medium, options)
    }

    /// Makes a new store in memory, gone when its last handle is.
    ///
    /// # Errors
    /// From the storage engine.
    pub fn in_memory() -> Result<Self> {
        Self::create_in(Arc::new(MemoryMedium::default()), Options::default())
    }

    fn fill(medium: Arc<dyn Medium>, options: Options) -> Result<Self> {
        let at = options.clock.now().as_millis();
        let identity = Identity {
            format: FORMAT_VERSION,
            store: platform::random_bytes(),
            created_at: at,
            writer: concat!("ckptdb ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let engine = Engine::create(medium, options.engine(), &identity, |rows| {
            Change::first(rows, at).finish()
        })?;
        Ok(Self::with(engine, options))
    }

    /// Opens a store. Never creates, and leaves a file that is not a store as it is.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NotAStore`], [`Error::Newer`], [`Error::Busy`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Options::default())
    }

    /// [`Store::open`] with options.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        check_file(path)?;
        Self::open_in(options.medium(path), options)
    }

    /// Opens the store in a medium.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_in(medium: Arc<dyn Medium>, options: Options) -> Result<Self> {
        Ok(Self::with(Engine::open(medium, options.engine())?, options))
    }

    pub(super) fn with(engine: Engine, options: Options) -> Self {
        let recent = Recent::new(options.recent_bytes);
        Self {
            inner: Arc::new(Inner {
                engine,
                options,
                changes: Mutex::new(()),
                burst: Burst::default(),
                settled: AtomicBool::new(false),
                recent,
                generations: Generations::default(),
            }),
        }
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        self.inner.engine.medium().path()
    }

    /// Bytes that are free on the disk that it lies on, and how many that has; none where that has
    /// no limit or is not known.
    ///
    /// # Errors
    /// From the disk.
    pub fn free_space(&self) -> Result<Option<(u64, u64)>> {
        let medium = self.inner.engine.medium();
        let failed =
            |error| platform::io_error("asking for the free space of", medium.path(), error);
        medium.free().map_err(failed)
    }

    /// The store's id.
    pub fn id(&self) -> StoreId {
        self.inner.engine.store()
    }

    /// Closes the file and opens it again beneath this handle and all its clones.
    ///
    /// # Errors
    /// As [`Store::open`]; the handle tries again at its next use.
    pub fn reopen(&self) -> Result<()> {
        let _changes = self.changes()?;
        self.inner.engine.reopen()
    }

    /// Closes the store now, rather than when the last clone is dropped. A clone that is used
    /// afterwards opens it again.
    pub fn close(self) {
        let Ok(_changes) = self.changes() else {
            return;
        };
        if let Err(error) = self.inner.engine.close() {
            tracing::warn!(%error, "what was saved is safe, but closing the store failed");
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Chunks that were saved last.
    pub(super) fn recent(&self) -> &Recent {
        &self.inner.recent
    }

    /// What callers said of entries.
    pub(super) fn generations(&self) -> &Generations {
        &self.inner.generations
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Held by the thread that may change the store. In a forked process nobody may give it back.
    pub(super) fn changes(&self) -> Result<MutexGuard<'_, ()>> {
        self.engine().check_process()?;
        let changes = self.inner.changes.lock();
        Ok(changes.unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of the store may not be so any more: others have changed it.
    pub(super) fn unsettle(&self) {
        self.inner.settled.store(false, Ordering::SeqCst);
    }

    /// Saves that come at once.
    pub(super) fn burst(&self) -> &Burst {
        &self.inner.burst
    }

    /// Removes, once, what a save or a reclaim left that was cut off by a crash. Nothing refers to
    /// it; where it can't be removed it only takes room. Whoever only reads has no need to.
    pub(super) fn settle(&self) {
        if self.inner.settled.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = sweep(self.engine(), self.options().compression) {
            tracing::warn!(%error, "what a crash left could not be removed");
        }
    }

    /// The time now, as it is recorded.
    pub(super) fn now(&self) -> i64 {
        self.inner.options.clock.now().as_millis()
    }

    /// Changes the store in one durable transaction. The caller has the turn.
    pub(super) fn change<T>(&self, run: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        self.change_with((Durability::Durable, Room::Ordinary), run)
    }

    /// [`Store::change`] of the kind that makes room, on a full disk too.
    pub(super) fn make_room<T>(&self, run: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        self.change_with((Durability::Durable, Room::Ballast), run)
    }

    /// [`Store::change`], durable or not yet, with this room.
    pub(super) fn change_with<T>(
        &self,
        (durability, room): (Durability, Room),
        run: impl FnOnce(&mut Change<'_>) -> Result<T>,
    ) -> Result<T> {
        let at = self.now();
        self.engine().write(durability, room, |rows| {
            let mut change = Change::begin(rows, at)?;
            let result = run(&mut change)?;
            change.finish()?;
            Ok(result)
        })
    }

    /// Reads one consistent state.
    pub(super) fn read<T>(&self, run: impl FnOnce(&dyn Rows) -> Result<T>) -> Result<T> {
        self.engine().read(run)
    }
}

impl Options {
    fn medium(&self, path: &Path) -> Arc<dyn Medium> {
        Arc::new(if self.share {
            FileMedium::shared(path)
        } else {
            FileMedium::new(path)
        })
    }

    pub(super) fn engine(&self) -> EngineOptions {
        EngineOptions {
            cache_bytes: self.cache_bytes,
            ballast_bytes: self.ballast_bytes,
            wait: self.wait,
        }
    }
}

/// Only a regular file can be a store.
pub(super) fn check_file(path: &Path) -> Result<()> {
    match platform::no_file(path) {
        Some(why) => Err(Error::NotAStore {
            path: path.to_owned(),
            why: why.to_owned(),
        }),
        None => Ok(()),
    }
}

/// An error about the temporary file, said of the file that was asked for.
fn named(error: Error, asked: &Path) -> Error {
    let path = asked.to_owned();
    match error {
        Error::Io {
            operation, source, ..
        } => Error::Io {
            operation,
            path,
            source,
        },
        Error::Full { operation, .. } => Error::Full { operation, path },
        other => other,
    }
}
