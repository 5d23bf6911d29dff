//! Commits of which some bytes have not reached the disk.

use std::sync::Arc;

use super::*;
use crate::format::TableCode;
use crate::storage::engine::Engine;
use crate::storage::handle::Durability;
use crate::storage::header::{SLOT_BYTES, SLOTS};
use crate::storage::memory::MemoryMedium;
use crate::storage::room::Room;
use crate::storage::testing::{Faulty, OPTIONS, engine_in};

const PAGE: usize = 4096;
const FLAGS: usize = 9;

/// Writes a record of this key, and with it so many bytes in all.
fn put(engine: &Engine, key: u64, len: usize) {
    let put = engine.write(Durability::Durable, Room::Ordinary, |rows| {
        for (key, piece) in (key..).step_by(100).zip(vec![7; len].chunks(1 << 20)) {
            rows.put_record(TableCode::Telemetry, key, piece)?;
        }
        Ok(())
    });
    put.unwrap();
}

fn has(engine: &Engine) -> [bool; 3] {
    [1, 2, 3].map(|key| {
        let read = engine.read(|rows| rows.record(TableCode::Telemetry, key));
        read.unwrap().is_some()
    })
}

/// Which of the records 1 to 3 a store in these bytes has; none if it can't be opened.
fn seen(bytes: Vec<u8>) -> Option<[bool; 3]> {
    let medium = MemoryMedium::new(bytes);
    let engine = Engine::open(Arc::new(medium.clone()), OPTIONS).ok()?;
    let seen = has(&engine);
    // It stays so when something else is written, and for who opens it then.
    put(&engine, 9, 3000);
    assert_eq!(has(&engine), seen);
    drop(engine);
    let engine = Engine::open(Arc::new(medium), OPTIONS).unwrap();
    assert_eq!(has(&engine), seen);
    Some(seen)
}

/// A store after two commits, so that the next takes one sync.
fn after_two() -> (Faulty, Engine) {
    let faulty = Faulty::new(Vec::new());
    let engine = engine_in(Arc::new(faulty.clone()), |_| Ok(()));
    put(&engine, 1, 3000);
    put(&engine, 2, 3000);
    (faulty, engine)
}

/// The bytes before and after the last of three commits, with its header as it is until the
/// sync has returned, and where it has written.
fn committed(len: usize) -> (Vec<u8>, Vec<u8>, Vec<(u64, usize)>) {
    let (faulty, engine) = after_two();
    let before = faulty.memory.to_vec();
    faulty.order().asked.clear();
    put(&engine, 3, len);
    let asked = std::mem::take(&mut faulty.order().asked);
    let syncs = asked.iter().filter(|asked| asked.is_none()).count();
    assert_eq!(syncs == 1, len < MOST_BYTES, "{asked:?}");
    // Then its header comes once more, after the sync.
    let ends_with_header = asked.last() == Some(&Some((0, HEADER_BYTES)));
    assert_eq!(ends_with_header, syncs == 1, "{asked:?}");
    let mut after = faulty.memory.to_vec();
    let mut written: Vec<_> = asked.into_iter().flatten().collect();
    if syncs == 1 {
        after[FLAGS] &= !4;
        written.pop();
    }
    (before, after, written)
}

fn reverted(before: &[u8], after: &[u8], (at, len): (u64, usize)) -> Vec<u8> {
    let mut bytes = after.to_vec();
    let at = usize::try_from(at).unwrap();
    bytes[at..at + len].copy_from_slice(&before[at..at + len]);
    bytes
}

#[test]
fn a_commit_is_there_with_all_its_pages_or_not_at_all() {
    let (before, after, written) = committed(3000);
    assert_eq!(seen(before.clone()), Some([true, true, false]));
    assert_eq!(seen(after.clone()), Some([true; 3]));
    let pages: Vec<_> = written.iter().filter(|(at, _)| *at > 0).collect();
    assert!(pages.len() > 8, "{written:?}");
    for page in pages {
        let torn = reverted(&before, &after, *page);
        assert_eq!(seen(torn), Some([true, true, false]), "without {page:?}");
        // The last half of it only, which may hold nothing that counts.
        let (at, len) = (page.0 + page.1 as u64 / 2, page.1 / 2);
        let seen = seen(reverted(&before, &after, (at, len))).unwrap();
        assert_eq!(seen[..2], [true; 2], "half of {page:?}");
    }
}

