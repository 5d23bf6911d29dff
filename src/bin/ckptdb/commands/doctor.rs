//! `doctor`: how saving and resuming go, and when the disk is full.

use std::io::Write;
use std::time::Duration;

use ckptdb::name::printable;
use ckptdb::{JobInfo, SessionStats, Store, Timestamp};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, Table, human};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, or a pattern for several [default: all].
    job: Option<String>,
}

/// What is known of a job's health.
struct Health {
    info: JobInfo,
    sessions: SessionStats,
    /// Bytes that its saves added to the store, and in how many milliseconds.
    growth: Option<(u64, i64)>,
}

/// The saves that a forecast looks at: the newest of each job.
const LOOKED_AT: usize = 100;
/// Saves of less than this time, in milliseconds, say nothing of days.
const SHORTEST: i64 = 600_000;
const DAY: f64 = 86_400_000.0;

/// Prints it, with advice.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let mut all = Vec::new();
    for info in lookup::jobs(store, args.job.as_deref())? {
        let job = store.job(&info.name)?;
        let sessions = job.sessions()?;
        let growth = growth(&job)?;
        all.push(Health {
            info,
            sessions,
            growth,
        });
    }
    let free = store.free_space()?;
    let rate: f64 = all.iter().filter_map(per_day).sum();
    let days = free
        .filter(|_| rate > 0.0)
        .map(|(free, _)| exact(free) / rate);
    let advice = advice(&all, days, style);
    if style.json {
        let jobs: Vec<Value> = all.iter().map(document).collect();
        let body = json!({
            "jobs": jobs,
            "disk": {
                "free_bytes": free.map(|(free, _)| free),
                "total_bytes": free.map(|(_, total)| total),
                "growth_bytes_per_day": rate,
                "days_until_full": days,
            },
            "advice": advice,
        });
        return style.document("doctor", &body);
    }
    print(&all, style)?;
    let grows = human::size(whole(rate));
    let disk = match (free, days) {
        (None, _) => "the free space of the disk is not known".to_owned(),
        (Some((free, total)), None) => {
            let (free, total) = (human::size(free), human::size(total));
            format!("disk: {free} free of {total}; too few saves to say how fast the store grows")
        }
        (Some((free, total)), Some(days)) => {
            let (free, total) = (human::size(free), human::size(total));
            format!(
                "disk: {free} free of {total}; the store grows by {grows} a day: {}",
                when_full(days, style)
            )
        }
    };
    style.line(disk)?;
    for line in advice {
        style.line(format_args!("advice: {line}"))?;
    }
    Ok(())
}

fn print(all: &[Health], style: &Style) -> Result<(), Failure> {
    let mut table = Table::new(0)
        .left("JOB")
        .right("LAST SAVE")
        .right("SESSIONS");
    for heading in [
        "COMPLETED",
        "FAILED",
        "INTERRUPTED",
        "VANISHED",
        "FELL BACK",
        "LOST",
    ] {
        table = table.right(heading);
    }
    for health in all {
        let sessions = &health.sessions;
        let last = health.info.last_saved_at;
        let lost = i64::try_from(sessions.lost_time.as_millis()).unwrap_or(i64::MAX);
        let lost = if sessions.lost_time < Duration::from_secs(1) {
            "-".to_owned()
        } else {
            human::duration(lost)
        };
        table.row(vec![
            printable(&health.info.name).into(),
            last.map_or("never".to_owned(), |at| style.when(at)).into(),
            human::thousands(sessions.started).into(),
            human::thousands(sessions.completed).into(),
            human::thousands(sessions.failed).into(),
            human::thousands(sessions.interrupted).into(),
            human::thousands(sessions.vanished).into(),
            human::thousands(sessions.fell_back).into(),
            lost.into(),
        ]);
    }
    let mut out = style.out();
    table.write(&mut out, style)?;
    Ok(out.flush()?)
}

/// Bytes and time between the oldest and the newest of the last saves.
fn growth(job: &ckptdb::Job) -> Result<Option<(u64, i64)>, Failure> {
    let mut bytes = 0;
    let mut times: Vec<Timestamp> = Vec::new();
    let newest = job.list()?.take(LOOKED_AT);
    // One that is damaged says nothing of how fast the store grows.
    for checkpoint in newest.filter_map(Result::ok) {
        bytes += checkpoint.new_bytes;
        times.push(checkpoint.saved_at);
    }
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return Ok(None);
    };
    let millis = last.as_millis().saturating_sub(first.as_millis());
    Ok((millis >= SHORTEST).then_some((bytes, millis)))
}

fn per_day(health: &Health) -> Option<f64> {
    let (bytes, millis) = health.growth?;
    Some(exact(bytes) / exact(u64::try_from(millis).ok()?) * DAY)
}

fn when_full(days: f64, style: &Style) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let millis = whole(days * DAY);
    let at = i64::try_from(millis)
        .ok()
        .and_then(|millis| now.checked_add(millis));
    match at {
        Some(at) if days < 3650.0 => {
            let left = human::duration(i64::try_from(millis).unwrap_or(i64::MAX));
            let at = style.when_in_full(Timestamp::from_millis(at));
            format!("full in {left} ({at}), if nothing is dropped")
        }
        _ => "it lasts for years".to_owned(),
    }
}

fn advice(all: &[Health], days: Option<f64>, style: &Style) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(days) = days.filter(|days| *days < 7.0) {
        let when = when_full(days, style);
        advice.push(format!(
            "the disk is {when}; drop what no rule keeps: ckptdb prune JOB --keep-latest 8"
        ));
    }
    for health in all {
        let (name, sessions) = (printable(&health.info.name), &health.sessions);
        if sessions.fell_back > 0 {
            advice.push(format!(
                "{name} had to pass over damaged checkpoints {}: ckptdb verify",
                times(sessions.fell_back)
            ));
        }
        if sessions.vanished > sessions.completed.max(2) {
            advice.push(format!(
                "sessions of {name} vanish ({}): save more often, or look for what kills them",
                times(sessions.vanished)
            ));
        }
        if health.info.metrics.is_empty() && health.info.checkpoints > 0 {
            advice.push(format!(
                "{name} has no metric with a direction, so that `best` means nothing: \
                 ckptdb metric declare {name} METRIC min"
            ));
        }
    }
    advice
}

fn times(count: u64) -> String {
    human::count(count, "time", "times")
}

fn document(health: &Health) -> Value {
    let sessions = &health.sessions;
    json!({
        "job": health.info.name,
        "last_saved_at": health.info.last_saved_at.map(human::rfc3339),
        "sessions": {
            "running": sessions.running,
            "started": sessions.started,
            "completed": sessions.completed,
            "failed": sessions.failed,
            "interrupted": sessions.interrupted,
            "vanished": sessions.vanished,
            "resumed": sessions.resumed,
            "fell_back": sessions.fell_back,
            "lost_iterations": sessions.lost_iterations,
            "lost_seconds": sessions.lost_time.as_secs_f64(),
        },
        "growth_bytes_per_day": per_day(health),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a forecast is not exact")]
const fn exact(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a forecast is not exact, and never negative"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}
