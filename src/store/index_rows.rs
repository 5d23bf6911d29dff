//! Rows of the index: those that a checkpoint has, and the scans over them.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::{CheckpointRecord, IndexKey, IndexKind, ordered_bits, value_of};
use crate::id::CheckpointId;
use crate::storage::{Change, Rows};

/// The newest checkpoint of a job's current line.
pub(super) fn newest(rows: &dyn Rows, job: u32) -> Result<Option<u64>> {
    let mut found = None;
    rows.index(span(IndexKind::Commit, job, 0), true, &mut |key| {
        found = Some(key.id);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The newest checkpoint of a job's current line whose id is below this one.
pub(super) fn newest_below(rows: &dyn Rows, job: u32, below: u64) -> Result<Option<u64>> {
    let (first, last) = span(IndexKind::Commit, job, 0);
    let Some(order) = below.checked_sub(1) else {
        return Ok(None);
    };
    let last = IndexKey { order, ..last };
    let mut found = None;
    rows.index((first, last), true, &mut |key| {
        found = Some(key.id);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The best finite value of a metric, as bits, and the earliest checkpoint that has it.
pub(super) fn top(
    rows: &dyn Rows,
    job: u32,
    name: u32,
    larger: bool,
) -> Result<Option<(u64, u64)>> {
    let mut order = None;
    rows.index(span(IndexKind::Metric, job, name), larger, &mut |key| {
        order = Some(key.order);
        Ok(ControlFlow::Break(()))
    })?;
    let Some(order) = order else { return Ok(None) };
    let row = |id| IndexKey {
        kind: IndexKind::Metric,
        job,
        name,
        order,
        id,
    };
    let mut found = None;
    rows.index((row(0), row(u64::MAX)), false, &mut |key| {
        found = Some((value_of(order).to_bits(), key.id));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Every row of a kind of commit rows of a job, oldest first.
pub(super) fn each_commit(
    rows: &dyn Rows,
    job: u32,
    kind: IndexKind,
    visit: &mut dyn FnMut(u64) -> Result<ControlFlow<()>>,
) -> Result<()> {
    rows.index(span(kind, job, 0), false, &mut |key| visit(key.id))
}

/// The bounds of all rows of a kind, job and name.
pub(super) fn span(kind: IndexKind, job: u32, name: u32) -> (IndexKey, IndexKey) {
    let row = |order, id| IndexKey {
        kind,
        job,
        name,
        order,
        id,
    };
    (row(0, 0), row(u64::MAX, u64::MAX))
}

/// The bounds of all rows of a kind.
pub(super) fn whole(kind: IndexKind) -> (IndexKey, IndexKey) {
    (span(kind, 0, 0).0, span(kind, u32::MAX, u32::MAX).1)
}

/// Every live checkpoint of a job: those of its line, then those of abandoned ones, each oldest
/// first.
pub(super) fn all_live(rows: &dyn Rows, job: u32) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for kind in [IndexKind::Commit, IndexKind::AbandonedCommit] {
        each_commit(rows, job, kind, &mut |id| {
            found.push(id);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}

/// The rows of a live checkpoint, as (kind, name, order); names are not yet numbers.
pub(super) fn rows_of(
    id: u64,
    checkpoint: &CheckpointRecord,
) -> Vec<(IndexKind, Option<String>, u64)> {
    let abandoned = checkpoint.later.abandoned;
    let iteration = checkpoint.saved.iteration;
    let mut rows = vec![
        (IndexKind::Commit.on_line(abandoned), None, id),
        (IndexKind::Iteration.on_line(abandoned), None, iteration),
    ];
    let event = IndexKind::Event.on_line(abandoned);
    let mut families: Vec<&str> = Vec::new();
    for text in checkpoint.events() {
        rows.push((event, Some(text.to_owned()), iteration));
        if let Some((family, _)) = text.split_once('(') {
            families.push(family);
        }
    }
    families.dedup();
    rows.extend(
        families
            .into_iter()
            .map(|family| (event, Some(family.to_owned()), iteration)),
    );
    for (name, value) in checkpoint.metrics().filter(|(_, value)| value.is_finite()) {
        let kind = IndexKind::Metric.on_line(abandoned);
        rows.push((kind, Some(name.to_owned()), ordered_bits(value)));
    }
    rows.extend(
        checkpoint
            .later
            .tags
            .iter()
            .map(|tag| (IndexKind::Tag, Some(tag.clone()), 0)),
    );
    if let Some(parent) = checkpoint.saved.parent {
        rows.push((IndexKind::Child, None, parent));
    }
    rows
}

/// Puts or removes all rows of a live checkpoint.
pub(super) fn set_rows(
    change: &mut Change<'_>,
    id: u64,
    checkpoint: &CheckpointRecord,
    present: bool,
) -> Result<()> {
    for (kind, name, order) in rows_of(id, checkpoint) {
        let name = match name {
            Some(text) => change.intern(&text)?,
            None => 0,
        };
        let job = if kind == IndexKind::Child {
            0
        } else {
            checkpoint.saved.job
        };
        let key = IndexKey::new(kind, job, name, order, CheckpointId::new(id));
        change.rows().set_index(key, present)?;
    }
    Ok(())
}
