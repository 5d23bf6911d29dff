//! The engine: owns redb's handle, opens, closes and reopens it beneath its users.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Builder, Database, ReadableDatabase};

use super::adapter::{Adapter, Condition};
use super::backend::Medium;
use super::guard::{Context, guarded};
use super::room::Room;
use super::rows::{Rows, Writes};
use super::tables::{ReadTx, WriteTx};
use crate::error::{Error, Result};
use crate::format::{FORMAT_VERSION, Identity, Record, StoreTag, TableCode};
use crate::id::StoreId;

/// What a redb file begins with.
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Whether a commit returns before or after the disk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Part of a larger change: durable with the next durable commit, or gone.
    Staged,
    /// On the disk when the commit returns.
    Durable,
}

/// How an engine runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineOptions {
    /// redb's page cache.
    pub(crate) cache_bytes: usize,
    /// Bytes on the disk that only what makes room may use.
    pub(crate) ballast_bytes: u64,
}

/// The store's database, as closures over its transactions.
#[derive(Debug)]
pub(crate) struct Engine {
    medium: Arc<dyn Medium>,
    options: EngineOptions,
    store: StoreId,
    /// None between a failure and the next use.
    handle: RwLock<Option<Handle>>,
    /// redb blocks a second writer for ever, so that ours wait here.
    writer: Mutex<()>,
    sync_failed: AtomicBool,
    generation: AtomicU64,
}

#[derive(Debug)]
struct Handle {
    database: Database,
    context: Context,
}

impl Engine {
    /// Makes an empty database with this identity. The medium must be empty.
    pub(crate) fn create(
        medium: Arc<dyn Medium>,
        options: EngineOptions,
        identity: &Identity,
        fill: impl FnOnce(&mut dyn Writes) -> Result<()>,
    ) -> Result<Self> {
        let store = StoreId::new(identity.store);
        let handle = Handle::open(medium.as_ref(), options, true)?;
        let kind = (Durability::Durable, Room::Ordinary);
        let made = handle.write(StoreTag::of(store), kind, |rows| {
            let record = identity
                .to_bytes(rows.tag(), &Identity::KEY.to_be_bytes())
                .map_err(|error| error.of("the identity record"))?;
            rows.put_record(TableCode::Settings, Identity::KEY, &record)?;
            fill(rows)
        });
        match made {
            Ok(()) => Ok(Self::with(medium, options, store, handle)),
            Err(error) => {
                noted(handle.close());
                Err(error)
            }
        }
    }

    /// Opens a database that is a store of ours; anything else is left as it is.
    pub(crate) fn open(medium: Arc<dyn Medium>, options: EngineOptions) -> Result<Self> {
        let handle = Handle::open(medium.as_ref(), options, false)?;
        let store = match handle.identify() {
            Ok(store) => store,
            Err(error) => {
                // Closing a damaged database may fail too; the first error says more.
                noted(handle.close());
                return Err(error);
            }
        };
        Ok(Self::with(medium, options, store, handle))
    }

    fn with(
        medium: Arc<dyn Medium>,
        options: EngineOptions,
        store: StoreId,
        handle: Handle,
    ) -> Self {
        Self {
            medium,
            options,
            store,
            handle: RwLock::new(Some(handle)),
            writer: Mutex::new(()),
            sync_failed: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        }
    }

    /// The store's id.
    pub(crate) const fn store(&self) -> StoreId {
        self.store
    }

    /// The medium.
    pub(crate) fn medium(&self) -> &dyn Medium {
        self.medium.as_ref()
    }

    /// Reads in one transaction.
    pub(crate) fn read<T>(&self, run: impl FnOnce(&dyn Rows) -> Result<T>) -> Result<T> {
        let tag = StoreTag::of(self.store);
        self.with_handle(|handle| {
            guarded(&handle.context, || {
                let begun = handle.database.begin_read();
                let transaction = begun.map_err(|e| Context::engine("beginning to read", e))?;
                run(&ReadTx::new(transaction, handle.context.clone(), tag))
            })
        })
    }

