//! How far what is under way has come, and whether it shall end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Looks on while a store is read from and saved to, from another thread or a signal's handler.
/// Clones are the same monitor; [`Options::monitor`](crate::Options::monitor) gives one to a store.
///
/// ```
/// use ckptdb::{Error, Monitor, Options, Store};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("runs.ckptdb");
/// let monitor = Monitor::default();
/// let options = Options { monitor: monitor.clone(), ..Options::default() };
/// let store = Store::create_with(&path, options)?;
/// let job = store.job("NQ")?;
/// job.save(1).bytes("policy", &[7; 5000]).commit()?;
/// assert_eq!(monitor.bytes(), 5000);
///
/// monitor.cancel();
/// let refused = job.save(2).bytes("policy", &[8; 5000]).commit();
/// assert!(matches!(refused, Err(Error::Cancelled { .. })));
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    cancelled: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
}

impl Monitor {
    /// Bytes of entries that were read, verified or saved, before any encoding, since it was made.
    /// Entries of a few bytes, which lie within records, are not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends what is under way at the next chunk, with [`Error::Cancelled`], and whatever follows. A
    /// save that is ended so leaves nothing; what was committed stays, and changes that are small
    /// are made.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether it is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// What [`Monitor::cancel`] sets, for the handler of a signal.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Takes note of bytes that are read, verified or prepared, unless that is to end.
    pub(crate) fn advance(&self, bytes: usize, doing: &'static str) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::Cancelled { doing });
        }
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryMedium;
    use crate::store::{Options, Store, VerifyDepth};

    fn watched() -> (Store, Monitor) {
        let monitor = Monitor::default();
        let options = Options {
            monitor: monitor.clone(),
            threads: 2,
            ..Options::default()
        };
        let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
        (store, monitor)
    }

    /// Bytes that nothing shortens.
    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    /// Sets the flag once so many bytes have gone through it.
    struct Trap<'a>(&'a [u8], usize, Monitor);

    impl std::io::Read for Trap<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.len() < self.1 {
                self.2.cancel();
            }
            self.0.read(out)
        }
    }

    #[test]
    fn a_save_that_is_cancelled_leaves_nothing_and_the_next_one_is_whole() {
        let (store, monitor) = watched();
        let job = store.job("NQ").unwrap();
        let bytes = noise(1, 24 << 20);
        let trap = Trap(&bytes, 2 << 20, monitor.clone());
        let ended = job.save(1).file("model.pt", trap).commit();
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        assert!(monitor.bytes() < bytes.len() as u64);
        assert!(job.latest().unwrap().is_none());
        monitor.flag().store(false, Ordering::SeqCst);
        let saved = job.save(1).file("model.pt", &*bytes).commit().unwrap();
        assert_eq!(saved.checkpoint.read("model.pt").unwrap(), bytes);
        let report = store.verify(VerifyDepth::Full).unwrap();
        assert!(
            report.damage.is_empty() && report.orphans == 0,
            "{report:?}"
        );
    }

    #[test]
    fn every_byte_is_counted_once_and_every_long_read_ends() {
        let (store, monitor) = watched();
        let bytes = noise(2, 9 << 20);
        let save = store.job("NQ").unwrap().save(1);
        let saved = save
            .file("a", &*bytes)
            .bytes("b", b"small")
            .commit()
            .unwrap();
        let (checkpoint, whole) = (saved.checkpoint, saved.logical_bytes);
        let counted = |run: &dyn Fn()| {
            let before = monitor.bytes();
            run();
            monitor.bytes() - before
        };
        assert_eq!(monitor.bytes(), whole);
        assert_eq!(counted(&|| drop(checkpoint.load().unwrap())), whole);
        assert_eq!(counted(&|| assert!(checkpoint.verify().is_ok())), whole);
        let copy = || assert!(checkpoint.copy_to("a", &mut std::io::sink()).is_ok());
        assert_eq!(counted(&copy), bytes.len() as u64);
        assert_eq!(
            counted(&|| drop(store.verify(VerifyDepth::Full).unwrap())),
            whole
        );
        monitor.cancel();
        let ended = [
            checkpoint.load().map(drop),
            checkpoint.verify().map(drop),
            checkpoint.copy_to("a", &mut std::io::sink()).map(drop),
            store.verify(VerifyDepth::Full).map(drop),
            store.verify(VerifyDepth::Quick).map(drop),
        ];
        for ended in ended {
            assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        }
        // What is small still works: whoever cancels tells what there is.
        assert!(store.job("NQ").unwrap().latest().unwrap().is_some());
    }
}
