//! Seeded work: operations that the store should accept, drawn from what is in the model.

use crate::model::{Known, Model, Recipe};
use crate::op::{How, Op, SaveOp};
use crate::random::Random;

pub(crate) const JOBS: [&str; 3] = ["phase/NQ", "agent", "fork/NQ"];
const TAGS: [&str; 3] = ["good", "sent", "t0"];
const EVENTS: [&str; 4] = ["periodic", "best(loss)", "interrupt", "custom(x)"];

/// What a piece of work is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Small states; the file stays at its first size.
    Small,
    /// A few states that make the file grow.
    Growing,
}

/// A change that the store accepts in this state. `fresh` makes states differ.
pub(crate) fn draw(random: &mut Random, model: &Model, theme: Theme, fresh: u8) -> Op {
    loop {
        let found = match random.below(32) {
            0..=7 => Some(save(random, model, theme, fresh)),
            8 | 9 => again(random, model, fresh),
            10 => roll_back(random, model, fresh),
            11..=13 => delete(random, model),
            14 => undelete(random, model),
            15 => delete_job(random, model),
            16 => Some(Op::Reclaim { now: true }),
            17 => Some(Op::Reclaim { now: false }),
            18 => some(random, model, |known| !known.pinned).map(|id| Op::Pin { id, pinned: true }),
            19 => some(random, model, |known| known.pinned).map(|id| Op::Pin { id, pinned: false }),
            20 => tag(random, model),
            21 => untag(random, model),
            22 => some(random, model, |known| known.note.is_none())
                .map(|id| Op::Annotate { id, note: fresh }),
            23 => declare(random, model),
            // Told apart without a draw: the seeds of old findings stay what they were.
            24 if fresh.is_multiple_of(2) => Some(Op::Recompress),
            24 => Some(Op::Compact),
            25 => prune(random, model),
            26 => some(random, model, |_| true).map(|id| Op::GoBack { id }),
            27 => fork(random, model),
            28..=30 => log(random, model, theme),
            _ => Some(Op::Reopen),
        };
        if let Some(op) = found {
            return op;
        }
    }
}

fn recipe(random: &mut Random, theme: Theme, fresh: u8) -> Recipe {
    if theme == Theme::Growing && random.one_in(2) {
        return Recipe::Large(fresh);
    }
    match random.below(10) {
        0..=3 => Recipe::Tiny(fresh),
        4..=6 => Recipe::Packs(fresh),
        _ => Recipe::Shared(fresh),
    }
}

fn loss(random: &mut Random) -> Option<f64> {
    let values = [1.0, 0.5, -0.0, 2.0, f64::NAN, f64::INFINITY, 1.0];
    random.one_in(2).then(|| *random.pick(&values))
}

/// A save of a small state after the head of a job.
pub(crate) fn plain(model: &Model, job: &'static str, recipe: Recipe) -> SaveOp {
    let head = model.job_named(job).and_then(|job| model.head(job));
    SaveOp {
        job,
        iteration: head.map_or(0, |head| model.checkpoints[&head].iteration + 1),
        recipe,
        loss: None,
        event: "manual",
        tag: None,
        pin: false,
        how: How::Plain,
    }
}

fn save(random: &mut Random, model: &Model, theme: Theme, fresh: u8) -> Op {
    let name = *random.pick(&JOBS);
    let mut save = plain(model, name, recipe(random, theme, fresh));
    save.iteration += random.below(3) as u64;
    save.loss = loss(random);
    save.event = *random.pick(&EVENTS);
    save.pin = random.one_in(10);
    if random.one_in(5) {
        let tag = *random.pick(&TAGS);
        let job = model.job_named(name);
        let is_free = job.is_none_or(|job| model.tag_holder(job, tag).is_none());
        save.tag = is_free.then_some(tag);
    }
    Op::Save(save)
}

/// The head's iteration once more: the same state, or another one in its place.
fn again(random: &mut Random, model: &Model, fresh: u8) -> Option<Op> {
    let name = *random.pick(&JOBS);
    let head = model.job_named(name).and_then(|job| model.head(job))?;
    let known = &model.checkpoints[&head];
    let mut save = plain(model, name, known.recipe);
    save.iteration = known.iteration;
    save.event = *random.pick(&EVENTS);
    if random.one_in(2) {
        save.how = How::Merge;
        save.loss = known.loss.or_else(|| loss(random));
    } else if model.has_children(head) {
        return None;
    } else {
        save.how = How::Overwrite;
        save.recipe = Recipe::Packs(fresh);
        save.loss = loss(random);
    }
    Some(Op::Save(save))
}