#[test]
fn the_header_is_what_it_was_or_leads_to_a_state_that_is_whole() {
    let (before, after, _) = committed(3000);
    // As far as each byte of the sector, and from there on.
    for cut in (0..SECTOR_BYTES).step_by(3) {
        for (at, len) in [(0, cut), (cut, SECTOR_BYTES - cut)] {
            let torn = reverted(&before, &after, (at as u64, len));
            let seen = seen(torn).unwrap();
            assert!(
                seen[..2] == [true; 2],
                "bytes {at} and {len} more: {seen:?}"
            );
        }
    }
    // A bit of the note that is another one: the engine looks for itself.
    for byte in HEADER_BYTES..HEADER_BYTES + NOTE_BYTES {
        let mut bytes = after.clone();
        bytes[byte] ^= 16;
        assert_eq!(seen(bytes), Some([true; 3]), "byte {byte}");
    }
}

#[test]
fn whose_sync_was_followed_by_its_header_is_not_looked_at_again() {
    let (before, mut after, written) = committed(3000);
    after[FLAGS] |= 4;
    // Damage stays where it is: the commit is not taken back for it.
    for page in written.iter().filter(|(at, _)| *at > 0) {
        let bytes = reverted(&before, &after, *page);
        assert_ne!(seen_at_all(bytes), Some([true, true, false]), "{page:?}");
    }
}

/// What a store shows that may be damaged.
fn seen_at_all(bytes: Vec<u8>) -> Option<[bool; 3]> {
    let engine = Engine::open(Arc::new(MemoryMedium::new(bytes)), OPTIONS).ok()?;
    let found = [1, 2, 3].map(|key| engine.read(|rows| rows.record(TableCode::Telemetry, key)));
    let [Ok(one), Ok(two), Ok(three)] = found else {
        return None;
    };
    Some([one, two, three].map(|found| found.is_some()))
}

#[test]
fn a_state_of_long_ago_is_not_taken_for_the_last_for_its_note() {
    let (_, mut bytes, _) = committed(MOST_BYTES);
    assert_eq!(seen(bytes.clone()), Some([true; 3]));
    // Of the header that was to lead to the next state, one byte is there.
    bytes[FLAGS] = (bytes[FLAGS] ^ 1) & !4;
    assert_eq!(seen(bytes), Some([true; 3]));
}

#[test]
fn what_is_long_is_synced_before_its_header() {
    let (before, after, written) = committed(MOST_BYTES);
    assert_eq!(seen(before), Some([true, true, false]));
    assert_eq!(seen(after), Some([true; 3]));
    assert!(written.len() > 8);
}

/// A header with such slots, the first of which leads; their transactions.
fn header(slots: [u8; 2]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[FLAGS] = 4;
    for (number, slot) in slots.into_iter().enumerate() {
        header[SLOTS + number * SLOT_BYTES..][..SLOT_BYTES].fill(slot);
    }
    header
}

/// What is known when the state in the first slot has been synced.
fn synced() -> Joined {
    Joined {
        header: Some(header([5, 4])),
        pages: Some(BTreeMap::new()),
        ..Joined::default()
    }
}

#[test]
fn what_was_written_since_the_last_state_is_listed_whatever_was_synced_in_between() {
    let mut joined = synced();
    joined.wrote(4096, &[1; 4096], false);
    // As when the file grows.
    assert!(!joined.waits());
    assert_eq!(joined.synced(), None);
    joined.wrote(8192, &[1; 4096], false);
    joined.wrote(0, &header([5, 6]), false);
    assert!(joined.waits() && joined.is_waiting());
    let mut next = header([5, 6]);
    next[FLAGS] |= 1;
    let noted = joined.noted(0, &next).unwrap();
    let places = [4096_u64, 8192].map(u64::to_le_bytes).concat();
    assert_eq!(
        (noted.list, noted.list_at),
        (places, (SECTOR_BYTES + LIST_BYTES) as u64)
    );
    assert_eq!(noted.sector[FLAGS], 1);
    joined.wrote(0, &next, true);
    assert_eq!(joined.synced(), Some(next));
    // The next begins with none, and takes the other list.
    next[SLOTS..][..SLOT_BYTES].fill(7);
    joined.wrote(0, &next, false);
    assert!(joined.waits());
    next[FLAGS] = 4;
    let noted = joined.noted(0, &next).unwrap();
    assert_eq!((noted.list.len(), noted.list_at), (0, SECTOR_BYTES as u64));
}

