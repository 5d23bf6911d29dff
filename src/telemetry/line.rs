//! Lines: the segments that a checkpoint's series are made of.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::format::{BlockRecord, SegmentRecord, TelemetryRecord};
use crate::storage::{Records, Rows};

/// The segments of a line, oldest first, each up to an iteration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(u64, u64)>);

impl Line {
    /// The line that ends in this segment at this iteration. Reads a record for each segment.
    pub(crate) fn of(rows: &dyn Rows, segment: Option<u64>, limit: u64) -> Result<Self> {
        let mut line = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = segment.map(|key| (key, limit));
        while let Some((key, limit)) = next {
            if !seen.insert(key) {
                let what = format!("telemetry row {key:#x}");
                return Err(Error::corrupt(what, "its segment continues itself"));
            }
            line.push((key, limit));
            let parent = segment_at(rows, key)?.parent;
            next = parent.map(|(parent, cut)| (parent, cut.min(limit)));
        }
        line.reverse();
        Ok(Self(line))
    }

    pub(super) fn segments(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Shows its blocks that may have something at an iteration or after it, oldest first, each
    /// with the iteration up to which it counts.
    pub(super) fn each_block(
        &self,
        rows: &dyn Rows,
        start: u64,
        visit: &mut dyn FnMut(&BlockRecord, u64) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for (segment, limit) in self.0.iter().filter(|(_, limit)| *limit >= start) {
            let mut is_over = false;
            let from = seek(rows, *segment, start)?;
            each_block_after(rows, *segment, from, &mut |_, block| {
                if block.first > *limit {
                    return Ok(ControlFlow::Break(()));
                }
                let flow = visit(&block, *limit)?;
                is_over = flow.is_break();
                Ok(flow)
            })?;
            if is_over {
                break;
            }
        }
        Ok(())
    }
}

/// The first and the last key of a job's telemetry.
pub(super) const fn keys_of(job: u32) -> (u64, u64) {
    let first = (job as u64) << 32;
    (first, first | u32::MAX as u64)
}

/// The record that begins a segment.
pub(super) fn segment_at(rows: &dyn Rows, key: u64) -> Result<SegmentRecord> {
    match Records(rows).telemetry(key)? {
        Some(TelemetryRecord::Segment(segment)) => Ok(segment),
        found => {
            let why = match found {
                Some(_) => "it is not the beginning of a segment",
                None => "it is missing",
            };
            Err(Error::corrupt(format!("telemetry row {key:#x}"), why))
        }
    }
}

/// A key of a segment behind which all of its blocks lie that end at an iteration or after it.
/// Reads as many rows as it takes to halve the segment down to one.
fn seek(rows: &dyn Rows, segment: u64, start: u64) -> Result<u64> {
    // All blocks up to `low` end before it; behind `high` none is looked for.
    let (mut low, mut high) = (segment, segment | u64::from(u32::MAX));
    while start > 0 && high - low > 1 {
        let middle = low + (high - low) / 2;
        let mut found = None;
        Records(rows).each_telemetry((middle, high), false, &mut |key, record| {
            found = Some((key, record));
            Ok(ControlFlow::Break(()))
        })?;
        match found {
            Some((key, Ok(TelemetryRecord::Block(block))))
                if block.segment == segment && block.last < start =>
            {
                low = key;
            }
            // What can't be read is met later, if it is in the way.
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Shows the blocks of a segment behind a key, oldest first.
pub(super) fn each_block_after(
    rows: &dyn Rows,
    segment: u64,
    key: u64,
    visit: &mut dyn FnMut(u64, BlockRecord) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let end = segment | u64::from(u32::MAX);
    let range = (key.saturating_add(1), end);
    Records(rows).each_telemetry(range, false, &mut |key, record| match record? {
        TelemetryRecord::Block(block) if block.segment == segment => visit(key, block),
        TelemetryRecord::Block(_) => Ok(ControlFlow::Continue(())),
        TelemetryRecord::Segment(_) => Ok(ControlFlow::Break(())),
    })
}

/// Blocks with their keys, oldest first.
pub(super) type Tail = Vec<(u64, BlockRecord)>;

/// The blocks that are not summed up yet, oldest first.
pub(super) fn tail_of(rows: &dyn Rows, segment: u64, record: &SegmentRecord) -> Result<Tail> {
    let mut tail = Vec::new();
    let from = record.summed.unwrap_or(segment);
    each_block_after(rows, segment, from, &mut |key, block| {
        tail.push((key, block));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(tail)
}
