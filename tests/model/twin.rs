//! The store as a list in memory: no index, no counts, every answer by looking at everything.

use std::collections::{BTreeMap, BTreeSet};

/// A change to the store, with picks that are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A save `ahead` iterations after the head, with these entry seeds.
    Save {
        job: u8,
        ahead: u8,
        state: u8,
        metric: u8,
        event: u8,
        tag: Option<u8>,
        pin: bool,
    },
    /// The head's iteration again: the same state, or another one.
    Again {
        job: u8,
        same: bool,
        metric: u8,
        event: u8,
        overwrite: bool,
    },
    /// A save that continues an earlier checkpoint.
    Continue {
        pick: u8,
        ahead: u8,
        state: u8,
    },
    /// An earlier checkpoint becomes the head.
    GoBack {
        pick: u8,
    },
    /// A job begins with a checkpoint of another.
    Fork {
        pick: u8,
        job: u8,
    },
    Delete {
        pick: u8,
        force: bool,
    },
    Undelete {
        pick: u8,
    },
    DeleteJob {
        job: u8,
    },
    RenameJob {
        job: u8,
        to: u8,
    },
    /// Retention: the newest so many, the best so many, those with a tag.
    Prune {
        job: u8,
        latest: u8,
        best: u8,
        tagged: bool,
    },
    Reclaim,
    Pin {
        pick: u8,
        pinned: bool,
    },
    Tag {
        pick: u8,
        tag: u8,
        move_it: bool,
    },
    Annotate {
        pick: u8,
        value: u8,
    },
    Declare {
        job: u8,
        larger: bool,
        change: bool,
    },
    Reopen,
    Compact,
    /// The process is killed: all that it wrote is there, and nothing is closed.
    Kill,
    /// The next operation's disk takes so many writes and syncs, and then no more until it has
    /// failed. It is repeated with the same handle, or with a fresh one.
    Fault {
        calls: u8,
        fresh: bool,
    },
    /// Some bytes of one entry are read.
    Load {
        pick: u8,
        entry: u8,
        from: u8,
        to: u8,
    },
    Verify {
        full: bool,
    },
    /// Somebody sets the clock.
    Clock {
        to: u8,
    },
}

/// Times that a clock may show, in milliseconds since 1970: among them the first and the last that
/// 64 bits of nanoseconds reach, and one before all others.
pub(crate) const TIMES: [i64; 6] = [
    0,
    1_790_000_000_000,
    1_790_003_600_000,
    1_789_999_999_999,
    9_223_372_036_854,
    -86_400_000,
];

/// What an operation is expected to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Nothing,
    Done,
    Saved(usize),
    Merged(usize),
    Refused,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a checkpoint has as many marks"
)]
pub(crate) struct TwinCheckpoint {
    pub(crate) job: usize,
    pub(crate) iteration: u64,
    pub(crate) saved_at: i64,
    pub(crate) parent: Option<usize>,
    pub(crate) state: u8,
    pub(crate) events: BTreeSet<String>,
    pub(crate) metric: Option<u8>,
    pub(crate) attribute: Option<u8>,
    pub(crate) tags: BTreeSet<u8>,
    pub(crate) pinned: bool,
    pub(crate) abandoned: bool,
    pub(crate) deleted: bool,
    pub(crate) reclaimed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct TwinJob {
    pub(crate) name: u8,
    pub(crate) larger: Option<bool>,
    pub(crate) removed: bool,
}

/// All checkpoints ever saved, by order of their saves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twin {
    pub(crate) checkpoints: Vec<TwinCheckpoint>,
    pub(crate) jobs: Vec<TwinJob>,
    pub(crate) now: i64,
    pub(crate) outcome: Outcome,
}

pub(crate) const EVENTS: [&str; 4] = ["periodic", "best(score)", "best(loss)", "interrupt"];

/// A metric's value by its code: equal ones, both zeros, infinite and not a number.
pub(crate) fn value(code: u8) -> f64 {
    match code % 9 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -0.0,
        3 => 0.0,
        4 => -1.5,
        5 => 1e300,
        other => f64::from(other) / 2.0,
    }
}

impl Twin {
    pub(crate) fn job_named(&self, name: u8) -> Option<usize> {
        self.jobs
            .iter()
            .position(|job| job.name == name && !job.removed)
    }

    fn open_job(&mut self, name: u8) -> usize {
        self.job_named(name).unwrap_or_else(|| {
            self.jobs.push(TwinJob {
                name,
                larger: None,
                removed: false,
            });
            self.jobs.len() - 1
        })
    }

