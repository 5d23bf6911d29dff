//! Between redb and our backends: what redb asks, what we note of the answers.

use std::cell::Cell;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{BackendError, StorageBackend};

use super::backend::Backend;
use super::joined::{self, Joined, Noted};
use super::overlay::Overlay;
use super::room::{Reserve, Room};
use super::share::Share;
use super::standing::Standing;
use super::trees::{Fault, Trees, Which};
use crate::platform::error_again;

/// What happened beneath one database handle. redb reports some failures late and without their
/// cause; this remembers them.
#[derive(Debug)]
pub(super) struct Condition {
    backend: Box<dyn Backend>,
    /// The engine's writes are held back until the first change to the store: whoever only reads
    /// leaves the file as it is, to the byte.
    overlay: RwLock<Option<Overlay>>,
    /// Nothing is answered any more: the handle is to be dropped.
    sealed: AtomicBool,
    /// The handle must be reopened before it is used again.
    broken: AtomicBool,
    /// A sync failed: what the disk holds is unknown.
    sync_failed: AtomicBool,
    reserve: Mutex<Reserve>,
    /// Held while a write, a sync or a change of the length is under way.
    joined: Mutex<Joined>,
    standing: Standing,
    first_error: Mutex<Option<io::Error>>,
}

impl Condition {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        ballast: u64,
        share: Arc<Share>,
    ) -> io::Result<Self> {
        let mut overlay = Overlay::new(backend.as_ref())?;
        // Before more is read: what is read of a state that is not the last by then does not count.
        let standing = Standing::new(backend.as_ref(), overlay.len(), share)?;
        joined::settle(&mut overlay, backend.as_ref())?;
        Ok(Self {
            backend,
            overlay: RwLock::new(Some(overlay)),
            sealed: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
            reserve: Mutex::new(Reserve::new(ballast)),
            joined: Mutex::default(),
            standing,
            first_error: Mutex::new(None),
        })
    }

    /// What is known of what others do to the store.
    pub(super) const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether another handle has published a state since the engine's last.
    pub(super) fn is_behind(&self) -> io::Result<bool> {
        self.standing.is_behind(self.backend())
    }

    /// Whether the file is as long as the engine believes.
    pub(super) fn has_known_len(&self) -> io::Result<bool> {
        self.standing.has_known_len(self.backend())
    }

    /// Nothing more is read of this state: others may use its pages.
    pub(super) fn overtake(&self) {
        self.standing.overtake();
        self.set_broken();
    }

    /// Cuts the handle off: the file is another one's to write.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::SeqCst);
    }

    fn check_state(&self) -> io::Result<()> {
        if self.standing.is_sound(self.backend())? {
            return Ok(());
        }
        self.overtake();
        Err(io::Error::other("another handle has changed the store"))
    }

    /// Whether writes are still held back.
    pub(super) fn holds_back(&self) -> bool {
        self.overlay().is_some()
    }

    /// Checks trees of what the medium will hold once the writes that are held back are through.
    pub(super) fn check_trees(&self, which: Which) -> Result<(), Fault> {
        let overlay = self.overlay();
        let read = |at: u64, out: &mut [u8]| match overlay.as_ref() {
            Some(overlay) => overlay.read(self.backend.as_ref(), at, out),
            None => self.backend.read(at, out),
        };
        let len = match overlay.as_ref() {
            Some(overlay) => overlay.len(),
            None => self.backend.len()?,
        };
        let checked = Trees::of(&read, len).and_then(|trees| trees.check(which));
        // A page that others have used since is none of these.
        self.check_state()?;
        checked
    }

    /// Lets the writes through that were held back, and all that come after.
    pub(super) fn accept(&self) -> io::Result<()> {
        if self.overlay().is_none() {
            return Ok(());
        }
        // Held until all are through: no read comes between.
        let mut overlay = self.overlay_mut();
        if let Some(held) = overlay.as_mut() {
            self.standing.spare(held, self.backend())?;
        }
        let Some(held) = overlay.take() else {
            return Ok(());
        };
        let released = self.standing.release(held, self.backend());
        let released =
            released.and_then(|()| self.joined().begin(self.backend()).map_err(|e| (e, false)));
        self.note(released.map_err(|(error, is_sync)| {
            // What is through is as after a crash at this point; nothing may follow it.
            self.sealed.store(true, Ordering::SeqCst);
            if is_sync {
                self.sync_failed.store(true, Ordering::SeqCst);
            }
            error
        }))
    }

    /// Cuts the handle off before it is dropped. If it changed nothing there is nothing to close
    /// cleanly, and the engine's closing transaction, which damage can make it panic in, is
    /// spared. Whether it is cut off, by this or by an earlier failure.
    pub(super) fn seal_if_unchanged(&self) -> bool {
        if self.overlay().is_some() {
            self.sealed.store(true, Ordering::SeqCst);
        }
        self.sealed.load(Ordering::SeqCst)
    }

    fn check_open(&self) -> io::Result<()> {
        if self.sealed.load(Ordering::SeqCst) {
            return Err(io::Error::other("the store is being closed"));
        }
        Ok(())
    }

    /// Marks the handle as not to be used again.
    pub(super) fn set_broken(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::SeqCst)
    }

    /// The first failure of the backend, once.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.first_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Called before a change: what its writes may use.
    pub(super) fn begin(&self, room: Room) -> io::Result<()> {
        if !self.backend.is_writable() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.note(self.reserve().begin(self.backend(), room))
    }

    /// Called before the handle is closed: what that writes is little, and may use the ballast.
    pub(super) fn begin_closing(&self) {
        self.reserve().begin_closing();
    }

    /// What lies beyond the end of the file until it is needed.
    pub(super) fn ballast_bytes(&self) -> u64 {
        self.reserve().held()
    }

    /// Whether what makes room can do so once more.
    pub(super) fn has_ballast(&self) -> bool {
        self.reserve().has_ballast(self.backend())
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the disk take all that was written.
    fn sync(&self, joined: &mut Joined) -> io::Result<()> {
        let _writing = self.standing.writing()?;
        self.note(self.backend.sync()).inspect_err(|_| {
            // The kernel may drop the pages that it could not write and report the next sync as a
            // success: nothing may be believed of this file until it is opened anew.
            self.sync_failed.store(true, Ordering::SeqCst);
            // Nobody goes on from a state that may not be there. If this fails too, whoever opens
            // the file looks whether it is.
            if let Some(before) = joined.failed() {
                let _ = self.standing.write(self.backend(), 0, &before);
            }
        })?;
        let makes_a_state = joined.leads();
        if let Some(header) = joined.synced()
            && let Err(error) = self.backend.write(0, &header)
        {
            // Without it, whoever opens the file next looks at some pages more.
            tracing::debug!(%error, "that a commit is on the disk could not be noted");
        }
        // A sync in the midst of a change, as when the file grows, covers pages that no state has.
        if makes_a_state {
            self.standing.settled();
        }
        Ok(())
    }

    /// Writes a header with a note, and before it the list that the note is about.
    fn write_noted(&self, noted: &Noted) -> io::Result<()> {
        if !noted.list.is_empty() {
            self.backend.write(noted.list_at, &noted.list)?;
        }
        self.standing.write(self.backend(), 0, &noted.sector)
    }

    /// What was asked for and has waited until now is done.
    fn sync_if_waiting(&self, joined: &mut Joined) -> io::Result<()> {
        if joined.is_waiting() {
            self.sync(joined)?;
        }
        Ok(())
    }

    fn overlay(&self) -> RwLockReadGuard<'_, Option<Overlay>> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlay_mut(&self) -> RwLockWriteGuard<'_, Option<Overlay>> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure and hands it on.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            FAILED.set(true);
            self.set_broken();
            let mut first = self
                .first_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error_again(error));
        })
    }

    fn refuse_after_failed_sync(&self) -> io::Result<()> {
        if self.sync_failed() {
            return Err(io::Error::other("an earlier sync failed"));
        }
        Ok(())
    }
}

