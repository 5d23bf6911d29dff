//! Disks that are full for a while, and disks whose sync fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ckptdb::{
    Backend, Compression, Error, Filter, Medium, MemoryMedium, Options, Store, VerifyDepth,
};

use crate::support::noise;

const SOUND: u8 = 0;
const FULL: u8 = 1;
const SYNC_FAILS: u8 = 2;
const FULL_ONCE: u8 = 3;
const UNREADABLE: u8 = 4;

/// A medium with a fault that can be switched on and off.
#[derive(Debug)]
struct FaultMedium {
    inner: MemoryMedium,
    fault: Arc<AtomicU8>,
}

#[derive(Debug)]
struct FaultBackend {
    inner: Box<dyn Backend>,
    fault: Arc<AtomicU8>,
}

impl FaultBackend {
    fn check(&self, fault: u8, kind: io::ErrorKind) -> io::Result<()> {
        let once = (FULL_ONCE, SOUND);
        let swap = |(from, to)| {
            self.fault
                .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
        };
        if fault == FULL && swap(once).is_ok() {
            return Err(kind.into());
        }
        if self.fault.load(Ordering::SeqCst) == fault {
            return Err(kind.into());
        }
        Ok(())
    }
}

impl Medium for FaultMedium {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(FaultBackend {
            inner: self.inner.open()?,
            fault: Arc::clone(&self.fault),
        }))
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl Backend for FaultBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(UNREADABLE, io::ErrorKind::Other)?;
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(FULL, io::ErrorKind::StorageFull)?;
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(FULL, io::ErrorKind::StorageFull)?;
        self.inner.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.check(SYNC_FAILS, io::ErrorKind::Other)?;
        self.inner.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
}

fn store() -> (Store, Arc<AtomicU8>) {
    let fault = Arc::new(AtomicU8::new(SOUND));
    let medium = FaultMedium {
        inner: MemoryMedium::default(),
        fault: Arc::clone(&fault),
    };
    let store = Store::create_in(Arc::new(medium), Options::default()).unwrap();
    (store, fault)
}

#[test]
fn a_full_disk_is_an_event_and_the_same_handle_saves_again_once_there_is_room() {
    let (store, fault) = store();
    let job = store.job("NQ").unwrap();
    let data = noise(1, 200_000);
    job.save(1).bytes("s", &data).commit().unwrap();
    for bytes in [100, 300_000, 20 << 20] {
        fault.store(FULL, Ordering::SeqCst);
        let large = noise(2, bytes);
        let refused = job.save(2).bytes("s", &large).commit();
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
        let latest = job.latest().unwrap().unwrap();
        assert_eq!(latest.iteration, 1, "readable while it is full");
        assert_eq!(latest.read("s").unwrap(), data);
        fault.store(SOUND, Ordering::SeqCst);
        let saved = job.save(2).bytes("s", &large).commit().unwrap().checkpoint;
        assert_eq!(saved.read("s").unwrap(), large);
        saved.delete(true).unwrap();
        store.reclaim(true).unwrap();
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
    assert_eq!(
        store.stats().unwrap().chunks,
        1,
        "nothing of the refused saves stays"
    );
}

#[test]
fn after_a_failed_sync_no_success_is_reported_any_more_from_this_handle() {
    let (store, fault) = store();
    let job = store.job("NQ").unwrap();
    job.save(1).bytes("s", b"before").commit().unwrap();
    fault.store(SYNC_FAILS, Ordering::SeqCst);
    assert!(job.save(2).bytes("s", b"lost").commit().is_err());
    // The kernel forgets what it could not write, and the next sync seems to work.
    fault.store(SOUND, Ordering::SeqCst);
    let refused = job.save(3).bytes("s", b"after").commit();
    assert!(
        matches!(refused, Err(Error::SyncFailed { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        store.reclaim(true),
        Err(Error::SyncFailed { .. }) | Ok(_)
    ));
    assert_eq!(
        store.resolve("NQ@1").unwrap().read("s").unwrap(),
        b"before".as_slice()
    );
}

#[test]
fn a_sync_that_fails_in_the_first_write_after_opening_counts_as_well() {
    for after_crash in [false, true] {
        let inner = MemoryMedium::default();
        let store = Store::create_in(Arc::new(inner.clone()), Options::default()).unwrap();
        store
            .job("NQ")
            .unwrap()
            .save(1)
            .bytes("s", b"1")
            .commit()
            .unwrap();
        let bytes = if after_crash {
            inner.to_vec()
        } else {
            Vec::new()
        };
        drop(store);
        let inner = if after_crash {
            MemoryMedium::new(bytes)
        } else {
            inner
        };
        let fault = Arc::new(AtomicU8::new(SOUND));
        let medium = FaultMedium {
            inner,
            fault: Arc::clone(&fault),
        };
        let store = Store::open_in(Arc::new(medium), Options::default()).unwrap();
        let job = store.job("NQ").unwrap();
        fault.store(SYNC_FAILS, Ordering::SeqCst);
        assert!(job.save(2).bytes("s", b"2").commit().is_err());
        fault.store(SOUND, Ordering::SeqCst);
        let refused = job.save(2).bytes("s", b"2").commit();
        assert!(
            matches!(refused, Err(Error::SyncFailed { .. })),
            "{refused:?}"
        );
        assert!(matches!(store.compact(), Err(Error::SyncFailed { .. })));
    }
}

#[test]
fn a_save_that_finds_no_room_ends_the_undo_windows_and_the_next_one_fits() {
    let (store, fault) = store();
    let job = store.job("NQ").unwrap();
    for iteration in 1..=3 {
        let state = noise(iteration, 200_000);
        job.save(iteration).bytes("s", &state).commit().unwrap();
    }
    store.resolve("NQ@1").unwrap().delete(false).unwrap();
    assert_eq!(store.stats().unwrap().deleted, 1);
    // Full for one write: as when the disk has room for what makes room, and no more.
    fault.store(FULL_ONCE, Ordering::SeqCst);
    let refused = job.save(4).bytes("s", &noise(4, 200_000)).commit();
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    let stats = store.stats().unwrap();
    assert_eq!((stats.deleted, stats.checkpoints), (0, 2));
    job.save(4).bytes("s", &noise(4, 200_000)).commit().unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// An entry's bytes, and what happens when half of them have been read.
struct Halfway<'a, F> {
    rest: &'a [u8],
    half: usize,
    then: Option<F>,
}

impl<F: FnOnce()> io::Read for Halfway<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(out)?;
        if self.rest.len() < self.half
            && let Some(then) = self.then.take()
        {
            then();
        }
        Ok(count)
    }
}

#[test]
fn a_save_whose_stages_another_operations_failure_has_undone_is_refused_and_can_be_repeated() {
    let fault = Arc::new(AtomicU8::new(SOUND));
    let medium = FaultMedium {
        inner: MemoryMedium::default(),
        fault: Arc::clone(&fault),
    };
    let options = Options {
        cache_bytes: 64 << 10,
        // So that it is not this save's own look-up that meets the fault.
        threads: 1,
        ..Options::default()
    };
    let store = Store::create_in(Arc::new(medium), options).unwrap();
    let job = store.job("NQ").unwrap();
    let weights = noise(1, 3 << 20);
    let first = job
        .save(1)
        .bytes("w", &weights)
        .commit()
        .unwrap()
        .checkpoint;
    let bytes = noise(2, 40 << 20);
    let long = |then| Halfway {
        rest: &bytes,
        half: bytes.len() / 2,
        then,
    };
    // Another thread's load meets a disk that does not read, which ends the open database.
    let fail = || {
        fault.store(UNREADABLE, Ordering::SeqCst);
        first.load().unwrap_err();
        fault.store(SOUND, Ordering::SeqCst);
    };
    let refused = job.save(2).file("long", long(Some(fail))).commit();
    assert!(
        matches!(refused, Err(Error::Interrupted { .. })),
        "{refused:?}"
    );
    assert_eq!(job.latest().unwrap().unwrap().iteration, 1);
    first.verify().unwrap();
    let saved = job.save(2).file("long", long(None)).commit().unwrap();
    saved.checkpoint.verify().unwrap();
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!((report.damage.len(), report.orphans), (0, 0));
}

/// What the caller brings, and what goes wrong in it.
struct Panics(usize);

impl io::Read for Panics {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        assert!(self.0 > 0, "the caller's own");
        let count = out.len().min(self.0);
        out[..count].fill(3);
        self.0 -= count;
        Ok(count)
    }
}

