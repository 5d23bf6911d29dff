//! Damaged chunks, healed by whoever saves their bytes again; and resuming past damage.

use std::sync::Arc;

use ckptdb::{Backend, Error, Medium, MemoryMedium, Store, VerifyDepth};

use super::{content, options, save};

/// Spoils one byte wherever these bytes are in the medium.
pub(crate) fn spoil(medium: &MemoryMedium, bytes: &[u8]) -> MemoryMedium {
    let mut image = medium.to_vec();
    let at = super::places(&image, &bytes[..64]);
    assert!(!at.is_empty());
    for at in at {
        image[at + 10] ^= 0x10;
    }
    MemoryMedium::new(image)
}

fn three(job: &str) -> MemoryMedium {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    for iteration in 1..=3 {
        save(&store, job, iteration);
    }
    store.close();
    medium
}

#[test]
fn a_save_of_the_same_bytes_heals_every_checkpoint_that_shares_a_rotten_chunk() {
    for repaired_first in [false, true] {
        let shared = content(1)["shared"].clone();
        let medium = spoil(&three("NQ"), &shared);
        let store = Store::open_in(Arc::new(medium.clone()), options()).unwrap();
        let read = |iteration: u64| {
            let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
            found.read("shared")
        };
        assert!(matches!(read(1), Err(Error::Corrupt { .. })));
        if repaired_first {
            let repaired = store.repair(&mut |_, _| {}).unwrap();
            assert_eq!(repaired.lost_chunks, 1);
            assert!(repaired.lost.is_empty());
            assert_eq!(repaired.left.len(), 3, "{:?}", repaired.left);
            // The mark outlives the process.
            store.reopen().unwrap();
        }
        let saved = save(&store, "NQ", 4);
        assert_eq!(saved.healed_chunks, 1, "repaired first: {repaired_first}");
        for iteration in 1..=4 {
            assert_eq!(read(iteration).unwrap(), shared, "checkpoint {iteration}");
        }
        let report = store.verify(VerifyDepth::Full).unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
        assert_eq!(report.orphans, 0);
        store.delete_job("NQ").unwrap();
        store.reclaim(true).unwrap();
        assert_eq!(store.stats().unwrap().chunks, 0, "its count is right");
    }
}

#[test]
fn repeating_the_save_of_a_rotten_checkpoint_heals_it() {
    let own = content(3)["own"].clone();
    let medium = spoil(&three("NQ"), &own);
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let damaged = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(damaged.damage.len(), 1, "{:?}", damaged.damage);
    let saved = save(&store, "NQ", 3);
    assert!(
        saved.merged && saved.healed_chunks == 1,
        "{saved:?} {damaged:?}"
    );
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn resume_passes_over_a_damaged_checkpoint_and_says_why() {
    let own = content(3)["own"].clone();
    let medium = spoil(&three("NQ"), &own);
    let store = Store::open_in(Arc::new(medium.clone()), options()).unwrap();
    let resumed = store.job("NQ").unwrap().resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.iteration, 2);
    let skipped = &resumed.skipped[0];
    assert_eq!(
        (skipped.iteration, skipped.job.as_deref()),
        (Some(3), Some("NQ"))
    );
    assert!(skipped.what.contains("damaged"), "{}", skipped.what);
    assert!(store.job("nobody").unwrap().resume().unwrap().is_none());
    // Going on from there records the rollback.
    let parent = resumed.checkpoint.id;
    let job = store.job("NQ").unwrap();
    job.save(3)
        .bytes("own", b"anew")
        .parent(parent)
        .commit()
        .unwrap();
    let resumed = job.resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.read("own").unwrap(), b"anew".as_slice());
    assert!(resumed.skipped.is_empty());
}

#[test]
fn resume_without_any_sound_checkpoint_is_an_error_and_not_a_fresh_start() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let saved = save(&store, "NQ", 1);
    assert_eq!(saved.checkpoint.verify().unwrap(), saved.logical_bytes);
    store.close();
    let medium = spoil(&medium, &content(1)["own"]);
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let resumed = store.job("NQ").unwrap().resume();
    assert!(matches!(resumed, Err(Error::Corrupt { .. })), "{resumed:?}");
}

#[test]
fn the_last_checkpoint_known_good_is_deleted_only_by_force() {
    let medium = three("NQ");
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let at = |iteration: u64| store.resolve(&format!("NQ@{iteration}")).unwrap();
    at(1).verify_and_record().unwrap();
    at(2).verify_and_record().unwrap();
    // An older one does not take its place.
    at(1).verify_and_record().unwrap();
    at(1).delete(false).unwrap();
    store.reopen().unwrap();
    let refused = at(2).delete(false);
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    at(3).verify_and_record().unwrap();
    at(2).delete(false).unwrap();
    at(3).delete(true).unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_sector_that_can_not_be_read_is_damage_like_any_other() {
    let medium = three("NQ");
    let image = medium.to_vec();
    let own = super::places(&image, &content(3)["own"][..64]);
    let bad = BadSectors {
        inner: medium,
        at: own.into_iter().map(|at| at as u64 / 512).collect(),
    };
    let store = Store::open_in(Arc::new(bad), options()).unwrap();
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert_eq!(report.damage[0].entry.as_deref(), Some("own"));
    let resumed = store.job("NQ").unwrap().resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.iteration, 2);
    assert_eq!(resumed.skipped[0].iteration, Some(3));
}

/// A medium that fails to read some of its sectors.
#[derive(Debug)]
struct BadSectors {
    inner: MemoryMedium,
    at: Vec<u64>,
}

impl Medium for BadSectors {
    fn open(&self) -> std::io::Result<Box<dyn Backend>> {
        let inner = self.inner.open()?;
        let at = self.at.clone();
        Ok(Box::new(BadBackend { inner, at }))
    }
    fn path(&self) -> &std::path::Path {
        self.inner.path()
    }
}

#[derive(Debug)]
struct BadBackend {
    inner: Box<dyn Backend>,
    at: Vec<u64>,
}

impl Backend for BadBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let sectors = offset / 512..(offset + out.len() as u64).div_ceil(512);
        if self.at.iter().any(|bad| sectors.contains(bad)) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        self.inner.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.inner.write(offset, data)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.inner.sync()
    }
    fn try_lock(&self) -> std::io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> std::io::Result<()> {
        self.inner.unlock()
    }
}
