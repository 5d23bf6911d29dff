//! A shared file whose calls a test sees.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::backend::{Backend, Medium};
use super::file::FileMedium;
use super::locks::Locks;

/// A store in a file that is shared, and what is to happen when its handles read and write.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    file: FileMedium,
    pub(super) watch: Arc<Watch>,
}

/// Is told of calls before they are made.
pub(super) type Told = Box<dyn FnMut() + Send>;

/// What is known of the calls of a [`Watched`].
#[derive(Default)]
pub(super) struct Watch {
    /// Writes, syncs and changes of the length.
    pub(super) calls: AtomicU64,
    /// From now on syncs fail.
    pub(super) fails: AtomicBool,
    /// Is told of writes, syncs and changes of the length.
    pub(super) told: Mutex<Option<Told>>,
    /// Is told of reads.
    pub(super) told_of_reads: Mutex<Option<Told>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watched {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            file: FileMedium::shared(path),
            watch: Arc::default(),
        }
    }
}

impl Watch {
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn note(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(told) = self.told.lock().unwrap().as_mut() {
            told();
        }
    }
}

impl Medium for Watched {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        let file = self.file.open()?;
        let watch = Arc::clone(&self.watch);
        Ok(Box::new(WatchedBackend { file, watch }))
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn locks(&self) -> io::Result<Option<Box<dyn Locks>>> {
        self.file.locks()
    }
}

#[derive(Debug)]
struct WatchedBackend {
    file: Box<dyn Backend>,
    watch: Arc<Watch>,
}

impl Backend for WatchedBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(told) = self.watch.told_of_reads.lock().unwrap().as_mut() {
            told();
        }
        self.file.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch.note();
        self.file.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.note();
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch.note();
        if self.watch.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("no"));
        }
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