impl io::Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("the caller's own")
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs what panics, and returns what it said.
fn panic_of<T: std::fmt::Debug>(run: impl FnOnce() -> T) -> String {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    let said = caught.unwrap_err();
    said.downcast_ref::<&str>().map_or_else(
        || said.downcast_ref::<String>().cloned().unwrap_or_default(),
        |text| (*text).to_owned(),
    )
}

/// A panic of the caller's is his: it is neither swallowed nor taken for damage, and what it
/// cut off has not happened. The same goes for an exception that Python raises, or a Ctrl-C.
#[test]
fn a_panic_in_the_callers_code_reaches_him_and_the_store_works_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("a").unwrap();
    job.save(1).bytes("s", &noise(1, 300_000)).commit().unwrap();
    let first = job.latest().unwrap().unwrap();
    let mut progress = |_: u64, _: u64| panic!("the caller's own");
    let new = folder.path().join("new.ckptdb");
    // In its first read, after threads were started, and after much was staged.
    let of_saves = [0, 9 << 20, 40 << 20]
        .map(|bytes| panic_of(|| job.save(2).file("f", Panics(bytes)).commit().map(drop)));
    let of_others = [
        panic_of(|| store.verify_with(VerifyDepth::Full, &mut progress)),
        panic_of(|| store.repair(&mut progress)),
        panic_of(|| store.recompress(Compression::Max, &mut progress)),
        panic_of(|| first.copy_to("s", &mut Panics(0))),
    ];
    for said in of_saves.iter().chain(&of_others) {
        assert_eq!(said, "the caller's own");
    }
    assert_eq!(first.load().unwrap().len(), 1);
    let listed = store.list(&Filter::default()).unwrap();
    assert_eq!(listed.count(), 1, "nothing was saved");
    job.save(2).bytes("s", &noise(2, 300_000)).commit().unwrap();
    drop((first, job, store));
    let said = panic_of(|| Store::salvage(&path, &new, &mut progress));
    assert_eq!(said, "the caller's own");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "only the store is there");
    let store = Store::open(&path).unwrap();
    store.reclaim(true).unwrap();
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean() && report.orphans == 0, "{report:?}");
    assert_eq!(store.list(&Filter::default()).unwrap().count(), 2);
}
