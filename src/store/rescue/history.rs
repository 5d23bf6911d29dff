//! The log out of what is left of it: which versions of its records belong together.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::evidence::{Evidence, Logged};
use crate::format::{Action, Head, LogRecord, NO_PREVIOUS, Stamp};

/// So many log records are never lost while later ones survive; an id beyond as many that nothing
/// speaks of is not believed.
const MOST_LOST: u64 = 1 << 20;

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
        let (last, mut expected) = end_of(evidence);
        let mut history = Self {
            last,
            is_whole: true,
            ..Self::default()
        };
        if history.last == 0 {
            return history;
        }
        for id in (1..=history.last).rev() {
            let versions = known.get(&id).map_or(&[][..], Vec::as_slice);
            let chosen = match expected {
                Some(hash) => versions.iter().find(|version| version.hash == hash),
                None => {
                    let before = known.get(&(id - 1));
                    choose(
                        versions.iter().filter(|v| is_vouched(evidence, id, v)),
                        before,
                    )
                }
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

    /// The head record of a store with this log, and with nothing else in it yet.
    pub(super) const fn head(&self) -> Head {
        Head {
            last: self.last,
            count: self.last,
            chain: self.chain,
            live: 0,
            next_chunk: 1,
            next_name: 1,
            next_job: 1,
            lost: 0,
            bundle: 0,
        }
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

/// Where the log ends: its last id, and the hash of that record if it is known.
fn end_of(evidence: &Evidence) -> (u64, Option<[u8; 32]>) {
    let most = believable(evidence);
    if let Some(head) = &evidence.head
        && head.last <= most.saturating_add(MOST_LOST)
    {
        return (head.last, Some(head.chain));
    }
    let tip = tip_of(evidence, most);
    let end = tip.map_or(0, |(id, _)| id);
    // A checkpoint's record vouches for the log records that it was written after, should they be
    // lost. Those that are there and are not the end belong to a commit that never came to be.
    let stamps = stamps(evidence).filter(|stamp| stamp.log <= most && !is_found(evidence, *stamp));
    let last = stamps.map(|stamp| stamp.log).max().unwrap_or(0);
    if last > end {
        return (last, None);
    }
    (end, tip.map(|(_, version)| version.hash))
}

fn stamps(evidence: &Evidence) -> impl Iterator<Item = Stamp> {
    let checkpoints = evidence.checkpoints.values().flatten();
    let jobs = evidence.jobs.values().flatten();
    checkpoints
        .map(|record| record.later.stamp)
        .chain(jobs.map(|job| job.stamp))
}

/// Whether a log record that no later one names may be believed. Beside tables that can be read,
/// one that only lies somewhere in the file may be of a commit that never came to be, unless
/// another record was written after it.
fn is_vouched(evidence: &Evidence, id: u64, version: &Logged) -> bool {
    !evidence.has_tables
        || version.is_in_table
        || stamps(evidence).any(|stamp| stamp == Stamp::new(id, &version.hash))
}

fn is_found(evidence: &Evidence, stamp: Stamp) -> bool {
    let versions = evidence.log.get(&stamp.log);
    versions.is_some_and(|versions| {
        let of = |version: &Logged| Stamp::new(stamp.log, &version.hash);
        versions.iter().any(|version| of(version) == stamp)
    })
}

/// The largest id that something speaks of, and that not too many lie before of which nothing does.
fn believable(evidence: &Evidence) -> u64 {
    let stamped = stamps(evidence).map(|stamp| stamp.log);
    let saved = evidence.checkpoints.keys().copied();
    let logged = evidence.log.keys().copied();
    let ids: BTreeSet<u64> = logged.chain(stamped).chain(saved).collect();
    let (mut last, mut found) = (0, 0_u64);
    for id in ids {
        found += 1;
        if id.saturating_sub(found) > MOST_LOST {
            break;
        }
        last = id;
    }
    last
}

/// The log record that none continues. Of several, the one with the largest id, unless it may be of
/// a commit that never came to be: all that it has beyond the other's line is of one time, as one
/// commit has, and the other is later.
fn tip_of(evidence: &Evidence, most: u64) -> Option<(u64, &Logged)> {
    let versions = || evidence.log.range(..=most);
    let continued: HashSet<[u8; 32]> = versions()
        .flat_map(|(_, versions)| versions.iter().map(|version| version.record.previous))
        .collect();
    let mut tips = versions().rev().flat_map(|(id, versions)| {
        let ends = versions.iter().filter(|v| !continued.contains(&v.hash));
        ends.map(|version| (*id, version))
    });
    let mut tip = tips.next()?;
    let mut line = line_of(evidence, tip);
    for other in tips {
        let Some(rival) = line.get(&other.0) else {
            continue;
        };
        let theirs = line_of(evidence, other);
        let shared = |(id, version): &(&u64, &&Logged)| {
            let same = theirs.get(*id).map(|version| version.hash);
            same == Some(version.hash)
        };
        let mut beyond = line.iter().rev().take_while(|entry| !shared(entry));
        let is_one_commit = beyond.all(|(_, version)| version.record.at == rival.record.at);
        if is_one_commit && other.1.record.at > rival.record.at {
            tip = other;
            line = theirs;
        }
    }
    Some(tip)
}

/// A record and those that it continues, as far as they are known, by id.
fn line_of<'a>(evidence: &'a Evidence, tip: (u64, &'a Logged)) -> BTreeMap<u64, &'a Logged> {
    let mut line = BTreeMap::from([tip]);
    let (mut id, mut version) = tip;
    while let Some(before) = id.checked_sub(1).and_then(|id| evidence.log.get(&id)) {
        let previous = version.record.previous;
        let Some(found) = before.iter().find(|other| other.hash == previous) else {
            break;
        };
        (id, version) = (id - 1, found);
        line.insert(id, version);
    }
    line
}

/// Of several versions, one that continues a version of the record before; of several such, the
/// later one.
fn choose<'a>(
    versions: impl Iterator<Item = &'a Logged>,
    before: Option<&Vec<Logged>>,
) -> Option<&'a Logged> {
    let continues = |version: &&Logged| {
        let before = before.map_or(&[][..], Vec::as_slice);
        before
            .iter()
            .any(|other| other.hash == version.record.previous)
    };
    let best = |version: &&Logged| (continues(version), version.record.at);
    versions.max_by_key(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Record;
    use crate::id::StoreId;

    const STORE: StoreId = StoreId::new([5; 16]);

    /// Adds a record that continues `previous`; returns its hash.
    fn add(evidence: &mut Evidence, id: u64, at: i64, previous: [u8; 32]) -> [u8; 32] {
        let record = LogRecord {
            at,
            previous,
            action: Action::DeleteJob { job: 1 },
        };
        let tag = crate::format::StoreTag::of(STORE);
        let bytes = record.to_bytes(tag, &id.to_be_bytes()).unwrap();
        evidence.take(crate::format::TableCode::Log, id, &bytes);
        LogRecord::chain(&bytes)
    }

    #[test]
    fn an_id_that_too_much_is_missing_before_is_not_believed() {
        let (mut evidence, hashes) = ten();
        evidence.head = Some(Head {
            last: 1 << 50,
            chain: hashes[10],
            ..History::default().head()
        });
        assert_eq!(History::of(&evidence).last, 10);
        evidence.head = None;
        // Not one by one either.
        for step in 1..=4 {
            add(&mut evidence, step * (MOST_LOST / 2), 0, NO_PREVIOUS);
        }
        let last = History::of(&evidence).last;
        assert!(last <= 11 + MOST_LOST, "{last}");
    }

    /// Ten records, at the times that their ids are a hundred of.
    fn ten() -> (Evidence, Vec<[u8; 32]>) {
        let mut evidence = Evidence::new(STORE);
        let mut hashes = vec![NO_PREVIOUS];
        let mut previous = NO_PREVIOUS;
        for (id, at) in (1..=10).zip((100..).step_by(100)) {
            previous = add(&mut evidence, id, at, previous);
            hashes.push(previous);
        }
        (evidence, hashes)
    }

    #[test]
    fn a_longer_line_that_was_never_committed_does_not_displace_the_acknowledged_one() {
        let (mut evidence, hashes) = ten();
        // Three records of one transaction that failed, before records 9 and 10 were written.
        let mut previous = hashes[8];
        for id in 9..=11 {
            previous = add(&mut evidence, id, 850, previous);
        }
        let history = History::of(&evidence);
        assert_eq!((history.last, history.chain), (10, hashes[10]));
        assert!(history.is_whole);
    }

    #[test]
    fn a_leftover_from_before_the_clock_was_set_back_displaces_nothing() {
        let (mut evidence, hashes) = ten();
        // A commit that failed, at a time that the clock came to again only much later.
        add(&mut evidence, 4, 100_000, hashes[3]);
        let history = History::of(&evidence);
        assert_eq!((history.last, history.chain), (10, hashes[10]));
        assert!(history.is_whole);
    }

    #[test]
    fn beside_tables_what_only_lies_in_the_file_fills_no_gap_by_itself() {
        let (mut evidence, hashes) = ten();
        evidence.has_tables = true;
        for versions in evidence.log.values_mut() {
            versions[0].is_in_table = true;
        }
        evidence.log.remove(&5);
        evidence.log.remove(&6);
        // One that the next one names is right wherever it lies; the other may be anything.
        add(&mut evidence, 5, 450, hashes[4]);
        evidence.log.get_mut(&5).unwrap()[0].is_in_table = false;
        let history = History::of(&evidence);
        assert_eq!(history.last_gap, Some(6));
        assert!(!history.records.contains_key(&5));
        add(&mut evidence, 6, 600, hashes[5]);
        let history = History::of(&evidence);
        assert_eq!(history.records[&6].at, 600);
    }

    #[test]
    fn a_line_that_came_later_is_taken_though_it_is_as_long_as_the_other() {
        let (mut evidence, hashes) = ten();
        let tip = add(&mut evidence, 10, 1_100, hashes[9]);
        let history = History::of(&evidence);
        assert_eq!((history.last, history.chain), (10, tip));
        assert!(history.is_whole);
    }

    #[test]
    fn a_lost_record_ends_no_line_though_the_clock_was_set_back_after_it() {
        let (mut evidence, _) = ten();
        evidence.log.remove(&7);
        for id in 8..=10 {
            for version in evidence.log.get_mut(&id).unwrap() {
                version.record.at = 5;
            }
        }
        let history = History::of(&evidence);
        assert_eq!(history.last, 10);
        assert_eq!(history.last_gap, Some(7));
        assert_eq!(history.records.len(), 9);
    }

    #[test]
    fn what_is_found_twice_is_one_version_and_what_is_other_another() {
        let (mut here, hashes) = ten();
        let (mut there, _) = ten();
        add(&mut there, 5, 450, hashes[4]);
        here.join(there);
        assert_eq!(here.log[&4].len(), 1);
        assert_eq!(here.log[&5].len(), 2);
        assert_eq!(here.records, 21);
    }

    #[test]
    fn a_record_vouches_for_the_log_that_it_was_written_after() {
        let (mut evidence, hashes) = ten();
        let mut job = crate::format::JobRecord::new("NQ".to_owned(), 0);
        job.stamp = crate::format::Stamp::new(9, &hashes[9]);
        evidence.jobs.insert(1, vec![job]);
        // Everything it speaks of is there: the log ends with itself.
        assert_eq!(end_of(&evidence), (10, Some(hashes[10])));
        for lost in 8..=10 {
            evidence.log.remove(&lost);
        }
        assert_eq!(end_of(&evidence), (9, None));
        let history = History::of(&evidence);
        assert_eq!((history.last, history.is_whole), (9, false));
        assert_eq!(history.records.len(), 7);
    }

    #[test]
    fn beyond_a_gap_a_version_that_continues_the_one_before_goes_before_a_later_one() {
        let (mut evidence, hashes) = ten();
        evidence.log.remove(&6);
        add(&mut evidence, 5, 9_000, [3; 32]);
        let chosen = choose(evidence.log[&5].iter(), evidence.log.get(&4)).unwrap();
        assert_eq!(chosen.record.previous, hashes[4]);
        let later = choose(evidence.log[&5].iter(), None).unwrap();
        assert_eq!(later.record.at, 9_000);
    }

    /// A record that says that it was written after this one.
    fn vouch(evidence: &mut Evidence, log: u64, hash: &[u8; 32]) {
        let mut job = crate::format::JobRecord::new("NQ".to_owned(), 0);
        job.stamp = Stamp::new(log, hash);
        evidence.jobs.entry(1).or_default().push(job);
    }

    #[test]
    fn a_record_of_a_commit_that_never_came_to_be_vouches_for_nothing_that_is_there() {
        let (mut evidence, hashes) = ten();
        let mut previous = hashes[8];
        for id in 9..=11 {
            previous = add(&mut evidence, id, 850, previous);
        }
        vouch(&mut evidence, 11, &previous);
        assert_eq!(end_of(&evidence), (10, Some(hashes[10])));
        // One of which the log record is lost vouches for that there was one.
        vouch(&mut evidence, 11, &[9; 32]);
        assert_eq!(end_of(&evidence), (11, None));
        // At the end itself, the end is known better.
        let (mut evidence, hashes) = ten();
        vouch(&mut evidence, 10, &[9; 32]);
        assert_eq!(end_of(&evidence), (10, Some(hashes[10])));
    }

    #[test]
    fn ids_are_believed_as_far_beyond_what_is_known_as_may_be_lost_and_no_further() {
        for (beyond, is_believed) in [(0, true), (1, false)] {
            let (mut evidence, hashes) = ten();
            // The eleventh id that is known.
            let id = 11 + MOST_LOST + beyond;
            vouch(&mut evidence, id, &[9; 32]);
            let most = believable(&evidence);
            assert_eq!(most, if is_believed { id } else { 10 }, "{beyond}");
            assert_eq!(end_of(&evidence).0, most);
            let (mut evidence, _) = ten();
            let last = 10 + MOST_LOST + beyond;
            evidence.head = Some(Head {
                last,
                chain: hashes[10],
                ..History::default().head()
            });
            let expected = if is_believed { last } else { 10 };
            assert_eq!(end_of(&evidence).0, expected);
        }
    }

    #[test]
    fn of_two_ends_of_one_time_the_one_with_more_is_taken() {
        let (mut evidence, hashes) = ten();
        // Beside the last two, three of one commit, at the very time of the last.
        let mut previous = hashes[8];
        for id in 9..=11 {
            previous = add(&mut evidence, id, 1000, previous);
        }
        assert_eq!(end_of(&evidence), (11, Some(previous)));
    }

    #[test]
    fn where_the_next_is_lost_the_version_is_taken_that_continues_the_one_before() {
        let (mut evidence, hashes) = ten();
        evidence.log.remove(&6);
        // A later one that continues nothing, though it is like what comes after.
        add(&mut evidence, 5, 9_000, hashes[6]);
        let history = History::of(&evidence);
        assert_eq!(history.records[&5].at, 500);
        assert_eq!(history.last_gap, Some(6));
    }

    #[test]
    fn beside_tables_a_record_counts_that_is_in_them_or_that_another_was_written_after() {
        let (mut evidence, hashes) = ten();
        evidence.has_tables = true;
        let version = |evidence: &Evidence| evidence.log[&5][0].clone();
        let mut found = version(&evidence);
        assert!(!is_vouched(&evidence, 5, &found));
        found.is_in_table = true;
        assert!(is_vouched(&evidence, 5, &found));
        found.is_in_table = false;
        vouch(&mut evidence, 5, &[9; 32]);
        assert!(!is_vouched(&evidence, 5, &found));
        vouch(&mut evidence, 5, &hashes[5]);
        assert!(is_vouched(&evidence, 5, &found));
        evidence.has_tables = false;
        evidence.jobs.clear();
        assert!(is_vouched(&evidence, 5, &found));
    }
}
