//! Forks: a job that begins with a checkpoint of another.

use super::declare::declare;
use super::line::{JobLine, direction_of};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::format::{Action, CheckpointRecord, Later, Progress, SavedPart};
use crate::id::CheckpointId;
use crate::name::check_job;
use crate::storage::{NodeSet, retain_manifest};
use crate::store::Checkpoint;

impl Checkpoint {
    /// Begins a job with this checkpoint: the same entries, metrics and attributes at the same
    /// iteration, with event `custom(fork)`, and the directions that are declared. The bytes are
    /// shared, so that it takes a few rows; it stays when this one is deleted. Triggers count on
    /// from here, and telemetry shows what came before.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the job has checkpoints already; [`Error::Deleted`].
    pub fn fork(&self, job: &str) -> Result<Self> {
        check_job(job)?;
        let store = self.store();
        let _turn = store.turn()?;
        let (id, record) = store.change(|change| {
            let source = change.records().checkpoint(self.id.get())?;
            let source = source
                .filter(|record| record.later.deleted.is_none())
                .ok_or(Error::Deleted { id: self.id })?;
            let mut origin = JobLine::known(change, source.saved.job)?;
            let mut line = JobLine::open_or_create(change, job)?;
            if line.record.current + line.record.abandoned > 0 {
                let what = format!("job `{job}` has checkpoints already");
                return Err(Error::conflict(what, "fork to another name"));
            }
            for metric in &origin.record.metrics {
                if let Some(direction) = direction_of(metric) {
                    declare(change, &mut line, &metric.name, direction, true)?;
                }
            }
            let id = change.next_id();
            let saved = SavedPart {
                job: line.number,
                saved_at: change.at(),
                parent: None,
                events: vec![Event::Custom("fork".to_owned()).to_string()],
                metrics: united(&source.saved.metrics, &source.later.metrics),
                attributes: united(&source.saved.attributes, &source.later.attributes),
                ..source.saved.clone()
            };
            retain_manifest(change.rows(), &saved.manifest, &NodeSet::default())?;
            let position = (source.later.progress.segment, saved.iteration);
            origin.end_before_fork(change, position)?;
            origin.finish(change)?;
            line.turn_back(change, position)?;
            let content = saved.content_hash(store.id(), CheckpointId::new(id));
            let content = content.map_err(|error| error.of("the checkpoint"))?;
            change.log(Action::Save {
                job: line.number,
                iteration: saved.iteration,
                parent: None,
                content: *content.as_bytes(),
                replaced: None,
            })?;
            let progress = Progress {
                segment: line.record.segment,
                source: Some(self.id.get()),
                ..source.later.progress
            };
            let later = Later {
                progress,
                ..Later::default()
            };
            let record = CheckpointRecord {
                saved,
                content: *content.as_bytes(),
                later,
            };
            line.put_head(change, id, &record)?;
            change.log(Action::Fork {
                checkpoint: id,
                source: self.id.get(),
            })?;
            line.finish(change)?;
            Ok((id, record))
        })?;
        Ok(Self::new(store.clone(), id, record, job.to_owned()))
    }
}

fn united<T: Clone + Ord>(saved: &[T], later: &[T]) -> Vec<T> {
    let mut all = [saved, later].concat();
    all.sort_unstable();
    all
}