fn some(random: &mut Random, model: &Model, fits: impl Fn(&Known) -> bool) -> Option<u64> {
    let live = model.ids(|known| known.deleted.is_none() && fits(known));
    (!live.is_empty()).then(|| *random.pick(&live))
}

fn roll_back(random: &mut Random, model: &Model, fresh: u8) -> Option<Op> {
    let base = some(random, model, |_| true)?;
    let known = &model.checkpoints[&base];
    let name = model.jobs[known.job].name;
    let mut save = plain(model, name, Recipe::Packs(fresh));
    save.iteration = known.iteration + 1 + random.below(2) as u64;
    save.how = How::RollBack(base);
    Some(Op::Save(save))
}

fn delete(random: &mut Random, model: &Model) -> Option<Op> {
    let id = some(random, model, |known| !known.pinned)?;
    let is_head = model.head(model.checkpoints[&id].job) == Some(id);
    Some(Op::Delete { id, force: is_head })
}

fn undelete(random: &mut Random, model: &Model) -> Option<Op> {
    let deleted = model.ids(|known| known.deleted.is_some());
    let id = *deleted.get(random.below(deleted.len().max(1)))?;
    let known = &model.checkpoints[&id];
    let job = &model.jobs[known.job];
    if job.removed && model.job_named(job.name).is_some() {
        return None;
    }
    // Its iteration may have been saved anew.
    let same = |other: &Known| {
        other.job == known.job && other.deleted.is_none() && other.iteration == known.iteration
    };
    model.ids(same).is_empty().then_some(Op::Undelete { id })
}

fn delete_job(random: &mut Random, model: &Model) -> Option<Op> {
    let name = *random.pick(&JOBS);
    let job = model.job_named(name)?;
    let pinned = |known: &Known| known.job == job && known.deleted.is_none() && known.pinned;
    (random.one_in(2) && model.ids(pinned).is_empty()).then_some(Op::DeleteJob { job: name })
}

fn prune(random: &mut Random, model: &Model) -> Option<Op> {
    let job = *random.pick(&JOBS);
    let latest = 1 + random.below(3) as u64;
    model.job_named(job).map(|_| Op::Prune { job, latest })
}

fn fork(random: &mut Random, model: &Model) -> Option<Op> {
    let id = some(random, model, |_| true)?;
    let free = |job: &&&'static str| {
        let known = model.job_named(job);
        known
            .is_none_or(|job| model.live(job, false).is_empty() && model.live(job, true).is_empty())
    };
    let job = *JOBS.iter().find(free)?;
    Some(Op::Fork { id, job })
}

/// After what is logged, or from before it: what follows is then logged anew.
fn log(random: &mut Random, model: &Model, theme: Theme) -> Option<Op> {
    let job = *random.pick(&JOBS);
    let segment = model.job_named(job).and_then(|job| model.jobs[job].segment);
    let line = model.series(segment, u64::MAX);
    let last = line.last().map_or(0, |(last, _)| *last);
    let first = if random.one_in(3) {
        last.saturating_sub(random.below(20) as u64)
    } else {
        last + 1 + random.below(3) as u64
    };
    let count = match theme {
        Theme::Small => 1 + random.below(40),
        Theme::Growing => 1 + random.below(9_000),
    };
    let count = u16::try_from(count).ok()?;
    Some(Op::Log { job, first, count })
}

fn tag(random: &mut Random, model: &Model) -> Option<Op> {
    let tag = *random.pick(&TAGS);
    let id = some(random, model, |known| !known.tags.contains(tag))?;
    Some(Op::Tag { id, tag })
}

fn untag(random: &mut Random, model: &Model) -> Option<Op> {
    let tag = *random.pick(&TAGS);
    let id = some(random, model, |known| known.tags.contains(tag))?;
    Some(Op::Untag { id, tag })
}

fn declare(random: &mut Random, model: &Model) -> Option<Op> {
    let job = *random.pick(&JOBS);
    let larger = random.one_in(2);
    let declared = model.job_named(job).and_then(|job| model.jobs[job].larger);
    (declared != Some(larger)).then_some(Op::Declare { job, larger })
}
