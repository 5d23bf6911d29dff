//! Listing: pages of index rows, as an iterator that holds nothing open between them.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, RangeInclusive};

use super::index_rows::span;
use super::query::listed;
use crate::error::{Error, Result};
use crate::event::is_family;
use crate::format::{Action, CheckpointRecord, IndexKey, IndexKind};
use crate::storage::{Records, Rows};
use crate::store::{Checkpoint, Store};

/// Rows that are read at a time.
const PAGE: usize = 256;

/// Which checkpoints to list. `Default` is all on the current lines of all jobs.
#[derive(Clone, Debug)]
pub struct Filter {
    /// A job's name, or a pattern of names with `*` and `?`.
    pub job: Option<String>,
    /// With any of these events: whole ones, or families such as `best`.
    pub events: Vec<String>,
    /// Of these iterations.
    pub iterations: RangeInclusive<u64>,
    /// Those of abandoned lines too.
    pub abandoned: bool,
    /// Those that are deleted and can still come back, and no others.
    pub deleted: bool,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            job: None,
            events: Vec::new(),
            iterations: 0..=u64::MAX,
            abandoned: false,
            deleted: false,
            limit: None,
        }
    }
}

impl Filter {
    fn accepts(&self, record: &CheckpointRecord) -> bool {
        self.iterations.contains(&record.saved.iteration)
            && (self.events.is_empty()
                || record.events().iter().any(|event| {
                    self.events
                        .iter()
                        .any(|wanted| wanted == event || is_family(wanted, event))
                }))
    }

    fn is_complete(&self) -> bool {
        self.events.is_empty() && self.iterations == (0..=u64::MAX) && self.limit.is_none()
    }
}

/// Whether a name fits a pattern of `*` (any text) and `?` (any character).
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // The set of places in the pattern that the text so far can lead to.
    let spread = |mut at: Vec<bool>| {
        for place in 0..pattern.len() {
            if at[place] && pattern[place] == '*' {
                at[place + 1] = true;
            }
        }
        at
    };
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    at = spread(at);
    for c in name {
        let mut next = vec![false; pattern.len() + 1];
        for place in (0..pattern.len()).filter(|place| at[*place]) {
            match pattern[place] {
                '*' => next[place] = true,
                p if p == '?' || p == c => next[place + 1] = true,
                _ => {}
            }
        }
        at = spread(next);
    }
    at[pattern.len()]
}

/// Checkpoints, the newest first. Between two of them nothing is held open; what is saved or
/// deleted meanwhile may or may not show.
#[derive(Debug)]
pub struct Checkpoints {
    store: Store,
    filter: Filter,
    jobs: HashMap<u32, String>,
    scans: VecDeque<Scan>,
    page: VecDeque<Result<Checkpoint>>,
    given: usize,
    census: Option<Census>,
}

/// A checkpoint's id, and its record or what is wrong with it.
type Row = (u64, Result<CheckpointRecord>);

/// Rows that are still to be read: from `upper` downwards.
#[derive(Clone, Copy, Debug)]
enum Scan {
    Index { lower: IndexKey, upper: IndexKey },
    Records { upper: u64 },
}

/// What a complete listing must add up to, if nothing changes meanwhile.
#[derive(Clone, Copy, Debug)]
struct Census {
    log: u64,
    expected: u64,
    seen: u64,
    damaged: bool,
}

impl Store {
    /// Lists checkpoints, the newest first.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`]; the iterator reports the same as it goes.
    pub fn list(&self, filter: &Filter) -> Result<Checkpoints> {
        self.read(|rows| plan(self, rows, filter))
    }
}

fn plan(store: &Store, rows: &dyn Rows, filter: &Filter) -> Result<Checkpoints> {
    let records = Records(rows);
    let selected: Vec<_> = match &filter.job {
        Some(pattern) if !pattern.contains(['*', '?']) && !filter.deleted => {
            records.job_named(pattern)?.into_iter().collect()
        }
        pattern => {
            let chosen = |name: &str| pattern.as_ref().is_none_or(|p| fits(p, name));
            let all = records.counted_jobs()?.into_iter();
            all.filter(|(_, job)| (filter.deleted || !job.removed) && chosen(&job.name))
                .collect()
        }
    };
    let mut scans = VecDeque::new();
    match selected.as_slice() {
        [] => {}
        // The index has a job's current line in order; all else is sorted out of the records.
        [(number, _)] if !filter.abandoned && !filter.deleted => {
            scans.extend(line_scan(records, *number, filter)?);
        }
        _ => scans.push_back(Scan::Records { upper: u64::MAX }),
    }
    let of_job = |job: &crate::format::JobRecord| match (filter.deleted, filter.abandoned) {
        (true, _) => job.deleted,
        (false, true) => job.current + job.abandoned,
        (false, false) => job.current,
    };
    let census = Census {
        log: records.head()?.last,
        expected: selected.iter().map(|(_, job)| of_job(job)).sum(),
        seen: 0,
        damaged: false,
    };
    Ok(Checkpoints {
        store: store.clone(),
        filter: filter.clone(),
        jobs: selected
            .into_iter()
            .map(|(number, job)| (number, job.name))
            .collect(),
        scans,
        page: VecDeque::new(),
        given: 0,
        census: filter.is_complete().then_some(census),
    })
}

