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

/// The network file system that a path lies on, if it is one. Of those that programs provide
/// (FUSE), most are, and the others can't be told from them.
#[cfg(target_os = "linux")]
pub(crate) fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "all of these numbers have 32 bits"
    )]
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    Ok(network_kind(magic))
}

/// Only Linux says.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_file_system(_: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// By the number that the kernel has for a file system (`statfs(2)`, `linux/magic.h`).
#[cfg(target_os = "linux")]
const fn network_kind(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x0102_1997 => "9P",
        0x6573_5546 => "FUSE",
        0x00C3_6400 => "Ceph",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x7461_636F => "OCFS2",
        0x0116_1970 => "GFS2",
        _ => return None,
    })
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

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known() {
        assert_eq!(network_kind(0x6969), Some("NFS"));
        assert_eq!(network_kind(0xFF53_4D42), Some("SMB"));
        for magic in [
            0xEF53,
            0x0102_1994,
            0x5846_5342,
            0x9123_683E,
            0x794C_7630,
            0x2FC1_2FC1,
        ] {
            assert_eq!(
                network_kind(magic),
                None,
                "ext4, tmpfs, XFS, Btrfs, overlay, ZFS"
            );
        }
        let here = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(here.path()).unwrap(), None);
        network_file_system(&here.path().join("x")).unwrap_err();
    }
}
