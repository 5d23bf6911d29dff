//! Files that are not the store: what users bring and take away, and the names around a store.

#![expect(
    clippy::disallowed_methods,
    reason = "this module is where files are touched"
)]

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// The error for a failed operation on a file; a full disk is a kind of its own.
pub(crate) fn io_error(operation: &str, path: &Path, source: io::Error) -> Error {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if full.contains(&source.kind()) {
        return Error::Full {
            operation: operation.to_owned(),
            path: path.to_owned(),
        };
    }
    if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return Error::ReadOnly {
            path: path.to_owned(),
        };
    }
    Error::Io {
        operation: operation.to_owned(),
        path: path.to_owned(),
        source,
    }
}

/// The same error once more, for whoever comes later.
pub(crate) fn error_again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// A user's file, open for reading in pieces.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    file: Arc<File>,
    len: u64,
}

impl InputFile {
    /// Opens a regular file; others (a pipe would block until somebody writes) are refused.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |e| io_error("opening", path, e);
        if !path.metadata().map_err(failed)?.is_file() {
            let why = "it is not a regular file";
            return Err(Error::invalid(format!("`{}`", path.display()), why));
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self {
            file: Arc::new(file),
            len,
        })
    }

    /// Its length when it was opened.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `at`, read independently of other sections.
    pub(crate) fn section(&self, at: u64, len: u64) -> FileSection {
        FileSection {
            file: Arc::clone(&self.file),
            at,
            left: len,
        }
    }

    /// A reader that can go to any place of it.
    #[cfg(feature = "npz")]
    pub(crate) fn seekable(&self) -> impl Read + Seek + use<> {
        SeekableFile {
            rest: self.section(0, self.len),
            len: self.len,
        }
    }

    /// All of it, to its end at the time of reading.
    pub(crate) fn whole(&self) -> FileSection {
        self.section(0, u64::MAX)
    }
}

/// What is there under a name, if it is no regular file. Opening a pipe would wait for somebody.
pub(crate) fn no_file(path: &Path) -> Option<&'static str> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Some("it is a folder"),
        Ok(found) if !found.is_file() => Some("it is not a regular file"),
        _ => None,
    }
}

/// Whether there is a folder.
pub(crate) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// The length of a regular file that can be looked at.
pub(crate) fn length(path: &Path) -> Option<u64> {
    let found = path.metadata().ok()?;
    found.is_file().then_some(found.len())
}

/// Whether a name is that of a link.
pub(crate) fn is_link(path: &Path) -> bool {
    path.is_symlink()
}

/// Whether anything has this name, a link that leads nowhere included.
pub(crate) fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What lies in a folder, sorted. Links to folders are not followed.
pub(crate) fn members_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let members = listing(folder)?;
    match members.iter().find(|path| is_linked_folder(path)) {
        Some(path) => {
            let why = "it is a link to a folder, which is not followed";
            Err(Error::invalid(format!("`{}`", path.display()), why))
        }
        None => Ok(members),
    }
}

/// What lies in a folder, sorted, whatever it is.
pub(crate) fn listing(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| io_error("reading the folder", folder, e);
    let mut members = Vec::new();
    for member in folder.read_dir().map_err(failed)? {
        members.push(member.map_err(failed)?.path());
    }
    members.sort();
    Ok(members)
}

/// Whether a path is a link to a folder.
pub(crate) fn is_linked_folder(path: &Path) -> bool {
    path.is_symlink() && path.is_dir()
}

/// Where a path leads to, if to anything.
pub(crate) fn real_path(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// When a file was changed last, if that is known, in milliseconds since 1970.
pub(crate) fn modified_at(path: &Path) -> Option<i64> {
    let changed = path.metadata().ok()?.modified().ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Reads a user's file that may have at most `limit` bytes; `None` when it has more.
pub(crate) fn read_to_limit(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    InputFile::open(path)?
        .whole()
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error("reading", path, e))?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// Makes a folder and those above it.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| io_error("creating", path, e))
}

/// A file that is being made under a name of its own. It is gone when this is dropped before it has
/// got its real name, be it by a panic.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// An empty file beside `path`.
    pub(crate) fn beside(path: &Path) -> Result<Self> {
        Self::open_beside(path).map(|(temporary, _)| temporary)
    }

    fn open_beside(path: &Path) -> Result<(Self, File)> {
        let temporary = temporary_beside(path);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary);
        match made {
            Ok(file) => Ok((Self(temporary), file)),
            Err(error) => Err(io_error("creating", &temporary, error)),
        }
    }

    /// Its name for now.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name, unless that is taken.
    pub(crate) fn link_to(self, path: &Path) -> Result<()> {
        link_exclusive(self.path(), path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        remove_quietly(&self.0);
    }
}

