//! A process that dies between any two writes: what was acknowledged is there, what was not is
//! wholly there or wholly absent, and the counts are right.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckptdb::{Backend, Error, Filter, Medium, MemoryMedium, Options, Result, Store, VerifyDepth};

use crate::support::noise;

/// A medium whose writes, from a certain one on, fail and change nothing: as if the process had
/// been killed before it.
#[derive(Debug)]
struct DyingMedium {
    inner: MemoryMedium,
    left: Arc<AtomicU64>,
}

#[derive(Debug)]
struct DyingBackend {
    inner: Box<dyn Backend>,
    left: Arc<AtomicU64>,
}

impl Medium for DyingMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(DyingBackend {
            inner: self.inner.open()?,
            left: Arc::clone(&self.left),
        }))
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl DyingBackend {
    fn live(&self) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("dead")),
        }
    }
}

impl Backend for DyingBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.live()?;
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.live()?;
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.live()?;
        self.inner.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
}

/// What a run had acknowledged before it died: the state of each iteration.
type Acknowledged = Vec<(u64, Vec<u8>)>;

fn state(iteration: u64, bytes: usize) -> Vec<u8> {
    let mut state = noise(7, bytes / 2);
    state.extend(noise(iteration, bytes / 2));
    state
}

/// Saves, deletes, reclaims and saves again, until it is done or dead.
fn work(store: &Store, bytes: usize, acknowledged: &mut Acknowledged) -> Result<()> {
    let job = store.job("NQ")?;
    for iteration in 1..=4 {
        let data = state(iteration, bytes);
        job.save(iteration).bytes("s", &data).commit()?;
        acknowledged.push((iteration, data));
        if iteration == 3 {
            // From here on the first is neither promised nor excluded.
            acknowledged.remove(0);
            store.resolve("NQ@1")?.delete(false)?;
            store.reclaim(true)?;
        }
    }
    Ok(())
}

/// Dies after `writes`, looks at what is left, and goes on with it. Returns whether it died.
fn die_after(writes: u64, bytes: usize) -> bool {
    let medium = MemoryMedium::default();
    drop(Store::create_in(Arc::new(medium.clone()), Options::default()).unwrap());
    let mut acknowledged = Vec::new();
    let left = Arc::new(AtomicU64::new(writes));
    let dying = DyingMedium {
        inner: medium.clone(),
        left: Arc::clone(&left),
    };
    let store = Store::open_in(Arc::new(dying), Options::default()).unwrap();
    let outcome = work(&store, bytes, &mut acknowledged);
    left.store(0, Ordering::SeqCst);
    drop(store);

    let at = format!("dead after {writes} writes");
    let survivor = MemoryMedium::new(medium.to_vec());
    let store = Store::open_in(Arc::new(survivor), Options::default()).unwrap();
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{at}: {:#?}", report.damage);
    for (iteration, data) in &acknowledged {
        let found = store.resolve(&format!("NQ@{iteration}"));
        let read = found.and_then(|found| found.read("s"));
        assert_eq!(read.unwrap(), *data, "{at}: iteration {iteration}");
    }
    for found in store.list(&Filter::default()).unwrap() {
        let found = found.unwrap();
        assert_eq!(
            found.read("s").unwrap(),
            state(found.iteration, bytes),
            "{at}"
        );
    }
    // Life goes on, and nothing that the dead left stays for ever.
    let job = store.job("NQ").unwrap();
    job.save(9).bytes("s", b"on").commit().unwrap();
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.chunks, stats.nodes), (0, 0), "{at}: left behind");
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean(), "{at}");
    outcome.is_err()
}

#[test]
fn death_between_any_two_writes_loses_nothing_acknowledged_and_leaks_nothing() {
    let mut writes = 0;
    while die_after(writes, 150_000) {
        writes += 1;
    }
    println!("{writes} deaths");
    assert!(writes > 50, "the work takes more writes than {writes}");
}

#[test]
fn death_in_a_save_that_is_staged_loses_nothing_and_leaks_nothing() {
    // 20 MB of new chunks: more than go with one transaction.
    let bytes = 20 << 20;
    let mut deaths = 0;
    let mut writes = 3;
    while die_after(writes, bytes) {
        deaths += 1;
        writes += 17;
    }
    println!("{deaths} deaths");
    assert!(deaths > 5, "the work takes more writes than {writes}");
}

#[test]
fn a_save_whose_source_fails_leaves_nothing_behind() {
    struct Failing(u64);
    impl io::Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = usize::try_from(self.0).unwrap().min(out.len());
            if count == 0 {
                return Err(io::Error::other("the source is gone"));
            }
            out[..count].copy_from_slice(&noise(self.0, count));
            self.0 -= count as u64;
            Ok(count)
        }
    }
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.save(1).bytes("s", &state(1, 200_000)).commit().unwrap();
    let before = store.stats().unwrap();
    for bytes in [10, 100_000, 40 << 20] {
        let failed = job.save(2).file("s", Failing(bytes)).commit();
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        let after = store.stats().unwrap();
        let counts = |stats: &ckptdb::Stats| (stats.checkpoints, stats.chunks, stats.nodes);
        assert_eq!(counts(&after), counts(&before), "after {bytes} bytes");
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}

#[test]
fn a_reclaim_that_was_cut_off_never_takes_what_was_saved_again_since() {
    let data = state(1, 400_000);
    let mut cut = 0;
    for writes in 0..200 {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let dying = DyingMedium {
            inner: MemoryMedium::default(),
            left: Arc::clone(&left),
        };
        let store = Store::create_in(Arc::new(dying), Options::default()).unwrap();
        let job = store.job("NQ").unwrap();
        job.save(1).bytes("s", &data).commit().unwrap();
        job.save(2).bytes("s", b"next").commit().unwrap();
        store.resolve("NQ@1").unwrap().delete(false).unwrap();
        left.store(writes, Ordering::SeqCst);
        let outcome = store.reclaim(true);
        left.store(u64::MAX, Ordering::SeqCst);
        if matches!(outcome, Err(Error::SyncFailed { .. })) {
            continue;
        }
        match job.save(3).bytes("s", &data).commit() {
            Ok(_) => {}
            // A sync was what failed: this handle is closed for writing.
            Err(Error::SyncFailed { .. }) => continue,
            Err(error) => panic!("after {writes} writes: {error:?}"),
        }
        cut += u64::from(outcome.is_err());
        store.reclaim(true).unwrap();
        let found = store.resolve("NQ@3").unwrap();
        assert_eq!(found.read("s").unwrap(), data, "after {writes} writes");
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        if outcome.is_ok() {
            break;
        }
    }
    assert!(cut > 5, "{cut} reclaims were cut off");
}