    /// Writes in one transaction, which is committed if `run` succeeds and gone if it fails.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        room: Room,
        run: impl FnOnce(&mut dyn Writes) -> Result<T>,
    ) -> Result<T> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failed_sync()?;
        let tag = StoreTag::of(self.store);
        self.with_handle(|handle| handle.write(tag, (durability, room), run))
    }

    fn refuse_after_failed_sync(&self) -> Result<()> {
        if self.sync_failed.load(Ordering::SeqCst) {
            let path = self.medium.path().to_owned();
            return Err(Error::SyncFailed { path });
        }
        Ok(())
    }

    /// How often the database was opened anew beneath this engine. What was staged under another
    /// number is gone.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Length of the medium, and how much of it is taken on the disk.
    pub(crate) fn size(&self) -> Result<(u64, u64)> {
        self.with_handle(|handle| {
            let backend = handle.context.condition.backend();
            let failed = |error| handle.context.io("measuring", error);
            Ok((
                backend.len().map_err(failed)?,
                backend.allocated().map_err(failed)?,
            ))
        })
    }

    /// Moves pages to the front of the file and cuts its end off. Waits for readers to finish.
    pub(crate) fn compact(&self) -> Result<()> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failed_sync()?;
        self.with_handle(|_| Ok(()))?;
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = slot.as_mut() else {
            return Ok(());
        };
        let context = handle.context.clone();
        let compacted = context.accept(Room::Ballast).and_then(|()| {
            guarded(&context, || {
                while handle
                    .database
                    .compact()
                    .map_err(|e| context.compaction(e))?
                {}
                Ok(())
            })
        });
        if context.condition.is_broken() {
            noted(self.discard(&mut slot));
        }
        compacted
    }

    /// Whether what makes room can do so once more on a full disk.
    pub(crate) fn has_ballast(&self) -> bool {
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .is_none_or(|handle| handle.context.condition.has_ballast())
    }

    /// Closes the handle and opens it again. What was acknowledged is there afterwards.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        noted(self.discard(&mut slot));
        self.fill(&mut slot)
    }

    /// Closes the database. The engine opens it again if it is used again. An error says that what
    /// closing writes did not all reach the disk; what was committed before is not concerned.
    pub(crate) fn close(&self) -> Result<()> {
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        self.discard(&mut slot)
    }

    /// Runs with an open handle, and drops it if that broke it.
    fn with_handle<T>(&self, run: impl FnOnce(&Handle) -> Result<T>) -> Result<T> {
        loop {
            let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = slot.as_ref() {
                let result = run(handle);
                let broken = handle.context.condition.is_broken();
                drop(slot);
                if broken {
                    let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
                    if slot
                        .as_ref()
                        .is_some_and(|h| h.context.condition.is_broken())
                    {
                        noted(self.discard(&mut slot));
                    }
                }
                return result;
            }
            drop(slot);
            let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_none() {
                self.fill(&mut slot)?;
            }
        }
    }

    fn fill(&self, slot: &mut Option<Handle>) -> Result<()> {
        let handle = Handle::open(self.medium.as_ref(), self.options, false)?;
        let found = match handle.identify() {
            Ok(found) => found,
            Err(error) => {
                noted(handle.close());
                return Err(error);
            }
        };
        if found != self.store {
            noted(handle.close());
            let why = format!("the store {} was replaced by {found}", self.store);
            return Err(Error::NotAStore {
                path: self.medium.path().to_owned(),
                why,
            });
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        *slot = Some(handle);
        Ok(())
    }

    fn discard(&self, slot: &mut Option<Handle>) -> Result<()> {
        let Some(handle) = slot.take() else {
            return Ok(());
        };
        // What closing itself fails to sync concerns nothing that was acknowledged, and whatever is
        // lost of it is as after a power failure.
        if handle.context.condition.sync_failed() {
            self.sync_failed.store(true, Ordering::SeqCst);
        }
        handle.close()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        noted(self.close());
    }
}

/// A failure to close harms nothing that was committed.
fn noted(closed: Result<()>) {
    if let Err(error) = closed {
        tracing::warn!(%error, "closing the store's database failed");
    }
}

