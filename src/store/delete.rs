//! Deleting, and taking it back: a mark first, so that nothing is lost before the undo window ends.

use super::index_rows::all_live;
use super::line::{JobLine, descends};
use super::query::of_iteration;
use crate::error::{Error, Result};
use crate::format::{Action, CheckpointRecord, DeletedMark, IndexKey, IndexKind};
use crate::id::CheckpointId;
use crate::storage::Change;
use crate::store::{Checkpoint, Store};

impl Store {
    /// Deletes a checkpoint. It can come back by [`Store::undelete`] until it is reclaimed. The
    /// head goes only by `force`, and the head moves to the one before.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is pinned, or is the head and `force` is not given;
    /// [`Error::NotFound`]; [`Error::Deleted`] when it is deleted already.
    pub fn delete(&self, id: CheckpointId, force: bool) -> Result<()> {
        let _turn = self.turn()?;
        self.make_room(|change| {
            let record = change.records().checkpoint(id.get())?.ok_or_else(|| {
                Error::not_found(
                    format!("checkpoint {id}"),
                    "`ckptdb ls` shows ids with --json",
                )
            })?;
            if record.later.deleted.is_some() {
                return Err(Error::Deleted { id });
            }
            let mut line = JobLine::known(change, record.saved.job)?;
            check_deletable(&line, id, &record, force)?;
            let log = change.log(Action::Delete {
                checkpoint: id.get(),
                forced: force,
            })?;
            mark(change, &mut line, id.get(), record, log)?;
            line.recompute(change)?;
            line.finish(change)
        })
    }

    /// Brings a deleted checkpoint back, with its tags as far as nothing else has them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not deleted, or reclaimed already; [`Error::Conflict`] when
    /// its iteration has been saved anew, or its job's name is taken.
    pub fn undelete(&self, id: CheckpointId) -> Result<Checkpoint> {
        let _turn = self.turn()?;
        self.change(|change| {
            let record = change.records().checkpoint(id.get())?;
            let deleted = record.and_then(|record| Some((record.later.deleted?, record)));
            let (mark, mut record) = deleted.ok_or_else(|| {
                let hint = "`ckptdb ls --deleted` lists those that can come back";
                Error::not_found(format!("deleted checkpoint {id}"), hint)
            })?;
            let mut line = JobLine::known(change, record.saved.job)?;
            revive_job(change, &mut line)?;
            record.later.deleted = None;
            // On the current line if the head continues it, or it continues the head; unless a
            // rollback has left it behind.
            if let Some(head) = line.record.head {
                let (older, newer) = (head.id.min(id.get()), head.id.max(id.get()));
                let is_left = newer == id.get() && record.later.abandoned;
                record.later.abandoned = is_left || !descends(change.records(), newer, older)?;
            }
            check_iteration_free(change, &line, &record)?;
            free_tags(change, &line, &mut record)?;
            change.log(Action::Undelete {
                checkpoint: id.get(),
            })?;
            let key = IndexKey::new(IndexKind::Deleted, line.number, 0, mark.log, id);
            change.rows().set_index(key, false)?;
            line.count_deleted(-1)?;
            line.attach(change, id.get(), &record)?;
            change.put_checkpoint(id.get(), &record)?;
            line.recompute(change)?;
            line.finish(change)
        })?;
        self.resolve(&id.to_string())
    }

    /// Deletes a job and all its checkpoints, abandoned lines included; returns their number. Each
    /// can come back by [`Store::undelete`], and the job with it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when one of them is pinned.
    pub fn delete_job(&self, name: &str) -> Result<u64> {
        let _turn = self.turn()?;
        self.make_room(|change| {
            let mut line = JobLine::named(change.records(), name)?;
            let ids = all_live(change.records().0, line.number)?;
            let log = change.log(Action::DeleteJob { job: line.number })?;
            line.record.good = None;
            for id in &ids {
                let record = match change.records().known_checkpoint(*id) {
                    Err(error @ Error::Corrupt { .. }) => {
                        line.unlist(change, *id, &error)?;
                        continue;
                    }
                    record => record?,
                };
                check_deletable(&line, CheckpointId::new(*id), &record, true)?;
                mark(change, &mut line, *id, record, log)?;
            }
            line.set_name_row(change, false)?;
            line.record.removed = true;
            line.recompute(change)?;
            line.finish(change)?;
            Ok(ids.len() as u64)
        })
    }
}

