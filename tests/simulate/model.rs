//! The store as a list in memory: every answer by looking at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::random::Random;

/// The entries of a checkpoint, by a code from which they can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Recipe {
    /// One row holds it.
    Tiny(u8),
    /// Small entries that share a pack, some with other recipes.
    Packs(u8),
    /// Chunks of their own, one of them in every recipe of this kind, and a tree of nodes.
    Shared(u8),
    /// More than one chunk in an entry: the file must grow.
    Large(u8),
}

/// Names and bytes of entries, sorted.
pub(crate) type Entries = Arc<BTreeMap<String, Vec<u8>>>;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

/// Weights after so many steps of training: 32-bit floats, each a little off what it was a step
/// before, so that a chunk of them is stored as what has changed.
pub(crate) fn walk(seed: u64, steps: u64, count: usize) -> Vec<u8> {
    let (start, drift) = (noise(seed, 4 * count), noise(!seed, 4 * count));
    let words = start
        .as_chunks::<4>()
        .0
        .iter()
        .zip(drift.as_chunks::<4>().0);
    // Between -1 and 1.
    let part = |bytes: &[u8; 4]| f64::from(i32::from_le_bytes(*bytes)) / f64::from(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    let value = |(start, drift)| part(start) + 1e-5 * steps as f64 * part(drift);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the floats are to be short"
    )]
    let short = |value: f64| (value as f32).to_le_bytes();
    words.map(value).flat_map(short).collect()
}

/// These weights in half the bits: `BF16`, rounded to the nearest, ties to even.
pub(crate) fn rounded(weights: &[u8]) -> Vec<u8> {
    let (words, _) = weights.as_chunks::<4>();
    let round = |bytes: &[u8; 4]| {
        let bits = u32::from_le_bytes(*bytes);
        let nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        u16::try_from(nearest).unwrap_or(u16::MAX).to_le_bytes()
    };
    words.iter().flat_map(round).collect()
}

impl Recipe {
    pub(crate) fn entries(self) -> Entries {
        static MADE: LazyLock<Mutex<BTreeMap<Recipe, Entries>>> = LazyLock::new(Mutex::default);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry(self).or_insert_with(|| Arc::new(self.make())))
    }

    fn make(self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        match self {
            Self::Tiny(code) => {
                all.insert("tiny".to_owned(), noise(code.into(), 30));
            }
            Self::Packs(code) => {
                let seed = u64::from(code);
                all.insert("state".to_owned(), noise(seed, 2_000));
                for i in 0..12 {
                    all.insert(format!("bias.{i}"), noise(i * (seed / 3), 60));
                }
            }
            Self::Shared(code) => {
                let seed = u64::from(code);
                all.insert("frozen".to_owned(), noise(1, 65_600));
                // Deltas against whatever was saved before, and a copy that is derived.
                let weights = walk(2, seed, 33_000);
                all.insert("bf16.copy".to_owned(), rounded(&weights));
                all.insert("f32.weights".to_owned(), weights);
                for i in 0..60 {
                    all.insert(format!("layer.{i}"), noise(i * (seed / 4), 60));
                }
            }
            Self::Large(code) => {
                let words = (1_048_496 + 40_000) / 4 + usize::from(code);
                all.insert("f32.huge".to_owned(), walk(3, code.into(), words));
            }
        }
        all
    }
}

/// What is known of a checkpoint that is there, deleted ones included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) job: usize,
    pub(crate) iteration: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) recipe: Recipe,
    pub(crate) events: BTreeSet<String>,
    pub(crate) loss: Option<f64>,
    pub(crate) note: Option<u8>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) pinned: bool,
    pub(crate) abandoned: bool,
    /// The commit that deleted it.
    pub(crate) deleted: Option<usize>,
    /// The segment of telemetry that it stands in.
    pub(crate) segment: Option<usize>,
}

/// A stretch of telemetry: the one that it continues, up to which iteration, and its points.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    parent: Option<(usize, u64)>,
    points: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownJob {
    pub(crate) name: &'static str,
    pub(crate) larger: Option<bool>,
    pub(crate) removed: bool,
    /// The segment of telemetry that is appended to.
    pub(crate) segment: Option<usize>,
}

/// The metric that everything ranks by.
pub(crate) const LOSS: &str = "loss";

