//! Bringing a checkpoint's record up to date by the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{Action, CheckpointRecord, DeletedMark};

/// Does to the checkpoints what one log record says, as far as their records do not have it: a
/// version that was written at or after that log record does.
pub(super) fn replay(
    checkpoints: &mut BTreeMap<u64, CheckpointRecord>,
    parents: &BTreeMap<u64, Option<u64>>,
    action: &Action,
    mark: DeletedMark,
) {
    match action {
        Action::Merge { checkpoint, .. }
        | Action::Annotate { checkpoint, .. }
        | Action::Tag { checkpoint, .. }
        | Action::Pin { checkpoint, .. }
        | Action::Delete { checkpoint, .. }
        | Action::Undelete { checkpoint }
        | Action::Save {
            replaced: Some(checkpoint),
            ..
        } => {
            if let Some(record) = checkpoints.get_mut(checkpoint)
                && is_older(record, mark)
            {
                alter(record, action, mark);
            }
        }
        Action::DeleteJob { job } => {
            for record in of_job(checkpoints, *job, mark) {
                record.later.deleted.get_or_insert(mark);
            }
        }
        Action::Rollback { job, to, .. } => {
            let mut line = BTreeSet::new();
            let mut at = *to;
            while let Some(id) = at.filter(|id| line.insert(*id)) {
                at = parents.get(&id).copied().flatten();
            }
            let on_line = |id: &u64| line.contains(id);
            let abandoned = checkpoints
                .iter_mut()
                .filter(|(id, record)| record.saved.job == *job && **id < mark.log)
                .filter(|(_, record)| is_older(record, mark));
            for (id, record) in abandoned {
                record.later.abandoned = !on_line(id);
            }
        }
        _ => {}
    }
}

const fn is_older(record: &CheckpointRecord, mark: DeletedMark) -> bool {
    record.later.stamp.log < mark.log
}

fn of_job(
    checkpoints: &mut BTreeMap<u64, CheckpointRecord>,
    job: u32,
    mark: DeletedMark,
) -> impl Iterator<Item = &mut CheckpointRecord> {
    checkpoints
        .iter_mut()
        .filter(move |(id, record)| record.saved.job == job && **id < mark.log)
        .map(|(_, record)| record)
        .filter(move |record| is_older(record, mark))
}

fn alter(record: &mut CheckpointRecord, action: &Action, mark: DeletedMark) {
    let mut later = &mut record.later;
    match action {
        Action::Merge {
            events,
            metrics,
            attributes,
            ..
        } => {
            later.events.extend(events.iter().cloned());
            later.metrics.extend(metrics.iter().cloned());
            later.attributes.extend(attributes.iter().cloned());
            record.advance(events);
            later = &mut record.later;
        }
        Action::Annotate { attribute, .. } => later.attributes.push(attribute.clone()),
        Action::Tag { tag, set, .. } => {
            later.tags.retain(|other| other != tag);
            later.tags.extend(set.then(|| tag.clone()));
        }
        Action::Pin { pinned, .. } => later.pinned = *pinned,
        Action::Undelete { .. } => later.deleted = None,
        _ => {
            later.deleted.get_or_insert(mark);
        }
    }
    later.events.sort_unstable();
    later.metrics.sort_unstable();
    later.attributes.sort_unstable();
    later.tags.sort_unstable();
}