    /// Live checkpoints of a job, oldest first.
    pub(crate) fn live(&self, job: usize, abandoned: bool) -> Vec<usize> {
        let of_line = |c: &TwinCheckpoint| {
            c.job == job && !c.deleted && !c.reclaimed && c.abandoned == abandoned
        };
        (0..self.checkpoints.len())
            .filter(|i| of_line(&self.checkpoints[*i]))
            .collect()
    }

    pub(crate) fn head(&self, job: usize) -> Option<usize> {
        self.live(job, false).pop()
    }

    /// Finite values of the current line, the best first; of equal ones the earliest.
    pub(crate) fn ranking(&self, job: usize) -> Option<Vec<usize>> {
        let larger = self.jobs[job].larger?;
        let score = |i: &usize| {
            self.checkpoints[*i]
                .metric
                .map(value)
                .filter(|v| v.is_finite())
        };
        let mut ranked: Vec<usize> = self.live(job, false);
        ranked.retain(|i| score(i).is_some());
        ranked.sort_by(|a, b| {
            let (x, y) = (score(a).unwrap() + 0.0, score(b).unwrap() + 0.0);
            let by_value = x.partial_cmp(&y).unwrap();
            (if larger { by_value.reverse() } else { by_value }).then(a.cmp(b))
        });
        Some(ranked)
    }

    /// What a pick chooses among.
    pub(crate) fn picked(&self, pick: u8, deleted: bool) -> Option<usize> {
        let fits = |c: &TwinCheckpoint| !c.reclaimed && c.deleted == deleted;
        let choice: Vec<usize> = (0..self.checkpoints.len())
            .filter(|i| fits(&self.checkpoints[*i]))
            .collect();
        (!choice.is_empty()).then(|| choice[usize::from(pick) % choice.len()])
    }

    fn descends(&self, from: usize, ancestor: usize) -> bool {
        let mut at = Some(from);
        while let Some(i) = at {
            if i == ancestor {
                return true;
            }
            at = self.checkpoints[i].parent;
        }
        false
    }

    fn fresh(&self, job: usize, iteration: u64, state: u8) -> TwinCheckpoint {
        TwinCheckpoint {
            job,
            iteration,
            saved_at: self.now,
            parent: self.head(job),
            state,
            events: BTreeSet::from(["manual".to_owned()]),
            metric: None,
            attribute: None,
            tags: BTreeSet::new(),
            pinned: false,
            abandoned: false,
            deleted: false,
            reclaimed: false,
        }
    }

    fn tag_holder(&self, job: usize, tag: u8) -> Option<usize> {
        let has = |c: &TwinCheckpoint| {
            c.job == job && !c.deleted && !c.reclaimed && c.tags.contains(&tag)
        };
        self.checkpoints.iter().position(has)
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let before = self.clone();
        self.outcome = self.run(op);
        if self.outcome == Outcome::Refused {
            *self = before;
            self.outcome = Outcome::Refused;
        }
    }

    fn run(&mut self, op: &Op) -> Outcome {
        match *op {
            Op::Save { .. } => self.save(op),
            Op::Again {
                job,
                same,
                metric,
                event,
                overwrite,
            } => self.again(job, same, metric, event, overwrite),
            Op::Continue { pick, ahead, state } => self.continue_from(pick, ahead, state),
            Op::GoBack { pick } => {
                let Some(base) = self.picked(pick, false) else {
                    return Outcome::Nothing;
                };
                self.go_back(base);
                Outcome::Done
            }
            Op::Fork { pick, job } => self.fork(pick, job),
            Op::Delete { pick, force } => self.delete(pick, force),
            Op::Undelete { pick } => self.undelete(pick),
            Op::DeleteJob { job } => self.delete_job(job),
            Op::RenameJob { job, to } => self.rename_job(job, to),
            Op::Prune {
                job,
                latest,
                best,
                tagged,
            } => self.prune(job, latest, best, tagged),
            Op::Reclaim => {
                for checkpoint in self.checkpoints.iter_mut().filter(|c| c.deleted) {
                    checkpoint.reclaimed = true;
                }
                Outcome::Done
            }
            Op::Pin { pick, pinned } => {
                let Some(i) = self.picked(pick, false) else {
                    return Outcome::Nothing;
                };
                self.checkpoints[i].pinned = pinned;
                Outcome::Done
            }
            Op::Tag { pick, tag, move_it } => self.tag(pick, tag, move_it),
            Op::Annotate { pick, value } => self.annotate(pick, value),
            Op::Declare {
                job,
                larger,
                change,
            } => self.declare(job, larger, change),
            Op::Clock { to } => {
                self.now = TIMES[usize::from(to)];
                Outcome::Done
            }
            Op::Load { pick, .. } if self.picked(pick, false).is_none() => Outcome::Nothing,
            Op::Reopen
            | Op::Compact
            | Op::Kill
            | Op::Fault { .. }
            | Op::Load { .. }
            | Op::Verify { .. } => Outcome::Done,
        }
    }

