//! Latest, best, by iteration, by tag: index scans, checked against what the records say.

use std::ops::ControlFlow;

use super::index_rows::{newest, span, top};
use super::line::direction_of;
use crate::error::{Error, Result};
use crate::format::{CheckpointRecord, IndexKey, IndexKind, JobRecord, ordered_bits};
use crate::storage::{Records, Rows};
use crate::store::{Checkpoint, Store};

/// Runs a query on a job; none if the job does not exist.
fn on_job(
    store: &Store,
    name: &str,
    find: impl FnOnce(&dyn Rows, u32, &JobRecord) -> Result<Vec<(u64, CheckpointRecord)>>,
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
    let undeclared = || Error::Undeclared {
        job: name.to_owned(),
        metric: metric.to_owned(),
    };
    on_job(store, name, |rows, number, job| {
        let known = job.metrics.iter().find(|known| known.name == metric);
        let Some(known) = known else {
            return Err(unknown_metric(name, metric, job));
        };
        let direction = direction_of(known).ok_or_else(undeclared)?;
        let Some(word) = Records(rows).name_number(metric)? else {
            return Err(disagree(name, "its metrics"));
        };
        let larger = direction == crate::metric::Direction::Max;
        if top(rows, number, word, larger)? != known.best {
            return Err(disagree(name, &format!("the best by `{metric}`")));
        }
        let mut found = Vec::new();
        for (order, id) in ranked(rows, number, word, larger, count)? {
            let (id, record) = listed(rows, number, id)?;
            let agrees = record
                .metrics()
                .any(|(its, value)| its == metric && ordered_bits(value) == order);
            if !agrees {
                return Err(disagree(name, &format!("the ranking by `{metric}`")));
            }
            found.push((id, record));
        }
        Ok(found)
    })
}

/// Why a metric that no checkpoint has can't rank: with the names that there are.
fn unknown_metric(job: &str, metric: &str, record: &JobRecord) -> Error {
    if record.metrics.is_empty() {
        return Error::Undeclared {
            job: job.to_owned(),
            metric: metric.to_owned(),
        };
    }
    let names: Vec<&str> = record
        .metrics
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    let hint = format!("its metrics: {}", names.join(", "));
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
        Ok(found)
    })?;
    Ok(found.into_iter().next())
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
    let found = on_job(store, name, |rows, number, _| {
        first_named(rows, IndexKind::Tag, number, tag)?
            .map(|id| {
                let (id, record) = listed(rows, number, id)?;
                if !record.later.tags.iter().any(|its| its == tag) {
                    return Err(disagree(name, "its tags"));
                }
                Ok((id, record))
            })
            .transpose()
            .map(|one| one.into_iter().collect())
    })?;
    Ok(found.into_iter().next())
}

/// The newest checkpoint of the current line with an event, whole or a family.
pub(super) fn with_event(store: &Store, name: &str, event: &str) -> Result<Option<Checkpoint>> {
    let found = on_job(store, name, |rows, number, _| {
        first_named(rows, IndexKind::Event, number, event)?
            .map(|id| listed(rows, number, id))
            .transpose()
            .map(|one| one.into_iter().collect())
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
