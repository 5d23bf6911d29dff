//! The store's file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::{Backend, Medium};
use super::locks::{FileLocks, Locks};
use crate::platform;

/// A store in a file.
#[derive(Clone, Debug)]
pub struct FileMedium {
    path: PathBuf,
    /// Where that is, wherever the process goes.
    place: PathBuf,
    writable: bool,
    is_shared: bool,
    /// Whether the engine's own tools are kept out.
    locks_whole: bool,
}

impl FileMedium {
    /// The store in the file at this path. Where the file may not be written, or the disk is
    /// mounted for reading only, it can still be read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            // Where there is no folder to begin at, opening says so.
            place: std::path::absolute(&path).unwrap_or_else(|_| path.clone()),
            path,
            writable: true,
            is_shared: false,
            locks_whole: true,
        }
    }

    /// The same, shared with others who do so where the system has the locks for it: see
    /// `docs/sharing.md`.
    pub fn shared(path: impl Into<PathBuf>) -> Self {
        Self {
            is_shared: platform::has_range_locks(),
            ..Self::new(path)
        }
    }

    /// The same on a network file system. There, a lock of the whole file is one of all of its
    /// places, and would be in the way of what shares it.
    pub(crate) fn on_network(path: impl Into<PathBuf>) -> Self {
        Self {
            locks_whole: false,
            ..Self::shared(path)
        }
    }

    /// The same, never written to, and shared with others who do write.
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self {
            writable: false,
            ..Self::shared(path)
        }
    }

    /// Opens it for writing, or where that is not allowed for reading.
    fn opened<T>(&self, open: impl Fn(bool) -> io::Result<T>) -> io::Result<T> {
        if !self.writable {
            return open(false);
        }
        open(true).or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                open(false).map_err(|_| error)
            }
            _ => Err(error),
        })
    }
}

