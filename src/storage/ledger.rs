//! Which commits are on the disk: several savers can share the sync of the last of them.

use std::ops::RangeInclusive;
use std::sync::PoisonError;

use super::handle::Durability;
use crate::sync::Mutex;

/// Staged commits are counted; a durable one takes all before it along, and a database that is
/// opened anew has lost what was not.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    staged: u64,
    durable: u64,
    lost: Vec<RangeInclusive<u64>>,
}

/// What has become of a staged commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A crash would forget it.
    Staged,
    /// It is on the disk.
    Durable,
    /// It was forgotten.
    Lost,
}

impl Ledger {
    fn counts(&self) -> crate::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction has been committed.
    pub(super) fn committed(&self, durability: Durability) {
        let mut counts = self.counts();
        match durability {
            Durability::Staged => counts.staged += 1,
            Durability::Durable => counts.durable = counts.staged,
        }
    }

    /// The database has been opened anew.
    pub(super) fn reopened(&self) {
        let mut counts = self.counts();
        if counts.durable < counts.staged {
            let lost = counts.durable + 1..=counts.staged;
            counts.lost.push(lost);
            // A number of nobody's, so that the last is not a lost one.
            counts.staged += 1;
            counts.durable = counts.staged;
        }
    }

    /// The number of the last staged commit.
    pub(super) fn last(&self) -> u64 {
        self.counts().staged
    }

    /// Staged commits that are not on the disk.
    pub(super) fn undurable(&self) -> u64 {
        let counts = self.counts();
        counts.staged - counts.durable
    }

    pub(super) fn fate(&self, commit: u64) -> Fate {
        let counts = self.counts();
        if counts.lost.iter().any(|lost| lost.contains(&commit)) {
            Fate::Lost
        } else if commit <= counts.durable {
            Fate::Durable
        } else {
            Fate::Staged
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_commit_takes_all_before_it_along_and_what_a_reopening_lost_stays_lost() {
        let ledger = Ledger::default();
        let commit = |durability| {
            ledger.committed(durability);
            ledger.last()
        };
        let one = commit(Durability::Staged);
        let two = commit(Durability::Staged);
        assert_eq!((ledger.fate(one), ledger.undurable()), (Fate::Staged, 2));
        commit(Durability::Durable);
        assert_eq!([one, two].map(|of| ledger.fate(of)), [Fate::Durable; 2]);
        let three = commit(Durability::Staged);
        ledger.reopened();
        ledger.reopened();
        assert_eq!((ledger.fate(three), ledger.undurable()), (Fate::Lost, 0));
        assert_eq!(ledger.fate(commit(Durability::Durable)), Fate::Durable);
        let four = commit(Durability::Staged);
        commit(Durability::Durable);
        assert_eq!(ledger.fate(three), Fate::Lost);
        assert_eq!([two, four].map(|of| ledger.fate(of)), [Fate::Durable; 2]);
    }
}
