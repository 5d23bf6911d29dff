//! Appending points, and turning back.

use std::ops::ControlFlow;

use super::batch::Batch;
use super::block::{batch_of, block_of};
use super::line::{Line, Tail, keys_of, segment_at, tail_of};
use super::read::summaries;
use super::summary::Summaries;
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_VALUES, BlockRecord, MAX_BLOCK_ROWS, MAX_SERIES, SegmentRecord, TelemetryRecord,
};
use crate::storage::{Change, Records, Rows};

/// Appends points to a job's current segment, which is begun if there is none. Points from before
/// the last one turn the line back to before them: what they replace is left behind.
///
/// Small blocks at the end are joined as they come, so that every point is written a few times at
/// most, whatever the size of batches.
pub(crate) fn append(
    change: &mut Change<'_>,
    job: u32,
    segment: &mut Option<u64>,
    batch: &Batch,
) -> Result<()> {
    let Some(first) = batch.rows.first().copied() else {
        return Ok(());
    };
    let (mut key, mut record, mut tail) = opened(change, job, *segment)?;
    if last_of(&record, &tail).is_some_and(|last| last > first) {
        key = begin(change, job, first.checked_sub(1).map(|cut| (key, cut)))?;
        record = segment_at(change.records().0, key)?;
        tail.clear();
    }
    *segment = Some(key);
    let mut pending = batch.clone();
    limit_series(&mut pending, &record, &tail);
    let mut next = end_of(change.records().0, job)? + 1;
    while let Some((place, block)) = tail.pop() {
        if block.rows as usize > 2 * pending.rows.len() && !is_full(&pending) {
            break;
        }
        match batch_of(&block) {
            Ok(before) => pending.prepend(before),
            // It stays where it is; verify names it.
            Err(Error::Corrupt { .. }) => break,
            Err(other) => return Err(other),
        }
        change.drop_telemetry(place)?;
        next = place;
    }
    let at = change.at();
    let mut sums = None;
    while is_full(&pending) {
        let piece = pending.split(MAX_BLOCK_ROWS, BLOCK_VALUES);
        put_block(change, next, block_of(key, at, &piece))?;
        sums.get_or_insert_with(|| Summaries::of(std::mem::take(&mut record.summaries)))
            .take(&piece, u64::MAX);
        record.summed = Some(next);
        next += 1;
    }
    if let Some(sums) = sums {
        record.summaries = sums.into_records();
        change.put_telemetry(key, &TelemetryRecord::Segment(record))?;
    }
    if pending.is_empty() {
        return Ok(());
    }
    put_block(change, next, block_of(key, at, &pending))
}

/// Makes what is appended from now on continue this position of a segment. Nothing is done where
/// that is so already. Where the series is cut, what lies before is read once.
pub(crate) fn turn_back(
    change: &mut Change<'_>,
    job: u32,
    segment: &mut Option<u64>,
    to: (Option<u64>, u64),
) -> Result<()> {
    let (of, iteration) = to;
    let parent = of.map(|key| (key, iteration));
    if let Some(current) = *segment {
        let (current, record, tail) = opened(change, job, Some(current))?;
        *segment = Some(current);
        let last = own_last(change.records().0, current, &record, &tail)?;
        let goes_on = of == Some(current) && last.is_none_or(|last| last <= iteration);
        let is_there = record.parent == parent && last.is_none();
        if goes_on || is_there {
            return Ok(());
        }
    } else if of.is_none() {
        return Ok(());
    }
    *segment = Some(begin(change, job, parent)?);
    Ok(())
}

/// Ends a job's current segment if a line that continues it up to this iteration would show what
/// is still to be logged: a fork knows what came before it, and what its source logs later is the
/// source's own.
pub(crate) fn end_before_fork(
    change: &mut Change<'_>,
    job: u32,
    segment: &mut Option<u64>,
    at: (Option<u64>, u64),
) -> Result<()> {
    let (Some(key), iteration) = (*segment, at.1) else {
        return Ok(());
    };
    if at.0 != Some(key) {
        return Ok(());
    }
    let (current, record, tail) = opened(change, job, Some(key))?;
    let may_grow = last_of(&record, &tail).is_none_or(|last| last <= iteration);
    *segment = Some(if current == key && may_grow {
        begin(change, job, Some((key, iteration)))?
    } else {
        current
    });
    Ok(())
}

/// The last iteration that was logged on the line that this segment ends, and when.
pub(crate) fn last_row(rows: &dyn Rows, segment: Option<u64>) -> Result<Option<(u64, i64)>> {
    let Some(segment) = segment else {
        return Ok(None);
    };
    let mut last = None;
    let end = segment | u64::from(u32::MAX);
    let read = Records(rows).each_telemetry((segment, end), true, &mut |_, record| {
        if let Ok(TelemetryRecord::Block(block)) = record {
            last = Some((block.last, block.at));
        }
        Ok(ControlFlow::Break(()))
    });
    read.map(|()| last)
}