/// The narrowest scan of a job's current line that has what the filter asks for: iterations rise
/// along a line, so that each of these is in commit order. None if there can't be any.
fn line_scan(records: Records<'_>, job: u32, filter: &Filter) -> Result<Option<Scan>> {
    let (kind, name) = match filter.events.as_slice() {
        [event] => match records.name_number(event)? {
            Some(name) => (IndexKind::Event, name),
            None => return Ok(None),
        },
        _ => (IndexKind::Iteration, 0),
    };
    let (mut lower, mut upper) = span(kind, job, name);
    (lower.order, upper.order) = (*filter.iterations.start(), *filter.iterations.end());
    Ok(Some(Scan::Index { lower, upper }))
}

impl Checkpoints {
    /// Rows to read next: no more than are asked for, where no filter can pass some over.
    fn page_len(&self) -> usize {
        let left = self
            .filter
            .limit
            .map_or(PAGE, |limit| limit.saturating_sub(self.given));
        if self.filter.events.len() > 1 {
            PAGE
        } else {
            left.clamp(1, PAGE)
        }
    }

    /// Reads the next page; false when there is none.
    fn advance(&mut self) -> Result<bool> {
        let Some(scan) = self.scans.pop_front() else {
            return Ok(false);
        };
        let store = self.store.clone();
        let (rest, found) = store.read(|rows| match scan {
            Scan::Index { lower, upper } => self.index_page(rows, lower, upper),
            Scan::Records { upper } => self.record_page(rows, upper),
        })?;
        if let Some(rest) = rest {
            self.scans.push_front(rest);
        }
        if let Some(census) = &mut self.census {
            census.seen += found.iter().filter(|(_, record)| record.is_ok()).count() as u64;
            census.damaged |= found.iter().any(|(_, record)| record.is_err());
        }
        for (id, record) in found {
            match record {
                Ok(record) if self.filter.accepts(&record) => {
                    let job = self.jobs.get(&record.saved.job).cloned();
                    let job = job.unwrap_or_default();
                    let checkpoint = Checkpoint::new(store.clone(), id, record, job);
                    self.page.push_back(Ok(checkpoint));
                }
                Ok(_) => {}
                Err(error) => self.page.push_back(Err(error)),
            }
        }
        Ok(true)
    }

    fn index_page(
        &self,
        rows: &dyn Rows,
        lower: IndexKey,
        upper: IndexKey,
    ) -> Result<(Option<Scan>, Vec<Row>)> {
        let most = self.page_len();
        let mut keys = Vec::new();
        rows.index((lower, upper), true, &mut |key| {
            keys.push(key);
            Ok(if keys.len() == most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        let rest = keys.last().filter(|_| keys.len() == most).and_then(|last| {
            let order = last.order.checked_sub(1)?;
            let upper = IndexKey {
                order,
                id: u64::MAX,
                ..*last
            };
            Some(Scan::Index { lower, upper })
        });
        let found = keys.iter().map(|key| match listed(rows, key.job, key.id) {
            Ok((id, record)) => Ok((id, Ok(record))),
            // Damage is local: the others are listed.
            Err(error @ Error::Corrupt { .. }) => Ok((key.id, Err(error))),
            Err(error) => Err(error),
        });
        Ok((rest, found.collect::<Result<_>>()?))
    }

    fn record_page(&self, rows: &dyn Rows, upper: u64) -> Result<(Option<Scan>, Vec<Row>)> {
        let mut found = Vec::new();
        let mut last = None;
        let mut count = 0;
        Records(rows).checkpoints((0, upper), true, &mut |id, record| {
            let wanted = match &record {
                Ok(record) => {
                    self.jobs.contains_key(&record.saved.job)
                        && record.later.deleted.is_some() == self.filter.deleted
                        && (self.filter.abandoned || self.filter.deleted || !record.later.abandoned)
                }
                Err(_) => self.concerns(rows, id)?,
            };
            if wanted {
                found.push((id, record));
            }
            count += 1;
            last = id.checked_sub(1);
            Ok(if count == PAGE {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        let rest = last
            .filter(|_| count == PAGE)
            .map(|upper| Scan::Records { upper });
        Ok((rest, found))
    }

    /// Whether a checkpoint whose record is damaged is of a job that is listed, as the log has it.
    fn concerns(&self, rows: &dyn Rows, id: u64) -> Result<bool> {
        Ok(match Records(rows).log(id)?.map(|record| record.action) {
            Some(Action::Save { job, .. }) => self.jobs.contains_key(&job),
            _ => true,
        })
    }

    /// At the end of a complete listing: nothing may be missing, nothing too many.
    fn check_census(&mut self) -> Result<()> {
        let Some(census) = self.census.take() else {
            return Ok(());
        };
        let log = self.store.read(|rows| Ok(Records(rows).head()?.last))?;
        if log == census.log && !census.damaged && census.seen != census.expected {
            let why = format!(
                "{} checkpoints are listed, the records count {}",
                census.seen, census.expected
            );
            return Err(Error::corrupt("the list of checkpoints", why));
        }
        Ok(())
    }
}

impl Iterator for Checkpoints {
    type Item = Result<Checkpoint>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.filter.limit.is_some_and(|limit| self.given >= limit) {
            return None;
        }
        while self.page.is_empty() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return self.check_census().err().map(Err),
                Err(error) => {
                    self.scans.clear();
                    self.census = None;
                    return Some(Err(error));
                }
            }
        }
        self.given += 1;
        self.page.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("phase2/*", "phase2/NQ", true),
            ("phase2/*", "phase1/NQ", false),
            ("*", "", true),
            ("?Q", "NQ", true),
            ("?Q", "Q", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "a-b-c", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
