//! What there is, for somebody whose reference leads nowhere.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::format::{IndexKey, IndexKind, JobRecord};
use crate::name::{counted, instead, nearest, printable, some_of};
use crate::reference::{Selector, nearest_word};
use crate::storage::{Records, Rows};
use crate::store::{Store, query};

/// So many names of a kind are looked at before a slip is not searched any more.
const MOST_NAMES: usize = 1_000;

/// Why a selector found nothing, with what there is.
pub(super) fn nothing(store: &Store, job: &str, selector: &Selector) -> Error {
    let what = format!("checkpoint matches `{job}@{selector}`");
    let hint = store.read(|rows| {
        let records = Records(rows);
        let Some((number, record)) = records.job_named(job)? else {
            let jobs = records.jobs()?.into_iter();
            let names: Vec<String> = jobs.map(|(_, job)| job.name).collect();
            return Ok(no_such_job(job, &names));
        };
        if record.current == 0 {
            return Ok(format!("job `{job}` has no checkpoints"));
        }
        match selector {
            Selector::Iteration(iteration, None) => around(rows, number, &record, *iteration),
            Selector::Iteration(iteration, Some(_)) => events_at(rows, number, *iteration),
            Selector::Event(event) => Ok(instead_of_event(
                event,
                &names_of(rows, IndexKind::Event, number)?,
            )),
            Selector::Tag(tag) => {
                let tags = names_of(rows, IndexKind::Tag, number)?;
                Ok(instead(tag, &tags, "tag"))
            }
            Selector::Older(_) => Ok(format!(
                "job `{job}` has {}, none that old",
                counted(record.current, "checkpoint")
            )),
            _ => Ok(format!(
                "job `{job}` has {}, none that fits",
                counted(record.current, "checkpoint")
            )),
        }
    });
    Error::not_found(what, hint.unwrap_or_default())
}

/// The events of an iteration's checkpoints.
fn events_at(rows: &dyn Rows, job: u32, iteration: u64) -> Result<String> {
    let mut events = BTreeSet::new();
    for id in query::of_iteration(rows, job, IndexKind::Iteration, iteration)? {
        let record = Records(rows).known_checkpoint(id)?;
        events.extend(record.events().iter().map(ToString::to_string));
    }
    if events.is_empty() {
        return Ok(format!("there is no iteration {iteration} either"));
    }
    let events = some_of(events.iter().map(String::as_str));
    Ok(format!("the events of iteration {iteration}: {events}"))
}

/// What to say of an event that no checkpoint of a job has. One with a parameter may be meant,
/// which references write without brackets.
fn instead_of_event(event: &str, events: &[String]) -> String {
    match nearest(event, events.iter().map(String::as_str)) {
        Some(near) => {
            let written = near.trim_end_matches(')').replacen('(', ":", 1);
            format!("did you mean `event:{}`?", printable(&written))
        }
        None if events.is_empty() => "none of its checkpoints has an event".to_owned(),
        None => format!("its events: {}", some_of(events.iter().map(String::as_str))),
    }
}

/// What to say of a job that is not there. Its name may be a selector's, mistyped.
fn no_such_job(job: &str, names: &[String]) -> String {
    let there_is_none = format!("there is no job `{job}`");
    match nearest_word(job) {
        Some(word) if nearest(job, names.iter().map(String::as_str)).is_none() => {
            format!("{there_is_none}; did you mean `{word}`?")
        }
        _ => format!("{there_is_none}; {}", instead(job, names, "job")),
    }
}

/// The names under which a job has rows of this kind: a seek for each.
fn names_of(rows: &dyn Rows, kind: IndexKind, job: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let row = |name, order| IndexKey {
            kind,
            job,
            name,
            order,
            id: order,
        };
        let mut next = None;
        rows.index((row(from, 0), row(u32::MAX, u64::MAX)), false, &mut |key| {
            next = Some(key.name);
            Ok(ControlFlow::Break(()))
        })?;
        let Some(name) = next else { break };
        found.extend(Records(rows).name(name)?);
        match name.checked_add(1) {
            Some(after) if found.len() < MOST_NAMES => from = after,
            _ => break,
        }
    }
    found.sort();
    Ok(found)
}

/// The iterations that there are, around one that there is not.
fn around(rows: &dyn Rows, job: u32, record: &JobRecord, iteration: u64) -> Result<String> {
    let row = |order, id| IndexKey {
        kind: IndexKind::Iteration,
        job,
        name: 0,
        order,
        id,
    };
    let edge = |range, backwards| {
        let mut found = None;
        rows.index(range, backwards, &mut |key| {
            found = Some(key.order);
            Ok(ControlFlow::Break(()))
        })?;
        Ok::<_, Error>(found)
    };
    let all = (row(0, 0), row(u64::MAX, u64::MAX));
    let (first, last) = (edge(all, false)?, edge(all, true)?);
    let below = edge((row(0, 0), row(iteration, 0)), true)?;
    let above = edge((row(iteration, 0), row(u64::MAX, u64::MAX)), false)?;
    let near = match (below, above) {
        (Some(below), Some(above)) if iteration - below > above - iteration => above,
        (Some(below), _) => below,
        (None, above) => above.unwrap_or_default(),
    };
    let elsewhere = query::of_iteration(rows, job, IndexKind::AbandonedIteration, iteration)?;
    if !elsewhere.is_empty() {
        let ids: Vec<String> = elsewhere.iter().map(|id| format!("id:{id}")).collect();
        return Ok(format!("abandoned lines have it: {}", ids.join(", ")));
    }
    Ok(format!(
        "iterations {}..{} ({}), nearest is {near}",
        first.unwrap_or_default(),
        last.unwrap_or_default(),
        counted(record.current, "checkpoint")
    ))
}
