//! Chunk rows, extents, and the codecs behind them.

use ckptdb::fuzzing;
use ckptdb::{ChunkId, DType};
use zstd::zstd_safe;

use crate::envelope;
use crate::watch::within;

/// Raw bytes of a chunk, as `docs/format.md` has it.
const MAX_CHUNK_BYTES: usize = 1_048_496;
const CHUNK: [u8; 32] = [9; 32];

/// The first byte says what the rest is.
pub(crate) fn chunk_decode(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 8 {
        0 => row(rest),
        1 => row(&envelope::chunk_row(CHUNK, rest)),
        2 => {
            extent(rest);
            within("a bundle", || bundle(rest));
        }
        3 => {
            if let Some((header, payload)) = rest.split_first_chunk::<60>() {
                extent(&envelope::extent(header, payload));
            }
        }
        4 => kept(rest),
        _ => {
            if let Some((&[codec, a, b, c], stored)) = rest.split_first_chunk::<4>() {
                let raw_len = u32::from_le_bytes([a, b, c, 0]) as usize;
                // As many bases as the choice says, each the beginning of the stored bytes.
                let base = stored.get(..stored.len() / 2).unwrap_or_default();
                let bases = vec![base; usize::from(choice % 8 - 5)];
                chunk(codec, stored, &bases, raw_len % (MAX_CHUNK_BYTES + 1));
            }
        }
    }
}

fn row(bytes: &[u8]) {
    let read = within("a row", || fuzzing::chunk_row(ChunkId::new(CHUNK), bytes));
    if let Ok(again) = read {
        assert_eq!(again, bytes, "a chunk's row is not canonical");
        let other = fuzzing::chunk_row(ChunkId::new([8; 32]), bytes);
        assert!(other.is_err(), "the row of another chunk");
    }
}

fn extent(bytes: &[u8]) {
    if let Ok(again) = within("an extent", || fuzzing::extent(bytes)) {
        assert_eq!(again, bytes, "an extent is not canonical");
    }
}

/// Whatever goes of a bundle, what came before it stays.
fn bundle(bytes: &[u8]) {
    let found = fuzzing::bundle(bytes);
    let mut left = Some(bytes.to_vec());
    for many in (0..found.len()).rev() {
        left = left.and_then(|left| fuzzing::bundle_without_last(&left));
        let there = left.as_deref().map(fuzzing::bundle).unwrap_or_default();
        assert_eq!(there.get(..many), Some(&found[..many]), "others went too");
    }
}

/// What the store would keep comes back: of a tensor or a document, alone or after a base.
fn kept(data: &[u8]) {
    let Some((&[kind, cut], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let dtype = DType::ALL.get(usize::from(kind)).copied();
    let (base, raw) = rest.split_at(rest.len() * usize::from(cut) / 256);
    for base in [None, Some(base)] {
        let stored = within("encoding", || fuzzing::stored(dtype, raw, base));
        let Some((codec, with_base, stored)) = stored else {
            continue;
        };
        assert!(stored.len() < raw.len(), "the codec made it longer");
        let bases: Vec<&[u8]> = base.filter(|_| with_base).into_iter().collect();
        let again = fuzzing::chunk(codec, &stored, &bases, raw.len());
        assert_eq!(again.ok().as_deref(), Some(raw), "it does not come back");
        chunk(codec, &stored, &bases, raw.len() + 1);
    }
}

/// What decodes has the length that was said, and is stored as the format says.
fn chunk(codec: u8, stored: &[u8], bases: &[&[u8]], raw_len: usize) {
    let Ok(raw) = within("decoding", || fuzzing::chunk(codec, stored, bases, raw_len)) else {
        return;
    };
    assert_eq!(raw.len(), raw_len, "another length than was said");
    match codec {
        0 => assert_eq!(raw, stored, "raw bytes that are others"),
        1 => {
            let content = zstd_safe::get_frame_content_size(stored);
            let said = content.ok().flatten();
            assert_eq!(said, Some(raw_len as u64), "the frame says no length");
            let first = zstd_safe::find_frame_compressed_size(stored);
            assert_eq!(first.ok(), Some(stored.len()), "there is more than a frame");
        }
        2 | 4 => {}
        3 | 5 => assert!(!bases.is_empty(), "a delta against nothing"),
        _ => panic!("codec {codec} is not known"),
    }
}
