//! The engine: owns redb's handle, opens, closes and reopens it beneath its users.

mod turns;

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::backend::Medium;
use super::bundles::open_bundle;
use super::handle::{Durability, EngineOptions, Handle, noted};
use super::ledger::{Fate, Ledger};
use super::room::Room;
use super::rows::{Rows, Writes};
use super::share::Share;
use super::suspects::Suspects;
use crate::error::{Error, Result};
use crate::format::{Identity, Record, StoreTag, TableCode};
use crate::id::StoreId;
use crate::platform;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};

/// How often a database that another process has taken is tried again after a compaction.
const REOPENINGS: usize = 100;
const REOPENING: Duration = Duration::from_millis(20);

/// The store's database, as closures over its transactions.
#[derive(Debug)]
pub(crate) struct Engine {
    medium: Arc<dyn Medium>,
    options: EngineOptions,
    store: StoreId,
    /// Outlives every handle: what is damaged stays so when the database is opened anew.
    suspects: Arc<Suspects>,
    /// None between a failure and the next use.
    handle: RwLock<Option<Handle>>,
    /// redb blocks a second writer for ever, so that ours wait here.
    writer: Mutex<()>,
    sync_failed: AtomicBool,
    openings: AtomicU64,
    ledger: Ledger,
    share: Arc<Share>,
}

/// Keeps all others from changing a store as long as this lives, without opening it.
pub(crate) struct Withheld(Share);

