//! What differs between two checkpoints: by the ids of chunks first, and by values only where these
//! differ.

mod difference;
mod documents;
mod entries;
mod spans;
mod sums;

pub use difference::{Change, Diff, EntryDiff};
pub use documents::DocumentChange;
pub use sums::ValueDiff;

use crate::error::Result;
use crate::store::Checkpoint;

impl Checkpoint {
    /// How `after` differs from this one, which may be of another job or another store.
    ///
    /// Chunks that both have are not read, and so the cost is that of loading what differs from
    /// both. Memory is a few MiB for each of [`Options::threads`](crate::Options::threads), the
    /// manifests, and what is smaller than a chunk.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    ///
    /// ```
    /// use ckptdb::{Change, DType, Store, TensorSlice};
    ///
    /// let store = Store::in_memory()?;
    /// let job = store.job("vit")?;
    /// for (iteration, value) in [(1, 1.0_f32), (2, 1.5)] {
    ///     let weight = value.to_le_bytes();
    ///     let tensor = TensorSlice::new(DType::F32, &[1], &weight)?;
    ///     let save = job.save(iteration).tensor("weight", tensor);
    ///     save.bytes("same", b"bytes").commit()?;
    /// }
    /// let [before, after] = [store.resolve("vit@1")?, store.resolve("vit@2")?];
    /// let diff = before.diff(&after)?;
    /// assert_eq!((diff.count(Change::Identical), diff.count(Change::Changed)), (1, 1));
    /// let values = diff.entries[1].values.as_ref().unwrap();
    /// assert_eq!((values.max_abs, values.relative_l2()), (0.5, 0.5));
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    pub fn diff(&self, after: &Self) -> Result<Diff> {
        self.diff_with(after, &|_| true, &mut |_, _| {})
    }

    /// [`Checkpoint::diff`] of the entries whose names are `wanted`, telling how many bytes of how
    /// many are compared.
    ///
    /// # Errors
    /// As [`Checkpoint::diff`].
    pub fn diff_with(
        &self,
        after: &Self,
        wanted: &dyn Fn(&str) -> bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Diff> {
        entries::compare(self.source(), after.source(), wanted, progress)
    }
}
