//! `watch`: how jobs go while other processes train them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::thread;
use std::time::Duration;

use ckptdb::name::printable;
use ckptdb::telemetry::{self, Summary};
use ckptdb::{Checkpoint, Job, JobInfo, SessionStats, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::forecast::{self, Disk, Growth};
use crate::lookup;
use crate::output::{Style, Table, human, sparkline};

/// Checkpoints whose metrics stand for a series where none was logged.
const SHOWN: usize = 40;
/// Blocks of a sparkline.
const BLOCKS: usize = 24;

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: all jobs].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// How often to look.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2s",
        value_parser = ckptdb::config::duration
    )]
    interval: Duration,
    /// End after so many looks [default: until Ctrl-C].
    #[arg(long, value_name = "N")]
    times: Option<u64>,
}

/// Looks again and again. On a terminal each look takes the place of the one before; else it is
/// printed if something has changed, in JSON a line each.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let mut last = String::new();
    let mut count = 0;
    loop {
        // Ages are those of this look.
        let style = &style.now();
        let looked = Look::at(store, args.job.as_deref());
        count += 1;
        let is_last = args.times.is_some_and(|times| count >= times);
        match looked {
            Ok(look) => show(&look, &mut last, style)?,
            // What is wrong for a while, as a job that is removed or a store that is compacted,
            // does not end it.
            Err(failure) if is_last || last.is_empty() => return Err(failure),
            Err(failure) => {
                failure.report();
            }
        }
        if is_last {
            return Ok(());
        }
        thread::sleep(args.interval);
    }
}