impl Medium for FileMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        self.opened(|writable| {
            let file = OpenOptions::new()
                .read(true)
                .write(writable)
                .open(&self.place)?;
            Ok(Box::new(FileBackend {
                file,
                writable,
                is_shared: self.is_shared,
                locks_whole: self.locks_whole,
                last_end: AtomicU64::new(0),
                told: AtomicU64::new(0),
            }) as Box<dyn Backend>)
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn locks(&self) -> io::Result<Option<Box<dyn Locks>>> {
        if !self.is_shared {
            return Ok(None);
        }
        let locks = self.opened(|writable| FileLocks::open(&self.place, writable))?;
        Ok(Some(Box::new(locks)))
    }

    fn free(&self) -> io::Result<Option<(u64, u64)>> {
        platform::free_bytes(&self.place)
    }
}

/// Writes from so many bytes on go to the disk at once, not only when the file is synced; and reads
/// from so many on are announced.
const LARGE: usize = 64 << 10;
/// Bytes that are read from the disk before they are asked for, where reads follow each other.
const READ_AHEAD: u64 = 8 << 20;

/// An open file. Its lock is the advisory whole-file lock that redb's own tools take too, which
/// these take for themselves alone.
#[derive(Debug)]
struct FileBackend {
    file: File,
    writable: bool,
    is_shared: bool,
    locks_whole: bool,
    /// Where the last large read ended, and how far the system has been told to read.
    last_end: AtomicU64,
    told: AtomicU64,
}

impl FileBackend {
    /// Where large reads follow each other, as a save has written them, the system is told early:
    /// what it sees of several threads' reads is no sequence, and by itself it reads in small
    /// pieces.
    fn read_ahead(&self, offset: u64, len: usize) {
        if len < LARGE {
            return;
        }
        let end = offset.saturating_add(len as u64);
        let last = self.last_end.swap(end, Ordering::Relaxed);
        if offset.abs_diff(last) > READ_AHEAD {
            self.told.store(end, Ordering::Relaxed);
            platform::begin_read(&self.file, offset, len as u64);
            return;
        }
        let told = self.told.load(Ordering::Relaxed);
        let wanted = end.saturating_add(READ_AHEAD);
        if wanted >= told.saturating_add(READ_AHEAD / 4) {
            self.told.store(wanted, Ordering::Relaxed);
            let from = told.max(offset);
            platform::begin_read(&self.file, from, wanted.saturating_sub(from));
        }
    }
}

impl Backend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_ahead(offset, out.len());
        std::os::unix::fs::FileExt::read_exact_at(&self.file, out, offset)
    }

    #[cfg(unix)]
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, data, offset)?;
        if data.len() >= LARGE {
            platform::begin_write_back(&self.file, offset, data.len() as u64);
        }
        Ok(())
    }

    #[cfg(windows)]
    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        self.read_ahead(offset, out.len());
        while !out.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_read(&self.file, out, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += count as u64;
            out = &mut out[count..];
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_write(&self.file, data, offset)?;
            offset += count as u64;
            data = &data[count..];
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        if !self.locks_whole {
            return Ok(true);
        }
        // Who shares it by locks of its own keeps out only those who know nothing of these.
        let tried = if self.writable && !self.is_shared {
            self.file.try_lock()
        } else {
            self.file.try_lock_shared()
        };
        match tried {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            // Some read-only file systems have no locks, and nobody can write there.
            Err(TryLockError::Error(_)) if !self.writable => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        if self.locks_whole {
            self.file.unlock()
        } else {
            Ok(())
        }
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(platform::allocated_bytes(&self.file.metadata()?))
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        platform::reserve_blocks(&self.file, from, to)
    }

    fn release(&self, from: u64, to: u64) -> io::Result<()> {
        platform::release_blocks(&self.file, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(path: &Path, len: u64) {
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        created.unwrap().set_len(len).unwrap();
    }

    #[test]
    fn a_file_is_held_by_one_and_what_it_took_beyond_its_end_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        file_of(&path, 100);
        let medium = FileMedium::new(&path);
        let (first, second) = (medium.open().unwrap(), medium.open().unwrap());
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        first.unlock().unwrap();
        assert!(second.try_lock().unwrap());
        let (free, all) = medium.free().unwrap().unwrap();
        assert!(0 < free && free <= all);
        let before = first.allocated().unwrap();
        if first.reserve(1 << 20, 2 << 20).is_ok() {
            assert!(first.allocated().unwrap() >= before + (1 << 20));
            first.release(1 << 20, 2 << 20).unwrap();
            assert_eq!(first.allocated().unwrap(), before);
        }
        assert_eq!(first.len().unwrap(), 100);
    }

    #[test]
    fn who_only_reads_shares_the_file_with_readers_and_not_with_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        file_of(&path, 100);
        let (one, two) = (FileMedium::read_only(&path), FileMedium::read_only(&path));
        let (one, two) = (one.open().unwrap(), two.open().unwrap());
        assert!(one.try_lock().unwrap() && two.try_lock().unwrap());
        assert!(!one.is_writable());
        let writer = FileMedium::new(&path).open().unwrap();
        assert!(!writer.try_lock().unwrap());
        one.unlock().unwrap();
        two.unlock().unwrap();
        assert!(writer.try_lock().unwrap());
        assert!(!one.try_lock().unwrap());
    }

    #[test]
    fn a_file_is_held_by_one_or_shared_by_those_who_know_how() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        file_of(&path, 100);
        let alone = FileMedium::new(&path).open().unwrap();
        let reader = FileMedium::read_only(&path).open().unwrap();
        let shared = FileMedium::shared(&path).open().unwrap();
        assert!(!reader.is_writable() && shared.is_writable());
        assert!(reader.try_lock().unwrap() && shared.try_lock().unwrap());
        // As would be a tool of the engine's own.
        assert!(!alone.try_lock().unwrap());
        reader.unlock().unwrap();
        assert!(!alone.try_lock().unwrap());
        shared.unlock().unwrap();
        assert!(alone.try_lock().unwrap());
        assert!(!reader.try_lock().unwrap() && !shared.try_lock().unwrap());
        assert!(FileMedium::new(&path).locks().unwrap().is_none());
        let locks = FileMedium::shared(&path).locks().unwrap();
        assert_eq!(locks.is_some(), platform::has_range_locks());
    }
}
