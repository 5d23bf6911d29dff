//! Mending in place: rows of every table are spoilt or lost in turn, and what is left after a
//! repair is a store that verifies, with everything in it that still could be.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ckptdb::{Damage, MemoryMedium, Store, VerifyDepth};
use redb::{Key, ReadableTable, TableDefinition, Value};

use super::{Picture, eventful, options, picture};

/// So many rows of a table are harmed, one at a time.
pub(crate) const ROWS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// One bit in the middle.
    Flip,
    /// One bit of the first byte.
    FlipFirst,
    Remove,
}

/// Harms the row at this part of a table; false if it has no such row, or none that can be harmed
/// like this.
pub(crate) fn harm<K: Key + 'static, V: Value + 'static>(
    path: &Path,
    name: &str,
    row: usize,
    harm: Harm,
) -> bool {
    let table: TableDefinition<'_, K, V> = TableDefinition::new(name);
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let harmed = {
        let mut table = transaction.open_table(table).unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = table
            .iter()
            .unwrap()
            .map(|row| {
                let (key, value) = row.unwrap();
                let key = K::as_bytes(&key.value()).as_ref().to_vec();
                (key, V::as_bytes(&value.value()).as_ref().to_vec())
            })
            .collect();
        let chosen = rows.get(row * rows.len().div_ceil(ROWS).max(1));
        match (chosen, harm) {
            (None, _) => false,
            (Some((key, _)), Harm::Remove) => {
                table.remove(K::from_bytes(key)).unwrap();
                true
            }
            (Some((_, value)), _) if value.is_empty() => false,
            (Some((key, value)), _) => {
                let mut value = value.clone();
                let place = match harm {
                    Harm::FlipFirst => 0,
                    _ => value.len() / 2,
                };
                value[place] ^= 4;
                let value = V::from_bytes(&value);
                table.insert(K::from_bytes(key), value).unwrap();
                true
            }
        }
    };
    transaction.commit().unwrap();
    harmed
}

fn ids(damage: &[Damage]) -> BTreeSet<u64> {
    let of = damage.iter().filter_map(|damage| damage.checkpoint);
    of.map(ckptdb::CheckpointId::get).collect()
}

/// A repaired store is saved to: the numbers that it gives out are nobody's.
fn goes_on(store: &Store, at: &str) {
    let listed = |store: &Store| store.list(&ckptdb::Filter::default()).unwrap().count();
    let before = listed(store);
    super::save(store, "fresh/a", 30);
    super::save(store, "fresh/b", 31);
    assert_eq!(listed(store), before + 2, "{at}");
    for (name, iteration) in [("fresh/a", 30), ("fresh/b", 31)] {
        let job = store.job(name).unwrap();
        assert_eq!(job.info().unwrap().unwrap().checkpoints, 1, "{at}");
        let found = job.latest().unwrap().unwrap();
        for (name, bytes) in super::content(iteration) {
            assert!(found.read(&name).unwrap() == bytes, "{at}");
        }
        store.delete_job(name).unwrap();
    }
}

