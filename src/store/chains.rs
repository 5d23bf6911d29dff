//! Which chunk of a chain a delta is written against, where all words differ from checkpoint to
//! checkpoint.

use crate::codec::Compression;
use crate::store::Store;

/// The depth of the deepest tree.
const DEEPEST: u8 = 8;

/// What deltas are written against, by their positions in a chain; 0 is the chunk without base. A
/// load takes all that is below a chunk, and a delta takes more bytes the further away its base is
/// (some .024 of the raw ones for each doubling of the distance, where a chunk without base takes
/// .095 more than the nearest delta). Of all trees of a depth whose nodes come in this order, of up
/// to thirteen, none takes less on the average; the first row's depth is 0.
const TREES: [&[u8]; DEEPEST as usize + 1] = [
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
    depth: u8,
}

impl Chains {
    /// Those of which a load takes no more deltas than this; that of the deepest tree at most.
    fn of_depth(depth: u8) -> Self {
        let depth = depth.min(DEEPEST);
        Self {
            tree: TREES.get(usize::from(depth)).copied(),
            depth,
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

    /// Whether a delta of which all words differ may be at this position, above so many others.
    /// Light ones may be between them, and chains may have been made by other rules.
    pub(super) fn allows(self, position: u8, below: u8) -> bool {
        self.has(position) && below < self.depth
    }

    /// Whether what a delta at this position is written against has another one after it.
    pub(super) fn returns_below(self, position: u8) -> bool {
        let is_below = |tree: &[u8]| {
            let (before, after) = tree.split_at_checked(usize::from(position) + 1)?;
            Some(after.contains(before.last()?))
        };
        self.tree.and_then(is_below).unwrap_or(false)
    }

    /// Whether anything is written against what is at this position.
    pub(super) fn builds_on(self, position: u8) -> bool {
        self.tree.is_none_or(|tree| tree.contains(&position))
    }
}

impl Store {
    /// How chains are built with this compression; as deep as the store's options say, without a
    /// depth.
    pub(super) fn chains(&self, effort: Compression, depth: Option<u8>) -> Chains {
        match effort {
            Compression::Max => Chains {
                tree: None,
                depth: u8::MAX,
            },
            _ => Chains::of_depth(depth.unwrap_or(self.options().chain_depth)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::Codec;
    use crate::storage::{MemoryMedium, chunk_row};
    use crate::store::{Checkpoint, Options};
    use crate::tensor::{DType, TensorSlice};

    /// How the next state differs from the one before.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        AllWords,
        FewWords,
    }

    /// Deltas of which all words differ that a load of the only chunk takes.
    fn dense_deltas(store: &Store, checkpoint: &Checkpoint) -> u8 {
        let bytes = checkpoint.read("w").unwrap();
        let mut id = crate::id::ChunkId::new(*blake3::hash(&bytes).as_bytes());
        let mut dense = 0;
        loop {
            let row = store.read(|rows| chunk_row(rows, &id)).unwrap().unwrap();
            dense += u8::from(row.codec == Codec::Steps.code());
            match row.bases.first() {
                Some(base) => id = *base,
                None => return dense,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_chains_were_made_of_a_load_takes_no_more_dense_deltas_than_allowed(
            chain_depth in 0..=4_u8,
            changes in proptest::collection::vec(
                (
                    prop_oneof![2 => Just(Change::AllWords), 1 => Just(Change::FewWords)],
                    proptest::bool::weighted(0.15),
                ),
                1..30,
            ),
        ) {
            let options = Options { chain_depth, ..Options::default() };
            let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
            let job = store.job("NQ").unwrap();
            let mut words: Vec<u32> = (0..5_000_u32)
                .map(|word| 0x3F00_0000 + (word.wrapping_mul(0x9E37_79B9) >> 12))
                .collect();
            let mut dense = 0;
            for (iteration, (change, is_max)) in (0_u32..).zip(changes) {
                for (place, word) in (0_u32..).zip(&mut words) {
                    let noise = (place ^ iteration << 16).wrapping_mul(0x85EB_CA6B) >> 27;
                    match change {
                        Change::AllWords => *word += 1 + noise,
                        Change::FewWords => *word += u32::from(place % 500 == iteration),
                    }
                }
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let tensor = TensorSlice::new(DType::F32, &[words.len()], &bytes).unwrap();
                let save = job.save(u64::from(iteration)).tensor("w", tensor);
                let effort = if is_max { Compression::Max } else { Compression::Default };
                let saved = save.compression(effort).commit().unwrap();
                let found = dense_deltas(&store, &saved.checkpoint);
                // What is light adds none to what a state had that was saved by other rules.
                let most = if is_max { u8::MAX } else { chain_depth.max(dense) };
                prop_assert!(found <= most, "{found} at {iteration}");
                dense = found;
            }
        }
    }

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

    #[test]
    fn what_is_below_two_deltas_is_kept_until_the_second() {
        for depth in 0..=DEEPEST {
            let chains = Chains::of_depth(depth);
            for position in 0..20 {
                let below = chains.base(position);
                let again = (position + 1..20).any(|after| chains.base(after) == below);
                let returns = below.is_some() && again;
                assert_eq!(
                    chains.returns_below(position),
                    returns,
                    "{depth}, {position}"
                );
            }
        }
    }
}
