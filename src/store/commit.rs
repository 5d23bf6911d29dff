//! The last transaction of a save: the checkpoint appears with everything that belongs to it.

use super::declare::declare;
use super::ingest::Ingest;
use super::line::JobLine;
use super::manifest::Built;
use super::merge::merge;
use super::request::{Request, attribute_rows, metric_rows};
use super::rollback::go_back;
use super::tags::check_tags_free;
use super::turn::Turn;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::format::{
    Action, CheckpointRecord, DeletedMark, HeadMark, IndexKey, IndexKind, Later, Progress,
    SavedPart,
};
use crate::id::{CheckpointId, NodeId};
use crate::name::counted;
use crate::storage::{Change, Durability, Room};
use crate::store::{Checkpoint, Job};

/// A checkpoint that has been published.
pub(super) struct Published {
    pub(super) checkpoint: Checkpoint,
    /// Whether it was united with one that was there.
    pub(super) merged: bool,
    /// The number of its commit, if that is not on the disk yet.
    pub(super) staged: Option<u64>,
}

/// Publishes a checkpoint, or unites it with the one that it repeats. The caller has the turn.
pub(super) fn publish(
    job: &Job,
    request: &Request,
    built: Built,
    ingest: &mut Ingest<'_>,
) -> Result<Published> {
    let store = job.store();
    let store_id = store.id();
    let suspects = store.engine().suspects();
    let nodes: Vec<NodeId> = built.nodes.ids().copied().collect();
    let may_be_staged = ingest.may_be_staged() && !suspects.has_nodes();
    let durability = if may_be_staged && Turn::may_share_sync(store) {
        Durability::Staged
    } else {
        Durability::Durable
    };
    let mut staged = None;
    let (id, record, name, merged) = store.change_with((durability, Room::Ordinary), |change| {
        staged = (durability == Durability::Staged).then(|| store.engine().next_staged());
        let mut line = JobLine::open_or_create(change, job.name())?;
        for (metric, direction) in &request.directions {
            declare(change, &mut line, metric, *direction, false)?;
        }
        if let Some(parent) = request.parent
            && !repeats_head(change, &line, parent, request, &built)?
        {
            // A session has turned its telemetry back when it began.
            let cut = line.record.sessions.open.is_none();
            let reason = "a save continues an earlier checkpoint";
            go_back(change, &mut line, parent, reason, cut)?;
        }
        if let Some(batch) = &request.telemetry {
            line.append(change, batch)?;
        }
        let head = line.record.head;
        if let Some(head) = head
            && request.iteration < head.iteration
        {
            return Err(going_back(&line, head, request.iteration));
        }
        let mut replaced = None;
        if let Some(head) = head.filter(|head| head.iteration == request.iteration) {
            let record = change.records().known_checkpoint(head.id)?;
            if record.saved.manifest == built.manifest {
                // The same bytes may come because the old ones are spoilt.
                ingest.heal_all(change)?;
                ingest.mend(change, &built.nodes)?;
                let record = merge(change, &mut line, head.id, record, request)?;
                let name = line.record.name.clone();
                line.finish(change)?;
                return Ok((head.id, record, name, true));
            }
            replaced = Some(replaceable(change, &line, head, record, request)?);
        }
        ingest.publish(change)?;
        ingest.retain(change, &built.manifest, &built.nodes)?;
        let (id, record) = insert(
            change, &mut line, request, built, replaced, store_id, ingest,
        )?;
        let name = line.record.name.clone();
        line.finish(change)?;
        Ok((id, record, name, false))
    })?;
    suspects.forget([], &nodes);
    Ok(Published {
        checkpoint: Checkpoint::new(store.clone(), id, record, name),
        merged,
        staged,
    })
}

