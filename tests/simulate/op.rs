//! One change to the store: what it does to the store, and what it does to the model.

use std::collections::BTreeSet;

use ckptdb::policy::{Keep, Retention};
use ckptdb::{CheckpointId, Compression, DType, Direction, Result, Store, TensorSlice};

use crate::model::{Known, LOSS, Model, Recipe, STEPS, canonical};

/// What a save says beside its entries.
#[derive(Clone, Debug)]
pub(crate) struct SaveOp {
    pub(crate) job: &'static str,
    pub(crate) iteration: u64,
    pub(crate) recipe: Recipe,
    pub(crate) loss: Option<f64>,
    pub(crate) event: &'static str,
    pub(crate) tag: Option<&'static str>,
    pub(crate) pin: bool,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    /// In the place of the head.
    Overwrite,
    /// The head's state again.
    Merge,
    /// Continues an earlier one.
    RollBack(u64),
}

/// A change. A new capability of the store is one more variant: with a kind, what it does to the
/// store, and what it does to the model.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Save(SaveOp),
    Delete {
        id: u64,
        force: bool,
    },
    Undelete {
        id: u64,
    },
    DeleteJob {
        job: &'static str,
    },
    /// Keeps the newest so many, and what is marked.
    Prune {
        job: &'static str,
        latest: u64,
    },
    /// All that is deleted, or what the undo window no longer keeps.
    Reclaim {
        now: bool,
    },
    Pin {
        id: u64,
        pinned: bool,
    },
    Tag {
        id: u64,
        tag: &'static str,
    },
    Untag {
        id: u64,
        tag: &'static str,
    },
    Annotate {
        id: u64,
        note: u8,
    },
    Declare {
        job: &'static str,
        larger: bool,
    },
    /// The head moves back, without a save.
    GoBack {
        id: u64,
    },
    /// Another job begins with it.
    Fork {
        id: u64,
        job: &'static str,
    },
    /// So many points of telemetry, from an iteration on.
    Log {
        job: &'static str,
        first: u64,
        count: u16,
    },
    Compact,
    /// Everything is encoded anew, with the most effort.
    Recompress,
    Reopen,
}

/// Kinds of operations, in the order of the tables.
pub(crate) const KINDS: &[&str] = &[
    "save inline",
    "save packs",
    "save shared",
    "save large",
    "overwrite",
    "merge",
    "rollback",
    "go back",
    "fork",
    "log",
    "delete",
    "undelete",
    "delete_job",
    "prune",
    "reclaim now",
    "reclaim window",
    "pin",
    "tag",
    "untag",
    "annotate",
    "declare",
    "compact",
    "recompress",
    "reopen",
];

/// How long a deleted checkpoint can come back, in milliseconds.
pub(crate) const WINDOW: i64 = 3_600_000;

