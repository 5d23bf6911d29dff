//! Media that count what is read, and media with damage.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckptdb::{Backend, Medium, MemoryMedium};

/// What went through a medium.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

impl Counters {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
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
        self.counters
            .read_bytes
            .fetch_add(out.len() as u64, Ordering::SeqCst);
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counters.writes.fetch_add(1, Ordering::SeqCst);
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

/// A store's bytes with some of them changed, in memory: opened for every case anew, and never
/// written back.
#[derive(Debug)]
pub(crate) struct DamagedMedium {
    bytes: Vec<u8>,
    path: std::path::PathBuf,
}

impl DamagedMedium {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            path: "(damaged)".into(),
        }
    }
}

impl Medium for DamagedMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        MemoryMedium::new(self.bytes.clone()).open()
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
