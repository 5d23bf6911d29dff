//! Blocks of a file on the disk: which are taken, and taking more.

use std::fs::{File, Metadata};
use std::io;

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

/// Where the last data of the file ends: before the blocks that are only reserved, which read as a
/// hole.
#[cfg(target_os = "linux")]
pub(crate) fn written_end(file: &File) -> io::Result<u64> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    /// A file with more holes than this counts as written to its end.
    const MOST_HOLES: usize = 4096;
    let mut end = 0;
    for _ in 0..MOST_HOLES {
        let data = match seek(file, SeekFrom::Data(end)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(end),
            Err(_) => break,
        };
        match seek(file, SeekFrom::Hole(data)) {
            Ok(hole) => end = hole,
            Err(_) => break,
        }
    }
    Ok(file.metadata()?.len())
}

/// Its length, where holes can't be looked for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn written_end(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}
