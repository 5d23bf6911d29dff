//! References to checkpoints, and what to say when one leads nowhere.

use super::line::parent_of;
use super::query;
use crate::error::{Error, Result};
use crate::format::{Action, IndexKey, IndexKind, JobRecord};
use crate::id::CheckpointId;
use crate::name::printable;
use crate::reference::{Reference, Selector, Target};
use crate::storage::{Records, Rows};
use crate::store::{Checkpoint, Filter, Store};

impl Store {
    /// The checkpoint that a reference names: `NQ@latest`, `NQ@best:sharpe~1`, `NQ@25000`,
    /// `id:1234`. See [`Reference`] for the grammar.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no reference; [`Error::NotFound`], with what there is
    /// instead, when it names nothing; [`Error::Undeclared`] when it asks for the best by a metric
    /// without direction; [`Error::Deleted`] for the id of a deleted checkpoint.
    pub fn resolve(&self, reference: &str) -> Result<Checkpoint> {
        let parsed: Reference = reference.parse()?;
        if let Some(other) = &parsed.store {
            let why = format!("it names the store `{}`: open that one", printable(other));
            return Err(Error::invalid(format!("reference `{reference}`"), why));
        }
        let start = match &parsed.target {
            Target::Id(id) => self.by_id(CheckpointId::new(*id))?,
            Target::Job { job, selector } => {
                let job = match job {
                    Some(job) => job.clone(),
                    None => self.only_job()?,
                };
                self.select(&job, selector)?
            }
        };
        self.walk_back(start, parsed.back, reference)
    }

    /// The deleted checkpoint of an id reference, while it can still be undeleted.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such checkpoint, or it is not deleted.
    pub fn resolve_deleted(&self, reference: &str) -> Result<Checkpoint> {
        let parsed: Reference = reference.parse()?;
        let Target::Id(id) = parsed.target else {
            let why = "a deleted checkpoint is named by its id";
            return Err(Error::invalid(format!("reference `{reference}`"), why));
        };
        let found = self.any_by_id(CheckpointId::new(id))?;
        found
            .filter(|checkpoint| checkpoint.deleted_at.is_some())
            .ok_or_else(|| {
                let hint = "`ckptdb ls --deleted` lists those that can come back";
                Error::not_found(format!("deleted checkpoint `{reference}`"), hint)
            })
    }

    fn any_by_id(&self, id: CheckpointId) -> Result<Option<Checkpoint>> {
        let found = self.read(|rows| {
            let Some(record) = Records(rows).checkpoint(id.get())? else {
                return Ok(None);
            };
            let job = Records(rows).known_job(record.saved.job)?;
            Ok(Some((record, job.name)))
        })?;
        Ok(found.map(|(record, job)| Checkpoint::new(self.clone(), id.get(), record, job)))
    }

    pub(super) fn by_id(&self, id: CheckpointId) -> Result<Checkpoint> {
        match self.any_by_id(id)? {
            Some(checkpoint) if checkpoint.deleted_at.is_some() => Err(Error::Deleted { id }),
            Some(checkpoint) => Ok(checkpoint),
            None => {
                let last = self.read(|rows| {
                    if is_on_a_line(rows, id)? {
                        let what = format!("the record of checkpoint {id}");
                        return Err(Error::corrupt(what, "it is missing"));
                    }
                    Ok(Records(rows).head()?.last)
                })?;
                let hint = format!("ids go up to {last}; not every one is a checkpoint's");
                Err(Error::not_found(format!("checkpoint {id}"), hint))
            }
        }
    }

    fn only_job(&self) -> Result<String> {
        let jobs = self.jobs()?;
        match jobs.as_slice() {
            [only] => Ok(only.name.clone()),
            [] => Err(Error::not_found(
                "job in this store",
                "save a checkpoint first",
            )),
            many => {
                let names: Vec<&str> = many.iter().take(5).map(|job| job.name.as_str()).collect();
                let what = format!("job was named, and the store has {}", many.len());
                Err(Error::not_found(
                    what,
                    format!("write JOB@..., as in {}@latest", names.join("@latest, ")),
                ))
            }
        }
    }

    fn select(&self, job: &str, selector: &Selector) -> Result<Checkpoint> {
        let found = match selector {
            Selector::Latest => query::latest(self, job)?,
            Selector::Best(Some(metric)) => query::best(self, job, metric)?,
            Selector::Best(None) => match self.main_metric(job)? {
                Some(metric) => query::best(self, job, &metric)?,
                None => None,
            },
            Selector::Iteration(iteration, event) => {
                let found = query::at(self, job, *iteration)?;
                found.filter(|one| event.as_ref().is_none_or(|event| has_event(one, event)))
            }
            Selector::Event(event) => query::with_event(self, job, event)?,
            Selector::Tag(tag) => query::tagged(self, job, tag)?,
            Selector::Older(millis) => self.older(job, *millis)?,
        };
        match found {
            Some(checkpoint) => Ok(checkpoint),
            None => Err(self.nothing(job, selector)),
        }
    }

    /// The metric that `best` alone means: the main one, or the only one with a direction. Without
    /// one, the error says what to write.
    fn main_metric(&self, job: &str) -> Result<Option<String>> {
        let Some(info) = self.job(job)?.info()? else {
            return Ok(None);
        };
        if info.main_metric.is_some() {
            return Ok(info.main_metric);
        }
        if info.metrics.len() == 1 {
            return Ok(info.metrics.into_keys().next());
        }
        let names: Vec<String> = info.metrics.keys().map(|m| format!("best:{m}")).collect();
        let hint = match names.as_slice() {
            [] => format!("declare one: ckptdb metric declare {job} METRIC min|max --main"),
            names => format!("write {}, or declare one as the main", names.join(" or ")),
        };
        Err(Error::not_found(
            format!("main metric in job `{job}`"),
            hint,
        ))
    }

