//! Latest, best, by iteration, by tag: index scans, checked against what the records say.

use std::ops::ControlFlow;

use super::index_rows::{newest, span, top};
use super::line::direction_of;
use crate::error::{Error, Result};
use crate::event::is_family;
use crate::format::{CheckpointRecord, IndexKey, IndexKind, JobRecord, ordered_bits};
use crate::name::instead;
use crate::storage::{Records, Rows};
use crate::store::{Checkpoint, Store};

/// Runs a query on a job; none if the job does not exist.
fn on_job(
    store: &Store,
    name: &str,
    find: impl Fn(&dyn Rows, u32, &JobRecord) -> Result<Vec<(u64, CheckpointRecord)>>,
) -> Result<Vec<Checkpoint>> {
    let found = store.read(|rows| match Records(rows).job_named(name)? {
        Some((number, job)) => find(rows, number, &job),
        None => Ok(Vec::new()),
    })?;
    let handle = |(id, record)| Checkpoint::new(store.clone(), id, record, name.to_owned());
    Ok(found.into_iter().map(handle).collect())
}

pub(super) fn latest(store: &Store, name: &str) -> Result<Option<Checkpoint>> {
    let found = on_job(store, name, |rows, number, job| {
        let head = job.head.map(|head| head.id);
        if newest(rows, number)? != head {
            return Err(disagree(name, "its newest checkpoint"));
        }
        head.map(|id| listed(rows, number, id))
            .transpose()
            .map(|one| one.into_iter().collect())
    })?;
    Ok(found.into_iter().next())
}

pub(super) fn best(store: &Store, name: &str, metric: &str) -> Result<Option<Checkpoint>> {
    Ok(ranking(store, name, metric, 1)?.into_iter().next())
}

pub(super) fn ranking(
    store: &Store,
    name: &str,
    metric: &str,
    count: usize,
) -> Result<Vec<Checkpoint>> {
    on_job(store, name, |rows, number, job| {
        let ranked = rows_of_ranking(rows, (name, number, job), metric, count)?;
        let found = ranked.into_iter();
        found
            .map(|row| ranked_record(rows, (name, number), metric, row))
            .collect()
    })
}

/// The ids of a ranking, whatever their records say; none if the job does not exist.
pub(super) fn ranked_ids(store: &Store, name: &str, metric: &str) -> Result<Vec<(u64, u64)>> {
    store.read(|rows| match Records(rows).job_named(name)? {
        Some((number, job)) => rows_of_ranking(rows, (name, number, &job), metric, usize::MAX),
        None => Ok(Vec::new()),
    })
}

/// That the record of a checkpoint agrees with its row in a ranking.
pub(super) fn check_ranked(store: &Store, name: &str, metric: &str, row: (u64, u64)) -> Result<()> {
    store.read(|rows| match Records(rows).job_named(name)? {
        Some((number, _)) => ranked_record(rows, (name, number), metric, row).map(drop),
        None => Ok(()),
    })
}

/// The first `count` rows of a ranking, as order and id.
fn rows_of_ranking(
    rows: &dyn Rows,
    (name, number, job): (&str, u32, &JobRecord),
    metric: &str,
    count: usize,
) -> Result<Vec<(u64, u64)>> {
    let known = job.metrics.iter().find(|known| known.name == metric);
    let known = known.ok_or_else(|| unknown_metric(name, metric, job))?;
    let direction = direction_of(known).ok_or_else(|| Error::Undeclared {
        job: name.to_owned(),
        metric: metric.to_owned(),
    })?;
    let Some(word) = Records(rows).name_number(metric)? else {
        return Err(disagree(name, "its metrics"));
    };
    let larger = direction == crate::metric::Direction::Max;
    if top(rows, number, word, larger)? != known.best {
        return Err(disagree(name, &format!("the best by `{metric}`")));
    }
    ranked(rows, number, word, larger, count)
}

/// The record of a row of a ranking.
fn ranked_record(
    rows: &dyn Rows,
    (name, number): (&str, u32),
    metric: &str,
    (order, id): (u64, u64),
) -> Result<(u64, CheckpointRecord)> {
    let (id, record) = listed(rows, number, id)?;
    let mut metrics = record.metrics();
    if !metrics.any(|(its, value)| its == metric && ordered_bits(value) == order) {
        return Err(disagree(name, &format!("the ranking by `{metric}`")));
    }
    drop(metrics);
    Ok((id, record))
}

/// Why a metric that no checkpoint has can't rank: with the names that there are.
fn unknown_metric(job: &str, metric: &str, record: &JobRecord) -> Error {
    let known = record.metrics.iter();
    let names: Vec<&str> = known.map(|metric| metric.name.as_str()).collect();
    let hint = instead(metric, &names, "metric");
    Error::not_found(format!("metric `{metric}` in job `{job}`"), hint)
}

