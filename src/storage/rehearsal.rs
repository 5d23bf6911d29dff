//! A store's bytes over which others can be written that never reach it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::backend::{Backend, Medium};
use super::file::FileMedium;
use crate::error::Result;
use crate::platform::{self, Temporary};
use crate::sync::{Mutex, MutexGuard};

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// A medium that holds what another one holds, and keeps what is written to it in a temporary file
/// that has no name. Whoever has it sees to it that nobody writes to the other one meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Rehearsal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Where the temporary file is.
    folder: PathBuf,
    base: Box<dyn Backend>,
    scratch: Box<dyn Backend>,
    written: Mutex<Written>,
}

/// What has become of the bytes.
#[derive(Debug)]
struct Written {
    /// Pages that lie in the temporary file, each at its own place.
    pages: HashSet<u64>,
    len: u64,
    /// Bytes from here on are not the other medium's any more.
    base_len: u64,
}

impl Rehearsal {
    /// Over a medium, which is only read, with its temporary file in this folder.
    pub(crate) fn over(medium: &dyn Medium, folder: &Path) -> Result<Self> {
        let path = medium.path().to_owned();
        let failed = |error| platform::io_error("opening", &path, error);
        let base = medium.open().map_err(failed)?;
        let len = base.len().map_err(failed)?;
        let temporary = Temporary::beside(&folder.join("ckptdb-rehearsal"))?;
        let scratch = FileMedium::new(temporary.path());
        let failed = |error| platform::io_error("opening", temporary.path(), error);
        Ok(Self(Arc::new(Shared {
            folder: folder.to_owned(),
            base,
            scratch: scratch.open().map_err(failed)?,
            written: Mutex::new(Written {
                pages: HashSet::new(),
                len,
                base_len: len,
            }),
            path,
        })))
    }
}

impl Medium for Rehearsal {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(self.clone()))
    }

    fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Shared {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of one page or a part of it.
    fn read_in_page(&self, written: &Written, at: u64, out: &mut [u8]) -> io::Result<()> {
        if written.pages.contains(&(at / PAGE)) {
            return self.scratch.read(at, out);
        }
        let have = written.base_len.saturating_sub(at).min(out.len() as u64);
        let (held, beyond) = out.split_at_mut(usize::try_from(have).unwrap_or(0));
        beyond.fill(0);
        if held.is_empty() {
            return Ok(());
        }
        self.base.read(at, held)
    }

    fn put(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.scratch.write(at, data).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                // The disk that is full is not the store's.
                let place = self.folder.display();
                return io::Error::other(format!("no room in {place} for what would change"));
            }
            error
        })
    }

    /// Puts a page into the temporary file as it is.
    fn take_page(&self, written: &mut Written, page: u64) -> io::Result<()> {
        let mut bytes = [0; PAGE_BYTES];
        self.read_in_page(written, page * PAGE, &mut bytes)?;
        self.put(page * PAGE, &bytes)?;
        written.pages.insert(page);
        Ok(())
    }
}

/// Pieces of an operation, each within one page: where it begins, and its length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let next = end.min((at / PAGE + 1) * PAGE);
        let piece = (at, usize::try_from(next - at).unwrap_or(0));
        at = next;
        (piece.1 > 0).then_some(piece)
    })
}

impl Backend for Rehearsal {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.0.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        // Pages of one kind are read in one go.
        let mut pieces = pieces(offset, rest.len()).peekable();
        while let Some((at, mut len)) = pieces.next() {
            let is_own = |at: u64| written.pages.contains(&(at / PAGE));
            while let Some((_, more)) = pieces.next_if(|(next, _)| is_own(*next) == is_own(at)) {
                len += more;
            }
            let (piece, beyond) = rest.split_at_mut(len);
            self.0.read_in_page(&written, at, piece)?;
            rest = beyond;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.0.written();
        for (at, len) in pieces(offset, data.len()) {
            let page = at / PAGE;
            if len as u64 == PAGE {
                written.pages.insert(page);
            } else if !written.pages.contains(&page) {
                self.0.take_page(&mut written, page)?;
            }
        }
        self.0.put(offset, data)?;
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.0.written();
        // What comes after it is zero, should it grow again.
        written.pages.retain(|page| page * PAGE < len);
        if !len.is_multiple_of(PAGE) && written.pages.contains(&(len / PAGE)) {
            let rest = usize::try_from(PAGE - len % PAGE).unwrap_or(0);
            let zeros = [0; PAGE_BYTES];
            let zeros = zeros.get(..rest).unwrap_or_default();
            self.0.put(len, zeros)?;
        }
        written.base_len = written.base_len.min(len);
        written.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    /// What it would take on the disk, roughly: the holes that the file has now are known, and
    /// where they are is not.
    fn allocated(&self) -> io::Result<u64> {
        let written = self.0.written();
        let base = self.0.base.len()?;
        let beyond = written.pages.iter().filter(|page| **page * PAGE >= base);
        let taken = self.0.base.allocated()? + beyond.count() as u64 * PAGE;
        Ok(taken.min(written.len))
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test values")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::MemoryMedium;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let data = proptest::collection::vec(any::<u8>(), 1..10_000);
        prop_oneof![
            3 => (0..20_000_u64, data).prop_map(|(at, data)| Op::Write(at, data)),
            1 => (0..25_000_u64).prop_map(Op::SetLen),
            1 => (0..6_u64).prop_map(|page| Op::SetLen(page * PAGE)),
        ]
    }

    proptest! {
        #[test]
        fn it_reads_as_if_its_writes_had_happened_and_they_have_not(
            base in proptest::collection::vec(any::<u8>(), 0..20_000),
            ops in proptest::collection::vec(op(), 0..8),
            (from, len) in (0..20_000_usize, 0..12_000_usize),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let medium = MemoryMedium::new(base.clone());
            let rehearsal = Rehearsal::over(&medium, folder.path()).unwrap();
            let mut model = base.clone();
            for op in ops {
                // As it is after it was closed and opened again.
                let backend = rehearsal.open().unwrap();
                match op {
                    Op::Write(at, data) => {
                        backend.write(at, &data).unwrap();
                        let end = at as usize + data.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                    }
                    Op::SetLen(len) => {
                        backend.set_len(len).unwrap();
                        model.resize(len as usize, 0);
                    }
                }
                prop_assert_eq!(backend.len().unwrap(), model.len() as u64);
                prop_assert!(backend.allocated().unwrap() <= model.len() as u64);
                let from = from.min(model.len());
                let mut seen = vec![7; len.min(model.len() - from)];
                backend.read(from as u64, &mut seen).unwrap();
                prop_assert_eq!(&seen, &model[from..from + seen.len()]);
                prop_assert!(backend.read(model.len() as u64, &mut [0]).is_err());
            }
            prop_assert_eq!(medium.to_vec(), base);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