/// A name beside `path` that nobody else uses.
fn temporary_beside(path: &Path) -> PathBuf {
    let suffix = u64::from_le_bytes(random_bytes());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix:016x}.tmp"));
    path.with_file_name(name)
}

/// The number of this process, which is another one after a fork.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// Bytes that nobody else has: from the operating system's generator, by way of the keys that the
/// standard library seeds its hash maps with. Good for names and ids, not for secrets.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&process_id().to_le_bytes());
    for _ in 0..4 {
        hasher.update(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    let mut bytes = [0; N];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Makes a rename or a new name in this file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| io_error("syncing the folder", parent, e))
}

/// Gives a finished file its name, unless that is taken.
fn link_exclusive(temporary: &Path, path: &Path) -> Result<()> {
    let taken = || Error::Exists {
        path: path.to_owned(),
    };
    match fs::hard_link(temporary, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
        Err(_) => match rename_exclusive(temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
            renamed => renamed.map_err(|e| io_error("naming", path, e)),
        },
    }
}

/// A new name, for file systems without hard links. Where the system can't refuse a name that is
/// taken in the same moment, it is looked for before.
fn rename_exclusive(temporary: &Path, path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
    }
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(temporary, path)
}

/// Removes a temporary file. One that stays behind harms nobody.
pub(crate) fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "a temporary file stays behind");
    }
}

/// A piece of a file, read independently of others.
#[derive(Clone, Debug)]
pub(crate) struct FileSection {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl FileSection {
    /// How many bytes of it are left, if the file has not become shorter.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// These bytes of what is left.
    pub(crate) fn part(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        let mut part = Self {
            file: Arc::clone(&self.file),
            at: self.at + range.start as u64,
            left: range.len() as u64,
        };
        let mut bytes = vec![0; range.len()];
        part.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for FileSection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let out = out.get_mut(..most).unwrap_or_default();
        #[cfg(unix)]
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, out, self.at)?;
        #[cfg(windows)]
        let count = std::os::windows::fs::FileExt::seek_read(&*self.file, out, self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A file, from any place on.
#[cfg(feature = "npz")]
struct SeekableFile {
    rest: FileSection,
    len: u64,
}

#[cfg(feature = "npz")]
impl Read for SeekableFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.rest.read(out)
    }
}

#[cfg(feature = "npz")]
impl Seek for SeekableFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.rest.at.checked_add_signed(by),
        };
        self.rest.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.rest.left = self.len.saturating_sub(self.rest.at);
        Ok(self.rest.at)
    }
}

/// A file that appears under its name complete and synced, or not at all.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    file: io::BufWriter<File>,
    temporary: Temporary,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file that will be called `path`; where that is a link, the file that it leads to is
    /// replaced. What is there must be a file: a device that is given away is missed by many.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("`{}`", path.display()), why);
        let target = path.is_symlink().then(|| path.canonicalize());
        let Ok(target) = target.transpose() else {
            return Err(invalid("it is a link that leads nowhere"));
        };
        let path = target.as_deref().unwrap_or(path);
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(invalid("it is not a regular file"));
        }
        let (temporary, file) = Temporary::open_beside(path)?;
        Ok(Self {
            file: io::BufWriter::with_capacity(1 << 20, file),
            temporary,
            path: path.to_owned(),
        })
    }

    /// Syncs it and gives it its name, in place of what had that name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let failed = |e| io_error("writing", &self.path, e);
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        fs::rename(self.temporary.path(), &self.path)
            .map_err(|e| io_error("naming", &self.path, e))?;
        sync_parent(&self.path)
    }

    /// The error for a write that failed.
    pub(crate) fn failed(&self, source: io::Error) -> Error {
        io_error("writing", &self.path, source)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Whether two files are one.
#[cfg(unix)]
pub(crate) fn is_same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// What is open can't be replaced.
#[cfg(not(unix))]
pub(crate) fn is_same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_without_a_hard_link_replaces_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        let refused = rename_exclusive(&from, &to).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
        fs::remove_file(&to).unwrap();
        rename_exclusive(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
    }

    #[test]
    fn an_unfinished_file_never_appears_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_taken_name_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&new, b"new").unwrap();
        fs::write(&old, b"old").unwrap();
        assert!(matches!(
            link_exclusive(&new, &old),
            Err(Error::Exists { .. })
        ));
        assert_eq!(fs::read(&old).unwrap(), b"old");
    }
}
