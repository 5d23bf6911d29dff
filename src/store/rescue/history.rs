//! The log out of what is left of it: which versions of its records belong together.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, Logged};
use crate::format::{Action, LogRecord, NO_PREVIOUS, Stamp};

/// So many log records in a row are never all lost while later ones survive; an id beyond such a
/// gap is not believed.
const WIDEST_GAP: u64 = 1 << 20;

/// The log, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) records: BTreeMap<u64, LogRecord>,
    /// The last id.
    pub(super) last: u64,
    /// Hash of the last record.
    pub(super) chain: [u8; 32],
    /// Whether it is known from the first record to the last.
    pub(super) is_whole: bool,
    /// The last id whose record is lost.
    pub(super) last_gap: Option<u64>,
    /// Hashes of the records, of lost ones too where the next one tells it.
    hashes: BTreeMap<u64, [u8; 32]>,
}

impl History {
    /// Follows the chain backwards. Every record names the one before by its hash, so that the last
    /// one decides among all versions; where the chain is torn, the version is taken that itself
    /// continues another.
    pub(super) fn of(evidence: &Evidence) -> Self {
        let known = &evidence.log;
        let mut history = Self {
            last: last_of(evidence),
            is_whole: true,
            ..Self::default()
        };
        let mut expected = evidence.head.as_ref().map(|head| head.chain);
        if history.last == 0 {
            return history;
        }
        for id in (1..=history.last).rev() {
            let versions = known.get(&id).map_or(&[][..], Vec::as_slice);
            let chosen = match expected {
                Some(hash) => versions.iter().find(|version| version.hash == hash),
                None => choose(versions, known.get(&(id - 1))),
            };
            if let Some(hash) = chosen.map(|version| version.hash).or(expected) {
                history.hashes.insert(id, hash);
                if id == history.last {
                    history.chain = hash;
                }
            }
            expected = chosen.map(|version| version.record.previous);
            match chosen {
                Some(version) => {
                    history.records.insert(id, version.record.clone());
                }
                None => {
                    history.is_whole = false;
                    history.last_gap = history.last_gap.max(Some(id));
                }
            }
        }
        history.is_whole &= expected == Some(NO_PREVIOUS);
        history
    }

    /// Whether a record with this stamp can belong to this log: of a state that it went through, or
    /// one that nothing is known of.
    pub(super) fn knows(&self, stamp: Stamp) -> bool {
        stamp.log <= self.last
            && self
                .hashes
                .get(&stamp.log)
                .is_none_or(|hash| Stamp::new(stamp.log, hash) == stamp)
    }

    /// Puts in the place of a lost record what it must have said.
    pub(super) fn fill(&mut self, id: u64, at: i64, action: Action) {
        let previous = NO_PREVIOUS;
        let record = LogRecord {
            at,
            previous,
            action,
        };
        self.records.entry(id).or_insert(record);
    }

    /// What happened, and when; lost records have left nothing but that they were.
    pub(super) fn actions(&self) -> impl Iterator<Item = (u64, i64, Action)> {
        let mut at = 0;
        (1..=self.last).map(move |id| match self.records.get(&id) {
            Some(record) => {
                at = record.at;
                (id, at, record.action.clone())
            }
            None => (id, at, Action::Lost),
        })
    }
}

fn last_of(evidence: &Evidence) -> u64 {
    if let Some(head) = &evidence.head {
        return head.last;
    }
    // A checkpoint's record vouches for the log records that it was written after, should they be
    // lost.
    let stamps = evidence
        .checkpoints
        .iter()
        .flat_map(|(id, versions)| versions.iter().map(|v| v.later.stamp.log.max(*id)));
    let ids: BTreeSet<u64> = evidence.log.keys().copied().chain(stamps).collect();
    let mut last = 0;
    for id in ids {
        if id - last > WIDEST_GAP {
            break;
        }
        last = id;
    }
    last
}

/// Of several versions, one that continues a version of the record before; of several such, the
/// later one.
fn choose<'a>(versions: &'a [Logged], before: Option<&Vec<Logged>>) -> Option<&'a Logged> {
    let continues = |version: &&Logged| {
        let before = before.map_or(&[][..], Vec::as_slice);
        before
            .iter()
            .any(|other| other.hash == version.record.previous)
    };
    let best = |version: &&Logged| (continues(version), version.record.at);
    versions.iter().max_by_key(best)
}