/// The first `count` rows of a ranking: by value, equal ones by id. A seek for every value.
fn ranked(
    rows: &dyn Rows,
    job: u32,
    name: u32,
    larger: bool,
    count: usize,
) -> Result<Vec<(u64, u64)>> {
    let (first, last) = span(IndexKind::Metric, job, name);
    let mut found: Vec<(u64, u64)> = Vec::new();
    if !larger {
        rows.index((first, last), false, &mut |key| {
            if found.len() == count {
                return Ok(ControlFlow::Break(()));
            }
            found.push((key.order, key.id));
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(found);
    }
    let mut below = Some(last);
    while let Some(upper) = below.take().filter(|_| found.len() < count) {
        let mut order = None;
        rows.index((first, upper), true, &mut |key| {
            order = Some(key.order);
            Ok(ControlFlow::Break(()))
        })?;
        let Some(order) = order else { break };
        let row = |id| IndexKey { order, id, ..first };
        rows.index((row(0), row(u64::MAX)), false, &mut |key| {
            if found.len() == count {
                return Ok(ControlFlow::Break(()));
            }
            found.push((key.order, key.id));
            Ok(ControlFlow::Continue(()))
        })?;
        below = order.checked_sub(1).map(|order| IndexKey {
            order,
            id: u64::MAX,
            ..first
        });
    }
    Ok(found)
}

pub(super) fn at(store: &Store, name: &str, iteration: u64) -> Result<Option<Checkpoint>> {
    let found = on_job(store, name, |rows, number, _| {
        let ids = of_iteration(rows, number, IndexKind::Iteration, iteration)?;
        let mut found = Vec::new();
        for id in ids {
            let (id, record) = listed(rows, number, id)?;
            if record.saved.iteration != iteration {
                return Err(disagree(name, "its iterations"));
            }
            found.push((id, record));
        }
        if found.is_empty() {
            let is_it = |record: &CheckpointRecord| record.saved.iteration == iteration;
            none_above(rows, (name, number), 0, "its iterations", &is_it)?;
        }
        Ok(found)
    })?;
    Ok(found.into_iter().next())
}

/// What the index does not have must be in no record above this id: a lost page of the index would
/// pass for the answer that there is nothing. Costs a pass over these records.
fn none_above(
    rows: &dyn Rows,
    (name, number): (&str, u32),
    id: u64,
    about: &str,
    is_it: &dyn Fn(&CheckpointRecord) -> bool,
) -> Result<()> {
    let ids = (id.saturating_add(1), u64::MAX);
    Records(rows).checkpoints(ids, true, &mut |_, record| match record {
        Ok(record)
            if record.saved.job == number
                && record.later.deleted.is_none()
                && !record.later.abandoned
                && is_it(&record) =>
        {
            Err(disagree(name, about))
        }
        _ => Ok(ControlFlow::Continue(())),
    })
}

/// The checkpoints of an iteration, on the current line or on the abandoned ones.
pub(super) fn of_iteration(
    rows: &dyn Rows,
    job: u32,
    kind: IndexKind,
    iteration: u64,
) -> Result<Vec<u64>> {
    let row = |id| IndexKey {
        kind,
        job,
        name: 0,
        order: iteration,
        id,
    };
    let mut ids = Vec::new();
    rows.index((row(0), row(u64::MAX)), false, &mut |key| {
        ids.push(key.id);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ids)
}

pub(super) fn tagged(store: &Store, name: &str, tag: &str) -> Result<Option<Checkpoint>> {
    let has = |record: &CheckpointRecord| record.later.tags.iter().any(|its| its == tag);
    let found = on_job(store, name, |rows, number, _| {
        let Some(id) = first_named(rows, IndexKind::Tag, number, tag)? else {
            none_above(rows, (name, number), 0, "its tags", &has)?;
            return Ok(Vec::new());
        };
        let (id, record) = listed(rows, number, id)?;
        if !has(&record) {
            return Err(disagree(name, "its tags"));
        }
        Ok(vec![(id, record)])
    })?;
    Ok(found.into_iter().next())
}

/// The newest checkpoint of the current line with an event, whole or a family.
pub(super) fn with_event(store: &Store, name: &str, event: &str) -> Result<Option<Checkpoint>> {
    let has = |record: &CheckpointRecord| {
        let mut events = record.events().into_iter();
        events.any(|its| its == event || is_family(event, its))
    };
    let found = on_job(store, name, |rows, number, _| {
        let id = first_named(rows, IndexKind::Event, number, event)?;
        none_above(rows, (name, number), id.unwrap_or(0), "its events", &has)?;
        let found = id.map(|id| listed(rows, number, id)).transpose()?;
        Ok(found.into_iter().collect())
    })?;
    Ok(found.into_iter().next())
}

/// The last row of a kind under a name.
fn first_named(rows: &dyn Rows, kind: IndexKind, job: u32, name: &str) -> Result<Option<u64>> {
    let Some(word) = Records(rows).name_number(name)? else {
        return Ok(None);
    };
    let mut found = None;
    rows.index(span(kind, job, word), true, &mut |key| {
        found = Some(key.id);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// A checkpoint that an index row of a job leads to.
pub(super) fn listed(rows: &dyn Rows, job: u32, id: u64) -> Result<(u64, CheckpointRecord)> {
    let record = Records(rows).known_checkpoint(id)?;
    if record.saved.job != job || record.later.deleted.is_some() {
        let what = format!("an index row of checkpoint id:{id}");
        return Err(Error::corrupt(what, "its record says otherwise"));
    }
    Ok((id, record))
}

fn disagree(job: &str, about: &str) -> Error {
    let why = format!("the index and the records disagree about {about}");
    Error::corrupt(format!("job `{job}`"), why)
}
