//! Memory copied by several threads, beside what goes on.

use std::sync::{Mutex, PoisonError};

use super::threads::{BESIDE_BYTES, MOST_THREADS, beside};

/// Bytes that a thread copies at a time: two of the system's huge pages.
const PIECE: usize = 4 << 20;

/// What is to be copied, piece by piece, in any order.
#[derive(Debug)]
pub(super) struct Pieces<'a>(Vec<(&'a [u8], &'a mut [u8])>);

impl<'a> Pieces<'a> {
    /// All of these, one after the other into `to`, which is as long as they are together.
    pub(super) fn new(from: &[&'a [u8]], mut to: &'a mut [u8]) -> Self {
        let mut pieces = Vec::new();
        for piece in from.iter().flat_map(|bytes| bytes.chunks(PIECE)) {
            let (own, rest) = std::mem::take(&mut to).split_at_mut(piece.len());
            to = rest;
            pieces.push((piece, own));
        }
        Self(pieces)
    }
}

/// Copies all of them with so many threads at most while `run` goes on here, and after it here too.
pub(super) fn copy_beside<T>(pieces: Pieces<'_>, threads: usize, run: impl FnOnce() -> T) -> T {
    let bytes: usize = pieces.0.iter().map(|(from, _)| from.len()).sum();
    let others = match threads.min(MOST_THREADS) {
        0 | 1 => 0,
        _ if bytes < BESIDE_BYTES || cfg!(ckptdb_schedules) => 0,
        threads => threads.min(pieces.0.len()),
    };
    let left = Mutex::new(pieces.0.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let copy = || {
        while let Some((from, to)) = next() {
            to.copy_from_slice(from);
        }
    };
    beside(others, copy, || {
        let result = run();
        copy();
        result
    })
}