impl Op {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Save(save) => match (save.how, save.recipe) {
                (How::Overwrite, _) => "overwrite",
                (How::Merge, _) => "merge",
                (How::RollBack(_), _) => "rollback",
                (How::Plain, Recipe::Tiny(_)) => "save inline",
                (How::Plain, Recipe::Packs(_)) => "save packs",
                (How::Plain, Recipe::Shared(_)) => "save shared",
                (How::Plain, Recipe::Large(_)) => "save large",
            },
            Self::Delete { .. } => "delete",
            Self::Undelete { .. } => "undelete",
            Self::DeleteJob { .. } => "delete_job",
            Self::Prune { .. } => "prune",
            Self::Reclaim { now: true } => "reclaim now",
            Self::Reclaim { now: false } => "reclaim window",
            Self::Pin { .. } => "pin",
            Self::Tag { .. } => "tag",
            Self::Untag { .. } => "untag",
            Self::Annotate { .. } => "annotate",
            Self::Declare { .. } => "declare",
            Self::GoBack { .. } => "go back",
            Self::Fork { .. } => "fork",
            Self::Log { .. } => "log",
            Self::Compact => "compact",
            Self::Recompress => "recompress",
            Self::Reopen => "reopen",
        }
    }

    /// Does it. A save returns the checkpoint's id, and whether it was merged.
    pub(crate) fn run(&self, store: &Store) -> Result<Option<(u64, bool)>> {
        let found = |id: u64| store.resolve(&CheckpointId::new(id).to_string());
        match self {
            Self::Save(save) => return save.run(store).map(Some),
            Self::Delete { id, force } => store.delete(CheckpointId::new(*id), *force)?,
            Self::Undelete { id } => drop(store.undelete(CheckpointId::new(*id))?),
            Self::DeleteJob { job } => drop(store.delete_job(job)?),
            Self::Prune { job, latest } => {
                let retention = Retention::new([Keep::Latest(*latest), Keep::Tagged])?;
                store.job(job)?.prune(&retention)?;
            }
            Self::Reclaim { now } => drop(store.reclaim(*now)?),
            Self::Pin { id, pinned } => found(*id)?.set_pinned(*pinned)?,
            Self::Tag { id, tag } => found(*id)?.set_tag(tag, true)?,
            Self::Untag { id, tag } => found(*id)?.remove_tag(tag)?,
            Self::Annotate { id, note } => found(*id)?.annotate("note", &(*note).into())?,
            Self::Declare { job, larger } => {
                let direction = if *larger {
                    Direction::Max
                } else {
                    Direction::Min
                };
                store.job(job)?.redirect_metric(LOSS, direction)?;
            }
            Self::GoBack { id } => {
                let job = found(*id)?.job.clone();
                store.job(&job)?.rollback(CheckpointId::new(*id), "test")?;
            }
            Self::Fork { id, job } => {
                let fork = found(*id)?.fork(job)?;
                return Ok(Some((fork.id.get(), false)));
            }
            Self::Log { job, first, count } => {
                let mut batch = ckptdb::telemetry::Batch::default();
                for (iteration, bits) in points(*first, *count) {
                    batch.log(iteration, [(STEPS, f64::from_bits(bits))])?;
                }
                store.job(job)?.append(&batch)?;
            }
            Self::Compact => drop(store.compact()?),
            Self::Recompress => drop(store.recompress(Compression::Max, &mut |_, _| {})?),
            Self::Reopen => store.reopen()?,
        }
        Ok(None)
    }

    /// The states that the model goes through, the last one when the operation is done. Most
    /// operations are one transaction, and there is one.
    pub(crate) fn apply(&self, before: &Model, id: Option<u64>, at: i64) -> Vec<Model> {
        let mut after = before.clone();
        let commit = after.commits.len();
        after.commits.push(at);
        match self {
            Self::Save(save) => save.apply(&mut after, id.expect("a save has an id"), commit),
            Self::Delete { id, .. } => after.known(*id).deleted = Some(commit),
            Self::Undelete { id } => after.undelete(*id),
            Self::DeleteJob { job } => {
                let job = after.open_job(job);
                let all = [after.live(job, false), after.live(job, true)].concat();
                for id in all {
                    after.known(id).deleted = Some(commit);
                }
                after.jobs[job].removed = true;
            }
            Self::Prune { job, latest } => {
                after.commits.pop();
                after.prune(job, *latest, at);
            }
            Self::Reclaim { now } => return reclaimed(before, *now, at),
            Self::Pin { id, pinned } => after.known(*id).pinned = *pinned,
            Self::Tag { id, tag } => {
                let job = after.known(*id).job;
                if let Some(holder) = after.tag_holder(job, tag) {
                    after.known(holder).tags.remove(*tag);
                }
                after.known(*id).tags.insert((*tag).to_owned());
            }
            Self::Untag { id, tag } => drop(after.known(*id).tags.remove(*tag)),
            Self::Annotate { id, note } => after.known(*id).note = Some(*note),
            Self::Declare { job, larger } => {
                let job = after.open_job(job);
                after.jobs[job].larger = Some(*larger);
            }
            Self::GoBack { id } => {
                let (job, segment) = (after.known(*id).job, after.known(*id).segment);
                let iteration = after.known(*id).iteration;
                after.go_back(job, *id);
                after.turn_back(job, segment, iteration);
            }
            Self::Fork { id: source, job } => {
                after.fork(*source, job, id.expect("a fork has an id"));
            }
            Self::Log { job, first, count } => {
                if after.job_named(job).is_some() {
                    // Nothing is recorded in the log of the store.
                    after.commits.pop();
                }
                let job = after.open_job(job);
                after.log(job, &points(*first, *count));
            }
            Self::Compact | Self::Recompress | Self::Reopen => return vec![before.clone()],
        }
        vec![after]
    }
}

/// The points that are logged from an iteration on.
fn points(first: u64, count: u16) -> Vec<(u64, u64)> {
    let at = |n: u16| {
        let iteration = first + u64::from(n);
        let value = if n % 11 == 7 { f64::NAN } else { f64::from(n) };
        (iteration, canonical(value))
    };
    (0..count).map(at).collect()
}

/// One checkpoint after the other is gone.
fn reclaimed(before: &Model, now: bool, at: i64) -> Vec<Model> {
    let mut steps = vec![before.clone()];
    for id in before.due((!now).then_some(WINDOW)) {
        let mut next = steps[steps.len() - 1].clone();
        next.checkpoints.remove(&id);
        next.commits.push(at);
        steps.push(next);
    }
    steps
}

/// A vector of these bytes.
fn tensor(dtype: DType, data: &[u8]) -> Result<TensorSlice<'_>> {
    let bits = usize::try_from(dtype.bits()).expect("it is a few bits");
    TensorSlice::new(dtype, &[data.len() * 8 / bits], data)
}