    fn save(&mut self, op: &Op) -> Outcome {
        let &Op::Save {
            job,
            ahead,
            state,
            metric,
            event,
            tag,
            pin,
        } = op
        else {
            return Outcome::Nothing;
        };
        let job = self.open_job(job);
        let base = self
            .head(job)
            .map_or(0, |head| self.checkpoints[head].iteration + 1);
        let mut new = self.fresh(job, base + u64::from(ahead), state);
        new.metric = Some(metric);
        new.events = BTreeSet::from([EVENTS[usize::from(event) % 4].to_owned()]);
        new.pinned = pin;
        if let Some(tag) = tag {
            if self.tag_holder(job, tag).is_some() {
                return Outcome::Refused;
            }
            new.tags.insert(tag);
        }
        self.push(new)
    }

    fn delete(&mut self, pick: u8, force: bool) -> Outcome {
        let Some(i) = self.picked(pick, false) else {
            return Outcome::Nothing;
        };
        let is_head = self.head(self.checkpoints[i].job) == Some(i);
        if self.checkpoints[i].pinned || (is_head && !force) {
            return Outcome::Refused;
        }
        self.checkpoints[i].deleted = true;
        Outcome::Done
    }

    fn delete_job(&mut self, job: u8) -> Outcome {
        let Some(job) = self.job_named(job) else {
            return Outcome::Refused;
        };
        let all = [self.live(job, false), self.live(job, true)].concat();
        if all.iter().any(|i| self.checkpoints[*i].pinned) {
            return Outcome::Refused;
        }
        for i in all {
            self.checkpoints[i].deleted = true;
        }
        self.jobs[job].removed = true;
        Outcome::Done
    }

    fn rename_job(&mut self, name: u8, to: u8) -> Outcome {
        let Some(job) = self.job_named(name) else {
            return Outcome::Refused;
        };
        if name != to && self.job_named(to).is_some() {
            return Outcome::Refused;
        }
        self.jobs[job].name = to;
        Outcome::Done
    }

    fn prune(&mut self, job: u8, latest: u8, best: u8, tagged: bool) -> Outcome {
        let Some(job) = self.job_named(job) else {
            return Outcome::Refused;
        };
        let line = self.live(job, false);
        let mut kept: BTreeSet<usize> = line.iter().rev().take(latest.into()).copied().collect();
        kept.extend(self.head(job));
        if best > 0 {
            let Some(ranking) = self.ranking(job) else {
                return Outcome::Refused;
            };
            kept.extend(ranking.into_iter().take(best.into()));
        }
        for i in [line, self.live(job, true)].concat() {
            let checkpoint = &mut self.checkpoints[i];
            let is_marked = checkpoint.pinned || (tagged && !checkpoint.tags.is_empty());
            checkpoint.deleted = !is_marked && !kept.contains(&i);
        }
        Outcome::Done
    }

    fn annotate(&mut self, pick: u8, value: u8) -> Outcome {
        let Some(i) = self.picked(pick, false) else {
            return Outcome::Nothing;
        };
        let attribute = &mut self.checkpoints[i].attribute;
        if attribute.is_some_and(|known| known != value) {
            return Outcome::Refused;
        }
        *attribute = Some(value);
        Outcome::Done
    }

    fn declare(&mut self, job: u8, larger: bool, change: bool) -> Outcome {
        let known = self.job_named(job).and_then(|job| self.jobs[job].larger);
        if known.is_some_and(|known| known != larger) && !change {
            return Outcome::Refused;
        }
        let job = self.open_job(job);
        self.jobs[job].larger = Some(larger);
        Outcome::Done
    }

    fn push(&mut self, new: TwinCheckpoint) -> Outcome {
        self.checkpoints.push(new);
        Outcome::Saved(self.checkpoints.len() - 1)
    }

    fn again(&mut self, job: u8, same: bool, metric: u8, event: u8, overwrite: bool) -> Outcome {
        let Some(job) = self.job_named(job) else {
            return Outcome::Nothing;
        };
        let Some(head) = self.head(job) else {
            return Outcome::Nothing;
        };
        let old = self.checkpoints[head].clone();
        let event = EVENTS[usize::from(event) % 4].to_owned();
        if same {
            let equal = |known: u8| {
                let (a, b) = (value(known) + 0.0, value(metric) + 0.0);
                a.total_cmp(&b).is_eq()
            };
            if old.metric.is_some_and(|known| !equal(known)) {
                return Outcome::Refused;
            }
            let now = &mut self.checkpoints[head];
            now.metric = now.metric.or(Some(metric));
            now.events.insert(event);
            return Outcome::Merged(head);
        }
        let continues = |c: &TwinCheckpoint| c.parent == Some(head) && !c.deleted && !c.reclaimed;
        if !overwrite || self.checkpoints.iter().any(continues) {
            return Outcome::Refused;
        }
        let mut new = self.fresh(job, old.iteration, old.state.wrapping_add(1));
        new.parent = old.parent;
        new.metric = Some(metric);
        new.events = BTreeSet::from([event]);
        new.tags.clone_from(&old.tags);
        new.pinned = old.pinned;
        let old = &mut self.checkpoints[head];
        old.deleted = true;
        old.pinned = false;
        old.tags.clear();
        self.push(new)
    }

