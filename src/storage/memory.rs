//! A store in memory, for tests and for trials that should leave nothing behind.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::backend::{Backend, Medium};

/// A store in memory. Clones are the same place; it lasts as long as one of them.
#[derive(Clone, Debug)]
pub struct MemoryMedium {
    place: Arc<Place>,
    path: PathBuf,
}

#[derive(Default)]
struct Place {
    bytes: RwLock<Vec<u8>>,
    locked: AtomicBool,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.bytes.read().map_or(0, |bytes| bytes.len());
        f.debug_struct("Place")
            .field("len", &len)
            .field("locked", &self.locked)
            .finish_non_exhaustive()
    }
}

impl MemoryMedium {
    /// A place that holds these bytes: none, or those of a store's file.
    pub fn new(bytes: Vec<u8>) -> Self {
        let place = Place {
            bytes: RwLock::new(bytes),
            locked: AtomicBool::new(false),
        };
        Self {
            place: Arc::new(place),
            path: PathBuf::from("(memory)"),
        }
    }

    /// A copy of the bytes as they are.
    pub fn to_vec(&self) -> Vec<u8> {
        self.place
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Default for MemoryMedium {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Medium for MemoryMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        let holds = AtomicBool::new(false);
        Ok(Box::new(MemoryBackend {
            place: Arc::clone(&self.place),
            holds,
        }))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct MemoryBackend {
    place: Arc<Place>,
    holds: AtomicBool,
}

fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(start..end)
}

impl Backend for MemoryBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self
            .place
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self
            .place
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let held = bytes
            .get(range(offset, out.len())?)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(held);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self
            .place
            .bytes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, data.len())?;
        if range.end > bytes.len() {
            bytes.resize(range.end, 0);
        }
        bytes
            .get_mut(range)
            .ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.place
            .bytes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let taken = self.place.locked.swap(true, Ordering::SeqCst);
        if !taken {
            self.holds.store(true, Ordering::SeqCst);
        }
        Ok(!taken)
    }

    fn unlock(&self) -> io::Result<()> {
        if self.holds.swap(false, Ordering::SeqCst) {
            self.place.locked.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        // Unlocking memory can't fail.
        let _ = self.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_within_its_length_and_held_by_one() {
        let medium = MemoryMedium::default();
        let (first, second) = (medium.open().unwrap(), medium.open().unwrap());
        assert!(first.is_empty().unwrap());
        first.write(10, &[7; 10]).unwrap();
        assert!(!first.is_empty().unwrap());
        assert_eq!((first.len().unwrap(), first.allocated().unwrap()), (20, 20));
        let mut read = [1; 12];
        second.read(8, &mut read).unwrap();
        assert_eq!(read[..3], [0, 0, 7]);
        second.read(9, &mut read).unwrap_err();
        assert_eq!(medium.free().unwrap(), None);
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        // Who does not hold it gives nothing back.
        second.unlock().unwrap();
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
        let shown = format!("{medium:?}");
        assert!(
            shown.contains("len: 20") && shown.contains("locked: true"),
            "{shown}"
        );
    }
}
