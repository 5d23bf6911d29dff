//! References to checkpoints, and what to say when one leads nowhere.

mod hints;

use super::line::parent_of;
use super::query;
use crate::error::{Error, Result};
use crate::format::{Action, IndexKey, IndexKind};
use crate::id::CheckpointId;
use crate::name::{counted, printable, some_of};
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
                let what = format!("job was named, and the store has {}", many.len());
                let names = some_of(many.iter().map(|job| job.name.as_str()));
                let hint = format!("write JOB@..., as in {}@latest: {names}", many[0].name);
                Err(Error::not_found(what, hint))
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
            None => Err(hints::nothing(self, job, selector)),
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
                    let hint = format!(
                        "its line goes back {} from there",
                        counted(step, "checkpoint")
                    );
                    let what = format!("checkpoint matches `{reference}`");
                    return Err(Error::not_found(what, hint));
                }
            };
        }
        Ok(at)
    }
}

fn has_event(checkpoint: &Checkpoint, wanted: &str) -> bool {
    checkpoint
        .events
        .iter()
        .any(|event| event.to_string() == wanted || event.family() == wanted)
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