thread_local! {
    /// Whether the medium refused something that this thread asked for in this transaction. Once a
    /// call has failed, the engine refuses all others, and of those nothing is known.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// A transaction of this thread begins.
pub(super) fn watch() {
    FAILED.set(false);
}

/// Whether the medium failed under this thread's own transaction, and not only under another's.
pub(crate) fn failed_here() -> bool {
    FAILED.get()
}

/// The backend as redb sees it.
#[derive(Debug)]
pub(super) struct Adapter(pub(super) Arc<Condition>);

impl StorageBackend for Adapter {
    fn len(&self) -> io::Result<u64> {
        let condition = &self.0;
        condition.check_open()?;
        if let Some(overlay) = condition.overlay().as_ref() {
            return Ok(overlay.len());
        }
        condition.note(condition.backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let condition = &self.0;
        condition.check_open()?;
        let read = match condition.overlay().as_ref() {
            Some(overlay) => overlay.read(condition.backend(), offset, out),
            None => condition.backend.read(offset, out),
        };
        // What others have cut off can't be read; that it is theirs says more.
        condition.check_state()?;
        condition.note(read)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let condition = &self.0;
        condition.check_open()?;
        if let Some(overlay) = condition.overlay_mut().as_mut() {
            overlay.set_len(len);
            return Ok(());
        }
        condition.refuse_after_failed_sync()?;
        // Held until the end: no write comes between that would be taken for synced.
        let mut joined = condition.joined();
        condition.sync_if_waiting(&mut joined)?;
        condition.note(condition.reserve().before_set_len(condition.backend(), len))?;
        let standing = &condition.standing;
        // At the end of a commit the engine cuts the file once the shorter state has been synced.
        // Where the disk has not got the cut yet, the file is longer than that needs, which harms
        // nobody.
        let before = condition.note(condition.backend.len())?;
        let stays_settled = standing.is_settled() && len < before;
        let _writing = standing.writing()?;
        condition.note(condition.backend.set_len(len))?;
        standing.resized(len);
        if stays_settled {
            standing.settled();
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let condition = &self.0;
        condition.check_open()?;
        if let Some(overlay) = condition.overlay_mut().as_mut() {
            overlay.sync();
            return Ok(());
        }
        condition.refuse_after_failed_sync()?;
        let mut joined = condition.joined();
        if joined.waits() {
            return Ok(());
        }
        condition.sync(&mut joined)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let condition = &self.0;
        condition.check_open()?;
        if let Some(overlay) = condition.overlay_mut().as_mut() {
            return overlay.write(condition.backend(), offset, data);
        }
        condition.refuse_after_failed_sync()?;
        let mut joined = condition.joined();
        let noted = joined.noted(offset, data);
        if noted.is_none() {
            condition.sync_if_waiting(&mut joined)?;
        }
        let _writing = condition.standing.writing()?;
        let backend = condition.backend();
        let reserved = condition
            .reserve()
            .before_write(backend, offset, data.len());
        condition.note(reserved)?;
        let written = match &noted {
            Some(noted) => condition.write_noted(noted),
            None => condition.standing.write(backend, offset, data),
        };
        condition.note(written)?;
        joined.wrote(offset, data, noted.is_some());
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.backend.unlock()
    }

    /// Only the lock of the whole store is offered; redb falls back to it from the others.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let whole = matches!(start, Bound::Unbounded | Bound::Included(0));
        if !whole || end != Bound::Unbounded {
            return Err(BackendError::Unsupported);
        }
        Ok(self.0.backend.try_lock()?)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(self.0.backend.unlock()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Medium;
    use super::super::memory::MemoryMedium;
    use super::super::testing::Faulty;
    use super::*;

    fn adapter() -> (MemoryMedium, Adapter) {
        let medium = MemoryMedium::new(vec![1; 8192]);
        let condition = Condition::new(medium.open().unwrap(), 0, Share::alone()).unwrap();
        (medium, Adapter(Arc::new(condition)))
    }

    #[test]
    fn what_is_cut_off_does_nothing_any_more() {
        let (medium, adapter) = adapter();
        adapter.write(0, &[2; 4096]).unwrap();
        assert!(adapter.0.holds_back());
        assert!(adapter.0.seal_if_unchanged());
        adapter.len().unwrap_err();
        adapter.read(0, &mut [0; 8]).unwrap_err();
        adapter.write(0, &[2; 4096]).unwrap_err();
        adapter.set_len(4096).unwrap_err();
        adapter.sync_data().unwrap_err();
        assert_eq!(medium.to_vec(), [1; 8192]);
    }

    #[test]
    fn what_is_held_back_is_read_and_reaches_the_medium_when_it_is_accepted() {
        let (medium, adapter) = adapter();
        adapter.write(0, &[2; 4096]).unwrap();
        let mut read = [0; 8192];
        adapter.read(0, &mut read).unwrap();
        assert_eq!((read[4095], read[4096]), (2, 1));
        assert_eq!(medium.to_vec(), [1; 8192]);
        adapter.0.accept().unwrap();
        assert!(!adapter.0.holds_back());
        assert_eq!(
            medium.to_vec()[..4097],
            [[2; 4096].as_slice(), &[1]].concat()
        );
        // From then on, nothing is held back, and closing goes on to the end.
        adapter.write(4096, &[3; 4096]).unwrap();
        assert_eq!(medium.to_vec()[4096..], [3; 4096]);
        assert!(!adapter.0.seal_if_unchanged());
        adapter.read(0, &mut read).unwrap();
    }

    #[test]
    fn nothing_is_written_or_synced_after_a_failed_sync() {
        let (medium, adapter) = adapter();
        adapter.0.accept().unwrap();
        adapter.0.sync_failed.store(true, Ordering::SeqCst);
        adapter.write(0, &[2; 4096]).unwrap_err();
        adapter.sync_data().unwrap_err();
        assert!(adapter.0.is_broken() || adapter.0.sync_failed());
        assert_eq!(medium.to_vec(), [1; 8192]);
    }

    #[test]
    fn only_the_lock_of_the_whole_store_is_given_and_given_back() {
        let (medium, adapter) = adapter();
        let other = medium.open().unwrap();
        let ask = |from, to| adapter.try_lock_range(from, to);
        for (from, to) in [
            (Bound::Included(0), Bound::Excluded(5)),
            (Bound::Included(5), Bound::Unbounded),
            (Bound::Included(5), Bound::Excluded(6)),
        ] {
            let asked = ask(from, to);
            assert!(matches!(asked, Err(BackendError::Unsupported)), "{asked:?}");
        }
        assert!(ask(Bound::Unbounded, Bound::Unbounded).unwrap());
        assert!(!other.try_lock().unwrap());
        adapter
            .unlock_range(Bound::Unbounded, Bound::Unbounded)
            .unwrap();
        assert!(other.try_lock().unwrap());
        assert!(!ask(Bound::Included(0), Bound::Unbounded).unwrap());
        other.unlock().unwrap();
        assert!(ask(Bound::Included(0), Bound::Unbounded).unwrap());
        adapter.close().unwrap();
        assert!(other.try_lock().unwrap());
        // Whoever is gone holds nothing.
        drop(other);
        assert!(medium.open().unwrap().try_lock().unwrap());
    }

    #[test]
    fn the_first_failure_is_kept_with_its_number_and_told_once() {
        let faulty = Faulty::new(vec![1; 8192]);
        let condition = Condition::new(faulty.open().unwrap(), 0, Share::alone()).unwrap();
        let adapter = Adapter(Arc::new(condition));
        adapter.0.accept().unwrap();
        watch();
        adapter.read(0, &mut [0; 8]).unwrap();
        assert!(!failed_here() && !adapter.0.is_broken());
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::PermissionDenied] {
            faulty.order().reads = Some(kind);
            adapter.read(0, &mut [0; 8]).unwrap_err();
        }
        assert!(failed_here() && adapter.0.is_broken() && !adapter.0.sync_failed());
        let first = adapter.0.take_error().unwrap();
        assert_eq!(first.kind(), io::ErrorKind::TimedOut);
        assert!(adapter.0.take_error().is_none());
        watch();
        assert!(!failed_here());
        faulty.order().syncs = Some(io::ErrorKind::Other);
        adapter.sync_data().unwrap_err();
        assert!(adapter.0.sync_failed());
    }
}
