//! One opening of the database: from the file to redb's handle and back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redb::{Builder, Database, ReadableDatabase};

use super::adapter::{Adapter, Condition, watch};
use super::backend::Medium;
use super::guard::{Context, guarded};
use super::room::Room;
use super::rows::{Rows, Writes};
use super::share::Share;
use super::suspects::Suspects;
use super::tables::{ReadTx, WriteTx};
use super::trees::Which;
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
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    /// redb's page cache.
    pub(crate) cache_bytes: usize,
    /// Bytes on the disk that only what makes room may use.
    pub(crate) ballast_bytes: u64,
    /// How long another handle is waited for.
    pub(crate) wait: Duration,
    /// Ends such a wait when it is set.
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

/// An open database, until an error or a reopening ends it.
#[derive(Debug)]
pub(super) struct Handle {
    database: Database,
    pub(super) context: Context,
}

impl Handle {
    /// Opens a database that is a store of ours, and tells which.
    pub(super) fn open_known(
        medium: &dyn Medium,
        options: &EngineOptions,
        known: (&Arc<Suspects>, &Arc<Share>),
    ) -> Result<(Self, StoreId)> {
        let handle = Self::open(medium, options, known, false)?;
        match handle.identify() {
            Ok(store) => Ok((handle, store)),
            Err(error) => {
                // Closing a damaged database may fail too; the first error says more.
                noted(handle.close());
                Err(error)
            }
        }
    }

    /// Opens the database with all of the engine's writes held back until the first change. A
    /// fresh one has nothing to be mistaken for.
    pub(super) fn open(
        medium: &dyn Medium,
        options: &EngineOptions,
        (suspects, share): (&Arc<Suspects>, &Arc<Share>),
        fresh: bool,
    ) -> Result<Self> {
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
        let share = Arc::clone(share);
        let condition = Condition::new(backend, options.ballast_bytes, share).map_err(failed)?;
        let condition = Arc::new(condition);
        if fresh {
            condition.accept().map_err(failed)?;
        }
        let context = Context {
            path: path.to_owned(),
            condition,
            suspects: Arc::clone(suspects),
        };
        let condition = Arc::clone(&context.condition);
        let _writing = if fresh {
            condition.standing().let_write()
        } else {
            None
        };
        let database = guarded(&context, || {
            Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(Adapter(Arc::clone(&context.condition)))
                .map_err(|error| context.database(error))
        })?;
        let handle = Self { database, context };
        if !fresh && let Err(error) = handle.context.check_trees(Which::Names) {
            // What it stands for is not known; nothing of it is written.
            let _ = handle.close();
            return Err(error);
        }
        Ok(handle)
    }

    /// The id of the store in this database, if it is one that this release reads.
    fn identify(&self) -> Result<StoreId> {
        let not_ours = |why: &str| Error::NotAStore {
            path: self.context.path.clone(),
            why: why.to_owned(),
        };
        let found = guarded(&self.context, || {
            let begun = self.database.begin_read();
            let transaction =
                begun.map_err(|e| self.context.transaction("beginning to read", e))?;
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

    /// Whether what it shows is the store's last state. What can't be told is not.
    pub(super) fn is_current(&self) -> bool {
        let condition = &self.context.condition;
        if condition.is_broken() || condition.standing().is_overtaken() {
            return false;
        }
        match condition.is_behind() {
            Ok(is_behind) => !is_behind,
            Err(error) => {
                tracing::debug!(%error, "the store is opened anew");
                false
            }
        }
    }

    /// Reads in one transaction.
    pub(super) fn read<T>(
        &self,
        tag: StoreTag,
        run: impl FnOnce(&dyn Rows) -> Result<T>,
    ) -> Result<T> {
        watch();
        guarded(&self.context, || {
            let begun = self.database.begin_read();
            let transaction =
                begun.map_err(|e| self.context.transaction("beginning to read", e))?;
            run(&ReadTx::new(transaction, self.context.clone(), tag))
        })
    }

    /// Moves pages to the front of the file and cuts its end off. The engine's own commits leave
    /// no note of which pages are free until the handle is closed; an opening after a kill before
    /// that looks at the whole file.
    pub(super) fn compact(&mut self) -> Result<()> {
        let context = self.context.clone();
        watch();
        let _writing = context.condition.standing().let_write();
        context.accept(Room::Ballast)?;
        guarded(&context, || {
            while self.database.compact().map_err(|e| context.compaction(e))? {}
            Ok(())
        })
    }

    /// Writes in one transaction, which is committed if `run` succeeds.
    pub(super) fn write<T>(
        &self,
        tag: StoreTag,
        (durability, room): (Durability, Room),
        run: impl FnOnce(&mut dyn Writes) -> Result<T>,
    ) -> Result<T> {
        let context = &self.context;
        watch();
        let _writing = context.condition.standing().let_write();
        context.accept(room)?;
        guarded(context, || {
            let begun = self.database.begin_write();
            let mut transaction =
                begun.map_err(|e| context.transaction("beginning to write", e))?;
            let durable = durability == Durability::Durable;
            if durable {
                // Makes reopening after a crash independent of the size of the file, and keeps
                // damage local. The second sync that it asks for may be spared: see `joined`.
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
    pub(super) fn close(self) -> Result<()> {
        let Self {
            mut database,
            context,
        } = self;
        let was_broken = context.condition.is_broken();
        let sealed = context.condition.seal_if_unchanged();
        if !sealed {
            context.condition.begin_closing();
        }
        let _writing = context.condition.standing().let_write();
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

/// A failure to close harms nothing that was committed.
pub(super) fn noted(closed: Result<()>) {
    if let Err(error) = closed {
        tracing::warn!(%error, "closing the store's database failed");
    }
}
