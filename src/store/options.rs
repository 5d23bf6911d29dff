//! How a store is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::Monitor;
use super::threads::in_hand;
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::platform::{self, Clock, SystemClock};
use crate::storage::{EngineOptions, FileMedium, Medium};

/// Which other processes may have a store's file open at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// Those of this machine. On a network file system the store is refused
    /// ([`Error::NetworkFileSystem`]): its locks may not hold for other machines, and what these
    /// have read before may be out of date. Where the system has no locks for this (other than on
    /// Linux), as [`Sharing::Alone`].
    #[default]
    Local,
    /// The same on any file system. Whoever says so knows that no other machine opens the file as
    /// long as this one has it open.
    Anywhere,
    /// None: who comes second is told that the store is busy.
    Alone,
}

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
    /// has changed since, need not read and decode those. For all of them it takes up to two
    /// states; with less, what it costs most to make again is kept. 0 for none.
    pub recent_bytes: usize,
    /// How entries are encoded.
    pub compression: Compression,
    /// Deltas that a load takes at most to make bytes of which all words change from checkpoint to
    /// checkpoint: up to 8. The more, the fewer bytes, as a rule, and the slower loads, as
    /// `docs/codec.md` has it; 0 is for none. [`Compression::Max`] has no such limit. What is
    /// stored already stays as it is, and another handle goes on by its own options.
    pub chain_depth: u8,
    /// Whether other processes may have the file open too: see `docs/sharing.md`.
    pub sharing: Sharing,
    /// How long another process that writes to the store is waited for, before [`Error::Busy`] says
    /// who it is.
    pub wait: Duration,
    /// Threads that encode the chunks of a large save, beside the one that saves and one that reads
    /// a large file, and threads that load, copy or compare large entries. 1 or less leaves all to
    /// the one that calls.
    pub threads: usize,
    /// Dates checkpoints.
    pub clock: Arc<dyn Clock>,
    /// Sees how far reading and saving come, and ends them.
    pub monitor: Monitor,
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
            sharing: Sharing::default(),
            wait: Duration::from_mins(1),
            threads: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8),
            clock: Arc::new(SystemClock),
            monitor: Monitor::default(),
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
    ///
    /// The working memory of zstd's higher levels is counted in part only, within 8 MiB of buffers
    /// for each thread: 12 MiB where it compresses documents or files against those before, 51 with
    /// [`Compression::Max`].
    pub fn memory_bytes(&self) -> usize {
        self.cache_bytes + self.recent_bytes + in_hand(self.threads)
    }

    /// The medium for a file.
    pub(super) fn medium(&self, path: &Path) -> Arc<dyn Medium> {
        Arc::new(match self.sharing {
            Sharing::Alone => FileMedium::new(path),
            Sharing::Anywhere if network_of(path).is_some() => FileMedium::on_network(path),
            Sharing::Local | Sharing::Anywhere => FileMedium::shared(path),
        })
    }

    /// Refuses a place where locks may not hold.
    pub(super) fn check_place(&self, path: &Path) -> Result<()> {
        match network_of(path) {
            Some(kind) if self.sharing != Sharing::Anywhere => Err(Error::NetworkFileSystem {
                path: path.to_owned(),
                kind,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn engine(&self) -> EngineOptions {
        EngineOptions {
            cache_bytes: self.cache_bytes,
            ballast_bytes: self.ballast_bytes,
            wait: self.wait,
            stop: Some(self.monitor.flag()),
        }
    }
}

/// The network file system that a file is on, or will be on. What is wrong with a path is told by
/// who opens it.
fn network_of(path: &Path) -> Option<&'static str> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        // The folder of a bare name is the one that we are in.
        _ => Path::new("."),
    };
    let place = if path.exists() { path } else { folder };
    platform::network_file_system(place).unwrap_or(None)
}
