//! Numbers in planes: all of a chunk's words, alone or as steps from a base's.

use super::classes::{Classes, MOST_CLASSES};
use super::order::{Order, parts};
use super::plane::{Coders, Plane, borrow, room};
use super::words::{Words, merge, split};

/// Buffers of planes; fresh pages for each chunk would cost a quarter of the speed.
#[derive(Default)]
pub(super) struct Buffers {
    planes: Vec<u8>,
    order: Vec<u8>,
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
    let base = base.map(|base| &base[..raw.len()]);
    let sorted = base.filter(|_| *classes != Classes::ONE).map(|base| {
        let order = Order::of(words, base, classes, &mut buffers.order);
        (base, order)
    });
    match &sorted {
        Some((base, order)) => order.split(words, raw, base, planes),
        None => split(words, raw, base, planes),
    }
    let one = [count];
    let lengths = sorted
        .as_ref()
        .map_or(&one[..], |(_, order)| order.lengths());
    for plane in planes.chunks_exact(count.max(1)) {
        for part in parts(plane, lengths) {
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
    let order = is_sorted.then(|| Order::of(words, raw, classes, &mut buffers.order));
    let one = [count];
    let lengths = order.as_ref().map_or(&one[..], Order::lengths);
    let mut left = stored;
    let mut planes = [[Plane::All(0); 8]; MOST_CLASSES];
    let places = room(&mut buffers.planes, raw.len()).chunks_exact_mut(count.max(1));
    for (significance, mut place) in places.enumerate() {
        for (length, planes) in lengths.iter().zip(&mut planes) {
            let (here, others) = place.split_at_mut(*length);
            planes[significance] = borrow(&mut left, here, &mut buffers.spare)?;
            place = others;
        }
    }
    match order {
        Some(order) => order.merge(words, &planes, raw),
        None => merge(words, &planes[0][..words.width()], steps, raw),
    }
    (left.len() == rest.len()).then(|| rest.copy_from_slice(left))
}

fn whole_words(words: Words, bytes: usize) -> usize {
    bytes - bytes % words.width()
}
