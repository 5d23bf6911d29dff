//! Telemetry out of what is left of it: rows that verify, put back in their places.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::block::batch_of;
use super::line::{Line, keys_of, segment_at, tail_of};
use super::read::summaries;
use super::summary::Summaries;
use crate::error::{Error, Result};
use crate::format::{BlockRecord, SegmentRecord, TelemetryRecord};
use crate::storage::{Change, Records, Rows};

/// Of several versions of rows, those that were written last, as far as that can be told: of a key,
/// the block that goes farthest. A block that begins before the one in front of it has ended is
/// from before that one was joined.
pub(crate) fn choose(found: BTreeMap<u64, Vec<TelemetryRecord>>) -> Vec<(u64, TelemetryRecord)> {
    let mut chosen = Vec::new();
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, versions) in found {
        let mut farthest: Option<BlockRecord> = None;
        let mut begins = None;
        for version in versions {
            match version {
                // What it sums up is counted anew.
                TelemetryRecord::Segment(segment) => begins = Some(segment.parent),
                TelemetryRecord::Block(block) => {
                    let reach = |block: &BlockRecord| (block.last, block.rows);
                    let is_farther = farthest.as_ref().is_none_or(|it| reach(&block) > reach(it));
                    if is_farther && batch_of(&block).is_ok() {
                        farthest = Some(block);
                    }
                }
            }
        }
        if let Some(parent) = begins {
            let segment = SegmentRecord {
                parent,
                ..SegmentRecord::default()
            };
            chosen.push((key, TelemetryRecord::Segment(segment)));
        } else if let Some(block) = farthest {
            let end = ends.entry(block.segment).or_insert(0);
            if block.first >= *end {
                *end = block.last;
                chosen.push((key, TelemetryRecord::Block(block)));
            }
        }
    }
    chosen
}

type Found = BTreeMap<u64, TelemetryRecord>;