impl Handle {
    /// Opens the database with all of the engine's writes held back until the first change. A
    /// fresh one has nothing to be mistaken for.
    fn open(medium: &dyn Medium, options: EngineOptions, fresh: bool) -> Result<Self> {
        let path = medium.path();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::NoStore {
                path: path.to_owned(),
            },
            _ => crate::platform::io_error("opening", path, source),
        };
        let backend = medium.open().map_err(failed)?;
        if !fresh {
            let mut magic = [0; 9];
            let length = backend.len().map_err(failed)?;
            let why = match backend.read(0, &mut magic) {
                _ if length == 0 => "it is empty",
                Err(_) if length < REDB_MAGIC.len() as u64 => "it is too short",
                Err(error) => return Err(failed(error)),
                Ok(()) if &magic != REDB_MAGIC => "it does not begin like one",
                Ok(()) => "",
            };
            if !why.is_empty() {
                return Err(Error::NotAStore {
                    path: path.to_owned(),
                    why: why.to_owned(),
                });
            }
        }
        let condition = Arc::new(Condition::new(backend, options.ballast_bytes).map_err(failed)?);
        if fresh {
            condition.accept().map_err(failed)?;
        }
        let context = Context {
            path: path.to_owned(),
            condition,
        };
        let database = guarded(&context, || {
            Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(Adapter(Arc::clone(&context.condition)))
                .map_err(|error| context.database(error))
        })?;
        Ok(Self { database, context })
    }

    /// The id of the store in this database, if it is one that this release reads.
    fn identify(&self) -> Result<StoreId> {
        let not_ours = |why: &str| Error::NotAStore {
            path: self.context.path.clone(),
            why: why.to_owned(),
        };
        let found = guarded(&self.context, || {
            let begun = self.database.begin_read();
            let transaction = begun.map_err(|e| Context::engine("beginning to read", e))?;
            let tables = ReadTx::new(transaction, self.context.clone(), StoreTag::NONE);
            let bytes = tables.record(TableCode::Settings, Identity::KEY);
            let missing = "it is a redb database of another program";
            let bytes = match bytes {
                Err(Error::Corrupt { .. }) => return Err(not_ours(missing)),
                other => other?.ok_or_else(|| not_ours(missing))?,
            };
            let tag = StoreTag::peek(&bytes).ok_or_else(|| not_ours(missing))?;
            let record = Identity::from_bytes(tag, &Identity::KEY.to_be_bytes(), &bytes)
                .map_err(|error| error.of("the identity record"))?;
            Ok((tag, record))
        });
        let (tag, identity) = found?;
        if identity.format != FORMAT_VERSION {
            return Err(Error::Newer {
                path: self.context.path.clone(),
                found: identity.format,
                supported: FORMAT_VERSION,
            });
        }
        let store = StoreId::new(identity.store);
        if tag != StoreTag::of(store) {
            return Err(Error::corrupt(
                "the identity record",
                "it carries another store's tag",
            ));
        }
        Ok(store)
    }

    fn write<T>(
        &self,
        tag: StoreTag,
        (durability, room): (Durability, Room),
        run: impl FnOnce(&mut dyn Writes) -> Result<T>,
    ) -> Result<T> {
        let context = &self.context;
        context.accept(room)?;
        guarded(context, || {
            let begun = self.database.begin_write();
            let mut transaction = begun.map_err(|e| Context::engine("beginning to write", e))?;
            let durable = durability == Durability::Durable;
            if durable {
                // Costs a second sync, and makes reopening after a crash independent of the size
                // of the file and keeps damage local.
                transaction.set_quick_repair(true);
            } else {
                transaction
                    .set_durability(redb::Durability::None)
                    .map_err(|e| Context::engine("staging", e))?;
            }
            let mut tables = WriteTx::new(&transaction, context, tag)?;
            let result = run(&mut tables)?;
            drop(tables);
            transaction
                .commit()
                .map_err(|error| context.commit(error))?;
            Ok(result)
        })
    }

    /// Drops the database, which may panic on what it finds.
    fn close(self) -> Result<()> {
        let Self {
            mut database,
            context,
        } = self;
        let was_broken = context.condition.is_broken();
        let sealed = context.condition.seal_if_unchanged();
        if !sealed {
            // What closing writes is little, and may use the ballast.
            let _ = context.condition.begin(Room::Ballast);
        }
        guarded(&context, || {
            if sealed {
                // Fails on its first read, and the engine closes nothing after a failure.
                let _ = database.check_integrity();
            }
            drop(database);
            Ok(())
        })?;
        if was_broken || sealed || !context.condition.is_broken() {
            return Ok(());
        }
        // The engine does not say that closing failed; the backend does.
        let unknown = || io::Error::other("the engine could not close it");
        let source = context.condition.take_error().unwrap_or_else(unknown);
        Err(context.io("closing", source))
    }
}
