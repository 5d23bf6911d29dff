//! `doctor`: how saving and resuming go, and when the disk is full.

use std::io::Write;
use std::time::Duration;

use ckptdb::name::printable;
use ckptdb::{JobInfo, SessionStats, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::forecast::{Disk, Growth, LOOKED_AT, when_full};
use crate::lookup;
use crate::output::{Style, Table, human};

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, or a pattern for several [default: all].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
}

/// What is known of a job's health.
struct Health {
    info: JobInfo,
    sessions: SessionStats,
    growth: Option<Growth>,
}

/// Prints it, with advice.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let mut all = Vec::new();
    for info in lookup::jobs(store, args.job.as_deref())? {
        let job = store.job(&info.name)?;
        let sessions = job.sessions()?;
        let newest: Vec<_> = job.list()?.take(LOOKED_AT).collect();
        let growth = Growth::of(&newest);
        all.push(Health {
            info,
            sessions,
            growth,
        });
    }
    let disk = Disk::of(store, all.iter().filter_map(|health| health.growth))?;
    let days = disk.days();
    let advice = advice(&all, days, style);
    if style.json {
        let jobs: Vec<Value> = all.iter().map(document).collect();
        let body = json!({
            "jobs": jobs,
            "disk": {
                "free_bytes": disk.free.map(|(free, _)| free),
                "total_bytes": disk.free.map(|(_, total)| total),
                "growth_bytes_per_day": disk.rate,
                "days_until_full": days,
            },
            "advice": advice,
        });
        return style.document("doctor", &body);
    }
    print(&all, style)?;
    style.line(disk.told(style))?;
    for line in advice {
        style.line(format_args!("advice: {line}"))?;
    }
    Ok(())
}

fn print(all: &[Health], style: &Style) -> Result<(), Failure> {
    let mut table = Table::new(0)
        .wrapped("JOB")
        .right("LAST SAVE")
        .right("SESSIONS");
    table = table.right("COMPLETED").right("FAILED");
    table = table.optional("INTERRUPTED").right("VANISHED");
    table = table.right("RESUMED").optional("FELL BACK").right("LOST");
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
            resumed(sessions).into(),
            human::thousands(sessions.fell_back).into(),
            lost.into(),
        ]);
    }
    let mut out = style.out();
    table.write(&mut out, style)?;
    Ok(out.flush()?)
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
        if let Some(metric) = health.info.undeclared_metrics.first()
            && health.info.metrics.is_empty()
        {
            advice.push(format!(
                "{name} has no metric with a direction, so that `best` means nothing: \
                 ckptdb metric declare {name} {} min, or max",
                printable(metric)
            ));
        }
    }
    advice
}

/// How many sessions went on from a checkpoint, and the share of them that got the newest.
fn resumed(sessions: &SessionStats) -> String {
    let newest = sessions.resumed.saturating_sub(sessions.fell_back);
    match sessions.resumed {
        0 => "-".to_owned(),
        all => format!(
            "{} ({})",
            human::thousands(all),
            human::percent(newest, all)
        ),
    }
}

/// The share of the sessions that resumed which got the newest checkpoint.
#[expect(clippy::cast_precision_loss, reason = "nobody counts sessions to 2^53")]
fn success_rate(sessions: &SessionStats) -> Option<f64> {
    let resumed = sessions.resumed;
    (resumed > 0).then(|| 1.0 - sessions.fell_back as f64 / resumed as f64)
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
            "resume_success_rate": success_rate(sessions),
            "fell_back": sessions.fell_back,
            "lost_iterations": sessions.lost_iterations,
            "lost_seconds": sessions.lost_time.as_secs_f64(),
        },
        "growth_bytes_per_day": health.growth.map(Growth::per_day),
    })
}