/// Repairs and compares. Everything is as before, but for the checkpoints that the repair names.
fn check(path: &Path, before: &Picture, at: &str) -> (usize, usize) {
    let store = Store::open_with(path, options()).unwrap();
    let found = store.verify(VerifyDepth::Full).unwrap();
    assert!(!found.is_clean() || found.orphans > 0, "{at}: not noticed");
    let repaired = store.repair(&mut |_, _| {}).unwrap();
    assert!(!repaired.was_clean());
    let (left, lost) = (ids(&repaired.left), ids(&repaired.lost));
    let after = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(ids(&after.damage), left, "{at}: {:#?}", after.damage);
    assert_eq!(
        after.is_clean(),
        left.is_empty(),
        "{at}: {:#?}",
        after.damage
    );
    assert_eq!(after.orphans, 0, "{at}");
    for (id, (info, entries)) in &before.checkpoints {
        if lost.contains(id) || left.contains(id) {
            continue;
        }
        let found = store.resolve(&format!("id:{id}")).unwrap();
        assert_eq!(ckptdb::CheckpointInfo::clone(&found), *info, "{at}");
        for (name, bytes) in entries {
            assert_eq!(found.read(name).unwrap(), bytes.as_slice(), "{at}");
        }
    }
    if left.is_empty() && !before.checkpoints.keys().any(|id| lost.contains(id)) {
        let now = picture(&store);
        assert_eq!(now.checkpoints, before.checkpoints, "{at}");
        assert_eq!(
            (&now.latest, now.best),
            (&before.latest, before.best),
            "{at}"
        );
        assert!(store.repair(&mut |_, _| {}).unwrap().was_clean(), "{at}");
    }
    goes_on(&store, at);
    let again = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(ids(&again.damage), left, "{at}: {:#?}", again.damage);
    // Damaged ones can be deleted and reclaimed, and leave nothing.
    for job in ["phase1/NQ", "ES"] {
        for pinned in store.list(&ckptdb::Filter::default()).unwrap().flatten() {
            pinned.set_pinned(false).unwrap();
        }
        if store.jobs().unwrap().iter().any(|known| known.name == job) {
            store.delete_job(job).unwrap();
        }
    }
    let reclaimed = store.reclaim(true).unwrap();
    assert_eq!(reclaimed.damaged, 0, "{at}");
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.chunks, stats.nodes, stats.deleted),
        (0, 0, 0),
        "{at}"
    );
    (left.len(), lost.len())
}

/// Harms rows of a table, one after the other, and repairs. `is_derived`: all of it follows from
/// other tables, so that nothing is damaged or lost afterwards.
fn harm_and_repair(name: &str, is_derived: bool) {
    let medium = MemoryMedium::default();
    let store = eventful(&medium);
    let before = picture(&store);
    store.close();
    let image = medium.to_vec();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let (mut cases, mut left, mut lost) = (0, 0, 0);
    for kind in [Harm::Flip, Harm::FlipFirst, Harm::Remove] {
        // The identity comes first in its table; without it, it is no store any more.
        for row in usize::from(name == "settings")..ROWS {
            fs::write(&path, &image).unwrap();
            let harmed = match name {
                "name_ids" => harm::<&[u8; 16], u32>(&path, name, row, kind),
                "index" => harm::<&[u8; 25], ()>(&path, name, row, kind),
                "nodes" | "chunks" => harm::<&[u8; 32], &[u8]>(&path, name, row, kind),
                _ => harm::<u64, &[u8]>(&path, name, row, kind),
            };
            if harmed {
                let at = format!("{kind:?} of row {row} of {name}");
                let (now_left, now_lost) = check(&path, &before, &at);
                left += now_left;
                // A reclaim whose log record is lost looks like a lost checkpoint.
                lost += if name == "log" { 0 } else { now_lost };
                cases += 1;
            }
        }
    }
    println!("{name}: {cases} rows harmed, {left} checkpoints damaged, {lost} lost");
    assert!(cases > 0);
    if is_derived {
        assert_eq!((left, lost), (0, 0), "{name} can be derived");
    }
}

#[test]
fn whatever_row_of_the_log_or_the_head_is_spoilt_or_lost_a_repair_derives_it() {
    harm_and_repair("settings", true);
    harm_and_repair("log", true);
}

#[test]
fn whatever_row_of_jobs_and_names_is_spoilt_or_lost_a_repair_derives_it() {
    for name in ["jobs", "names", "name_ids"] {
        harm_and_repair(name, true);
    }
}

#[test]
fn whatever_row_of_the_index_is_spoilt_or_lost_a_repair_derives_it() {
    harm_and_repair("index", true);
}

#[test]
fn whatever_row_of_a_chunk_is_spoilt_or_lost_a_repair_derives_it() {
    harm_and_repair("chunks", true);
}

#[test]
fn whatever_record_of_a_checkpoint_is_spoilt_or_lost_a_repair_leaves_a_store_that_verifies() {
    harm_and_repair("checkpoints", false);
}

#[test]
fn whatever_node_or_extent_is_spoilt_or_lost_a_repair_leaves_a_store_that_verifies() {
    harm_and_repair("nodes", false);
    harm_and_repair("extents", false);
}
