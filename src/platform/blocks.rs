//! Blocks of a file on the disk: which are taken, and taking more.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Bytes that the file takes on the disk: fewer than its length where it has holes.
pub(crate) fn allocated_bytes(metadata: &Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks() * 512
    }
    #[cfg(not(unix))]
    {
        metadata.len()
    }
}

/// Bytes that are free for us on the disk that this file lies on, and how many it has.
#[cfg(target_os = "linux")]
pub(crate) fn free_bytes(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let disk = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Some((bytes(disk.f_bavail), bytes(disk.f_blocks))))
}

/// Only Linux says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn free_bytes(_: &Path) -> io::Result<Option<(u64, u64)>> {
    Ok(None)
}

/// Takes blocks for these bytes of the file, without changing its length.
#[cfg(target_os = "linux")]
pub(crate) fn reserve_blocks(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};

    if from >= to {
        return Ok(());
    }
    let reserve = || fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from);
    retry_on_intr(reserve).map_err(|error| match error {
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => io::ErrorKind::Unsupported.into(),
        other => other.into(),
    })
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reserve_blocks(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has the system begin to write these bytes to the disk, so that a sync finds less to do: what is
/// not there yet is written for that it can be dropped, and stays until then. It is a hint: where
/// it can't be given, nothing is lost.
#[cfg(target_os = "linux")]
pub(crate) fn begin_write_back(file: &File, from: u64, bytes: u64) {
    advise(file, (from, bytes), rustix::fs::Advice::DontNeed);
}

/// Has the system read these bytes from the disk, so that they are there when they are asked for.
/// It is a hint too.
#[cfg(target_os = "linux")]
pub(crate) fn begin_read(file: &File, from: u64, bytes: u64) {
    advise(file, (from, bytes), rustix::fs::Advice::WillNeed);
}

#[cfg(target_os = "linux")]
fn advise(file: &File, (from, bytes): (u64, u64), advice: rustix::fs::Advice) {
    let _ = rustix::fs::fadvise(file, from, std::num::NonZeroU64::new(bytes), advice);
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_write_back(_: &File, _: u64, _: u64) {}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_read(_: &File, _: u64, _: u64) {}

/// Gives back the blocks of bytes beyond the end of the file.
#[cfg(target_os = "linux")]
pub(crate) fn release_blocks(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::retry_on_intr;

    if from < to {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Some file systems punch nothing beyond the end, and cut there instead.
        retry_on_intr(|| fallocate(file, punch, from, to - from))?;
        file.set_len(file.metadata()?.len())?;
    }
    Ok(())
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub(crate) fn release_blocks(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}