    fn continue_from(&mut self, pick: u8, ahead: u8, state: u8) -> Outcome {
        let Some(base) = self.picked(pick, false) else {
            return Outcome::Nothing;
        };
        let job = self.checkpoints[base].job;
        let iteration = self.checkpoints[base].iteration + 1 + u64::from(ahead);
        // The very save that is the head: it was repeated.
        if let Some(head) = self.head(job) {
            let known = &self.checkpoints[head];
            if (known.parent, known.iteration, known.state) == (Some(base), iteration, state) {
                return Outcome::Merged(head);
            }
        }
        self.go_back(base);
        let mut new = self.fresh(job, iteration, state);
        new.parent = Some(base);
        self.push(new)
    }

    fn go_back(&mut self, base: usize) {
        let job = self.checkpoints[base].job;
        let is_of_job = |i: &usize| self.checkpoints[*i].job == job;
        let of_job: Vec<usize> = (0..self.checkpoints.len()).filter(is_of_job).collect();
        for i in of_job {
            self.checkpoints[i].abandoned = !self.descends(base, i);
        }
    }

    fn fork(&mut self, pick: u8, job: u8) -> Outcome {
        let Some(source) = self.picked(pick, false) else {
            return Outcome::Nothing;
        };
        let source = self.checkpoints[source].clone();
        let job = self.open_job(job);
        if !self.live(job, false).is_empty() || !self.live(job, true).is_empty() {
            return Outcome::Refused;
        }
        self.jobs[job].larger = self.jobs[source.job].larger.or(self.jobs[job].larger);
        let mut new = self.fresh(job, source.iteration, source.state);
        new.events = BTreeSet::from(["custom(fork)".to_owned()]);
        new.metric = source.metric;
        new.attribute = source.attribute;
        self.push(new)
    }

    fn undelete(&mut self, pick: u8) -> Outcome {
        let Some(i) = self.picked(pick, true) else {
            return Outcome::Nothing;
        };
        let job = self.checkpoints[i].job;
        if self.jobs[job].removed {
            if self.job_named(self.jobs[job].name).is_some() {
                return Outcome::Refused;
            }
            self.jobs[job].removed = false;
        }
        let was_left = self.checkpoints[i].abandoned;
        let abandoned = self.head(job).map_or(was_left, |head| {
            (i > head && was_left) || !self.descends(head.max(i), head.min(i))
        });
        let iteration = self.checkpoints[i].iteration;
        let taken = |other: &usize| self.checkpoints[*other].iteration == iteration;
        if !abandoned && self.live(job, false).iter().any(taken) {
            return Outcome::Refused;
        }
        self.checkpoints[i].abandoned = abandoned;
        let tags = self.checkpoints[i].tags.clone();
        let free: BTreeSet<u8> = tags
            .into_iter()
            .filter(|tag| self.tag_holder(job, *tag).is_none())
            .collect();
        self.checkpoints[i].tags = free;
        self.checkpoints[i].deleted = false;
        Outcome::Done
    }

    fn tag(&mut self, pick: u8, tag: u8, move_it: bool) -> Outcome {
        let Some(i) = self.picked(pick, false) else {
            return Outcome::Nothing;
        };
        match self.tag_holder(self.checkpoints[i].job, tag) {
            Some(holder) if holder != i && !move_it => return Outcome::Refused,
            Some(holder) => {
                self.checkpoints[holder].tags.remove(&tag);
            }
            None => {}
        }
        self.checkpoints[i].tags.insert(tag);
        Outcome::Done
    }

    /// What each live or deleted checkpoint's job counts, by name: current, abandoned, deleted.
    pub(crate) fn counts(&self) -> BTreeMap<u8, (u64, u64, u64)> {
        let mut counts = BTreeMap::new();
        for (number, job) in self.jobs.iter().enumerate().filter(|(_, job)| !job.removed) {
            let deleted = |c: &&TwinCheckpoint| c.job == number && c.deleted && !c.reclaimed;
            let sums = (
                self.live(number, false).len() as u64,
                self.live(number, true).len() as u64,
                self.checkpoints.iter().filter(deleted).count() as u64,
            );
            counts.insert(job.name, sums);
        }
        counts
    }
}
