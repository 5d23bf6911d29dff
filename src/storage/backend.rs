//! Where the bytes of a store live.

use std::fmt;
use std::io;
use std::path::Path;

use super::locks::Locks;

/// A file, or what stands in for one: random access, a length, a sync, a lock.
///
/// # Contract
/// - `read` fails unless all of the range lies within the length.
/// - Bytes that `set_len` adds are zero.
/// - After `sync` returned Ok, everything written or sized before survives a power loss.
/// - `try_lock` excludes every other holder of the same store, in this process and in others,
///   until `unlock` or drop.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Fills `out` from `offset`.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Changes the length.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything before durable.
    fn sync(&self) -> io::Result<()>;

    /// Takes the lock, or says that somebody else has it.
    fn try_lock(&self) -> io::Result<bool>;

    /// Gives the lock back.
    fn unlock(&self) -> io::Result<()>;

    /// Bytes that are taken on the disk.
    fn allocated(&self) -> io::Result<u64> {
        self.len()
    }

    /// Whether it can be written to.
    fn is_writable(&self) -> bool {
        true
    }

    /// Takes blocks on the disk for these bytes, whether or not they lie within the length: writing
    /// them later needs no more room. Fails with [`io::ErrorKind::Unsupported`] where that can't be
    /// had.
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        let _ = (from, to);
        Ok(())
    }

    /// Gives back the blocks of bytes beyond the length.
    fn release(&self, from: u64, to: u64) -> io::Result<()> {
        let _ = (from, to);
        Ok(())
    }
}

/// A place where a store lives, which can be opened again and again.
pub trait Medium: fmt::Debug + Send + Sync {
    /// Opens what is there. Never creates.
    fn open(&self) -> io::Result<Box<dyn Backend>>;

    /// What messages call it.
    fn path(&self) -> &Path;

    /// New locks by which handles share it. None where they can't: then the first that opens it
    /// has it alone, by [`Backend::try_lock`].
    fn locks(&self) -> io::Result<Option<Box<dyn Locks>>> {
        Ok(None)
    }

    /// Bytes that are free where it lies, and of how many; none where that has no limit, or is not
    /// known.
    fn free(&self) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }
}