/// Whether the head is this very save: it is repeated, because nobody knew that it had succeeded.
fn repeats_head(
    change: &Change<'_>,
    line: &JobLine,
    parent: u64,
    request: &Request,
    built: &Built,
) -> Result<bool> {
    let head = line.record.head;
    let Some(head) = head.filter(|head| head.iteration == request.iteration) else {
        return Ok(false);
    };
    match change.records().known_checkpoint(head.id) {
        Ok(record) => {
            Ok(record.saved.parent == Some(parent) && record.saved.manifest == built.manifest)
        }
        // It is passed over, as what can't be loaded.
        Err(Error::Corrupt { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn going_back(line: &JobLine, head: HeadMark, iteration: u64) -> Error {
    let name = &line.record.name;
    Error::conflict(
        format!(
            "iteration {iteration} is before the newest of job `{name}`, {}",
            head.iteration
        ),
        "to go back, name the checkpoint that is continued as the parent; to start over, use \
         another job or delete this one",
    )
}

/// The head, which a save of the same iteration with other entries may replace: if that was asked
/// for and nothing continues it.
fn replaceable(
    change: &Change<'_>,
    line: &JobLine,
    head: HeadMark,
    record: CheckpointRecord,
    request: &Request,
) -> Result<(u64, CheckpointRecord)> {
    let what = format!("iteration {} of job `{}`", head.iteration, line.record.name);
    if !request.overwrite {
        return Err(Error::conflict(
            format!("{what} is saved already, with other entries"),
            "overwrite it (--overwrite), or save another iteration",
        ));
    }
    let mut children = 0_u64;
    let row = |id| IndexKey {
        kind: IndexKind::Child,
        job: 0,
        name: 0,
        order: head.id,
        id,
    };
    change
        .records()
        .0
        .index((row(0), row(u64::MAX)), false, &mut |_| {
            children += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
    if children > 0 {
        let verb = if children == 1 {
            "continues"
        } else {
            "continue"
        };
        return Err(Error::conflict(
            format!(
                "{what} can't be overwritten: {} {verb} it",
                counted(children, "checkpoint")
            ),
            "delete those first, or save another iteration",
        ));
    }
    Ok((head.id, record))
}

/// Puts a new checkpoint, in the place of `replaced` if there is one.
fn insert(
    change: &mut Change<'_>,
    line: &mut JobLine,
    request: &Request,
    built: Built,
    replaced: Option<(u64, CheckpointRecord)>,
    store: crate::id::StoreId,
    ingest: &Ingest<'_>,
) -> Result<(u64, CheckpointRecord)> {
    let id = change.next_id();
    let parent = match &replaced {
        Some((_, old)) => old.saved.parent,
        None => line.record.head.map(|head| head.id),
    };
    let mut events: Vec<String> = request.events.iter().cloned().collect();
    if events.is_empty() {
        events.push(Event::Manual.to_string());
    }
    let saved = SavedPart {
        job: line.number,
        iteration: request.iteration,
        // No checkpoint is from the future, whatever a file says that was copied from elsewhere.
        saved_at: request
            .saved_at
            .map_or(change.at(), |at| at.min(change.at())),
        parent,
        events,
        metrics: metric_rows(&request.metrics),
        attributes: attribute_rows(&request.attributes),
        manifest: built.manifest,
        entries: built.entries,
        bytes: built.bytes,
    };
    let content = saved
        .content_hash(store, CheckpointId::new(id))
        .map_err(|error| error.of("the checkpoint"))?;
    let progress = progress_of(change, line, &saved, replaced.as_ref())?;
    let mut later = Later {
        tags: request.tags.iter().cloned().collect(),
        pinned: request.pinned,
        new_bytes: ingest.tally.stored_bytes,
        progress,
        ..Later::default()
    };
    let logged = change.log(Action::Save {
        job: line.number,
        iteration: request.iteration,
        parent,
        content: *content.as_bytes(),
        replaced: replaced.as_ref().map(|(old, _)| *old),
    })?;
    debug_assert_eq!(logged, id, "a checkpoint's id is its log id");
    if let Some((old_id, old)) = replaced {
        later.pinned |= old.later.pinned;
        later.tags.extend(old.later.tags.iter().cloned());
        later.tags.sort_unstable();
        later.tags.dedup();
        bury(change, line, old_id, old, id)?;
    }
    check_tags_free(change, line, &later.tags, id)?;
    let record = CheckpointRecord {
        saved,
        content: *content.as_bytes(),
        later,
    };
    line.put_head(change, id, &record)?;
    Ok((id, record))
}

/// Where the line stands with what is saved. What is gone or can't be read of what came before says
/// nothing: triggers then count from the start, and rather save once too often.
fn progress_of(
    change: &Change<'_>,
    line: &JobLine,
    saved: &SavedPart,
    replaced: Option<&(u64, CheckpointRecord)>,
) -> Result<Progress> {
    let parent = saved
        .parent
        .map(|parent| change.records().checkpoint(parent));
    let before = match parent.transpose() {
        Ok(parent) => parent.flatten(),
        Err(Error::Corrupt { .. }) => None,
        Err(other) => return Err(other),
    };
    let before = before.as_ref().or(replaced.map(|(_, old)| old));
    let mut progress = Progress {
        source: None,
        segment: line.record.segment,
        ..before.map_or_else(Progress::default, |before| before.later.progress.clone())
    };
    let events = saved.events.iter().map(String::as_str);
    progress.advance(saved.iteration, events, &saved.metrics);
    Ok(progress)
}

/// Deletes a checkpoint that another one replaces.
fn bury(
    change: &mut Change<'_>,
    line: &mut JobLine,
    id: u64,
    mut record: CheckpointRecord,
    log: u64,
) -> Result<()> {
    line.detach(change, id, &record)?;
    record.later.tags.clear();
    record.later.pinned = false;
    record.later.deleted = Some(DeletedMark {
        log,
        at: change.at(),
    });
    line.count_deleted(1)?;
    line.forget_good(change, id)?;
    let kind = IndexKind::Deleted;
    let key = IndexKey::new(kind, line.number, 0, log, CheckpointId::new(id));
    change.rows().set_index(key, true)?;
    change.put_checkpoint(id, &record)?;
    line.recompute(change)
}
