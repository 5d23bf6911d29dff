//! What a store answers, against what it may answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ckptdb::{
    Checkpoint, CheckpointId, Direction, Error, Filter, Job, ManualClock, Medium, Options, Store,
    Timestamp, VerifyDepth,
};

use crate::model::{Answers, JobView, LOSS, Model, Recipe, STEPS, View, canonical};
use crate::op::WINDOW;

/// Why a state is not accepted.
#[derive(Debug)]
#[expect(dead_code, reason = "violations are printed by their Debug form")]
pub(crate) enum Wrong {
    /// The store said that it can't.
    Refused(Error),
    /// The store said something else than it may.
    Answer(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

pub(crate) type Checked<T> = Result<T, Wrong>;

/// As small as makes room in a small store.
const BALLAST: u64 = 512 << 10;

/// Options with a clock that stands.
pub(crate) fn options(clock: &Arc<ManualClock>) -> Options {
    let window = u64::try_from(WINDOW).expect("the window is positive");
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: BALLAST,
        undo_window: Duration::from_millis(window),
        clock: Arc::clone(clock) as _,
        ..Options::default()
    }
}

pub(crate) fn clock_at(millis: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(millis)))
}

/// A state that the store may be in.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub(crate) model: Arc<Model>,
    pub(crate) answers: Arc<Answers>,
}

impl Allowed {
    pub(crate) fn new(model: Model) -> Self {
        let answers = Arc::new(model.answers());
        Self {
            model: Arc::new(model),
            answers,
        }
    }
}

/// Asks a store for everything. `allowed` says which entries a checkpoint can have.
pub(crate) fn ask(store: &Store, allowed: &[Allowed]) -> Checked<Answers> {
    let mut answers = Answers::default();
    for deleted in [false, true] {
        let filter = Filter {
            abandoned: true,
            deleted,
            ..Filter::default()
        };
        for found in store.list(&filter)? {
            let found = found?;
            let view = look(&found, deleted, allowed)?;
            let known = answers.checkpoints.insert(found.id.get(), view);
            if known.is_some() {
                return Err(Wrong::Answer(format!("{} is listed twice", found.id)));
            }
        }
    }
    for info in store.jobs()? {
        let job = store.job(&info.name)?;
        let view = JobView {
            counts: (info.checkpoints, info.abandoned, info.deleted),
            latest: job.latest()?.map(|latest| latest.id.get()),
            larger: info
                .metrics
                .get(LOSS)
                .map(|direction| *direction == Direction::Max),
            ranking: ranking(&job)?,
            points: series(&job.telemetry()?)?,
        };
        if info.head.map(CheckpointId::get) != view.latest {
            let what = format!("the head of {} is {:?}, {view:?}", info.name, info.head);
            return Err(Wrong::Answer(what));
        }
        tags(&job, &answers.checkpoints)?;
        answers.jobs.insert(info.name, view);
    }
    Ok(answers)
}

