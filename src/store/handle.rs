//! The store's handle: creating, opening, closing.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::burst::Burst;
use super::generations::Generations;
use super::idle::Idle;
use super::options::Options;
use super::recent::Recent;
use super::sweep::sweep;
use crate::error::{Error, Result};
use crate::format::{FORMAT_VERSION, Identity};
use crate::id::StoreId;
use crate::platform::{self, Temporary};
use crate::storage::{
    Change, Durability, Engine, Medium, MemoryMedium, Rehearsal, Room, Rows, Withheld,
};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How often what is read begins anew before others wait for it.
const READS_BESIDE_OTHERS: usize = 3;

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
    idle: Idle,
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
        options.check_place(path)?;
        if platform::is_taken(path) {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let made = Temporary::beside(path).and_then(|temporary| {
            let medium = options.medium(temporary.path());
            Self::fill(Arc::clone(&medium), options.clone())?
                .engine()
                .close()?;
            // Whoever finds the name at once, and shares the store, saves nothing before it lasts.
            let withheld = Withheld::of(medium.as_ref(), &options.engine())?;
            temporary.link_to(path).map(|()| withheld)
        });
        let withheld = made.map_err(|error| named(error, path))?;
        if let Err(error) = platform::sync_parent(path) {
            // A name that may not last is none.
            platform::remove_quietly(path);
            return Err(error);
        }
        drop(withheld);
        Self::open_with(path, options)
    }

    /// Opens a store, or makes it if there is nothing at the path, also where several processes do
    /// so at the same time.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_or_create_with(path, Options::default())
    }

    /// [`Store::open_or_create`] with options.
    ///
    /// # Errors
    /// As [`Store::open_or_create`].
    pub fn open_or_create_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        match Self::create_with(path, options.clone()) {
            Err(Error::Exists { .. }) => Self::open_with(path, options),
            created => created,
        }
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
        options.check_place(path)?;
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
                idle: Idle::default(),
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

    /// Shows what something would do to the store: `run` is given a store that holds the same, and
    /// what it changes there is gone afterwards. It goes to a temporary file in `folder`
    /// meanwhile, a page for each that changes. Whoever else wants to change the store waits: `run`
    /// must not change it by this handle, nor keep the one that it is given.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = ckptdb::Store::create(folder.path().join("runs.ckptdb"))?;
    /// store.job("vit")?.save(1).bytes("weights", &[7; 100]).commit()?;
    /// let left = store.rehearse(&std::env::temp_dir(), |store| {
    ///     store.delete_job("vit")?;
    ///     Ok(store.stats()?.checkpoints)
    /// })?;
    /// assert_eq!((left, store.stats()?.checkpoints), (0, 1));
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `run` returns; [`Error::Busy`]; from the disks.
    pub fn rehearse<T>(&self, folder: &Path, run: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        // What only reads can change nothing, and has no turn to wait for.
        let _turn = match self.turn() {
            Err(Error::ReadOnly { .. }) => None,
            turn => Some(turn?),
        };
        let medium = Rehearsal::over(self.engine().medium(), folder)?;
        let store = Self::open_in(Arc::new(medium), self.options().clone())?;
        run(&store)
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

    /// The encoder of the save before.
    pub(super) fn idle(&self) -> &Idle {
        &self.inner.idle
    }

    /// What callers said of entries.
    pub(super) fn generations(&self) -> &Generations {
        &self.inner.generations
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Takes note of bytes that are read, verified or prepared, unless that is to end.
    pub(super) fn go_on(&self, bytes: usize, doing: &'static str) -> Result<()> {
        self.options().monitor.advance(bytes, doing)
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

    /// Reads one consistent state. `run` begins anew if others publish several while it reads, as
    /// they do if it takes longer than they wait; in the end they wait for its turn.
    pub(super) fn read<T>(&self, mut run: impl FnMut(&dyn Rows) -> Result<T>) -> Result<T> {
        self.beside_others(|engine| engine.read(&mut run))
    }

    /// [`Store::read`] of whatever the engine tells.
    pub(super) fn beside_others<T>(&self, mut run: impl FnMut(&Engine) -> Result<T>) -> Result<T> {
        for _ in 0..READS_BESIDE_OTHERS {
            match run(self.engine()) {
                Err(Error::Overtaken { .. }) => {}
                done => return done,
            }
        }
        // Who can't have it reads once more as it comes.
        let _turn = self.turn();
        run(self.engine())
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