impl Checkpoint {
    /// [`Store::delete`].
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn delete(&self, force: bool) -> Result<()> {
        self.store().delete(self.id, force)
    }
}

fn check_deletable(
    line: &JobLine,
    id: CheckpointId,
    record: &CheckpointRecord,
    force: bool,
) -> Result<()> {
    let what = format!("{}@{} ({id})", line.record.name, record.saved.iteration);
    if record.later.pinned {
        let hint = format!("unpin it first: ckptdb pin --remove {id}");
        return Err(Error::conflict(format!("{what} is pinned"), hint));
    }
    if line.record.head.is_some_and(|head| head.id == id.get()) && !force {
        return Err(Error::conflict(
            format!("{what} is the head of its job: training resumes from it"),
            "by force (--force) it is deleted, and the head moves to the one before",
        ));
    }
    if line.record.good == Some(id.get()) && !force {
        return Err(Error::conflict(
            format!("{what} is the last checkpoint of its job that is known to be good"),
            "verify a newer one first (ckptdb verify REF --record), or use force (--force)",
        ));
    }
    Ok(())
}

/// Marks a live checkpoint as deleted by this log record.
pub(super) fn mark(
    change: &mut Change<'_>,
    line: &mut JobLine,
    id: u64,
    mut record: CheckpointRecord,
    log: u64,
) -> Result<()> {
    line.detach(change, id, &record)?;
    line.count_deleted(1)?;
    line.forget_good(change, id)?;
    record.later.deleted = Some(DeletedMark {
        log,
        at: change.at(),
    });
    let checkpoint = CheckpointId::new(id);
    let key = IndexKey::new(IndexKind::Deleted, line.number, 0, log, checkpoint);
    change.rows().set_index(key, true)?;
    change.put_checkpoint(id, &record)
}

fn revive_job(change: &mut Change<'_>, line: &mut JobLine) -> Result<()> {
    if !line.record.removed {
        return Ok(());
    }
    let name = line.record.name.clone();
    if change.records().job_named(&name)?.is_some() {
        let what = format!("job `{name}` was deleted, and another has its name now");
        return Err(Error::conflict(what, "delete that one first"));
    }
    line.record.removed = false;
    line.set_name_row(change, true)
}

fn check_iteration_free(
    change: &Change<'_>,
    line: &JobLine,
    record: &CheckpointRecord,
) -> Result<()> {
    if record.later.abandoned {
        return Ok(());
    }
    let iteration = record.saved.iteration;
    let rows = change.records().0;
    match of_iteration(rows, line.number, IndexKind::Iteration, iteration)?.first() {
        None => Ok(()),
        Some(other) => {
            let what = format!(
                "iteration {iteration} of job `{}` is saved anew",
                line.record.name
            );
            Err(Error::conflict(what, format!("delete id:{other} first")))
        }
    }
}

/// Drops the tags that went to others meanwhile.
fn free_tags(change: &Change<'_>, line: &JobLine, record: &mut CheckpointRecord) -> Result<()> {
    let mut kept = Vec::new();
    for tag in std::mem::take(&mut record.later.tags) {
        if super::tags::tag_holder(change, line.number, &tag)?.is_none() {
            kept.push(tag);
        }
    }
    record.later.tags = kept;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_leaves_its_tag_to_whom_it_went_to() {
        let store = Store::in_memory().unwrap();
        let job = store.job("NQ").unwrap();
        let save = |iteration| {
            let saved = job.save(iteration).bytes("own", b"x").commit().unwrap();
            saved.checkpoint
        };
        let first = save(1);
        save(2);
        first.set_tag("kept", false).unwrap();
        first.set_tag("moved", false).unwrap();
        first.delete(false).unwrap();
        let last = save(3);
        last.set_tag("moved", false).unwrap();
        let back = store.undelete(first.id).unwrap();
        assert_eq!(back.tags.iter().collect::<Vec<_>>(), ["kept"]);
        assert_eq!(job.tagged("moved").unwrap().unwrap().id, last.id);
        assert_eq!(job.tagged("kept").unwrap().unwrap().id, first.id);
        assert!(
            store
                .verify(crate::store::VerifyDepth::Full)
                .unwrap()
                .is_clean()
        );
    }
}
