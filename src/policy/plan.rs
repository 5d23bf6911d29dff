//! Retention: which checkpoints of a job stay, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::{Candidate, Situation};
use super::keep::{Keep, Reason, is_meant};
use super::rank::ranked;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::id::CheckpointId;
use crate::metric::Direction;
use crate::name::printable;

/// What to keep of a job: the union of what the rules keep. The head, the last checkpoint known to
/// be good and what is pinned are always kept.
///
/// With a byte budget, what no rule keeps stays as long as there is room for it; without one it is
/// dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retention {
    rules: Vec<Keep>,
    max_bytes: Option<u64>,
}

/// What becomes of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason to keep it; or, if it is dropped, why no rule kept it.
    pub reasons: Vec<Reason>,
}

/// A decision on every checkpoint of a job.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// One for each, in the order of ids.
    pub verdicts: Vec<Verdict>,
    /// Bytes of those that are kept by a rule.
    pub protected_bytes: u64,
    /// By how much these alone are over the budget; nothing of them is dropped for it.
    pub over_budget: u64,
}

impl Plan {
    /// The ids that are dropped, the oldest first.
    pub fn dropped(&self) -> impl Iterator<Item = CheckpointId> {
        let dropped = self.verdicts.iter().filter(|verdict| !verdict.keep);
        dropped.map(|verdict| verdict.id)
    }

    /// The ids that are kept, the oldest first.
    pub fn kept(&self) -> impl Iterator<Item = CheckpointId> {
        let kept = self.verdicts.iter().filter(|verdict| verdict.keep);
        kept.map(|verdict| verdict.id)
    }
}

impl Retention {
    /// These rules, joined by or.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a rule that makes no sense.
    pub fn new(rules: impl IntoIterator<Item = Keep>) -> Result<Self> {
        let rules: Vec<Keep> = rules.into_iter().collect();
        rules.iter().try_for_each(Keep::check)?;
        Ok(Self {
            rules,
            max_bytes: None,
        })
    }

    /// With a budget for all of the job's checkpoints together, counted by the bytes that were new
    /// when each was saved.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Whether there is a byte budget.
    pub const fn has_budget(&self) -> bool {
        self.max_bytes.is_some()
    }

    /// The rules.
    pub fn rules(&self) -> &[Keep] {
        &self.rules
    }

    /// Decides on every candidate, in one pass and a sort for each metric. Without a budget,
    /// another rule never drops more; with one, it may: what it protects takes room from the
    /// others.
    ///
    /// # Errors
    /// [`Error::Undeclared`] when a rule ranks by a metric whose direction nobody declared.
    pub fn plan(
        &self,
        job: &str,
        situation: &Situation,
        candidates: &[Candidate<'_>],
    ) -> Result<Plan> {
        let mut candidates = candidates.to_vec();
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        candidates.dedup_by_key(|candidate| candidate.id);
        let mut table = Table::new(&candidates);
        table.always(situation);
        for rule in &self.rules {
            table.apply(rule, job, situation)?;
        }
        Ok(table.decide(self.max_bytes))
    }
}

/// The reasons that have been found so far.
struct Table<'a> {
    candidates: &'a [Candidate<'a>],
    keeps: Vec<Vec<Reason>>,
    drops: Vec<Vec<Reason>>,
}

