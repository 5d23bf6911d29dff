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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{AttributeRow, Group, Later, Manifest, MetricRow, SavedPart};

    /// Four checkpoints of one job, 2 to 8, each the parent of the next, and 9 of another.
    struct Log {
        checkpoints: BTreeMap<u64, CheckpointRecord>,
        parents: BTreeMap<u64, Option<u64>>,
    }

    impl Log {
        fn new() -> Self {
            let mut log = Self {
                checkpoints: BTreeMap::new(),
                parents: BTreeMap::new(),
            };
            for (id, parent, job) in [
                (2, None, 1),
                (4, Some(2), 1),
                (6, Some(4), 1),
                (8, Some(6), 1),
                (9, None, 2),
            ] {
                let saved = SavedPart {
                    job,
                    iteration: id,
                    saved_at: 0,
                    parent,
                    events: vec!["manual".to_owned()],
                    metrics: Vec::new(),
                    attributes: Vec::new(),
                    manifest: Manifest::Inline(Group::default()),
                    entries: 0,
                    bytes: 0,
                };
                let (content, later) = ([0; 32], Later::default());
                let record = CheckpointRecord {
                    saved,
                    content,
                    later,
                };
                log.checkpoints.insert(id, record);
                log.parents.insert(id, parent);
            }
            log
        }

        /// What the log record 20 says is done.
        fn then(&mut self, action: &Action) -> &mut Self {
            let mark = DeletedMark { log: 20, at: 7 };
            replay(&mut self.checkpoints, &self.parents, action, mark);
            self
        }

        fn later(&self, id: u64) -> &Later {
            &self.checkpoints[&id].later
        }

        fn ids(&self, wanted: impl Fn(&Later) -> bool) -> Vec<u64> {
            let all = self.checkpoints.iter();
            let found = all.filter(|(_, record)| wanted(&record.later));
            found.map(|(id, _)| *id).collect()
        }
    }

    fn tag(tag: &str, set: bool) -> Action {
        Action::Tag {
            checkpoint: 4,
            tag: tag.to_owned(),
            set,
        }
    }

    #[test]
    fn tags_and_pins_are_what_the_last_record_says() {
        let mut log = Log::new();
        log.then(&tag("b", true))
            .then(&tag("a", true))
            .then(&tag("b", true));
        assert_eq!(log.later(4).tags, ["a", "b"]);
        assert_eq!(log.then(&tag("b", false)).later(4).tags, ["a"]);
        assert_eq!(log.ids(|later| !later.tags.is_empty()), [4]);
        let pin = |pinned| Action::Pin {
            checkpoint: 6,
            pinned,
        };
        assert_eq!(log.then(&pin(true)).ids(|later| later.pinned), [6]);
        assert!(log.then(&pin(false)).ids(|later| later.pinned).is_empty());
    }

    #[test]
    fn what_is_merged_and_annotated_is_added_in_order() {
        let mut log = Log::new();
        let attribute = |name: &str| AttributeRow {
            name: name.to_owned(),
            json: "1".to_owned(),
        };
        log.then(&Action::Merge {
            checkpoint: 2,
            events: vec!["periodic".to_owned(), "final".to_owned()],
            metrics: vec![MetricRow {
                name: "loss".to_owned(),
                bits: 1.0_f64.to_bits(),
            }],
            attributes: vec![attribute("seed")],
        });
        log.then(&Action::Annotate {
            checkpoint: 2,
            attribute: attribute("note"),
        });
        let later = log.later(2);
        assert_eq!(later.events, ["final", "periodic"]);
        assert_eq!(later.metrics.len(), 1);
        assert_eq!(later.attributes, [attribute("note"), attribute("seed")]);
        assert_eq!(later.progress.anchor, Some(2), "it was a periodic save");
    }

    #[test]
    fn deletes_of_one_or_of_a_job_mark_what_is_not_marked_yet() {
        let mut log = Log::new();
        let deleted = |log: &Log| log.ids(|later| later.deleted.is_some());
        let delete = |checkpoint| Action::Delete {
            checkpoint,
            forced: false,
        };
        assert_eq!(deleted(log.then(&delete(4))), [4]);
        assert_eq!(log.later(4).deleted, Some(DeletedMark { log: 20, at: 7 }));
        log.then(&Action::Undelete { checkpoint: 4 });
        assert!(deleted(&log).is_empty());
        let early = DeletedMark { log: 12, at: 3 };
        log.checkpoints.get_mut(&6).unwrap().later.deleted = Some(early);
        assert_eq!(
            deleted(log.then(&Action::DeleteJob { job: 1 })),
            [2, 4, 6, 8]
        );
        assert_eq!(log.later(6).deleted, Some(early));
        let replaced = Action::Save {
            job: 2,
            iteration: 9,
            parent: None,
            content: [0; 32],
            replaced: Some(9),
        };
        assert_eq!(deleted(log.then(&replaced)), [2, 4, 6, 8, 9]);
    }

    #[test]
    fn a_rollback_leaves_behind_what_is_not_on_the_way_to_where_it_goes() {
        let mut log = Log::new();
        let to = |to| Action::Rollback {
            job: 1,
            from: Some(8),
            to,
            reason: "test".to_owned(),
        };
        let left = |log: &Log| log.ids(|later| later.abandoned);
        assert_eq!(left(log.then(&to(Some(4)))), [6, 8]);
        assert!(left(log.then(&to(Some(8)))).is_empty());
        assert_eq!(left(log.then(&to(None))), [2, 4, 6, 8]);
    }

    #[test]
    fn a_record_that_is_as_new_as_the_log_record_has_it_already() {
        let mut log = Log::new();
        for (id, stamp) in [(2, 19), (4, 20), (6, 21)] {
            log.checkpoints.get_mut(&id).unwrap().later.stamp.log = stamp;
        }
        log.then(&Action::DeleteJob { job: 1 });
        assert_eq!(log.ids(|later| later.deleted.is_some()), [2, 8]);
        log.then(&tag("late", true));
        assert_eq!(log.later(4).tags, [""; 0], "its record is as new");
        // Nor does what came after the log record.
        let mark = DeletedMark { log: 5, at: 7 };
        let action = Action::DeleteJob { job: 2 };
        replay(&mut log.checkpoints, &log.parents, &action, mark);
        assert_eq!(log.later(9).deleted, None);
    }
}