#[test]
fn a_sync_waits_for_a_header_only_if_the_list_takes_what_was_written() {
    for (pages, len, waits) in [
        (MOST_PAGES, 4096, true),
        (MOST_PAGES + 1, 4096, false),
        (4, MOST_BYTES / 4, true),
        (5, MOST_BYTES / 4, false),
    ] {
        let mut joined = synced();
        for page in 1..=pages {
            joined.wrote((page * len) as u64, &vec![1; len], false);
        }
        joined.wrote(0, &header([5, 6]), false);
        assert_eq!(joined.waits(), waits, "{pages} of {len}");
    }
    // Where it is not known what was written before, and for a header that leads nowhere else.
    let mut unknown = Joined {
        pages: None,
        ..synced()
    };
    unknown.wrote(0, &header([5, 6]), false);
    assert!(!unknown.waits());
    unknown.pages = Some(BTreeMap::new());
    unknown.wrote(0, &header([5, 6]), false);
    assert!(!unknown.waits());
}

#[test]
fn who_adopts_a_commit_writes_its_pages_once_more_before_the_header_that_vouches_for_them() {
    let (_, after, written) = committed(3000);
    let faulty = Faulty::new(after);
    let engine = Engine::open(Arc::new(faulty.clone()), OPTIONS).unwrap();
    assert_eq!(faulty.order().asked, []);
    put(&engine, 9, 3000);
    let asked = std::mem::take(&mut faulty.order().asked);
    let first_sync = asked.iter().position(Option::is_none).unwrap();
    let mut again: Vec<_> = asked[..first_sync].iter().flatten().copied().collect();
    again.sort_unstable();
    let mut pages: Vec<_> = written.into_iter().filter(|(at, _)| *at >= 4096).collect();
    pages.sort_unstable();
    assert_eq!(again, pages);
    let header = Some((0, HEADER_BYTES));
    assert_eq!(asked[first_sync + 1..][..2], [header, None]);
}

#[test]
fn damage_elsewhere_takes_no_commit_back_and_is_not_looked_for() {
    let (before, after, written) = committed(3000);
    // The pages of the first commit that the last has not written anew.
    let is_old = |at: usize| {
        let page = &after[at..at + PAGE];
        let is_written =
            |(from, len): &(u64, usize)| (*from..*from + *len as u64).contains(&(at as u64));
        page.first() == Some(&1)
            && !written.iter().any(is_written)
            && before[at..at + PAGE] == *page
    };
    let mut kept = 0;
    for at in (PAGE..after.len()).step_by(PAGE).filter(|at| is_old(*at)) {
        let mut bytes = after.clone();
        bytes[at + 9] ^= 1;
        let engine = Engine::open(Arc::new(MemoryMedium::new(bytes)), OPTIONS);
        let third = engine.map(|engine| engine.read(|rows| rows.record(TableCode::Telemetry, 3)));
        if let Ok(Ok(third)) = third {
            assert!(third.is_some(), "page {at}");
            kept += 1;
        }
    }
    assert!(kept > 0);
}

#[test]
fn what_failed_to_be_synced_is_not_led_to() {
    let (faulty, engine) = after_two();
    faulty.order().syncs = Some(io::ErrorKind::Other);
    let failed = engine.write(Durability::Durable, Room::Ordinary, |rows| {
        rows.put_record(TableCode::Telemetry, 3, &[7; 3000])
    });
    failed.unwrap_err();
    faulty.order().syncs = None;
    assert_eq!(seen(faulty.memory.to_vec()), Some([true, true, false]));
}

#[test]
fn that_a_sync_has_returned_need_not_be_written_down() {
    let (faulty, engine) = after_two();
    faulty.order().writes_after_a_sync = Some(io::ErrorKind::Other);
    put(&engine, 3, 3000);
    faulty.order().writes = None;
    assert!(faulty.order().writes_after_a_sync.is_none());
    let left = faulty.memory.to_vec();
    assert_eq!(left[FLAGS] & 4, 0);
    assert_eq!(seen(left), Some([true; 3]));
    // The handle goes on, and the next says so of both.
    put(&engine, 4, 3000);
    assert_eq!(faulty.memory.to_vec()[FLAGS] & 4, 4);
}

#[test]
fn a_note_is_what_was_noted() {
    let note = Note {
        is_second: true,
        count: 76,
        slot: [3; 16],
        list: 77,
    };
    let mut sector = [0; SECTOR_BYTES];
    assert_eq!(Note::of(&sector), None);
    sector[HEADER_BYTES..][..NOTE_BYTES].copy_from_slice(&note.to_bytes());
    assert_eq!(Note::of(&sector), Some(note));
    assert_eq!(note.list_at(), (SECTOR_BYTES + LIST_BYTES) as u64);
    for byte in 0..NOTE_BYTES {
        sector[HEADER_BYTES + byte] ^= 1;
        assert_eq!(Note::of(&sector), None, "{byte}");
        sector[HEADER_BYTES + byte] ^= 1;
    }
}
