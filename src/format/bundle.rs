//! Bundles: page-exact rows that the frames of several chunks share. A page of its own would be
//! mostly empty.

use std::ops::Range;

use memchr::memmem;

use super::extent::{Extent, ExtentHeader, page_exact};
use super::limits::{EXTENT_HEADER_BYTES, EXTENT_MAGIC, MAX_BUNDLE_BYTES};

/// The frames of a bundle and where they lie, in order. They are searched, not counted off: what is
/// spoilt of one is no reason to miss the next.
pub(crate) fn frames(bundle: &[u8]) -> impl Iterator<Item = (Range<usize>, Extent<'_>)> {
    // Whoever made the file, a look at a row takes no longer than one at the largest bundle.
    let bundle = bundle.get(..MAX_BUNDLE_BYTES).unwrap_or(bundle);
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += memmem::find(bundle.get(at..)?, EXTENT_MAGIC)?;
            match frame(bundle.get(at..)?) {
                Some(extent) => {
                    let range = at..at + extent.header.extent_len();
                    at = range.end;
                    return Some((range, extent));
                }
                None => at += 1,
            }
        }
    })
}

/// The frame that these bytes begin with.
fn frame(bytes: &[u8]) -> Option<Extent<'_>> {
    let header = ExtentHeader::from_bytes(bytes).ok()?;
    let frame = bytes.get(..header.extent_len())?;
    let payload = frame.get(EXTENT_HEADER_BYTES..)?;
    header.bundled.then_some(Extent { header, payload })
}

/// Whether a bundle may have so many bytes.
pub(crate) fn is_bundle_len(bytes: usize) -> bool {
    bytes <= MAX_BUNDLE_BYTES && bytes == page_exact(bytes)
}

/// Whether a row is a bundle of which nothing is spoilt, as far as its frames' headers tell: they
/// lie end to end, and nothing comes after them.
pub(crate) fn is_whole_bundle(row: &[u8]) -> bool {
    let mut end = 0;
    let in_order = frames(row).all(|(range, _)| {
        let follows = range.start == end;
        end = range.end;
        follows
    });
    let padding = row.get(end..).unwrap_or_default();
    let is_padded = padding.iter().all(|byte| *byte == 0);
    in_order && end > 0 && is_padded && is_bundle_len(row.len())
}

/// The frame of the chunk with this number.
pub(crate) fn frame_of(bundle: &[u8], number: u64) -> Option<(Range<usize>, Extent<'_>)> {
    frames(bundle).find(|(_, frame)| frame.header.number == number)
}

/// A bundle with one more frame, if there is room for it. All that is there stays as it is, spoilt
/// or not.
pub(crate) fn with_frame(bundle: &[u8], frame: &Extent<'_>) -> Option<Vec<u8>> {
    let used = used(bundle);
    let len = used + frame.header.extent_len();
    if len > MAX_BUNDLE_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(page_exact(len));
    bytes.extend_from_slice(bundle.get(..used)?);
    bytes.extend_from_slice(&frame.header.to_bytes());
    bytes.extend_from_slice(frame.payload);
    bytes.resize(page_exact(len), 0);
    Some(bytes)
}

/// A bundle without what lies there, or none if that was all.
pub(crate) fn without(bundle: &[u8], range: Range<usize>) -> Option<Vec<u8>> {
    let before = bundle.get(..range.start)?;
    let after = bundle.get(range.end..)?;
    let mut bytes = before.to_vec();
    bytes.extend_from_slice(after);
    let used = used(&bytes);
    bytes.truncate(used);
    bytes.resize(page_exact(used), 0);
    (used > 0).then_some(bytes)
}

