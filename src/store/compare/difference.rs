//! What a comparison of two checkpoints says.

use std::fmt;

use super::documents::DocumentChange;
use super::sums::ValueDiff;
use crate::checkpoint::EntryInfo;

/// What became of an entry from one checkpoint to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Change {
    /// The same kind, shape, type and bytes.
    Identical,
    /// Anything else that is in both.
    Changed,
    /// Only in the later one.
    Added,
    /// Only in the earlier one.
    Removed,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identical, Self::Changed, Self::Added, Self::Removed];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an entry differs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntryDiff {
    /// The entry's name.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// What it was.
    pub before: Option<EntryInfo>,
    /// What it is.
    pub after: Option<EntryInfo>,
    /// How many bytes of it lie in chunks that the other has not: of what it is, or of what it was
    /// if it is removed. Less than a chunk counts as it is where the entry is smaller than one.
    pub changed_bytes: u64,
    /// How its values differ, if both are tensors of as many elements.
    pub values: Option<ValueDiff>,
    /// What differs in it, if both are documents.
    pub document: Vec<DocumentChange>,
}

/// How two checkpoints differ.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Diff {
    /// Every entry of either, sorted by name.
    pub entries: Vec<EntryDiff>,
}

impl Diff {
    /// How many entries this became of.
    pub fn count(&self, change: Change) -> u64 {
        let is_it = |entry: &&EntryDiff| entry.change == change;
        self.entries.iter().filter(is_it).count() as u64
    }

    /// How many bytes of the later checkpoint lie in chunks that the earlier one has not.
    pub fn changed_bytes(&self) -> u64 {
        let present = self.entries.iter().filter(|entry| entry.after.is_some());
        present.map(|entry| entry.changed_bytes).sum()
    }
}