/// Whether a segment of another job continues one of this job's. Reads all telemetry.
pub(crate) fn has_forks(rows: &dyn Rows, job: u32) -> Result<bool> {
    let own = |key: u64| key >> 32 == u64::from(job);
    let mut found = false;
    Records(rows).each_telemetry((0, u64::MAX), false, &mut |key, record| {
        if let Ok(TelemetryRecord::Segment(segment)) = record {
            found |= !own(key) && segment.parent.is_some_and(|(parent, _)| own(parent));
        }
        Ok(if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(found)
}

/// Removes rows of a job's telemetry, at most `most`. Whether there are more.
pub(crate) fn forget(change: &mut Change<'_>, job: u32, most: usize) -> Result<bool> {
    let mut keys = Vec::new();
    Records(change.records().0).each_telemetry(keys_of(job), false, &mut |key, _| {
        keys.push(key);
        Ok(if keys.len() > most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let more = keys.len() > most;
    for key in keys.into_iter().take(most) {
        change.drop_telemetry(key)?;
    }
    Ok(more)
}

/// A segment, and its blocks that are not summed up yet. One that is damaged is left alone, and
/// another begun: telemetry never stands in the way of a save.
fn opened(
    change: &mut Change<'_>,
    job: u32,
    segment: Option<u64>,
) -> Result<(u64, SegmentRecord, Tail)> {
    if let Some(key) = segment {
        let rows = change.records().0;
        let read = segment_at(rows, key)
            .and_then(|record| tail_of(rows, key, &record).map(|tail| (key, record, tail)));
        match read {
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(%error, "telemetry goes on in a new segment");
            }
            read => return read,
        }
    }
    let key = begin(change, job, None)?;
    Ok((key, segment_at(change.records().0, key)?, Vec::new()))
}

/// Begins a segment behind all of the job's rows; it knows what the line before it holds.
fn begin(change: &mut Change<'_>, job: u32, parent: Option<(u64, u64)>) -> Result<u64> {
    let rows = change.records().0;
    let key = end_of(rows, job)? + 1;
    if key > keys_of(job).1 {
        let what = format!("the telemetry of job number {job}");
        return Err(Error::invalid(what, "it has 2^32 rows already"));
    }
    let line =
        |(segment, cut)| Line::of(rows, Some(segment), cut).and_then(|line| summaries(rows, &line));
    let (parent, sums) = match parent.map(line).transpose() {
        Ok(sums) => (parent, sums.unwrap_or_default()),
        Err(error @ Error::Corrupt { .. }) => {
            tracing::warn!(%error, "telemetry goes on without what came before");
            (None, Summaries::default())
        }
        Err(other) => return Err(other),
    };
    let record = SegmentRecord {
        parent,
        summed: None,
        summaries: sums.into_records(),
    };
    change.put_telemetry(key, &TelemetryRecord::Segment(record))?;
    Ok(key)
}

/// The last key that a job's telemetry has; before the first of them, if it has none.
fn end_of(rows: &dyn Rows, job: u32) -> Result<u64> {
    let (first, last) = keys_of(job);
    // The key before the first belongs to the job before.
    let mut end = first;
    Records(rows).each_telemetry((first, last), true, &mut |key, _| {
        end = key;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(end)
}

/// The last iteration of the line that a segment ends.
fn last_of(record: &SegmentRecord, tail: &[(u64, BlockRecord)]) -> Option<u64> {
    let of_sums = record.summaries.iter().map(|summary| summary.last.0).max();
    tail.last().map(|(_, block)| block.last).or(of_sums)
}

/// The last iteration of the segment itself.
fn own_last(
    rows: &dyn Rows,
    segment: u64,
    record: &SegmentRecord,
    tail: &[(u64, BlockRecord)],
) -> Result<Option<u64>> {
    if let Some((_, block)) = tail.last() {
        return Ok(Some(block.last));
    }
    let Some(summed) = record.summed else {
        return Ok(None);
    };
    match Records(rows).telemetry(summed) {
        Ok(Some(TelemetryRecord::Block(block))) if block.segment == segment => Ok(Some(block.last)),
        Err(error @ (Error::Io { .. } | Error::Full { .. })) => Err(error),
        // It is damaged, or gone: nothing is known, and a new segment is begun.
        _ => Ok(Some(u64::MAX)),
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.rows.len() >= MAX_BLOCK_ROWS || batch.len() >= BLOCK_VALUES
}

/// Series beyond the limit are left out: telemetry never stands in the way of a save.
fn limit_series(batch: &mut Batch, record: &SegmentRecord, tail: &[(u64, BlockRecord)]) {
    let summed = record.summaries.iter().map(|summary| &summary.name);
    let of_tail = tail.iter().flat_map(|(_, block)| &block.columns);
    let known: std::collections::BTreeSet<&String> =
        summed.chain(of_tail.map(|column| &column.name)).collect();
    let mut room = MAX_SERIES.saturating_sub(known.len());
    batch.columns.retain(|name, _| {
        if known.contains(name) {
            return true;
        }
        if room == 0 {
            tracing::warn!(
                metric = name,
                "a job's telemetry has {MAX_SERIES} metrics at most"
            );
            return false;
        }
        room -= 1;
        true
    });
}

fn put_block(change: &mut Change<'_>, key: u64, block: BlockRecord) -> Result<()> {
    change.put_telemetry(key, &TelemetryRecord::Block(block))
}
