//! Locks on places of a file where no byte ever is. They belong to one opening of the file: closing
//! another opening, in this process or elsewhere, gives none of them back, and the system gives
//! them back when the process ends, however it does.

use std::fs::File;
use std::io;

/// Whether such locks are to be had.
pub(crate) const fn has_range_locks() -> bool {
    cfg!(target_os = "linux")
}

/// Takes the byte at `at`, for this opening alone or together with others; or says that another one
/// is in the way. What this opening has of it already is changed.
#[cfg(target_os = "linux")]
pub(crate) fn try_lock_at(file: &File, at: i64, alone: bool) -> io::Result<bool> {
    use nix::libc::{F_RDLCK, F_WRLCK};

    let kind = if alone { F_WRLCK } else { F_RDLCK };
    match set(file, (at, 1), kind) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        // What POSIX allows in its place.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the byte at `at` back.
#[cfg(target_os = "linux")]
pub(crate) fn unlock_at(file: &File, at: i64) -> io::Result<()> {
    set(file, (at, 1), nix::libc::F_UNLCK)
}

/// Where in these bytes another opening has a lock for itself alone, if one has.
#[cfg(target_os = "linux")]
pub(crate) fn locked_by_others(file: &File, (from, len): (i64, i64)) -> io::Result<Option<i64>> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::{F_RDLCK, F_UNLCK};

    let mut lock = lock_of((from, len), F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok((i32::from(lock.l_type) != F_UNLCK).then_some(lock.l_start))
}

#[cfg(target_os = "linux")]
fn set(file: &File, place: (i64, i64), kind: i32) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};

    fcntl(file, FcntlArg::F_OFD_SETLK(&lock_of(place, kind)))?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn lock_of((start, len): (i64, i64), kind: i32) -> nix::libc::flock {
    // The kinds are 0, 1 and 2.
    let kind = i16::try_from(kind).unwrap_or_default();
    nix::libc::flock {
        l_type: kind,
        l_whence: 0,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

/// Only Linux has them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn try_lock_at(_: &File, _: i64, _: bool) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unlock_at(_: &File, _: i64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn locked_by_others(_: &File, _: (i64, i64)) -> io::Result<Option<i64>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The name of a process's program, if the system tells.
pub(crate) fn program_of(process: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_belongs_to_an_opening_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap()
        };
        let (one, two, three) = (open(), open(), open());
        let at = i64::MAX - 7;
        assert!(try_lock_at(&one, at, true).unwrap());
        assert!(!try_lock_at(&two, at, false).unwrap());
        assert!(try_lock_at(&two, at + 1, true).unwrap());
        assert_eq!(locked_by_others(&two, (at - 9, 12)).unwrap(), Some(at));
        assert_eq!(locked_by_others(&one, (at - 9, 10)).unwrap(), None);
        // Others may close what they have of the file.
        drop(open());
        assert!(!try_lock_at(&two, at, false).unwrap());
        // Together, then alone only when the other one is gone.
        assert!(try_lock_at(&one, at, false).unwrap());
        assert!(try_lock_at(&two, at, false).unwrap());
        assert!(!try_lock_at(&one, at, true).unwrap());
        drop(two);
        assert!(try_lock_at(&one, at, true).unwrap());
        unlock_at(&one, at).unwrap();
        assert!(try_lock_at(&three, at, true).unwrap());
        let own = program_of(crate::platform::process_id()).unwrap();
        assert!(!own.is_empty() && !own.contains('\n'), "{own}");
        assert_eq!(program_of(u32::MAX), None);
    }
}