impl Withheld {
    /// Waits for the turn of whoever has it.
    pub(crate) fn of(medium: &dyn Medium, options: &EngineOptions) -> Result<Self> {
        let share = Engine::share_of(medium, options)?;
        share.begin_write(options.wait)?;
        Ok(Self(share))
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        self.0.decline();
    }
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
        let suspects = Arc::default();
        let share = Arc::new(Self::share_of(medium.as_ref(), &options)?);
        share.begin_write(options.wait)?;
        share.hold();
        let handle = Handle::open(medium.as_ref(), &options, (&suspects, &share), true)?;
        let kind = (Durability::Durable, Room::Ordinary);
        let made = handle.write(StoreTag::of(store), kind, |rows| {
            let record = identity
                .to_bytes(rows.tag(), &Identity::KEY.to_be_bytes())
                .map_err(|error| error.of("the identity record"))?;
            rows.put_record(TableCode::Settings, Identity::KEY, &record)?;
            fill(rows)
        });
        match made {
            Ok(()) => {
                let engine = Self::with((medium, options), store, (suspects, share), handle);
                engine.end_turn(false);
                Ok(engine)
            }
            Err(error) => {
                noted(handle.close());
                Err(error)
            }
        }
    }

    /// Opens a database that is a store of ours; anything else is left as it is.
    pub(crate) fn open(medium: Arc<dyn Medium>, options: EngineOptions) -> Result<Self> {
        let suspects = Arc::default();
        let share = Arc::new(Self::share_of(medium.as_ref(), &options)?);
        let open = || Handle::open_known(medium.as_ref(), &options, (&suspects, &share));
        let reading = share.begin_read(options.wait)?;
        let mut opened = open();
        drop(reading);
        if let Err(Error::Overtaken { .. }) = opened
            && share.begin_write(options.wait).is_ok()
        {
            // Others publish faster than it opens. Once, they wait for it.
            opened = open();
            share.decline();
        }
        let (handle, store) = opened?;
        Ok(Self::with(
            (medium, options),
            store,
            (suspects, share),
            handle,
        ))
    }

    fn share_of(medium: &dyn Medium, options: &EngineOptions) -> Result<Share> {
        let path = medium.path();
        let locks = medium.locks().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoStore {
                path: path.to_owned(),
            },
            _ => platform::io_error("opening", path, error),
        });
        Ok(Share::new(path, locks?, options.stop.clone()))
    }

    fn with(
        (medium, options): (Arc<dyn Medium>, EngineOptions),
        store: StoreId,
        (suspects, share): (Arc<Suspects>, Arc<Share>),
        handle: Handle,
    ) -> Self {
        Self {
            medium,
            options,
            store,
            suspects,
            handle: RwLock::new(Some(handle)),
            writer: Mutex::new(()),
            sync_failed: AtomicBool::new(false),
            openings: AtomicU64::new(0),
            ledger: Ledger::default(),
            share,
        }
    }

    /// The store's id.
    pub(crate) const fn store(&self) -> StoreId {
        self.store
    }

    /// What was found damaged.
    pub(crate) fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    /// The medium.
    pub(crate) fn medium(&self) -> &dyn Medium {
        self.medium.as_ref()
    }

    /// Reads in one transaction.
    pub(crate) fn read<T>(&self, run: impl FnOnce(&dyn Rows) -> Result<T>) -> Result<T> {
        let tag = StoreTag::of(self.store);
        self.with_handle(|handle| handle.read(tag, run))
    }

    /// Writes in one transaction, which is committed if `run` succeeds and gone if it fails.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        room: Room,
        run: impl FnOnce(&mut dyn Writes) -> Result<T>,
    ) -> Result<T> {
        self.check_process()?;
        let turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failed_sync()?;
        self.probe_bundle();
        self.write_in(&turn, (durability, room), run)
    }

    /// [`Engine::write`] of whoever may write now.
    fn write_in<T>(
        &self,
        _turn: &MutexGuard<'_, ()>,
        (durability, room): (Durability, Room),
        run: impl FnOnce(&mut dyn Writes) -> Result<T>,
    ) -> Result<T> {
        self.refuse_after_failed_sync()?;
        if !self.share.is_held() {
            // A turn that another one's failure has ended.
            return Err(Error::Interrupted {
                path: self.medium.path().to_owned(),
            });
        }
        self.release_held(room)?;
        let tag = StoreTag::of(self.store);
        // Noted while nobody can open the database anew.
        self.with_handle(|handle| {
            let written = handle.write(tag, (durability, room), run)?;
            self.ledger.committed(durability);
            self.share.committed();
            Ok(written)
        })
    }

    /// The number, for [`Engine::make_durable`], of the transaction that runs, if it is staged.
    /// Only while it runs is that sure: afterwards the database may be opened anew at any time.
    pub(crate) fn next_staged(&self) -> u64 {
        self.ledger.last() + 1
    }

    /// How many staged commits a crash would forget.
    pub(crate) fn undurable(&self) -> u64 {
        self.ledger.undurable()
    }

    /// Whether a crash would forget a staged commit.
    pub(crate) fn is_staged(&self, commit: u64) -> bool {
        self.ledger.fate(commit) == Fate::Staged
    }

    /// Brings a staged commit to the disk, and all before it, unless a later one has.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the database was opened anew before that; from the disk.
    pub(crate) fn make_durable(&self, commit: u64) -> Result<()> {
        self.make_durable_in(Room::Ordinary, commit)
    }

    fn make_durable_in(&self, room: Room, commit: u64) -> Result<()> {
        // Of many that wait here, the first brings all to the disk.
        if self.is_staged(commit) {
            self.check_process()?;
            let turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_staged(commit) {
                self.write_in(&turn, (Durability::Durable, room), |_| Ok(()))?;
            }
        }
        match self.ledger.fate(commit) {
            Fate::Durable => Ok(()),
            Fate::Staged | Fate::Lost => Err(Error::Interrupted {
                path: self.medium.path().to_owned(),
            }),
        }
    }

    /// Brings everything to the disk before the database is closed: what is staged would go.
    fn settle_staged(&self) {
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = slot.is_some();
        drop(slot);
        if is_open
            && self.undurable() > 0
            && let Err(error) = self.make_durable_in(Room::Ballast, self.ledger.last())
        {
            tracing::warn!(%error, "what was staged is forgotten");
        }
    }

    /// Takes note of the open bundle if it can't be read: met in a transaction, that would end it,
    /// and each one after it. What else is wrong, the transaction itself will find.
    fn probe_bundle(&self) {
        let Ok(Some(bundle)) = self.read(|rows| Ok(open_bundle(rows))) else {
            return;
        };
        // In a transaction of its own, as the engine may panic on what it finds.
        if let Err(error) = self.read(|rows| rows.extent(bundle, &mut |_| Ok(()))) {
            tracing::warn!(%error, "the ends of chunks are put elsewhere");
            self.suspects.note_bundle(bundle, &error);
        }
    }

    /// Lets the engine's writes through that are held back since the handle was opened. Nobody
    /// reads meanwhile: if the disk is full half of the way, the handle is of no use any more, and
    /// a reader would be told of a failure that is not his.
    fn release_held(&self, room: Room) -> Result<()> {
        if !self.with_handle(|handle| Ok(handle.context.condition.holds_back()))? {
            return Ok(());
        }
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = slot.as_ref() else {
            return Ok(());
        };
        let released = handle.context.accept(room);
        if released.is_err() {
            noted(self.discard(&mut slot));
        }
        released
    }

    /// A forked process has the locks as they were, held or not by threads that it has not: nothing
    /// of the engine can be used in it.
    pub(crate) fn check_process(&self) -> Result<()> {
        if !self.share.is_own() {
            let path = self.medium.path().to_owned();
            return Err(Error::Forked { path });
        }
        Ok(())
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
    pub(crate) fn openings(&self) -> u64 {
        self.openings.load(Ordering::SeqCst)
    }

    /// Length of the medium, and how much it takes on the disk, but for the ballast beyond its end.
    pub(crate) fn size(&self) -> Result<(u64, u64)> {
        self.with_handle(|handle| {
            let condition = &handle.context.condition;
            let backend = condition.backend();
            let failed = |error| handle.context.io("measuring", error);
            let allocated = backend.allocated().map_err(failed)?;
            let used = allocated.saturating_sub(condition.ballast_bytes());
            Ok((backend.len().map_err(failed)?, used))
        })
    }

    /// Moves pages to the front of the file and cuts its end off. Waits for readers to finish. The
    /// handle is closed and opened again: only what the engine writes on closing goes to the front
    /// of the file as well, while any other commit would make a file without free pages twice as
    /// long.
    pub(crate) fn compact(&self) -> Result<()> {
        self.check_process()?;
        self.settle_staged();
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failed_sync()?;
        self.with_handle(|_| Ok(()))?;
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = slot.as_mut() else {
            return Ok(());
        };
        let condition = Arc::clone(&handle.context.condition);
        // Its commits have one phase, and at its end the file is cut: nobody opens it meanwhile.
        let _publishing = self.share.publish();
        let compacted = handle.compact();
        let closed = self.discard(&mut slot);
        // Closing is a part of it here. Whatever failed before, it is this that has to be known.
        if condition.sync_failed() {
            self.sync_failed.store(true, Ordering::SeqCst);
            self.refuse_after_failed_sync()?;
        }
        compacted.and(closed)?;
        for _ in 0..REOPENINGS {
            match self.fill(&mut slot) {
                // Somebody looks at it, who was told that it was busy until now.
                Err(Error::Busy { .. }) => std::thread::sleep(REOPENING),
                filled => return filled,
            }
        }
        // It is done; whoever uses the store next waits for its own turn, or is told.
        Ok(())
    }

    /// Whether what makes room can do so once more on a full disk.
    pub(crate) fn has_ballast(&self) -> bool {
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .is_none_or(|handle| handle.context.condition.has_ballast())
    }

    /// Closes the handle and opens it again. What was acknowledged is there afterwards.
    pub(crate) fn reopen(&self) -> Result<()> {
        self.check_process()?;
        self.settle_staged();
        let _reading = self.share.begin_read(self.options.wait)?;
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        noted(self.discard(&mut slot));
        self.fill(&mut slot)
    }

    /// Closes the database. The engine opens it again if it is used again. An error says that what
    /// closing writes did not all reach the disk; what was committed before is not concerned.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_process()?;
        // What is written on closing only spares the next opening some work: nobody is waited for,
        // and who has written nothing writes nothing then.
        let had_it = self.share.is_held() && !self.share.take_owed();
        let has_turn = self.share.is_held()
            || (self.has_written() && self.begin_turn_within(Duration::ZERO).is_ok());
        self.settle_staged();
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let closed = self.discard(&mut slot);
        drop(slot);
        if has_turn && !had_it {
            self.share.end_write(|| ());
        }
        closed
    }

    fn has_written(&self) -> bool {
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let holds_back = |handle: &Handle| handle.context.condition.holds_back();
        slot.as_ref().is_some_and(|handle| !holds_back(handle))
    }

    /// Runs with an open handle that shows the last state, and drops it if that broke it.
    fn with_handle<T>(&self, run: impl FnOnce(&Handle) -> Result<T>) -> Result<T> {
        self.check_process()?;
        let reading = self.share.begin_read(self.options.wait)?;
        let mut is_fresh = false;
        loop {
            let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            let found = slot.as_ref();
            let Some(handle) = found.filter(|handle| is_fresh || self.may_use(handle)) else {
                drop(slot);
                self.renew()?;
                is_fresh = true;
                continue;
            };
            let condition = Arc::clone(&handle.context.condition);
            let mut result = run(handle);
            drop(slot);
            // What was committed is so, whoever else was overtaken.
            if condition.standing().is_overtaken() && (result.is_err() || !self.share.is_held()) {
                let path = self.medium.path().to_owned();
                result = Err(Error::Overtaken { path });
            }
            drop(reading);
            if condition.is_broken() {
                let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
                let is_broken = |handle: &Handle| handle.context.condition.is_broken();
                if slot.as_ref().is_some_and(is_broken) {
                    noted(self.discard(&mut slot));
                }
            }
            return result;
        }
    }

    /// Whether a handle shows the last state, or makes it.
    fn may_use(&self, handle: &Handle) -> bool {
        self.share.is_held() || handle.is_current()
    }

    /// Opens the database anew, unless another thread just has.
    fn renew(&self) -> Result<()> {
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|handle| self.may_use(handle)) {
            self.set_aside(&mut slot);
            self.fill(&mut slot)?;
        }
        Ok(())
    }

    fn fill(&self, slot: &mut Option<Handle>) -> Result<()> {
        self.share.check_file()?;
        let known = (&self.suspects, &self.share);
        let (handle, found) = Handle::open_known(self.medium.as_ref(), &self.options, known)?;
        if found != self.store {
            noted(handle.close());
            let why = format!("the store {} was replaced by {found}", self.store);
            return Err(Error::NotAStore {
                path: self.medium.path().to_owned(),
                why,
            });
        }
        self.openings.fetch_add(1, Ordering::SeqCst);
        self.ledger.reopened();
        *slot = Some(handle);
        Ok(())
    }

    fn discard(&self, slot: &mut Option<Handle>) -> Result<()> {
        let Some(handle) = slot.take() else {
            return Ok(());
        };
        // What closing itself fails to sync concerns nothing that was acknowledged, and whatever is
        // lost of it is as after a power failure.
        let condition = &handle.context.condition;
        if condition.sync_failed() {
            self.sync_failed.store(true, Ordering::SeqCst);
        }
        if !self.share.is_held() || condition.holds_back() {
            condition.seal();
            return handle.close();
        }
        // What closing publishes is cut to its length after that.
        let _publishing = self.share.publish();
        handle.close()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // Closing would write to the file, and give back the lock that the process has which
            // opened it.
            let slot = self.handle.get_mut();
            std::mem::forget(slot.unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        noted(self.close());
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryMedium;
    use super::super::testing::{Faulty, OPTIONS, engine, engine_in};
    use super::super::trees::{Trees, Which};
    use super::*;
    use crate::format::Action;

    #[test]
    fn what_is_opened_anew_is_counted_and_what_was_written_is_there() {
        let engine = engine(|change| change.log(Action::DeleteJob { job: 1 }).map(drop));
        let last = || {
            let head = engine.read(|rows| crate::storage::Records(rows).sound_head());
            head.unwrap().last
        };
        assert_eq!((engine.openings(), last()), (0, 1));
        engine.reopen().unwrap();
        assert_eq!((engine.openings(), last()), (1, 1));
        engine.close().unwrap();
        assert_eq!((last(), engine.openings()), (1, 2));
        let (len, used) = engine.size().unwrap();
        assert!(len > 4096 && used == len, "{len} {used}");
        assert!(engine.has_ballast());
    }

    #[test]
    fn a_staged_commit_that_an_opening_lost_is_not_taken_for_durable() {
        let engine = engine(|_| Ok(()));
        let mut staged = 0;
        let written = engine.write(Durability::Staged, Room::Ordinary, |_| {
            staged = engine.next_staged();
            Ok(())
        });
        written.unwrap();
        assert!(engine.is_staged(staged));
        // Another thread met a failure, and opens the database anew before anybody has synced.
        noted(engine.discard(&mut engine.handle.write().unwrap()));
        engine.read(|_| Ok(())).unwrap();
        let told = engine.make_durable(staged).unwrap_err();
        assert!(matches!(told, Error::Interrupted { .. }), "{told}");
        // What follows is not confused with it.
        let written = engine.write(Durability::Staged, Room::Ordinary, |_| {
            staged = engine.next_staged();
            Ok(())
        });
        written.unwrap();
        engine.make_durable(staged).unwrap();
    }

    /// What opening these bytes says.
    fn opened(medium: &Faulty) -> Result<Engine> {
        Engine::open(Arc::new(medium.clone()), OPTIONS)
    }

    fn sound() -> Vec<u8> {
        let medium = MemoryMedium::default();
        drop(engine_in(Arc::new(medium.clone()), |change| {
            change.log(Action::DeleteJob { job: 1 }).map(drop)
        }));
        medium.to_vec()
    }

    #[test]
    fn what_is_no_store_is_told_from_one_that_can_not_be_read() {
        let image = sound();
        opened(&Faulty::new(image.clone())).unwrap();
        let why = |bytes: &[u8]| match opened(&Faulty::new(bytes.to_vec())).unwrap_err() {
            Error::NotAStore { why, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&[]), "it is empty");
        assert_eq!(why(&image[..8]), "it is too short");
        assert_eq!(why(b"something else"), "it does not begin like one");
        assert!(why(&image[..9]).contains("cut short"));
        assert!(why(&image[..200]).contains("cut short"));
        // The disk's own refusals are told as such, at the first bytes and later on.
        for (len, bad_byte) in [(9, 3), (image.len(), 3), (image.len(), 100)] {
            let medium = Faulty::new(image[..len].to_vec());
            medium.order().bad_byte = Some(bad_byte);
            let error = opened(&medium).unwrap_err();
            assert!(
                matches!(error, Error::Io { .. }),
                "{len} {bad_byte}: {error:?}"
            );
        }
    }

    #[test]
    fn a_page_that_the_header_leads_to_is_checked_before_it_is_used() {
        let image = sound();
        let mut checked = 0;
        for (which, is_opened) in [(Which::Names, false), (Which::System, true)] {
            // Where the pages of these trees are.
            let pages = std::cell::RefCell::new(Vec::new());
            let read = |at: u64, out: &mut [u8]| {
                pages.borrow_mut().push(at);
                let at = usize::try_from(at).unwrap();
                out.copy_from_slice(&image[at..at + out.len()]);
                Ok(())
            };
            let trees = Trees::of(&read, image.len() as u64).unwrap();
            trees.check(which).unwrap();
            let pages = pages.borrow().clone();
            assert!(pages.len() > 1);
            for page in &pages[1..] {
                let mut other = image.clone();
                other[usize::try_from(*page).unwrap() + 5] ^= 1;
                let medium = Faulty::new(other.clone());
                let told = match opened(&medium) {
                    // What the engine meets while it opens is told by itself.
                    Err(_) if is_opened => continue,
                    Err(error) => error,
                    Ok(engine) => {
                        assert!(is_opened);
                        checked += 1;
                        let write = |rows: &mut dyn Writes| rows.remove_record(TableCode::Names, 9);
                        let kind = (Durability::Durable, Room::Ordinary);
                        engine.write(kind.0, kind.1, write).unwrap_err()
                    }
                };
                let text = told.to_string();
                assert!(text.contains("a page is not the one"), "{text}");
                assert!(text.contains("store `faulty`"), "{text}");
                assert!(medium.memory.to_vec() == other, "nothing was written");
            }
        }
        assert!(checked > 0);
    }
}
