//! Records, nodes and index keys.

use ckptdb::StoreId;
use ckptdb::fuzzing::{self, RecordKind};

use crate::envelope;
use crate::random::Random;
use crate::watch::within;

const STORE: [u8; 16] = [7; 16];
const KEY: u64 = 5;

/// The first byte says what the rest is: the low half which kind of thing, the high half whether
/// it is a body that still needs an envelope.
pub(crate) fn record_decode(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let is_bare = choice & 0x80 == 0;
    match choice & 0x0f {
        kind @ (0..=5 | 11) => {
            let kind = if kind == 11 { 6 } else { kind };
            let kind = RecordKind::ALL[usize::from(kind)];
            let bytes = if is_bare {
                envelope::record(kind.table(), STORE, KEY, rest)
            } else {
                rest.to_vec()
            };
            record(kind, &bytes);
        }
        kind @ 6..=9 => {
            let bytes = if is_bare {
                envelope::node(kind - 5, rest)
            } else {
                rest.to_vec()
            };
            node(&bytes);
        }
        10 => {
            if let Some(key) = rest.first_chunk::<25>()
                && let Some(again) = fuzzing::index_key(key)
            {
                assert_eq!(again, *key, "the key of an index row is not canonical");
            }
        }
        _ => loose(rest),
    }
}

fn record(kind: RecordKind, bytes: &[u8]) {
    let store = StoreId::new(STORE);
    let read = |key, bytes: &[u8]| within("a record", || fuzzing::record(kind, store, key, bytes));
    let Ok(again) = read(KEY, bytes) else { return };
    assert_eq!(again, bytes, "a {kind:?} record is not canonical");
    assert!(read(KEY + 1, bytes).is_err(), "under another key");
    let other = StoreId::new([8; 16]);
    let elsewhere = fuzzing::record(kind, other, KEY, bytes);
    assert!(elsewhere.is_err(), "in another store");
    for other in RecordKind::ALL {
        let is_other = other.table() != kind.table();
        let read = fuzzing::record(other, store, KEY, bytes);
        assert!(!is_other || read.is_err(), "a {kind:?} as a {other:?}");
    }
    assert_eq!(fuzzing::loose_record(bytes), Some(bytes.len()));
}

fn node(bytes: &[u8]) {
    let read = within("a node", || fuzzing::node(bytes));
    let id = envelope::node_id(bytes);
    let row = envelope::stored_node(3, bytes);
    let stored = fuzzing::stored_node(id, &row);
    assert_eq!(read.is_ok(), stored.is_ok(), "a node and its row");
    if let (Ok(read), Ok(stored)) = (read, stored) {
        assert_eq!(read, bytes, "a node is not canonical");
        assert_eq!(stored, row, "a node's row is not canonical");
        assert_eq!(fuzzing::loose_node(bytes), Some(bytes.len()));
    }
}

/// What a raw scan would find in these bytes lies within them.
fn loose(bytes: &[u8]) {
    let mut random = Random::of(bytes);
    let at = random.below(64).min(bytes.len());
    let found = [
        fuzzing::loose_record(&bytes[at..]),
        fuzzing::loose_node(&bytes[at..]),
    ];
    for len in found.into_iter().flatten() {
        assert!(len <= bytes.len() - at, "{len} bytes at {at}");
    }
}
