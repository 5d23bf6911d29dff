//! What callers say of entries: which have not changed since the save before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;

use crate::sync::Mutex;

/// The generations of entries that each job's last save was told. They are the caller's own
/// counters and mean nothing to another process, so that they are not stored.
#[derive(Debug, Default)]
pub(super) struct Generations(Mutex<HashMap<String, Known>>);

/// A checkpoint's id with the opening of the database that it was saved under, since when nobody
/// else can have saved; and the generations of its entries.
type Known = ((u64, u64), BTreeMap<String, u64>);

impl Generations {
    /// Takes note of what a save of a job was told.
    pub(super) fn note(&self, job: &str, checkpoint: (u64, u64), told: &BTreeMap<String, u64>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() {
            known.remove(job);
        } else {
            known.insert(job.to_owned(), (checkpoint, told.clone()));
        }
    }

    /// The entries that are as they are in this checkpoint, by what was told then and is now.
    pub(super) fn unchanged(
        &self,
        job: &str,
        checkpoint: (u64, u64),
        told: &BTreeMap<String, u64>,
    ) -> BTreeSet<String> {
        if told.is_empty() {
            return BTreeSet::new();
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, before)) = known.get(job).filter(|(id, _)| *id == checkpoint) else {
            return BTreeSet::new();
        };
        let is_same = |(name, generation): &(&String, &u64)| before.get(*name) == Some(*generation);
        let same = told.iter().filter(is_same);
        same.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::Compression;
    use crate::storage::MemoryMedium;
    use crate::store::{Options, Saved, Store};
    use crate::tensor::{DType, TensorSlice};

    const BYTES: usize = 3 << 20;

    fn store(compression: Compression) -> Store {
        let options = Options {
            compression,
            ..Options::default()
        };
        Store::create_in(std::sync::Arc::new(MemoryMedium::default()), options).unwrap()
    }

    /// Saves a state of one large tensor.
    fn save(store: &Store, iteration: u64, byte: u8, told: Option<u64>) -> crate::Result<Saved> {
        let bytes = vec![byte; BYTES];
        let tensor = TensorSlice::new(DType::U8, &[BYTES], &bytes)?;
        let save = store.job("NQ")?.save(iteration).tensor("w", tensor);
        match told {
            Some(generation) => save.generation("w", generation),
            None => save,
        }
        .commit()
    }

    /// Whether a save with this generation takes other bytes for those of the save before.
    fn is_believed(store: &Store, iteration: u64, byte: u8, generation: u64) -> bool {
        match save(store, iteration, byte, Some(generation)) {
            // What is wrong is noticed where tests are built.
            Err(error) => error.to_string().contains("has the generation that it had"),
            Ok(saved) => {
                assert_eq!(saved.checkpoint.read("w").unwrap()[BYTES - 1], byte);
                false
            }
        }
    }

    #[test]
    fn an_entry_is_not_looked_at_if_it_has_the_generation_of_the_save_before_and_only_then() {
        for compression in Compression::ALL {
            let store = store(compression);
            save(&store, 1, 1, Some(7)).unwrap();
            assert!(is_believed(&store, 2, 2, 7), "{compression}");
            assert!(!is_believed(&store, 2, 2, 8));
            assert!(is_believed(&store, 3, 3, 8));
            // Nothing was told of the save before.
            save(&store, 4, 4, None).unwrap();
            assert!(!is_believed(&store, 5, 5, 8));
            // Another shape is another tensor, whatever was told.
            let bytes = vec![9; BYTES];
            let shape = [BYTES / 2, 2];
            let tensor = TensorSlice::new(DType::U8, &shape, &bytes).unwrap();
            let other = store.job("NQ").unwrap().save(6).tensor("w", tensor);
            let saved = other.generation("w", 8).commit().unwrap();
            assert_eq!(saved.checkpoint.read("w").unwrap(), bytes);
        }
    }

    #[test]
    fn what_was_told_of_another_checkpoint_than_the_parent_is_not_believed() {
        let store = store(Compression::Default);
        let first = save(&store, 1, 1, Some(7)).unwrap().checkpoint;
        save(&store, 2, 2, Some(8)).unwrap();
        let bytes = vec![3; BYTES];
        let tensor = TensorSlice::new(DType::U8, &[BYTES], &bytes).unwrap();
        let back = store.job("NQ").unwrap().save(3).parent(first.id);
        let saved = back
            .tensor("w", tensor)
            .generation("w", 8)
            .commit()
            .unwrap();
        assert_eq!(saved.checkpoint.read("w").unwrap(), bytes);
    }

    #[test]
    fn what_has_not_changed_is_shared_with_the_checkpoint_before() {
        let store = store(Compression::Default);
        save(&store, 1, 1, Some(7)).unwrap();
        let saved = save(&store, 2, 1, Some(7)).unwrap();
        assert_eq!((saved.new_bytes, saved.shared_bytes), (0, BYTES as u64));
        assert_eq!(saved.checkpoint.read("w").unwrap(), vec![1; BYTES]);
    }
}
