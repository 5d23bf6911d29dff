//! Numbers in planes: all of a chunk's words, alone or as steps from a base's.

use super::classes::Classes;
use super::plane::{Coders, Plane, borrow};
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

/// Room for so many bytes.
fn room(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    &mut buffer[..bytes]
}

/// Appends the words of `raw` in planes, and as they are the bytes that are no whole word. A base
/// has the same length.
pub(super) fn put(
    words: Words,
    raw: &[u8],
    base: Option<&[u8]>,
    coders: &mut Coders,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) {
    let (raw, rest) = raw.split_at(whole_words(words, raw.len()));
    let planes = room(&mut buffers.planes, raw.len());
    split(words, raw, base.map(|base| &base[..raw.len()]), planes);
    if !raw.is_empty() {
        for plane in planes.chunks_exact(raw.len() / words.width()) {
            coders.put(plane, out);
        }
    }
    out.extend_from_slice(rest);
}

/// [`put`], as steps in the order of their classes: each plane is coded class by class.
pub(super) fn put_sorted(
    words: Words,
    raw: &[u8],
    (base, classes): (&[u8], &Classes),
    coders: &mut Coders,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) {
    let (raw, rest) = raw.split_at(whole_words(words, raw.len()));
    let sorted = room(&mut buffers.sorted, raw.len());
    let lengths = classes.sort(words, raw, &base[..raw.len()], sorted);
    let planes = room(&mut buffers.planes, raw.len());
    split(words.plain(), sorted, None, planes);
    if !raw.is_empty() {
        for mut plane in planes.chunks_exact(raw.len() / words.width()) {
            for length in &lengths[..classes.len()] {
                let (part, others) = plane.split_at(*length);
                coders.put(part, out);
                plane = others;
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Takes all of `stored` into exactly `raw`, which holds the base where the words are steps.
pub(super) fn decode(
    words: Words,
    stored: &[u8],
    steps: bool,
    buffers: &mut Buffers,
    raw: &mut [u8],
) -> Option<()> {
    let (raw, rest) = raw.split_at_mut(whole_words(words, raw.len()));
    let mut left = stored;
    let mut planes = [Plane::All(0); 8];
    let places =
        room(&mut buffers.planes, raw.len()).chunks_exact_mut((raw.len() / words.width()).max(1));
    for (plane, place) in planes.iter_mut().zip(places) {
        *plane = borrow(&mut left, place, &mut buffers.spare)?;
    }
    merge(words, &planes[..words.width()], steps, raw);
    (left.len() == rest.len()).then(|| rest.copy_from_slice(left))
}

/// What [`put_sorted`] wrote, into `raw`, which holds the base.
pub(super) fn decode_sorted(
    words: Words,
    stored: &[u8],
    classes: &Classes,
    buffers: &mut Buffers,
    raw: &mut [u8],
) -> Option<()> {
    let (raw, rest) = raw.split_at_mut(whole_words(words, raw.len()));
    let lengths = classes.lengths(words, raw);
    let sorted = room(&mut buffers.sorted, raw.len());
    let count = raw.len() / words.width();
    let mut left = stored;
    let mut parts = [[Plane::All(0); 8]; 8];
    for (at, place) in room(&mut buffers.planes, raw.len())
        .chunks_exact_mut(count.max(1))
        .enumerate()
    {
        let mut place = place;
        for (length, parts) in lengths[..classes.len()].iter().zip(&mut parts) {
            let (here, others) = place.split_at_mut(*length);
            parts[at] = borrow(&mut left, here, &mut buffers.spare)?;
            place = others;
        }
    }
    let mut to = &mut *sorted;
    for (length, parts) in lengths.iter().zip(&parts) {
        let (here, others) = to.split_at_mut(length * words.width());
        merge(words.plain(), &parts[..words.width()], false, here);
        to = others;
    }
    classes.unsort(words, sorted, &lengths, raw);
    (left.len() == rest.len()).then(|| rest.copy_from_slice(left))
}

fn whole_words(words: Words, bytes: usize) -> usize {
    bytes - bytes % words.width()
}
