//! Records that are gone for good, and files without tables: what is put together anew is what
//! there was.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exact::sound;
use super::salvage::Salvaged;
use crate::format::{
    Action, CheckpointRecord, ChunkRow, Head, Identity, JobRecord, Later, LogRecord, LooseRecord,
    MAX_PARTS, Record, Stamp, TableCode,
};
use crate::id::{CheckpointId, ChunkId};
use crate::storage::{MemoryMedium, Records, Rows, Writes};
use crate::store::testing::{
    Tables, closed, content, keys, opened, options, put, record, sample, save, tampered, without,
};
use crate::store::{Damage, Store, VerifyDepth};

/// The bytes of a record as its table has them.
fn bytes_of(image: &[u8], table: TableCode, key: u64) -> Vec<u8> {
    let read = opened(image).read(|rows| Ok(rows.record(table, key)?.unwrap()));
    read.unwrap()
}

fn ids(damage: &[Damage]) -> Vec<u64> {
    let ids = damage.iter().filter_map(|damage| damage.checkpoint);
    ids.map(CheckpointId::get).collect()
}

#[test]
fn whatever_record_of_the_log_is_gone_all_that_it_led_to_is_as_it_was() {
    let image = sample();
    let (before, _) = sound(&image);
    for (id, (at, action)) in &before.log {
        let store = opened(&without(&image, &bytes_of(&image, TableCode::Log, *id)));
        let found = store.verify(VerifyDepth::Quick).unwrap();
        assert!(!found.is_clean(), "{action:?}");
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        let after = store.verify(VerifyDepth::Full).unwrap();
        assert!(after.is_clean(), "{action:?}: {:?}", after.damage);
        assert_eq!(repaired.left, []);
        // What was reclaimed is gone; that it was is not known any more.
        let lost = match action {
            Action::Reclaim { checkpoint } => vec![*checkpoint],
            _ => vec![],
        };
        assert_eq!(ids(&repaired.lost), lost, "{action:?}");
        let mut expected = before.clone();
        let after = Tables::of(&store);
        let logged = &after.log[id].1;
        match action {
            Action::Save { .. } => {}
            _ => assert_eq!(*logged, Action::Lost),
        }
        // A record that is lost has the time of the one before it.
        expected.log.insert(*id, after.log[id].clone());
        assert!(after.log[id].0 <= *at);
        // Of a delete that only the record knows, a new log record says so.
        for (id, said) in after
            .log
            .iter()
            .filter(|(id, _)| !before.log.contains_key(id))
        {
            let is_delete = matches!(said.1, Action::Delete { .. } | Action::Undelete { .. });
            assert!(is_delete, "{said:?}");
            expected.log.insert(*id, said.clone());
        }
        assert!(
            after == expected,
            "{action:?}: {after:#?} is not {expected:#?}"
        );
        // Who may have been concerned is told: those that were written before.
        for id in ids(&repaired.uncertain) {
            assert!(before.checkpoints.contains_key(&id));
        }
        let is_saved = matches!(action, Action::Save { .. }) && before.checkpoints.contains_key(id);
        assert!(
            !is_saved || ids(&repaired.uncertain).contains(id),
            "{action:?}"
        );
        // It goes on.
        save(&store, "NQ", 70, &content(2));
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}

#[test]
fn a_record_of_which_only_an_older_version_is_left_is_brought_up_to_date_by_the_log() {
    let image = sample();
    let (before, _) = sound(&image);
    let mut cases = 0;
    for (id, known) in &before.checkpoints {
        let as_saved = Later {
            new_bytes: known.later.new_bytes,
            progress: known.later.progress.clone(),
            ..Later::default()
        };
        let changed = Later {
            stamp: Stamp::default(),
            ..known.later.clone()
        };
        if changed == as_saved {
            continue;
        }
        let newest = bytes_of(&image, TableCode::Checkpoints, *id);
        // As it was saved, and nothing of it since.
        let store = tampered(&image, |rows| {
            let mut older: CheckpointRecord = record(rows, *id);
            let saved: LogRecord = record(rows, *id);
            let bytes = saved.to_bytes(rows.tag(), &id.to_be_bytes()).unwrap();
            older.later = Later {
                stamp: Stamp::new(*id, &LogRecord::chain(&bytes)),
                ..as_saved
            };
            put(rows, *id, &older)
        });
        let store = opened(&without(&closed(&store), &newest));
        assert!(!store.verify(VerifyDepth::Full).unwrap().is_clean());
        cases += 1;
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(
            (
                repaired.left.len(),
                repaired.lost.len(),
                repaired.uncertain.len()
            ),
            (0, 0, 0)
        );
        let after = Tables::of(&store);
        assert!(after == before, "{after:#?} is not {before:#?}");
    }
    assert!(cases >= 3, "{cases}");
}

#[test]
fn without_a_head_the_numbers_go_on_after_those_that_were_given_out() {
    let image = sample();
    let (before, _) = sound(&image);
    let head = bytes_of(&image, TableCode::Settings, Head::KEY);
    for is_gone in [true, false] {
        let image = if is_gone {
            without(&image, &head)
        } else {
            image.clone()
        };
        let store = tampered(&image, |rows| {
            if is_gone {
                return Ok(());
            }
            // A head that is behind what was given out is not believed.
            let mut head: Head = record(rows, Head::KEY);
            (head.next_chunk, head.next_job, head.live) = (1, 1, head.live + 1);
            put(rows, Head::KEY, &head)
        });
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert!(!repaired.was_clean() && repaired.left.is_empty());
        assert!(Tables::of(&store) == before);
        let head = store.read(|rows| Records(rows).sound_head()).unwrap();
        let last = before.chunks.values().map(|row| row.number).max().unwrap();
        assert_eq!(head.next_chunk, last + 1);
        let last = before.jobs.keys().last().unwrap();
        assert_eq!(u64::from(head.next_job), last + 1);
    }
}

#[test]
fn without_a_head_no_number_is_given_out_that_a_row_or_an_extent_has() {
    let image = sample();
    let head = bytes_of(&image, TableCode::Settings, Head::KEY);
    let image = without(&image, &head);
    let next = |tamper: &dyn Fn(&mut dyn Writes) -> crate::error::Result<()>| {
        let store = tampered(&image, tamper);
        store.repair(&mut |_, _| {}).unwrap();
        let head = store.read(|rows| Records(rows).sound_head()).unwrap();
        head.next_chunk
    };
    // An extent that nothing leads to, and a chunk that has none.
    let extent = next(&|rows| rows.put_extent(500 * MAX_PARTS as u64, &[1; 100]));
    assert_eq!(extent, 501);
    let lost = next(&|rows| {
        let id = ChunkId::new([1; 32]);
        rows.put_chunk(&id, &ChunkRow::lost(0, 0, 600, 9).to_bytes(&id))
    });
    assert_eq!(lost, 601);
}

/// The chunks of a store, but for where they are.
fn placeless(chunks: &BTreeMap<ChunkId, ChunkRow>) -> BTreeMap<ChunkId, ChunkRow> {
    let of = |row: &ChunkRow| ChunkRow {
        number: 0,
        bundle: u64::from(row.bundle > 0),
        ..row.clone()
    };
    chunks.iter().map(|(id, row)| (*id, of(row))).collect()
}

pub(super) fn salvaged(image: &[u8]) -> (Store, Salvaged) {
    let old = Arc::new(MemoryMedium::new(image.to_vec()));
    let new = Arc::new(MemoryMedium::default());
    Store::salvage_in(old, new, options(), &mut |_, _| {}).unwrap()
}

#[test]
fn what_is_salvaged_from_a_sound_file_or_one_without_tables_is_the_same_store() {
    let image = sample();
    let (before, _) = sound(&image);
    let mut without_tables = image.clone();
    without_tables[..4096].fill(0);
    let id = opened(&image).id();
    let created = |store: &Store| {
        let read = |rows: &dyn Rows| Ok(record::<Identity>(rows, Identity::KEY).created_at);
        store.read(read).unwrap()
    };
    let sound_image = image.clone();
    for image in [&image, &without_tables] {
        let (store, told) = salvaged(image);
        assert_eq!(store.id(), id);
        assert_eq!(created(&store), created(&opened(&sound_image)));
        let mut after = Tables::of(&store);
        assert_eq!(placeless(&after.chunks), placeless(&before.chunks));
        assert_eq!(after.extents.len(), before.extents.len());
        (after.chunks, after.extents) = (before.chunks.clone(), before.extents.clone());
        assert_eq!(after.jobs, before.jobs);
        assert_eq!(after.checkpoints, before.checkpoints);
        assert_eq!(after.telemetry, before.telemetry);
        assert_eq!(after.log, before.log);
        assert_eq!(after.index, before.index);
        assert_eq!(after.staged, before.staged);
        assert!(after == before, "{after:#?} is not {before:#?}");
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        assert_eq!((told.lost, told.uncertain), (vec![], vec![]));
        assert_eq!(told.searched, image.len() as u64);
        assert_eq!(told.checkpoints, before.checkpoints.len() as u64);
        let is_deleted = |record: &&CheckpointRecord| record.later.deleted.is_some();
        let deleted = before.checkpoints.values().filter(is_deleted).count();
        assert_eq!((told.deleted, deleted), (1, 1));
        let raw_len = |row: &ChunkRow| u64::from(row.raw_len);
        assert_eq!(told.bytes, before.chunks.values().map(raw_len).sum::<u64>());
        // What was swept may be found too.
        assert!(told.chunks >= before.chunks.len() as u64);
        assert!(told.nodes >= before.nodes.len() as u64);
        assert!(told.records > before.log.len() as u64);
        save(&store, "NQ", 70, &content(2));
        store.delete_job("ES").unwrap();
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}

#[test]
fn every_row_of_telemetry_that_is_lost_or_spoilt_is_told_and_comes_back_from_the_file() {
    let image = sample();
    let (before, _) = sound(&image);
    let rows = opened(&image).read(|rows| Ok(keys(rows, TableCode::Telemetry)));
    let rows = rows.unwrap();
    assert!(rows.len() >= 3, "{rows:?}");
    let mut unnoticed = Vec::new();
    for key in rows {
        let spoilt = |rows: &mut dyn Writes| {
            let mut bytes = rows.record(TableCode::Telemetry, key)?.unwrap();
            bytes[40] ^= 1;
            rows.put_record(TableCode::Telemetry, key, &bytes)
        };
        let lost = |rows: &mut dyn Writes| rows.remove_record(TableCode::Telemetry, key);
        for store in [tampered(&image, spoilt), tampered(&image, lost)] {
            let found = store.verify(VerifyDepth::Quick).unwrap();
            if found.is_clean() {
                // Of a block that no summary has yet, and of a segment that nobody goes on with,
                // nothing says that it was there.
                unnoticed.push(key);
                continue;
            }
            let job = &before.jobs[&(key >> 32)].name;
            let of_job = |damage: &Damage| damage.job.as_ref() == Some(job);
            assert!(found.damage.iter().any(of_job), "{:?}", found.damage);
            let repaired = store.repair(&mut |_, _| {}).unwrap();
            assert_eq!((repaired.left.len(), repaired.lost.len()), (0, 0));
            assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
            assert!(Tables::of(&store) == before, "row {key:#x}");
        }
    }
    assert_eq!(unnoticed, [0x1_0000_0002, 0x1_0000_0003]);
    // Where a job's telemetry goes on.
    let (number, job) = before.jobs.first_key_value().unwrap();
    for segment in [None, Some(job.segment.unwrap() + 77)] {
        let store = tampered(&image, |rows| {
            let known: JobRecord = record(rows, *number);
            put(rows, *number, &JobRecord { segment, ..known })
        });
        let found = store.verify(VerifyDepth::Quick).unwrap();
        let say = |damage: &Damage| (damage.job.clone(), damage.what.clone());
        let said: Vec<_> = found.damage.iter().map(say).collect();
        let elsewhere = "its telemetry does not go on where its record says".to_owned();
        let mut expected = vec![(Some(job.name.clone()), elsewhere)];
        expected.extend(segment.map(|key| {
            let what = format!("its telemetry segment {key:#x} is missing");
            (Some(job.name.clone()), what)
        }));
        assert_eq!(said, expected);
        if segment.is_none() {
            store.repair(&mut |_, _| {}).unwrap();
            assert!(Tables::of(&store) == before);
        }
    }
}

#[test]
fn a_checkpoint_of_whose_record_no_version_is_left_is_named_as_lost_and_the_others_are_there() {
    let image = sample();
    let (before, _) = sound(&image);
    for id in before.checkpoints.keys() {
        let versions = places(&image, TableCode::Checkpoints, *id);
        let damaged = versions
            .iter()
            .fold(image.clone(), |image, bytes| without(&image, bytes));
        let (store, told) = salvaged(&damaged);
        assert_eq!(ids(&told.lost), [*id]);
        assert_eq!(told.checkpoints, before.checkpoints.len() as u64 - 1);
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        let repaired = opened(&damaged).repair(&mut |_, _| {}).unwrap();
        assert_eq!(ids(&repaired.lost), [*id]);
        assert!(repaired.left.is_empty());
    }
}

/// All versions of a record that a file has, wherever they lie.
fn places(image: &[u8], table: TableCode, key: u64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for at in memchr::memmem::find_iter(image, crate::format::RECORD_MAGIC) {
        if let Some(record) = LooseRecord::at(&image[at..])
            && (record.table, record.key) == (table, key)
        {
            found.push(image[at..at + record.len].to_vec());
        }
    }
    found
}