/// The rows of a store's telemetry that can be read, and what is wrong with the others.
pub(crate) fn sound(rows: &dyn Rows) -> Result<(Found, Vec<(u64, String)>)> {
    let mut sound = BTreeMap::new();
    let mut faults = Vec::new();
    Records(rows).each_telemetry((0, u64::MAX), false, &mut |key, record| {
        let read = record.and_then(|record| match &record {
            TelemetryRecord::Block(block) => batch_of(block).map(|_| record),
            TelemetryRecord::Segment(_) => Ok(record),
        });
        match read {
            Ok(record) => drop(sound.insert(key, record)),
            Err(error @ Error::Corrupt { .. }) => faults.push((key, error.to_string())),
            Err(other) => return Err(other),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let keys: BTreeSet<u64> = sound
        .iter()
        .filter(|(_, record)| matches!(record, TelemetryRecord::Segment(_)))
        .map(|(key, _)| *key)
        .collect();
    for (key, record) in &sound {
        if let TelemetryRecord::Segment(segment) = record
            && let Some(summed) = segment.summed
            && !is_block_of(sound.get(&summed), *key)
        {
            let what = format!("telemetry row {summed:#x}, which row {key:#x} sums up, is missing");
            faults.push((summed, what));
        }
        let named = match record {
            TelemetryRecord::Segment(segment) => segment.parent.map(|(parent, _)| parent),
            TelemetryRecord::Block(block) => Some(block.segment),
        };
        if let Some(missing) = named.filter(|named| !keys.contains(named)) {
            let what = format!("telemetry row {key:#x}: its segment {missing:#x} is missing");
            faults.push((*key, what));
        }
    }
    Ok((sound, faults))
}

/// What the tables have; of what they have lost, what was found elsewhere.
pub(crate) fn fill(
    sound: &mut BTreeMap<u64, TelemetryRecord>,
    faults: &[(u64, String)],
    elsewhere: BTreeMap<u64, Vec<TelemetryRecord>>,
) {
    let lost: BTreeSet<u64> = faults.iter().map(|(key, _)| *key).collect();
    for (key, record) in choose(elsewhere) {
        if lost.contains(&key) || matches!(record, TelemetryRecord::Segment(_)) {
            sound.entry(key).or_insert(record);
        }
    }
}

fn is_block_of(record: Option<&TelemetryRecord>, segment: u64) -> bool {
    matches!(record, Some(TelemetryRecord::Block(block)) if block.segment == segment)
}

/// Puts rows in the place of all that the store has of telemetry. `wanted` are segments that other
/// records name: those that are lost are empty from now on.
pub(crate) fn restore(
    change: &mut Change<'_>,
    mut rows: BTreeMap<u64, TelemetryRecord>,
    wanted: impl IntoIterator<Item = u64>,
) -> Result<()> {
    let mut old = Vec::new();
    Records(change.records().0).each_telemetry((0, u64::MAX), false, &mut |key, _| {
        old.push(key);
        Ok(ControlFlow::Continue(()))
    })?;
    for key in old {
        change.drop_telemetry(key)?;
    }
    let mut segments: BTreeSet<u64> = wanted.into_iter().collect();
    for record in rows.values() {
        match record {
            TelemetryRecord::Segment(segment) => {
                segments.extend(segment.parent.map(|(parent, _)| parent));
            }
            TelemetryRecord::Block(block) => drop(segments.insert(block.segment)),
        }
    }
    for key in segments {
        if !matches!(rows.get(&key), Some(TelemetryRecord::Segment(_))) {
            rows.insert(key, TelemetryRecord::Segment(SegmentRecord::default()));
        }
    }
    let mut parents = BTreeMap::new();
    for (key, record) in &rows {
        if let TelemetryRecord::Segment(segment) = record {
            parents.insert(*key, segment.parent);
        }
        change.put_telemetry(*key, record)?;
    }
    let mut done = BTreeSet::new();
    for key in parents.keys() {
        sum_up(change, &parents, &mut done, *key)?;
    }
    Ok(())
}

/// Counts a segment's summaries anew, after those of the segments before it.
fn sum_up(
    change: &mut Change<'_>,
    parents: &BTreeMap<u64, Option<(u64, u64)>>,
    done: &mut BTreeSet<u64>,
    key: u64,
) -> Result<()> {
    let mut line = vec![key];
    while let Some(Some((parent, _))) = line.last().and_then(|last| parents.get(last)) {
        if done.contains(parent) || line.contains(parent) {
            break;
        }
        line.push(*parent);
    }
    for key in line.into_iter().rev() {
        if !done.insert(key) {
            continue;
        }
        let parent = parents.get(&key).copied().flatten();
        let rows = change.records().0;
        let mut sums = match parent {
            Some((parent, cut)) => summaries(rows, &Line::of(rows, Some(parent), cut)?)?,
            None => Summaries::default(),
        };
        let bare = SegmentRecord {
            parent,
            ..SegmentRecord::default()
        };
        let tail = tail_of(rows, key, &bare)?;
        for (_, block) in &tail {
            sums.take(&batch_of(block)?, u64::MAX);
        }
        let mut records = sums.into_records();
        records.truncate(crate::format::MAX_SERIES);
        let record = SegmentRecord {
            parent,
            summed: tail.last().map(|(key, _)| *key),
            summaries: records,
        };
        change.put_telemetry(key, &TelemetryRecord::Segment(record))?;
    }
    Ok(())
}

/// The segment that a job's last row belongs to.
pub(crate) fn last_segment(rows: &dyn Rows, job: u32) -> Result<Option<u64>> {
    let mut found = None;
    Records(rows).each_telemetry(keys_of(job), true, &mut |key, record| {
        found = match record {
            Ok(TelemetryRecord::Segment(_)) => Some(key),
            Ok(TelemetryRecord::Block(block)) => Some(block.segment),
            Err(Error::Corrupt { .. }) => return Ok(ControlFlow::Continue(())),
            Err(other) => return Err(other),
        };
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found.filter(|key| segment_at(rows, *key).is_ok()))
}
