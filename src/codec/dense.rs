//! Numbers in planes: all of a chunk's words, alone or as steps from a base's.

use super::plane::{Coders, Plane, borrow};
use super::words::{Words, merge, split};

/// Appends the words of `raw` in planes, and as they are the bytes that are no whole word. A base
/// has the same length.
pub(super) fn put(
    words: Words,
    raw: &[u8],
    base: Option<&[u8]>,
    coders: &mut Coders,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let (raw, rest) = raw.split_at(whole_words(words, raw.len()));
    if scratch.len() < raw.len() {
        scratch.resize(raw.len(), 0);
    }
    let planes = &mut scratch[..raw.len()];
    split(words, raw, base.map(|base| &base[..raw.len()]), planes);
    if !raw.is_empty() {
        for plane in planes.chunks_exact(raw.len() / words.width()) {
            coders.put(plane, out);
        }
    }
    out.extend_from_slice(rest);
}

/// Takes all of `stored` into exactly `raw`, which holds the base where the words are steps.
pub(super) fn decode(
    words: Words,
    stored: &[u8],
    steps: bool,
    scratch: &mut Vec<u8>,
    raw: &mut [u8],
) -> Option<()> {
    let (raw, rest) = raw.split_at_mut(whole_words(words, raw.len()));
    if scratch.len() < raw.len() {
        scratch.resize(raw.len(), 0);
    }
    let mut left = stored;
    let mut planes = [Plane::All(0); 8];
    let places = scratch[..raw.len()].chunks_exact_mut((raw.len() / words.width()).max(1));
    for (plane, place) in planes.iter_mut().zip(places) {
        *plane = borrow(&mut left, place)?;
    }
    merge(words, &planes[..words.width()], steps, raw);
    (left.len() == rest.len()).then(|| rest.copy_from_slice(left))
}

fn whole_words(words: Words, bytes: usize) -> usize {
    bytes - bytes % words.width()
}