/// The series that is logged.
pub(crate) const STEPS: &str = "steps";

/// The whole store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) checkpoints: BTreeMap<u64, Known>,
    /// Of all that ever were.
    parents: BTreeMap<u64, Option<u64>>,
    pub(crate) jobs: Vec<KnownJob>,
    pub(crate) segments: Vec<Segment>,
    /// When each change was recorded.
    pub(crate) commits: Vec<i64>,
}

/// A job as it shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobView {
    pub(crate) counts: (u64, u64, u64),
    pub(crate) latest: Option<u64>,
    pub(crate) larger: Option<bool>,
    pub(crate) ranking: Option<Vec<u64>>,
    pub(crate) points: Vec<(u64, u64)>,
}

/// A checkpoint as it shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) job: String,
    pub(crate) iteration: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) recipe: Recipe,
    pub(crate) events: BTreeSet<String>,
    pub(crate) loss: Option<u64>,
    pub(crate) note: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) pinned: bool,
    /// Of deleted ones too: it says where they will be when they come back, and nothing else shows
    /// of a rollback to the head.
    pub(crate) abandoned: bool,
    pub(crate) deleted: bool,
    pub(crate) points: Vec<(u64, u64)>,
}

/// Everything that can be asked of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    pub(crate) jobs: BTreeMap<String, JobView>,
    pub(crate) checkpoints: BTreeMap<u64, View>,
}

/// A metric's value as it is stored: one zero, one NaN.
pub(crate) fn canonical(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        (value + 0.0).to_bits()
    }
}

impl Model {
    pub(crate) fn job_named(&self, name: &str) -> Option<usize> {
        self.jobs
            .iter()
            .position(|job| job.name == name && !job.removed)
    }

    pub(crate) fn open_job(&mut self, name: &'static str) -> usize {
        self.job_named(name).unwrap_or_else(|| {
            self.jobs.push(KnownJob {
                name,
                larger: None,
                removed: false,
                segment: None,
            });
            self.jobs.len() - 1
        })
    }

    /// Live checkpoints of a job's current line, or of its abandoned ones; oldest first.
    pub(crate) fn live(&self, job: usize, abandoned: bool) -> Vec<u64> {
        let of_line = |known: &Known| {
            known.job == job && known.deleted.is_none() && known.abandoned == abandoned
        };
        self.ids(of_line)
    }

