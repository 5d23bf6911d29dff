//! What one opening of a store knows of what others do to it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::backend::Backend;
use super::header::{HEADER_BYTES, Root};
use super::overlay::Overlay;
use super::share::{Publishing, Share};

/// Which state the engine believes to be the last, and whether it may make another. The engine asks
/// with locks of its own in hand, so that nothing here lets another thread of a drawn order go on.
#[derive(Debug)]
pub(super) struct Standing {
    share: Arc<Share>,
    /// None while there is no header.
    root: Mutex<Option<Root>>,
    /// The file's length, as the engine knows it.
    known_len: AtomicU64,
    /// How many let writes through, where the store is shared.
    writers: RwLock<u32>,
    /// Whether nothing that was written here waits for a state that leads to it, or for a sync.
    is_settled: AtomicBool,
    /// Another handle has published a later state while this one read.
    is_overtaken: AtomicBool,
}

impl Standing {
    pub(super) fn new(backend: &dyn Backend, len: u64, share: Arc<Share>) -> io::Result<Self> {
        let root = if share.is_shared() {
            Root::read(backend)?
        } else {
            None
        };
        Ok(Self {
            share,
            root: Mutex::new(root),
            known_len: AtomicU64::new(len),
            writers: RwLock::new(0),
            is_settled: AtomicBool::new(false),
            is_overtaken: AtomicBool::new(false),
        })
    }

    fn root(&self) -> MutexGuard<'_, Option<Root>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another handle has published a state since the engine's last.
    pub(super) fn is_behind(&self, backend: &dyn Backend) -> io::Result<bool> {
        if !self.share.is_shared() {
            return Ok(false);
        }
        let root = Root::read(backend)?;
        Ok(*self.root() != root)
    }

    /// Whether the file is as long as the engine believes. One that was cut shorter after its state
    /// was published, or made longer for one that never was, is another one's work.
    pub(super) fn has_known_len(&self, backend: &dyn Backend) -> io::Result<bool> {
        Ok(self.known_len.load(Ordering::SeqCst) == backend.len()?)
    }

    /// Whether what was read was not all of one state.
    pub(super) fn is_overtaken(&self) -> bool {
        self.is_overtaken.load(Ordering::SeqCst)
    }

    /// Nothing more is read of this state: others may use its pages.
    pub(super) fn overtake(&self) {
        self.is_overtaken.store(true, Ordering::SeqCst);
    }

    /// Whether what was just read counts: where nobody is kept from publishing, only if nobody has.
    pub(super) fn is_sound(&self, backend: &dyn Backend) -> io::Result<bool> {
        if self.is_overtaken() {
            return Ok(false);
        }
        if self.share.is_held() || !self.is_behind(backend)? {
            return Ok(true);
        }
        // Another thread may have begun its turn, and published a state, in between; it keeps the
        // turn as long as somebody reads the one before.
        Ok(self.share.is_held() || !self.is_behind(backend)?)
    }

    /// Lets the engine's writes through as long as the answer lives. At other times what it would
    /// write stays in its memory: the turn may be another handle's.
    pub(super) fn let_write(&self) -> Option<Writing<'_>> {
        self.share.is_shared().then(|| {
            *self.writers.write().unwrap_or_else(PoisonError::into_inner) += 1;
            Writing(self)
        })
    }

    /// Holds the end of that off, if writes are let through now.
    pub(super) fn writing(&self) -> io::Result<Option<RwLockReadGuard<'_, u32>>> {
        if !self.share.is_shared() {
            return Ok(None);
        }
        let writers = self.writers.read().unwrap_or_else(PoisonError::into_inner);
        if *writers == 0 {
            return Err(io::Error::other("it is nobody's turn to write"));
        }
        self.is_settled.store(false, Ordering::SeqCst);
        Ok(Some(writers))
    }

    /// Whether a write makes another state the last one.
    fn publishes(&self, offset: u64, data: &[u8]) -> bool {
        let is_header = offset < HEADER_BYTES as u64 && self.share.is_shared();
        let root = (offset == 0).then(|| Root::of(data)).flatten();
        is_header && (root.is_none() || root != *self.root())
    }

    /// Writes; what makes another state the last one, while nobody else reads.
    pub(super) fn write(&self, backend: &dyn Backend, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.publishes(offset, data) {
            return backend.write(offset, data);
        }
        let _publishing = self.share.publish();
        backend.write(offset, data)?;
        let whole = (offset == 0).then(|| Root::of(data)).flatten();
        *self.root() = match whole {
            Some(root) => Some(root),
            None => Root::read(backend)?,
        };
        Ok(())
    }

    /// The file has this length now.
    pub(super) fn resized(&self, len: u64) {
        self.known_len.store(len, Ordering::SeqCst);
    }

    /// Nothing that was written waits for a state that leads to it, or for a sync.
    pub(super) fn settled(&self) {
        self.is_settled.store(true, Ordering::SeqCst);
    }

    /// Whether nothing was written here since the last state was published and synced. What was may
    /// lie in pages that this does not lead to, and that others use in their turns.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::SeqCst)
    }

    /// Tells others that the disk has the last state, if it is known to.
    pub(super) fn vouch(&self) {
        if self.is_settled()
            && let Some(root) = *self.root()
        {
            self.share.vouch(root.number());
        }
    }

    /// Takes out of what is held back what another handle vouches for. Who was killed may have left
    /// a state that the disk has not; nobody vouches for that.
    pub(super) fn spare(&self, held: &mut Overlay, backend: &dyn Backend) -> io::Result<()> {
        let is_vouched = |root: Root| self.share.is_vouched(root.number());
        if self.root().is_some_and(is_vouched) {
            held.skip_what_is_there(backend)?;
        }
        Ok(())
    }

    /// Lets everything through that was held back. With an error comes whether it was a sync that
    /// failed.
    pub(super) fn release(
        &self,
        held: Overlay,
        backend: &dyn Backend,
    ) -> Result<(), (io::Error, bool)> {
        // What the engine writes on opening is mostly no other state, so that no other handle has
        // to wait. If it is, pages of it may follow.
        let mut publishing: Option<Publishing<'_>> = None;
        held.release(backend, |offset, data| {
            if publishing.is_none() && self.publishes(offset, data) {
                publishing = Some(self.share.publish());
            }
        })?;
        if self.share.is_shared() {
            let now = Root::read(backend).and_then(|root| Ok((root, backend.len()?)));
            let (root, len) = now.map_err(|error| (error, false))?;
            *self.root() = root;
            self.resized(len);
        }
        Ok(())
    }
}

/// Writes are let through, as long as this lives.
#[derive(Debug)]
pub(super) struct Writing<'s>(&'s Standing);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let writers = self.0.writers.write();
        *writers.unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
