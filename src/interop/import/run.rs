//! A plan, carried out.

use std::path::Path;

use super::{IMPORTED_FROM, ImportOptions, Imported, LeftAlone, MODIFIED_AT, Plan, Planned};
use crate::error::{Error, Result};
use crate::metric::Direction;
use crate::platform::{InputFile, io_error};
use crate::store::{Checkpoint, Job, Store};
use crate::time::Timestamp;

/// The metrics of the default template, and which way they are better.
const KNOWN: [(&str, Direction); 2] = [
    ("val_reward", Direction::Max),
    ("sharpe_ratio", Direction::Max),
];

impl Plan {
    /// Saves the checkpoints, each in a transaction of its own, in the order of their iterations.
    /// What an earlier import has saved is passed over, so that one that was cut off goes on. What
    /// can't be saved is in the answer, and the others are.
    ///
    /// `progress` is told how many bytes of how many are done, and may end it before the next
    /// checkpoint by saying no; [`Monitor::cancel`](crate::Monitor::cancel) ends it within one.
    ///
    /// # Errors
    /// What concerns the store: [`Error::Full`], [`Error::Busy`], and from its disk.
    pub fn run(
        &self,
        root: &Path,
        store: &Store,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Imported> {
        let total = self.checkpoints.iter().map(|planned| planned.bytes).sum();
        let mut done = Imported::default();
        let mut bytes = 0;
        for planned in &self.checkpoints {
            if !progress(bytes, total) {
                done.stopped = true;
                return Ok(done);
            }
            match import(root, store, planned, options) {
                Ok(Some(new_bytes)) => {
                    done.saved += 1;
                    done.bytes += planned.bytes;
                    done.new_bytes += new_bytes;
                }
                Ok(None) => done.already += 1,
                Err(Error::Cancelled { .. }) => {
                    done.stopped = true;
                    return Ok(done);
                }
                Err(error @ (Error::Invalid { .. } | Error::Conflict { .. })) => {
                    done.left.push(left(planned, &error));
                }
                // A file that can't be read is no reason to leave the others.
                Err(error @ Error::Io { .. }) if !is_of_store(&error, store) => {
                    done.left.push(left(planned, &error));
                }
                Err(error) => return Err(error),
            }
            bytes += planned.bytes;
        }
        progress(total, total);
        Ok(done)
    }
}

fn left(planned: &Planned, error: &Error) -> LeftAlone {
    let hint = error.hint().map(|hint| format!("; {hint}"));
    LeftAlone {
        path: planned.path.clone(),
        why: format!("{error}{}", hint.unwrap_or_default()),
    }
}

fn is_of_store(error: &Error, store: &Store) -> bool {
    matches!(error, Error::Io { path, .. } if path == store.path())
}

/// Saves a checkpoint, unless it is there; how many bytes were new.
fn import(
    root: &Path,
    store: &Store,
    planned: &Planned,
    options: &ImportOptions,
) -> Result<Option<u64>> {
    let job = store.job(&planned.job)?;
    // Of an iteration beyond the newest there is none: to ask for it costs a pass over all records.
    let newest = job.latest()?.map(|latest| latest.iteration);
    let may_be_there = newest.is_some_and(|newest| planned.iteration <= newest);
    let there = may_be_there
        .then(|| job.at(planned.iteration))
        .transpose()?;
    if let Some(there) = there.flatten() {
        let is_it = there.attributes.contains_key(IMPORTED_FROM);
        if is_it && has_all(root, &there, planned)? {
            set_tags(&job, &there, &planned.tags)?;
            return Ok(None);
        }
        let what = format!(
            "{}@{} is there already, with other bytes",
            planned.job, planned.iteration
        );
        return Err(Error::conflict(what, "import it as another job: --job"));
    }
    declare(&job, planned, options)?;
    let mut save = job.save(planned.iteration);
    for event in &planned.events {
        save = save.event(event.clone());
    }
    for (name, value) in &planned.metrics {
        save = save.metric(name, *value);
    }
    for (name, value) in &planned.attributes {
        save = save.attribute(name, value);
    }
    for (entry, path) in &planned.files {
        save = save.file_in(entry, InputFile::open(&root.join(path))?.whole());
    }
    let modified = planned.attributes.get(MODIFIED_AT);
    if let Some(at) = modified.and_then(serde_json::Value::as_i64) {
        save = save.saved_at(Timestamp::from_millis(at));
    }
    if let Some(compression) = options.compression {
        save = save.compression(compression);
    }
    let saved = save.commit()?;
    set_tags(&job, &saved.checkpoint, &planned.tags)?;
    Ok(Some(saved.new_bytes))
}

/// Gives a checkpoint its names. One that another imported checkpoint has moves on with the file
/// that bears it; one on a checkpoint that was not imported stays where it is.
fn set_tags(job: &Job, checkpoint: &Checkpoint, tags: &[String]) -> Result<()> {
    for tag in tags {
        let holder = job.tagged(tag)?;
        let is_given = |holder: &Checkpoint| !holder.attributes.contains_key(IMPORTED_FROM);
        if holder.as_ref().is_some_and(is_given) {
            tracing::warn!(tag, "another checkpoint has this tag, and keeps it");
            continue;
        }
        checkpoint.set_tag(tag, true)?;
    }
    Ok(())
}

/// Whether a checkpoint has what is planned: its bytes are only read if its file was changed since.
fn has_all(root: &Path, there: &Checkpoint, planned: &Planned) -> Result<bool> {
    let entries = there.entries()?;
    let names = entries.iter().map(|entry| &entry.name);
    if !names.eq(planned.files.keys()) || there.logical_bytes != planned.bytes {
        return Ok(false);
    }
    let modified = planned.attributes.get(MODIFIED_AT).map(ToString::to_string);
    if there.attributes.get(MODIFIED_AT) == modified.as_ref() {
        return Ok(true);
    }
    for (entry, path) in &planned.files {
        let (mut own, mut its) = (blake3::Hasher::new(), blake3::Hasher::new());
        there.copy_to(entry, &mut own)?;
        let path = root.join(path);
        its.update_reader(InputFile::open(&path)?.whole())
            .map_err(|error| io_error("reading", &path, error))?;
        if own.finalize() != its.finalize() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says which way its metrics are better, as far as that is known.
fn declare(job: &Job, planned: &Planned, options: &ImportOptions) -> Result<()> {
    let info = job.info()?;
    let is_declared = |name: &str| {
        let metrics = info.as_ref().map(|info| &info.metrics);
        metrics.is_some_and(|metrics| metrics.contains_key(name))
    };
    for name in planned.metrics.keys().filter(|name| !is_declared(name)) {
        let known = KNOWN.iter().find(|(known, _)| known == name);
        let direction = options.directions.get(name).or(known.map(|(_, way)| way));
        if let Some(direction) = direction {
            job.declare_metric(name, *direction)?;
            let is_main = info.as_ref().is_none_or(|info| info.main_metric.is_none());
            if is_main && (name == "val_reward" || options.directions.len() == 1) {
                job.set_main_metric(name)?;
            }
        }
    }
    Ok(())
}