/// How many bytes of a bundle are not padding: the last frame may end with zeros of its own.
fn used(bundle: &[u8]) -> usize {
    let last = frames(bundle).last().map_or(0, |(range, _)| range.end);
    let other = bundle.iter().rposition(|byte| *byte != 0);
    last.max(other.map_or(0, |last| last + 1))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test values")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{MAX_FRAME_BYTES, PAGE_BYTES, PAGE_OVERHEAD_BYTES};
    use crate::id::ChunkId;

    fn header(number: u64, stored: &[u8]) -> ExtentHeader {
        ExtentHeader {
            part: 0,
            parts: 1,
            bundled: true,
            codec: 0,
            bases: 0,
            number,
            chunk: ChunkId::new([number as u8; 32]),
            raw_len: stored.len() as u32,
            stored_len: stored.len() as u32,
            payload_len: stored.len() as u32,
        }
    }

    fn found(bundle: &[u8]) -> Vec<(u64, Vec<u8>)> {
        frames(bundle)
            .map(|(range, frame)| {
                // By itself it reads as it does in a bundle.
                let again = Extent::from_bytes(&bundle[range]).unwrap();
                assert_eq!(again.header, frame.header);
                (frame.header.number, frame.payload.to_vec())
            })
            .collect()
    }

    fn framed((_, stored): &(u64, Vec<u8>)) -> usize {
        EXTENT_HEADER_BYTES + stored.len()
    }

    fn is_page_exact(bundle: &[u8]) -> bool {
        bundle.len() <= MAX_BUNDLE_BYTES && (bundle.len() + PAGE_OVERHEAD_BYTES).is_power_of_two()
    }

    proptest! {
        /// The model is a list: whatever comes in and goes, the bundle holds the others, in order.
        #[test]
        fn a_bundle_holds_what_was_put_there_and_not_taken_out(
            steps in proptest::collection::vec((any::<u8>(), 1..MAX_FRAME_BYTES - 63), 1..40),
        ) {
            let (mut bundle, mut model) = (Vec::new(), Vec::new());
            for (at, (byte, len)) in steps.into_iter().enumerate() {
                if byte % 3 == 0 && !model.is_empty() {
                    let (number, _) = model.remove(usize::from(byte) % model.len());
                    let (range, _) = frame_of(&bundle, number).unwrap();
                    bundle = without(&bundle, range).unwrap_or_default();
                } else {
                    // Some end with zeros, some are nothing else, some look like the beginning of
                    // a frame.
                    let mut stored = vec![byte % 2; len];
                    let inner = header(1000 + at as u64, b"inner").to_bytes();
                    if byte % 5 == 0 && len > inner.len() {
                        stored[..inner.len()].copy_from_slice(&inner);
                    }
                    let number = at as u64 + 1;
                    let frame = Extent { header: header(number, &stored), payload: &stored };
                    let used: usize = model.iter().map(framed).sum();
                    match with_frame(&bundle, &frame) {
                        Some(fuller) => {
                            bundle = fuller;
                            model.push((number, stored));
                        }
                        None => prop_assert!(used + len + 64 > MAX_BUNDLE_BYTES),
                    }
                }
                prop_assert_eq!(found(&bundle), model.clone());
                prop_assert!(is_page_exact(&bundle) || (bundle.is_empty() && model.is_empty()));
                let used: usize = model.iter().map(framed).sum();
                prop_assert!(bundle.len() < PAGE_BYTES.max(2 * (used + PAGE_OVERHEAD_BYTES)));
            }
        }

        #[test]
        fn whatever_is_spoilt_only_the_frames_there_are_missed(
            at in 0..4000_usize,
            byte in 1..=255_u8,
        ) {
            let mut bundle = Vec::new();
            for number in 1..=10 {
                let stored = [number as u8; 300];
                let frame = Extent { header: header(number, &stored), payload: &stored };
                bundle = with_frame(&bundle, &frame).unwrap();
            }
            let at = at % (10 * 364);
            bundle[at] ^= byte;
            let numbers: Vec<u64> = found(&bundle).iter().map(|(number, _)| *number).collect();
            let hit = at as u64 / 364 + 1;
            let is_header = at % 364 < 64;
            let is_there = |number: &u64| !is_header || *number != hit;
            prop_assert_eq!(numbers, (1..=10).filter(is_there).collect::<Vec<u64>>());
            // What can't be read of it is not written over.
            let frame = Extent { header: header(11, b"new"), payload: b"new" };
            let fuller = with_frame(&bundle, &frame).unwrap();
            prop_assert_eq!(&fuller[..10 * 364], &bundle[..10 * 364]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert_eq!(frames(&bytes).count(), 0);
            let frame = Extent { header: header(1, b"x"), payload: b"x" };
            let fuller = with_frame(&bytes, &frame).unwrap();
            prop_assert_eq!(found(&fuller), vec![(1, b"x".to_vec())]);
        }
    }
}