/// Shows a look, if it is not as the last one.
fn show(look: &Look, last: &mut String, style: &Style) -> Result<(), Failure> {
    let text = if style.json {
        style.json_line("watch", &look.document())?
    } else {
        look.text(style)?
    };
    // How much of the disk is free changes all the time.
    let jobs = look.document()["jobs"].to_string();
    if style.is_terminal() && !style.json {
        style.show(&text)?;
    } else if jobs != *last {
        let mut out = style.out();
        if !last.is_empty() && !style.json {
            writeln!(out)?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    *last = jobs;
    Ok(())
}

/// A metric, as it goes.
struct Series {
    name: String,
    /// The iteration and value of its last point.
    last: (u64, f64),
    least: Option<f64>,
    most: Option<f64>,
    values: Vec<f64>,
}

struct Seen {
    info: JobInfo,
    sessions: SessionStats,
    /// Newest first.
    saves: Vec<Checkpoint>,
    series: Vec<Series>,
    /// How many seconds the training waited for its last save.
    blocked: Option<f64>,
}

struct Look {
    jobs: Vec<Seen>,
    disk: Disk,
}

impl Look {
    fn at(store: &Store, pattern: Option<&str>) -> Result<Self, Failure> {
        let (mut jobs, mut growths) = (Vec::new(), Vec::new());
        for info in lookup::jobs(store, pattern)? {
            let job = store.job(&info.name)?;
            let newest: Vec<_> = job.list()?.take(forecast::LOOKED_AT).collect();
            growths.extend(Growth::of(&newest));
            let shown = newest.into_iter().take(SHOWN);
            let saves: Vec<Checkpoint> = shown.collect::<Result<_, _>>()?;
            let logged = job.telemetry()?.summaries()?;
            let blocked = logged.get(telemetry::BLOCKED_SECONDS);
            jobs.push(Seen {
                blocked: blocked.map(|summary| summary.last.1),
                sessions: job.sessions()?,
                series: series(&job, logged, &saves)?,
                saves,
                info,
            });
        }
        let disk = Disk::of(store, growths.into_iter())?;
        Ok(Self { jobs, disk })
    }

    fn text(&self, style: &Style) -> Result<String, Failure> {
        let mut text = Vec::new();
        for seen in &self.jobs {
            writeln!(text, "{}", seen.heading(style))?;
            let mut table = Table::new(2).left("METRIC").right("AT").right("LAST");
            table = table.right("MIN").right("MAX").left("TREND");
            for series in &seen.series {
                let shown = |value: Option<f64>| value.map_or("-".to_owned(), human::metric_short);
                table.row(vec![
                    printable(&series.name).into(),
                    human::thousands(series.last.0).into(),
                    human::metric_short(series.last.1).into(),
                    shown(series.least).into(),
                    shown(series.most).into(),
                    sparkline(&series.values).into(),
                ]);
            }
            if !seen.series.is_empty() {
                table.write(&mut text, style)?;
            }
        }
        writeln!(text, "{}", self.disk.told(style))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn document(&self) -> Value {
        let jobs: Vec<Value> = self.jobs.iter().map(Seen::document).collect();
        json!({
            "jobs": jobs,
            "disk": {
                "free_bytes": self.disk.free.map(|(free, _)| free),
                "growth_bytes_per_day": self.disk.rate,
                "days_until_full": self.disk.days(),
            },
        })
    }
}

impl Seen {
    /// The job, its last save, how far these are apart, and whether it is trained now.
    fn heading(&self, style: &Style) -> String {
        let mut parts = vec![style.strong(&printable(&self.info.name))];
        match self.saves.first() {
            Some(last) => {
                parts.push(format!("iteration {}", human::thousands(last.iteration)));
                let (size, new) = (human::size(last.logical_bytes), human::size(last.new_bytes));
                let ago = style.ago(last.saved_at);
                parts.push(format!("saved {ago}: {size}, {new} new"));
            }
            None => parts.push("nothing saved yet".to_owned()),
        }
        let mut more = Vec::new();
        if let Some(millis) = self.between() {
            more.push(format!("each {}", human::duration(millis)));
        }
        if let Some(seconds) = self.blocked {
            more.push(format!("blocked {}", human::brief(seconds)));
        }
        more.push(human::checkpoints(self.info.checkpoints));
        if self.sessions.running {
            more.push(style.good("running"));
        }
        // Together they are too wide for many a terminal.
        format!("{}\n  {}", parts.join("  "), more.join("  "))
    }

    /// Milliseconds between two saves, on the average of those that were looked at.
    fn between(&self) -> Option<i64> {
        let (newest, oldest) = (self.saves.first()?, self.saves.last()?);
        let count = i64::try_from(self.saves.len()).ok()? - 1;
        let millis = newest.saved_at.millis_since(oldest.saved_at);
        // What was imported is as old as its files, in any order.
        millis.checked_div(count).filter(|millis| *millis >= 0)
    }

    fn document(&self) -> Value {
        let series = |series: &Series| {
            json!({
                "name": series.name,
                "iteration": series.last.0,
                "last": series.last.1.is_finite().then_some(series.last.1),
                "min": series.least,
                "max": series.most,
            })
        };
        json!({
            "job": self.info.name,
            "running": self.sessions.running,
            "checkpoints": self.info.checkpoints,
            "latest": self.saves.first().map(|last| last.iteration),
            "last_saved_at": self.saves.first().map(|last| human::rfc3339(last.saved_at)),
            "seconds_between_saves": self.between().map(|millis| Duration::from_millis(
                u64::try_from(millis).unwrap_or(0)).as_secs_f64()),
            "blocked_seconds": self.blocked,
            "metrics": self.series.iter().map(series).collect::<Vec<_>>(),
        })
    }
}

/// What was logged; where nothing was, what the checkpoints say.
fn series(
    job: &Job,
    mut logged: BTreeMap<String, Summary>,
    saves: &[Checkpoint],
) -> Result<Vec<Series>, Failure> {
    let points = job.telemetry()?;
    let mut all = Vec::new();
    logged.retain(|name, _| !telemetry::is_own(name));
    for (name, summary) in logged {
        all.push(Series {
            last: summary.last,
            least: summary.min,
            most: summary.max,
            values: lookup::trend(&points, &name, summary.last.0, BLOCKS)?,
            name,
        });
    }
    if !all.is_empty() {
        return Ok(all);
    }
    let names = saves.iter().flat_map(|save| save.metrics.keys());
    let names: BTreeSet<&String> = names.collect();
    for name in names {
        let point = |save: &Checkpoint| Some((save.iteration, *save.metrics.get(name)?));
        let points: Vec<(u64, f64)> = saves.iter().rev().filter_map(point).collect();
        let Some(last) = points.last().copied() else {
            continue;
        };
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        all.push(Series {
            name: name.clone(),
            last,
            least: finite().reduce(f64::min),
            most: finite().reduce(f64::max),
            values,
        });
    }
    Ok(all)
}
