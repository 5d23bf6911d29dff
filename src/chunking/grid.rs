//! The fixed grid that long entries are cut on, from their first byte.

use std::ops::Range;

/// A grid of pieces of one size, the last one shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    piece: u64,
}

impl Grid {
    /// Pieces of this many bytes.
    pub(crate) const fn new(piece: usize) -> Self {
        Self {
            piece: piece as u64,
        }
    }

    /// The bytes of piece `index` of an entry of `bytes` bytes.
    pub(crate) fn range(self, index: u64, bytes: u64) -> Range<u64> {
        let start = index.saturating_mul(self.piece).min(bytes);
        start..start.saturating_add(self.piece).min(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pieces_cover_every_byte_once(bytes in 0..100_000u64, piece in 1..5_000usize) {
            let grid = Grid::new(piece);
            let mut next = 0;
            for index in 0..bytes.div_ceil(piece as u64) {
                let range = grid.range(index, bytes);
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty());
                next = range.end;
            }
            prop_assert_eq!(next, bytes);
        }
    }
}
