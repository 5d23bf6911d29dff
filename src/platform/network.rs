//! File systems of other machines.

use std::io;
use std::path::Path;

/// The network file system that a path lies on, if it is one. Of those that programs provide
/// (FUSE), many are, and the others can't be told from them.
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
        0xAAD7_AAEA => "PanFS",
        0x2003_0528 => "OrangeFS",
        // What a virtual machine shows of its host.
        0x786F_4256 => "VirtualBox",
        0xBACB_ACBC => "VMware",
        0x7C7C_6673 => "Parallels",
        _ => return None,
    })
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
