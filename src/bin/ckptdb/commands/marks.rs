//! What a row on a checkpoint says in words, and which cells it stars.

use std::collections::BTreeSet;

use ckptdb::name::printable;
use ckptdb::{CheckpointId, CheckpointInfo, Event, JobInfo, Store};

use crate::failure::Failure;
use crate::output::{Cell, Style, Tone};

/// Which checkpoints are a job's head, and which are best by what.
pub(crate) struct Marks {
    heads: BTreeSet<CheckpointId>,
    best: BTreeSet<(CheckpointId, String)>,
}

impl Marks {
    pub(crate) fn read(store: &Store, jobs: &[JobInfo]) -> Result<Self, Failure> {
        let mut best = BTreeSet::new();
        for info in jobs {
            let job = store.job(&info.name)?;
            for metric in info.metrics.keys() {
                if let Some(checkpoint) = job.best(metric)? {
                    best.insert((checkpoint.id, metric.clone()));
                }
            }
        }
        Ok(Self {
            heads: jobs.iter().filter_map(|job| job.head).collect(),
            best,
        })
    }

    pub(crate) fn metric_cell(&self, id: CheckpointId, metric: &str, value: &str) -> Cell {
        if self.best.contains(&(id, metric.to_owned())) {
            Cell::new(format!("* {value}"), Tone::Good)
        } else {
            value.into()
        }
    }
}

/// The events in short: a star beside a metric says what `best` was about.
pub(crate) fn events(info: &CheckpointInfo) -> String {
    let short = |event: &Event| match event {
        Event::Best(_) => event.family().to_owned(),
        _ => printable(&event.to_string()),
    };
    let mut words: Vec<_> = info.events.iter().map(short).collect();
    words.dedup();
    words.join(", ")
}

pub(crate) fn notes(info: &CheckpointInfo, marks: &Marks, style: &Style) -> Cell {
    let mut notes = Vec::new();
    if marks.heads.contains(&info.id) {
        notes.push("latest".to_owned());
    }
    if info.pinned {
        notes.push("pinned".to_owned());
    }
    notes.extend(
        info.tags
            .iter()
            .map(|tag| format!("tag:{}", printable(tag))),
    );
    let gone = info.abandoned || info.deleted_at.is_some();
    if gone {
        // Only its id names it.
        notes.insert(0, info.id.to_string());
    }
    if info.abandoned {
        notes.push("abandoned".to_owned());
    }
    if let Some(deleted_at) = info.deleted_at {
        notes.push(format!("deleted {}", style.ago(deleted_at)));
    }
    Cell::new(
        notes.join(", "),
        if gone { Tone::Faint } else { Tone::Plain },
    )
}
