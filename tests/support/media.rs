//! Media that count what is read, and media with damage.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckptdb::{Backend, Medium};

/// What went through a medium.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

impl Counters {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }
}

/// A medium that counts.
#[derive(Debug)]
pub(crate) struct CountingMedium {
    inner: Arc<dyn Medium>,
    counters: Arc<Counters>,
}

impl CountingMedium {
    pub(crate) fn new(inner: Arc<dyn Medium>) -> (Arc<Self>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (
            Arc::new(Self {
                inner,
                counters: Arc::clone(&counters),
            }),
            counters,
        )
    }
}

impl Medium for CountingMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        let inner = self.inner.open()?;
        Ok(Box::new(CountingBackend {
            inner,
            counters: Arc::clone(&self.counters),
        }))
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

#[derive(Debug)]
struct CountingBackend {
    inner: Box<dyn Backend>,
    counters: Arc<Counters>,
}

impl Backend for CountingBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.counters.reads.fetch_add(1, Ordering::SeqCst);
        let bytes = out.len() as u64;
        self.counters.read_bytes.fetch_add(bytes, Ordering::SeqCst);
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counters.writes.fetch_add(1, Ordering::SeqCst);
        let bytes = data.len() as u64;
        self.counters
            .written_bytes
            .fetch_add(bytes, Ordering::SeqCst);
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Ordering::SeqCst);
        self.inner.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
}

/// A store's bytes with some of them changed, for reading: no case costs a copy of the rest.
#[derive(Debug)]
pub(crate) struct DamagedMedium {
    bytes: Arc<Vec<u8>>,
    changed: Vec<(usize, u8)>,
    path: std::path::PathBuf,
}

impl DamagedMedium {
    /// `bytes`, but for those at these places.
    pub(crate) fn new(bytes: Arc<Vec<u8>>, changed: Vec<(usize, u8)>) -> Self {
        Self {
            bytes,
            changed,
            path: "(damaged)".into(),
        }
    }
}

impl Medium for DamagedMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(DamagedBackend {
            bytes: Arc::clone(&self.bytes),
            changed: self.changed.clone(),
        }))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct DamagedBackend {
    bytes: Arc<Vec<u8>>,
    changed: Vec<(usize, u8)>,
}

impl Backend for DamagedBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start
            .checked_add(out.len())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let held = self
            .bytes
            .get(start..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(held);
        for (place, byte) in &self.changed {
            if (start..end).contains(place) {
                out[place - start] = *byte;
            }
        }
        Ok(())
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A medium with one sector that can't be read. Writing to it makes it good, as on a disk that has
/// spare sectors.
#[derive(Debug)]
pub(crate) struct UnreadableMedium {
    inner: Arc<dyn Medium>,
    bad: Arc<AtomicU64>,
}

impl UnreadableMedium {
    /// The sector that begins at `at` is bad.
    pub(crate) fn new(inner: Arc<dyn Medium>, at: u64) -> Arc<Self> {
        let bad = Arc::new(AtomicU64::new(at));
        Arc::new(Self { inner, bad })
    }
}

impl Medium for UnreadableMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(UnreadableBackend {
            inner: self.inner.open()?,
            bad: Arc::clone(&self.bad),
        }))
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

#[derive(Debug)]
struct UnreadableBackend {
    inner: Box<dyn Backend>,
    bad: Arc<AtomicU64>,
}

impl UnreadableBackend {
    fn touches(&self, offset: u64, len: usize) -> bool {
        let bad = self.bad.load(Ordering::SeqCst);
        offset < bad.saturating_add(512) && bad < offset + len as u64
    }
}

impl Backend for UnreadableBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.touches(offset, out.len()) {
            return Err(io::Error::other("a sector can't be read"));
        }
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.touches(offset, data.len()) {
            self.bad.store(u64::MAX - 512, Ordering::SeqCst);
        }
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
}

/// A disk that others fill, and a process that can be killed: how many bytes the store may have,
/// and how many more operations it lives.
#[derive(Debug)]
pub(crate) struct Limits {
    capacity: AtomicU64,
    life: AtomicU64,
}

impl Limits {
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.capacity.store(bytes, Ordering::SeqCst);
    }

    /// Dies after so many more writes.
    pub(crate) fn kill_after(&self, writes: u64) {
        self.life.store(writes, Ordering::SeqCst);
    }

    pub(crate) fn revive(&self) {
        self.life.store(u64::MAX, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.load(Ordering::SeqCst) == 0
    }

    fn live(&self) -> io::Result<()> {
        let pass = |life: u64| match life {
            0 => None,
            u64::MAX => Some(u64::MAX),
            more => Some(more - 1),
        };
        let passed = self
            .life
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, pass);
        passed
            .map(drop)
            .map_err(|_| io::Error::other("the process is dead"))
    }

    fn fits(&self, end: u64) -> io::Result<()> {
        if end > self.capacity.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A medium within limits.
#[derive(Debug)]
pub(crate) struct LimitedMedium {
    inner: Arc<dyn Medium>,
    pub(crate) limits: Arc<Limits>,
}

impl LimitedMedium {
    pub(crate) fn new(inner: Arc<dyn Medium>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            limits: Arc::new(Limits {
                capacity: AtomicU64::new(u64::MAX),
                life: AtomicU64::new(u64::MAX),
            }),
        })
    }
}

impl Medium for LimitedMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(LimitedBackend {
            inner: self.inner.open()?,
            limits: Arc::clone(&self.limits),
        }))
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn free(&self) -> io::Result<Option<(u64, u64)>> {
        let capacity = self.limits.capacity.load(Ordering::SeqCst);
        if capacity == u64::MAX {
            return Ok(None);
        }
        let used = self.inner.open()?.len()?;
        Ok(Some((capacity.saturating_sub(used), capacity)))
    }
}

#[derive(Debug)]
struct LimitedBackend {
    inner: Box<dyn Backend>,
    limits: Arc<Limits>,
}

impl Backend for LimitedBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.limits.live()?;
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.limits.live()?;
        if len > self.inner.len()? {
            self.limits.fits(len)?;
        }
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.limits.live()?;
        self.inner.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        if to > self.inner.len()? {
            self.limits.fits(to)?;
        }
        self.inner.reserve(from, to)
    }
    fn release(&self, from: u64, to: u64) -> io::Result<()> {
        self.inner.release(from, to)
    }
}