pub(crate) fn ranking(job: &Job) -> Checked<Option<Vec<u64>>> {
    let ranked = match job.ranking(LOSS, 1_000) {
        Err(Error::Undeclared { .. } | Error::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let ranked: Vec<u64> = ranked.iter().map(|found| found.id.get()).collect();
    let best = job.best(LOSS)?.map(|best| best.id.get());
    if best != ranked.first().copied() {
        return Err(Wrong::Answer(format!("best {best:?} of {ranked:?}")));
    }
    Ok(Some(ranked))
}

/// All points, and what is known of them without reading them agrees.
fn series(telemetry: &ckptdb::Telemetry) -> Checked<Vec<(u64, u64)>> {
    let summaries = telemetry.summaries()?;
    let Some(summary) = summaries.get(STEPS) else {
        return Ok(Vec::new());
    };
    let points = telemetry.points(STEPS, 0..=u64::MAX)?;
    let odd = points
        .iter()
        .filter(|point| !point.value.is_finite())
        .count();
    let ends = points.first().zip(points.last());
    let ends = ends.map(|(first, last)| (first.iteration, last.iteration));
    let said = (
        summary.count,
        summary.odd,
        Some((summary.first.0, summary.last.0)),
    );
    if said != (points.len() as u64, odd as u64, ends) {
        return Err(Wrong::Answer(format!(
            "{said:?} of {} points",
            points.len()
        )));
    }
    let point = |point: &ckptdb::telemetry::Point| (point.iteration, canonical(point.value));
    Ok(points.iter().map(point).collect())
}

/// Every tag leads to the checkpoint that has it.
fn tags(job: &Job, listed: &BTreeMap<u64, View>) -> Checked<()> {
    for (id, view) in listed {
        for tag in view.tags.iter().filter(|_| !view.deleted) {
            if view.job != job.name() {
                continue;
            }
            let found = job.tagged(tag)?.map(|found| found.id.get());
            if found != Some(*id) {
                return Err(Wrong::Answer(format!("{tag} of {id} leads to {found:?}")));
            }
        }
    }
    Ok(())
}

/// Looks at a checkpoint and at all its bytes.
pub(crate) fn look(found: &Checkpoint, deleted: bool, allowed: &[Allowed]) -> Checked<View> {
    let id = found.id.get();
    let loaded = found.load()?;
    let is_right = |recipe: &Recipe| {
        let entries = recipe.entries();
        entries.len() == loaded.len()
            && entries
                .iter()
                .zip(&loaded)
                .all(|((name, data), (its, (_, bytes)))| name == its && data == bytes)
    };
    let mut recipes = allowed
        .iter()
        .filter_map(|state| state.model.checkpoints.get(&id))
        .map(|known| known.recipe);
    let recipe = recipes.find(is_right).ok_or_else(|| {
        let what = format!("{id} has entries that it was not saved with, or is not known");
        Wrong::Answer(what)
    })?;
    if found.deleted_at.is_some() != deleted {
        return Err(Wrong::Answer(format!("{id} is listed in the wrong list")));
    }
    Ok(View {
        job: found.job.clone(),
        iteration: found.iteration,
        parent: found.parent.map(CheckpointId::get),
        recipe,
        events: found.events.iter().map(ToString::to_string).collect(),
        loss: found.metrics.get(LOSS).map(|loss| canonical(*loss)),
        note: found.attributes.get("note").cloned(),
        tags: found.tags.iter().cloned().collect(),
        pinned: found.pinned,
        abandoned: found.abandoned,
        deleted,
        points: series(&found.telemetry())?,
    })
}

/// Which of the allowed states an open store is in.
pub(crate) fn matched(store: &Store, allowed: &[Allowed]) -> Checked<usize> {
    let answers = ask(store, allowed)?;
    allowed
        .iter()
        .position(|state| *state.answers == answers)
        .ok_or_else(|| Wrong::Answer(difference(&answers, allowed)))
}

/// What is other than in the allowed states, in few words.
fn difference(answers: &Answers, allowed: &[Allowed]) -> String {
    let mut out = vec!["in none of the allowed states".to_owned()];
    for (number, state) in allowed.iter().enumerate() {
        for (id, view) in &state.answers.checkpoints {
            match answers.checkpoints.get(id) {
                None => out.push(format!("{number}: {id} is missing")),
                Some(found) if found != view => {
                    out.push(format!("{number}: {found:?} for {view:?}"));
                }
                Some(_) => {}
            }
        }
        for id in answers.checkpoints.keys() {
            if !state.answers.checkpoints.contains_key(id) {
                out.push(format!("{number}: {id} should not be there"));
            }
        }
        if state.answers.jobs != answers.jobs {
            let (found, wanted) = (&answers.jobs, &state.answers.jobs);
            out.push(format!("{number}: jobs {found:?} for {wanted:?}"));
        }
    }
    out.join("; ")
}

/// Opens what is in a medium and says which of the allowed states it is in.
pub(crate) fn open_and_match(
    medium: Arc<dyn Medium>,
    clock: &Arc<ManualClock>,
    allowed: &[Allowed],
) -> Checked<(Store, usize)> {
    let store = Store::open_in(medium, options(clock))?;
    let found = matched(&store, allowed)?;
    Ok((store, found))
}

/// Nothing is damaged.
pub(crate) fn verify(store: &Store) -> Checked<()> {
    let report = store.verify(VerifyDepth::Full)?;
    if report.is_clean() && report.orphans == 0 {
        return Ok(());
    }
    let what = format!("{} orphans, {:?}", report.orphans, report.damage);
    Err(Wrong::Answer(what))
}
