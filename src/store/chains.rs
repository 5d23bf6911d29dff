//! Which chunk of a chain a delta is written against, where all words differ from checkpoint to
//! checkpoint.

use crate::codec::Compression;
use crate::store::Store;

/// What deltas are written against, by their positions in a chain; 0 is the chunk without base. A
/// load takes all that is below a chunk, and a delta takes more bytes the further away its base is
/// (some .024 of the raw ones for each doubling of the distance, where a chunk without base takes
/// .095 more than the nearest delta). Of all trees of a depth whose nodes come in this order, of up
/// to thirteen, none takes less on the average; the first row's depth is 0.
const TREES: [&[u8]; 9] = [
    &[0],
    &[0, 0, 0, 0],
    &[0, 0, 1, 0, 3, 3],
    &[0, 0, 1, 2, 0, 4, 5, 4, 7],
    &[0, 0, 1, 2, 3, 0, 5, 6, 7, 5, 9, 10],
    &[0, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9],
    &[0, 0, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11],
    &[0, 0, 1, 2, 3, 4, 5, 6],
    &[0, 0, 1, 2, 3, 4, 5, 6, 7],
];

/// How chains are built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chains {
    /// None if each delta is written against the one before, as long as chains may be: nothing is
    /// smaller, and nothing slower to load.
    tree: Option<&'static [u8]>,
}

impl Chains {
    /// Those of which a load takes no more deltas than this; that of the deepest tree at most.
    fn of_depth(depth: u8) -> Self {
        let tree = TREES.get(usize::from(depth)).or(TREES.last());
        Self {
            tree: tree.copied(),
        }
    }

    /// The position of what a delta at this one is written against; none if there may be no delta
    /// there, or no tree says so.
    pub(super) fn base(self, position: u8) -> Option<u8> {
        self.tree?.get(usize::from(position)).copied()
    }

    /// Whether a delta of which all words differ may be at this position.
    pub(super) fn has(self, position: u8) -> bool {
        self.tree
            .is_none_or(|tree| usize::from(position) < tree.len())
    }

    /// Whether anything is written against what is at this position.
    pub(super) fn builds_on(self, position: u8) -> bool {
        self.tree.is_none_or(|tree| tree.contains(&position))
    }
}

impl Store {
    /// How chains are built with this compression.
    pub(super) fn chains(&self, effort: Compression) -> Chains {
        match effort {
            Compression::Max => Chains { tree: None },
            _ => Chains::of_depth(self.options().chain_depth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tree_is_deeper_than_it_is_said_to_be() {
        for depth in 0..=9 {
            let chains = Chains::of_depth(depth);
            let mut deepest = 0;
            let mut depths = vec![0];
            for position in 1..=u8::MAX {
                let Some(base) = chains.base(position) else {
                    assert!(!chains.has(position));
                    continue;
                };
                assert!(base < position && chains.has(position) && chains.builds_on(base));
                depths.push(depths[usize::from(base)] + 1);
                deepest = deepest.max(depths[usize::from(position)]);
            }
            assert_eq!(deepest, depth.min(8));
        }
    }
}
