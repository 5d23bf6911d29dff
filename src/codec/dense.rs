//! Numbers in planes: all of a chunk's words, alone or as steps from a base's.

use super::classes::{Classes, MOST_CLASSES, parts};
use super::plane::{Coders, Plane, borrow, room};
use super::words::{Words, merge, split};

/// Buffers of planes; fresh pages for each chunk would cost a quarter of the speed.
#[derive(Default)]
pub(super) struct Buffers {
    planes: Vec<u8>,
    sorted: Vec<u8>,
    spare: Vec<u8>,
}

impl Buffers {
    /// What a plane is put together in.
    pub(super) fn spare(&mut self) -> &mut Vec<u8> {
        &mut self.spare
    }
}

/// Appends the words of `raw` in planes, and as they are the bytes that are no whole word. A base
/// has the same length. Steps of several classes are in their order, and each plane is coded class
/// by class.
pub(super) fn put(
    words: Words,
    raw: &[u8],
    base: Option<&[u8]>,
    classes: &Classes,
    coders: &mut Coders,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) {
    let (raw, rest) = raw.split_at(whole_words(words, raw.len()));
    let count = raw.len() / words.width();
    let planes = room(&mut buffers.planes, raw.len());
    let lengths = match base.map(|base| &base[..raw.len()]) {
        Some(base) if *classes != Classes::ONE => {
            let sorted = room(&mut buffers.sorted, raw.len());
            let lengths = classes.sort(words, raw, base, sorted);
            split(words.plain(), sorted, None, planes);
            lengths
        }
        base => {
            split(words, raw, base, planes);
            in_one(count)
        }
    };
    for plane in planes.chunks_exact(count.max(1)) {
        for part in parts(plane, &lengths[..classes.len()]) {
            coders.put(part, out);
        }
    }
    out.extend_from_slice(rest);
}

/// Takes all of `stored` into exactly `raw`, which holds the base where the words are steps. Only
/// these have more than one class.
pub(super) fn decode(
    words: Words,
    stored: &[u8],
    steps: bool,
    classes: &Classes,
    buffers: &mut Buffers,
    raw: &mut [u8],
) -> Option<()> {
    let (raw, rest) = raw.split_at_mut(whole_words(words, raw.len()));
    let count = raw.len() / words.width();
    let is_sorted = *classes != Classes::ONE;
    let lengths = if is_sorted {
        classes.lengths(words, raw)
    } else {
        in_one(count)
    };
    let mut left = stored;
    let mut planes = [[Plane::All(0); 8]; MOST_CLASSES];
    let places = room(&mut buffers.planes, raw.len()).chunks_exact_mut(count.max(1));
    for (significance, mut place) in places.enumerate() {
        for (length, planes) in lengths[..classes.len()].iter().zip(&mut planes) {
            let (here, others) = place.split_at_mut(*length);
            planes[significance] = borrow(&mut left, here, &mut buffers.spare)?;
            place = others;
        }
    }
    if is_sorted {
        let sorted = room(&mut buffers.sorted, raw.len());
        let mut place = &mut *sorted;
        for (length, planes) in lengths.iter().zip(&planes) {
            let (here, others) = place.split_at_mut(length * words.width());
            merge(words.plain(), &planes[..words.width()], false, here);
            place = others;
        }
        classes.unsort(words, sorted, &lengths, raw);
    } else {
        merge(words, &planes[0][..words.width()], steps, raw);
    }
    (left.len() == rest.len()).then(|| rest.copy_from_slice(left))
}

/// So many words, in one class.
fn in_one(count: usize) -> [usize; MOST_CLASSES] {
    let mut lengths = [0; MOST_CLASSES];
    lengths[0] = count;
    lengths
}

fn whole_words(words: Words, bytes: usize) -> usize {
    bytes - bytes % words.width()
}