impl SaveOp {
    pub(crate) fn run(&self, store: &Store) -> Result<(u64, bool)> {
        let entries = self.recipe.entries();
        let job = store.job(self.job)?;
        let mut save = job.save(self.iteration).event(self.event.parse()?);
        for (name, data) in entries.iter() {
            save = match name.split_once('.') {
                Some(("f32", _)) => save.tensor(name, tensor(DType::F32, data)?),
                Some(("bf16", _)) => save.tensor(name, tensor(DType::Bf16, data)?),
                _ => save.bytes(name, data),
            };
        }
        if let Some(loss) = self.loss {
            save = save.metric(LOSS, loss);
        }
        if let Some(tag) = self.tag {
            save = save.tag(tag);
        }
        if self.pin {
            save = save.pin();
        }
        match self.how {
            How::Plain | How::Merge => {}
            How::Overwrite => save = save.overwrite(),
            How::RollBack(id) => save = save.parent(CheckpointId::new(id)),
        }
        let saved = save.commit()?;
        Ok((saved.checkpoint.id.get(), saved.merged))
    }

    fn apply(&self, after: &mut Model, id: u64, commit: usize) {
        let job = after.open_job(self.job);
        if let How::RollBack(base) = self.how {
            let (segment, iteration) = (after.known(base).segment, after.known(base).iteration);
            after.go_back(job, base);
            after.turn_back(job, segment, iteration);
        }
        let head = after.head(job);
        if after.checkpoints.contains_key(&id) {
            self.merge(after, id);
            return;
        }
        let mut new = Known {
            job,
            iteration: self.iteration,
            parent: head,
            recipe: self.recipe,
            events: BTreeSet::from([self.event.to_owned()]),
            loss: self.loss,
            note: None,
            tags: self.tag.into_iter().map(str::to_owned).collect(),
            pinned: self.pin,
            abandoned: false,
            deleted: None,
            segment: after.jobs[job].segment,
        };
        if self.how == How::Overwrite {
            let old = after.known(head.expect("there is one to overwrite"));
            new.parent = old.parent;
            new.pinned |= std::mem::take(&mut old.pinned);
            new.tags.extend(std::mem::take(&mut old.tags));
            old.deleted = Some(commit);
        }
        after.insert(id, new);
    }

    fn merge(&self, after: &mut Model, id: u64) {
        let known = after.known(id);
        let before = known.clone();
        known.events.insert(self.event.to_owned());
        known.loss = known.loss.or(self.loss);
        known.tags.extend(self.tag.map(str::to_owned));
        known.pinned |= self.pin;
        let same = |a: &Known, b: &Known| {
            (&a.events, &a.tags, a.pinned, a.loss.map(canonical))
                == (&b.events, &b.tags, b.pinned, b.loss.map(canonical))
        };
        if same(known, &before) {
            after.commits.pop();
        }
    }
}

impl Model {
    pub(crate) fn known(&mut self, id: u64) -> &mut Known {
        self.checkpoints.get_mut(&id).expect("it is there")
    }

    /// Each one that goes has a log record of its own, all of them in one transaction.
    fn prune(&mut self, job: &'static str, latest: u64, at: i64) {
        let job = self.open_job(job);
        let line = self.live(job, false);
        let newest: BTreeSet<u64> = line
            .iter()
            .rev()
            .zip(0..latest)
            .map(|(id, _)| *id)
            .collect();
        let mut all = [line, self.live(job, true)].concat();
        all.sort_unstable();
        for id in all {
            let commit = self.commits.len();
            let known = self.known(id);
            if !known.pinned && known.tags.is_empty() && !newest.contains(&id) {
                known.deleted = Some(commit);
                self.commits.push(at);
            }
        }
    }

    /// A checkpoint becomes the head.
    fn go_back(&mut self, job: usize, base: u64) {
        for other in self.ids(|known| known.job == job) {
            self.known(other).abandoned = !self.descends(base, other);
        }
    }

    fn fork(&mut self, source: u64, job: &'static str, id: u64) {
        let known = self.known(source).clone();
        let larger = self.jobs[known.job].larger;
        self.end_before_fork(known.job, known.segment, known.iteration);
        let job = self.open_job(job);
        self.jobs[job].larger = larger.or(self.jobs[job].larger);
        self.turn_back(job, known.segment, known.iteration);
        let fork = Known {
            job,
            parent: None,
            events: BTreeSet::from(["custom(fork)".to_owned()]),
            tags: BTreeSet::new(),
            pinned: false,
            abandoned: false,
            segment: self.jobs[job].segment,
            ..known
        };
        self.insert(id, fork);
    }

    fn undelete(&mut self, id: u64) {
        let job = self.known(id).job;
        self.jobs[job].removed = false;
        if let Some(head) = self.head(job) {
            let is_left = id > head && self.known(id).abandoned;
            self.known(id).abandoned = is_left || !self.descends(head.max(id), head.min(id));
        }
        let tags = std::mem::take(&mut self.known(id).tags);
        let free = tags
            .into_iter()
            .filter(|tag| self.tag_holder(job, tag).is_none())
            .collect();
        let known = self.known(id);
        (known.tags, known.deleted) = (free, None);
    }
}