impl<'a> Table<'a> {
    fn new(candidates: &'a [Candidate<'a>]) -> Self {
        Self {
            candidates,
            keeps: vec![Vec::new(); candidates.len()],
            drops: vec![Vec::new(); candidates.len()],
        }
    }

    fn note(&mut self, at: usize, reason: Reason) {
        let table = if reason.keeps() {
            &mut self.keeps
        } else {
            &mut self.drops
        };
        if let Some(reasons) = table.get_mut(at) {
            reasons.push(reason);
        }
    }

    /// Notes a reason for every candidate that has one.
    fn note_each(&mut self, reason: impl Fn(&Candidate<'_>) -> Option<Reason>) {
        let candidates = self.candidates;
        for (at, candidate) in candidates.iter().enumerate() {
            if let Some(reason) = reason(candidate) {
                self.note(at, reason);
            }
        }
    }

    fn always(&mut self, situation: &Situation) {
        self.note_each(|c| (situation.head == Some(c.id)).then_some(Reason::Head));
        self.note_each(|c| (situation.good == Some(c.id)).then_some(Reason::Good));
        self.note_each(|c| c.pinned.then_some(Reason::Pinned));
        self.note_each(|c| c.abandoned.then_some(Reason::Abandoned));
    }

    fn apply(&mut self, rule: &Keep, job: &str, situation: &Situation) -> Result<()> {
        match rule {
            Keep::Latest(count) => {
                let newest = self.of_line().rev().collect();
                let of = |place| Reason::Latest(place, *count);
                self.first(newest, *count, of, &Reason::NotLatest(*count));
            }
            Keep::LatestPeriodic(count) => self.latest_periodic(*count),
            Keep::Best {
                metric,
                count,
                direction,
            } => {
                let declared = situation.directions.get(metric).copied();
                let direction = direction.or(declared).ok_or_else(|| Error::Undeclared {
                    job: printable(job),
                    metric: printable(metric),
                })?;
                self.best(metric, *count, direction);
            }
            Keep::Every(every) => self.note_each(|c| {
                let is_multiple = c.iteration.is_multiple_of(every.get()) && !c.abandoned;
                is_multiple.then(|| Reason::Every(every.get()))
            }),
            Keep::Nearest(every) => self.nearest(every.get()),
            Keep::Within(time) => {
                let most = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
                self.note_each(|c| {
                    let age = situation.now.millis_since(c.saved_at);
                    (age <= most).then_some(Reason::Within(*time))
                });
            }
            Keep::Event(event) => {
                let event: Arc<str> = event.as_str().into();
                self.note_each(|c| {
                    let is_meant = c.events.iter().any(|found| is_meant(&event, found));
                    is_meant.then(|| Reason::Event(Arc::clone(&event)))
                });
            }
            Keep::Interrupts => self.note_each(|c| {
                let is_open = situation.completed.is_none_or(|completed| c.id > completed);
                let is_interrupt = c.events.contains(&Event::Interrupt);
                (is_open && is_interrupt).then_some(Reason::Interrupt)
            }),
            Keep::Tag(tag) => {
                self.note_each(|c| c.tags.contains(tag).then(|| Reason::Tag(tag.clone())));
            }
            Keep::Tagged => self.note_each(|c| Some(Reason::Tag(c.tags.first()?.clone()))),
        }
        Ok(())
    }

    /// Those on the job's line, the oldest first.
    fn of_line(&self) -> impl DoubleEndedIterator<Item = usize> + use<'a> {
        let candidates = self.candidates.iter().enumerate();
        candidates
            .filter(|(_, candidate)| !candidate.abandoned)
            .map(|(at, _)| at)
    }

    /// Keeps the first so many of these, and says of the others that they are not.
    fn first(
        &mut self,
        ordered: Vec<usize>,
        count: u64,
        keep: impl Fn(u64) -> Reason,
        drop: &Reason,
    ) {
        for (at, place) in ordered.into_iter().zip(1..) {
            let reason = if place <= count {
                keep(place)
            } else {
                drop.clone()
            };
            self.note(at, reason);
        }
    }

    fn latest_periodic(&mut self, count: u64) {
        let candidates = self.candidates;
        let is_periodic = |at: &usize| candidates[*at].events.contains(&Event::Periodic);
        let mut periodic: Vec<usize> = self.of_line().filter(is_periodic).collect();
        periodic.sort_by_key(|at| {
            let candidate = &candidates[*at];
            std::cmp::Reverse((candidate.iteration, candidate.id))
        });
        let of = |place| Reason::LatestPeriodic(place, count);
        self.first(periodic, count, of, &Reason::NotLatest(count));
    }

    fn best(&mut self, metric: &str, count: u64, direction: Direction) {
        let name: Arc<str> = metric.into();
        let mut rank = vec![None; self.candidates.len()];
        for (at, place) in ranked(self.candidates, metric, direction)
            .into_iter()
            .zip(1_u64..)
        {
            rank[at] = Some(place);
        }
        for at in self.of_line() {
            let name = Arc::clone(&name);
            self.note(
                at,
                match rank[at] {
                    Some(place) if place <= count => Reason::Best(name, place, count),
                    place => Reason::NotBest(name, place),
                },
            );
        }
    }

    fn nearest(&mut self, every: u64) {
        // By multiple: the distance to it, and who has that.
        let mut nearest: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        for at in self.of_line() {
            let iteration = self.candidates[at].iteration;
            let above = iteration % every;
            let multiple = if above <= every / 2 {
                iteration - above
            } else {
                iteration.saturating_add(every - above)
            };
            let distance = iteration.abs_diff(multiple);
            let best = nearest.entry(multiple).or_insert((distance, at));
            if distance < best.0 {
                *best = (distance, at);
            }
        }
        for (multiple, (distance, at)) in nearest {
            // Every early one is near 0; that says nothing for it.
            if multiple > 0 || distance == 0 {
                self.note(at, Reason::Nearest(multiple));
            }
        }
    }

    fn decide(mut self, max_bytes: Option<u64>) -> Plan {
        let bytes = |at: &usize| self.candidates[*at].bytes;
        let (kept, free): (Vec<usize>, Vec<usize>) =
            (0..self.candidates.len()).partition(|at| !self.keeps[*at].is_empty());
        let protected_bytes = kept.iter().map(bytes).fold(0, u64::saturating_add);
        let mut over_budget = 0;
        if let Some(budget) = max_bytes {
            over_budget = protected_bytes.saturating_sub(budget);
            self.fill(budget.saturating_sub(protected_bytes), free);
        }
        let verdicts = self
            .candidates
            .iter()
            .zip(self.keeps.into_iter().zip(self.drops));
        let verdict = |(candidate, (keeps, mut drops)): (&Candidate<'_>, (Vec<_>, Vec<_>))| {
            let keep = !keeps.is_empty();
            if drops.is_empty() {
                drops.push(Reason::Unprotected);
            }
            Verdict {
                id: candidate.id,
                keep,
                reasons: if keep { keeps } else { drops },
            }
        };
        Plan {
            verdicts: verdicts.map(verdict).collect(),
            protected_bytes,
            over_budget,
        }
    }

    /// Keeps of what nothing protects what there is room for, the most valuable first: the newest
    /// of the job's line, then the newest of abandoned ones. The first that does not fit ends it:
    /// an older one is not worth more for being small.
    fn fill(&mut self, mut room: u64, mut free: Vec<usize>) {
        free.sort_by_key(|at| {
            let candidate = &self.candidates[*at];
            (candidate.abandoned, std::cmp::Reverse(candidate.id))
        });
        let mut is_full = false;
        for at in free {
            match room.checked_sub(self.candidates[at].bytes) {
                Some(left) if !is_full => {
                    room = left;
                    self.note(at, Reason::Room);
                }
                _ => {
                    is_full = true;
                    self.note(at, Reason::OverBudget);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