    fn older(&self, job: &str, millis: u64) -> Result<Option<Checkpoint>> {
        let limit = self
            .now()
            .saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX));
        let filter = Filter {
            job: Some(job.to_owned()),
            ..Filter::default()
        };
        for checkpoint in self.list(&filter)? {
            let checkpoint = checkpoint?;
            if checkpoint.saved_at.as_millis() <= limit {
                return Ok(Some(checkpoint));
            }
        }
        Ok(None)
    }

    /// `~N`: along the parents, deleted ones passed over.
    fn walk_back(&self, start: Checkpoint, back: u64, reference: &str) -> Result<Checkpoint> {
        let mut at = start;
        for step in 0..back {
            let before = self.read(|rows| {
                let mut id = at.id.get();
                loop {
                    match parent_of(Records(rows), id)? {
                        None => return Ok(None),
                        Some(parent) => id = parent,
                    }
                    let record = Records(rows).checkpoint(id)?;
                    if let Some(record) = record.filter(|record| record.later.deleted.is_none()) {
                        let job = Records(rows).known_job(record.saved.job)?;
                        return Ok(Some((id, record, job.name)));
                    }
                }
            })?;
            at = match before {
                Some((id, record, job)) => Checkpoint::new(self.clone(), id, record, job),
                None => {
                    let hint = format!("its line goes back {step} checkpoints from there");
                    let what = format!("checkpoint matches `{reference}`");
                    return Err(Error::not_found(what, hint));
                }
            };
        }
        Ok(at)
    }

    /// Why a selector found nothing, with what there is.
    fn nothing(&self, job: &str, selector: &Selector) -> Error {
        let what = format!("checkpoint matches `{job}@{selector}`");
        let hint = self.read(|rows| {
            let records = Records(rows);
            let Some((number, record)) = records.job_named(job)? else {
                let names = records
                    .jobs()?
                    .into_iter()
                    .map(|(_, job)| job.name)
                    .collect();
                return Ok(no_such_job(job, names));
            };
            if record.current == 0 {
                return Ok(format!("job `{job}` has no checkpoints"));
            }
            match selector {
                Selector::Iteration(iteration, None) => nearest(rows, number, &record, *iteration),
                Selector::Iteration(_, Some(_)) | Selector::Event(_) | Selector::Tag(_) => {
                    Ok(format!("`ckptdb ls {job}` shows events and tags"))
                }
                _ => Ok(format!(
                    "job `{job}` has {} checkpoints, none that fits",
                    record.current
                )),
            }
        });
        Error::not_found(what, hint.unwrap_or_default())
    }
}

fn has_event(checkpoint: &Checkpoint, wanted: &str) -> bool {
    checkpoint
        .events
        .iter()
        .any(|event| event.to_string() == wanted || event.family() == wanted)
}

fn no_such_job(job: &str, mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "the store has no jobs yet".to_owned();
    }
    let total = names.len();
    let distance = |name: &String| edit_distance(job, name);
    names.sort_by_key(distance);
    if names.first().is_some_and(|name| distance(name) <= 2) {
        return format!("there is no job `{job}`; did you mean `{}`?", names[0]);
    }
    names.truncate(5);
    format!(
        "there is no job `{job}`; the store has {total}: {}",
        names.join(", ")
    )
}

/// How many characters must be changed, added or removed to make one text the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The iterations that there are, around one that there is not.
fn nearest(
    rows: &dyn crate::storage::Rows,
    job: u32,
    record: &JobRecord,
    iteration: u64,
) -> Result<String> {
    let row = |order, id| IndexKey {
        kind: IndexKind::Iteration,
        job,
        name: 0,
        order,
        id,
    };
    let edge = |range, backwards| {
        let mut found = None;
        rows.index(range, backwards, &mut |key| {
            found = Some(key.order);
            Ok(std::ops::ControlFlow::Break(()))
        })?;
        Ok::<_, Error>(found)
    };
    let all = (row(0, 0), row(u64::MAX, u64::MAX));
    let (first, last) = (edge(all, false)?, edge(all, true)?);
    let below = edge((row(0, 0), row(iteration, 0)), true)?;
    let above = edge((row(iteration, 0), row(u64::MAX, u64::MAX)), false)?;
    let near = match (below, above) {
        (Some(below), Some(above)) if iteration - below > above - iteration => above,
        (Some(below), _) => below,
        (None, above) => above.unwrap_or_default(),
    };
    let elsewhere = query::of_iteration(rows, job, IndexKind::AbandonedIteration, iteration)?;
    if !elsewhere.is_empty() {
        let ids: Vec<String> = elsewhere.iter().map(|id| format!("id:{id}")).collect();
        return Ok(format!("abandoned lines have it: {}", ids.join(", ")));
    }
    Ok(format!(
        "iterations {}..{} ({} checkpoints), nearest is {near}",
        first.unwrap_or_default(),
        last.unwrap_or_default(),
        record.current
    ))
}

/// Whether the index lists a live checkpoint with this id, as the log has it.
fn is_on_a_line(rows: &dyn Rows, id: CheckpointId) -> Result<bool> {
    let Some(Action::Save { job, .. }) = Records(rows).log(id.get())?.map(|saved| saved.action)
    else {
        return Ok(false);
    };
    let row = |kind| IndexKey::new(kind, job, 0, id.get(), id);
    Ok(rows.has_index(row(IndexKind::Commit))?
        || rows.has_index(row(IndexKind::AbandonedCommit))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_changes() {
        assert_eq!(edit_distance("NQ", "NQ"), 0);
        assert_eq!(edit_distance("NQ", "ND"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