    pub(crate) fn ids(&self, wanted: impl Fn(&Known) -> bool) -> Vec<u64> {
        let all = self.checkpoints.iter();
        all.filter(|(_, known)| wanted(known))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn head(&self, job: usize) -> Option<u64> {
        self.live(job, false).pop()
    }

    pub(crate) fn tag_holder(&self, job: usize, tag: &str) -> Option<u64> {
        let holds =
            |known: &Known| known.job == job && known.deleted.is_none() && known.tags.contains(tag);
        self.ids(holds).pop()
    }

    pub(crate) fn descends(&self, from: u64, ancestor: u64) -> bool {
        let mut at = Some(from);
        while let Some(id) = at.filter(|id| *id > ancestor) {
            at = self.parents.get(&id).copied().flatten();
        }
        at == Some(ancestor)
    }

    pub(crate) fn has_children(&self, id: u64) -> bool {
        let continues = |known: &Known| known.parent == Some(id) && known.deleted.is_none();
        !self.ids(continues).is_empty()
    }

    pub(crate) fn insert(&mut self, id: u64, known: Known) {
        self.parents.insert(id, known.parent);
        self.checkpoints.insert(id, known);
    }

    /// The deleted ones that a reclaim takes, in its order.
    pub(crate) fn due(&self, window: Option<i64>) -> Vec<u64> {
        let mut due: Vec<(usize, usize, u64)> = Vec::new();
        for (id, known) in &self.checkpoints {
            let Some(commit) = known.deleted else {
                continue;
            };
            let is_over = window.is_none_or(|window| {
                let last = self.commits.last().copied().unwrap_or_default();
                let first = self.commits.get(commit + 1);
                first.is_some_and(|first| last - first >= window)
            });
            if is_over {
                due.push((known.job, commit, *id));
            }
        }
        due.sort_unstable();
        due.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The points of the line that ends in a segment, up to an iteration.
    pub(crate) fn series(&self, segment: Option<usize>, limit: u64) -> Vec<(u64, u64)> {
        let Some(segment) = segment else {
            return Vec::new();
        };
        let Segment { parent, points } = &self.segments[segment];
        let mut all = match parent {
            Some((parent, cut)) => self.series(Some(*parent), limit.min(*cut)),
            None => Vec::new(),
        };
        all.extend(points.iter().filter(|(at, _)| *at <= limit));
        all
    }

    fn begin(&mut self, job: usize, parent: Option<(usize, u64)>) -> usize {
        let points = Vec::new();
        self.segments.push(Segment { parent, points });
        let segment = self.segments.len() - 1;
        self.jobs[job].segment = Some(segment);
        segment
    }

    /// What is logged from now on continues this position.
    pub(crate) fn turn_back(&mut self, job: usize, of: Option<usize>, iteration: u64) {
        let parent = of.map(|segment| (segment, iteration));
        let current = self.jobs[job].segment;
        if let Some(current) = current {
            let own = &self.segments[current];
            let last = own.points.last().map(|(at, _)| *at);
            let goes_on = of == Some(current) && last.is_none_or(|last| last <= iteration);
            if goes_on || (own.parent == parent && last.is_none()) {
                return;
            }
        } else if of.is_none() {
            return;
        }
        self.begin(job, parent);
    }

    /// What a job logs after a fork of it is not the fork's.
    pub(crate) fn end_before_fork(&mut self, job: usize, of: Option<usize>, iteration: u64) {
        if let Some(segment) = of.filter(|_| self.jobs[job].segment == of) {
            let line = self.series(of, u64::MAX);
            if line.last().is_none_or(|(last, _)| *last <= iteration) {
                self.begin(job, Some((segment, iteration)));
            }
        }
    }

    /// Points at so many iterations; from before the last one, they turn the line back.
    pub(crate) fn log(&mut self, job: usize, points: &[(u64, u64)]) {
        let Some((first, _)) = points.first() else {
            return;
        };
        let mut segment = match self.jobs[job].segment {
            Some(segment) => segment,
            None => self.begin(job, None),
        };
        let line = self.series(Some(segment), u64::MAX);
        if line.last().is_some_and(|(last, _)| last > first) {
            segment = self.begin(job, first.checked_sub(1).map(|cut| (segment, cut)));
        }
        self.segments[segment].points.extend(points);
    }

    fn ranking(&self, job: usize) -> Option<Vec<u64>> {
        let larger = self.jobs[job].larger?;
        let loss = |id: &u64| {
            self.checkpoints[id]
                .loss
                .filter(|loss| loss.is_finite())
                .map(|loss| loss + 0.0)
        };
        let mut ranked = self.live(job, false);
        ranked.retain(|id| loss(id).is_some());
        ranked.sort_by(|a, b| {
            let by_value = loss(a).partial_cmp(&loss(b)).expect("they are finite");
            (if larger { by_value.reverse() } else { by_value }).then(a.cmp(b))
        });
        Some(ranked)
    }

    pub(crate) fn answers(&self) -> Answers {
        let mut jobs = BTreeMap::new();
        for (number, job) in self.jobs.iter().enumerate().filter(|(_, job)| !job.removed) {
            let deleted = self.ids(|known| known.job == number && known.deleted.is_some());
            let view = JobView {
                counts: (
                    self.live(number, false).len() as u64,
                    self.live(number, true).len() as u64,
                    deleted.len() as u64,
                ),
                latest: self.head(number),
                larger: job.larger,
                ranking: self.ranking(number),
                points: self.series(job.segment, u64::MAX),
            };
            jobs.insert(job.name.to_owned(), view);
        }
        let view = |known: &Known| View {
            job: self.jobs[known.job].name.to_owned(),
            iteration: known.iteration,
            parent: known.parent,
            recipe: known.recipe,
            events: known.events.clone(),
            loss: known.loss.map(canonical),
            note: known.note.map(|note| note.to_string()),
            tags: known.tags.iter().cloned().collect(),
            pinned: known.pinned,
            abandoned: known.abandoned,
            deleted: known.deleted.is_some(),
            points: self.series(known.segment, known.iteration),
        };
        let all = self.checkpoints.iter();
        Answers {
            jobs,
            checkpoints: all.map(|(id, known)| (*id, view(known))).collect(),
        }
    }
}
