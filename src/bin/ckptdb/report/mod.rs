//! `report`: one page that shows how jobs went.

mod axis;
mod chart;
mod descent;
mod drift;
mod job;
mod known;
mod lanes;
mod lineage;
mod mark;
mod metric;
mod page;
mod saves;
mod storage;
mod thin;
mod told;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ckptdb::interop::write_bytes;
use ckptdb::{JobInfo, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use known::{Gathered, Known};
use thin::{Detail, Room};

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::lookup;
use crate::output::{Progress, Style, human};

/// Jobs that are shown, at most: those that were saved last.
const JOBS: usize = 32;
/// Metrics that are shown of a job, and of all jobs together, about.
const METRICS: usize = 24;
const ALL_METRICS: usize = 96;

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: all jobs].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// Where to.
    #[arg(short, long, value_name = "PATH", default_value = "report.html")]
    output: PathBuf,
    /// Replace a file that is no report.
    #[arg(short, long)]
    force: bool,
    /// Bytes of tensors that are read to see how layers drift, of all jobs together; 0 for none.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    #[arg(value_parser = ckptdb::config::size)]
    drift: u64,
}

/// Gathers, draws and writes.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let jobs = lookup::jobs(store, args.job.as_deref())?;
    check_output(store, args)?;
    let bytes = write(store, &jobs, args.drift, &args.output)?;
    if style.json {
        return style.document(
            "report",
            &json!({
                "path": args.output.display().to_string(),
                "jobs": jobs.iter().map(|job| &job.name).collect::<Vec<_>>(),
                "bytes": bytes,
            }),
        );
    }
    style.line(told(&args.output, bytes, jobs.len()))
}

/// Refuses to write over the store, and over what is no report unless that is wanted.
#[expect(clippy::disallowed_methods, reason = "what is there is looked at")]
fn check_output(store: &Store, args: &Args) -> Result<(), Failure> {
    lookup::check_not_store(store, [&args.output])?;
    let folder = args
        .output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("there is no folder `{}` for the report", folder.display());
        return Err(Failure::new(Exit::Failed, message).hint("make it, or write elsewhere"));
    }
    let mut begin = Vec::new();
    let is_report = match File::open(&args.output) {
        Ok(file) => {
            file.take(page::BEGIN.len() as u64)
                .read_to_end(&mut begin)?;
            begin == page::BEGIN.as_bytes()
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_report || args.force {
        return Ok(());
    }
    let message = format!("`{}` is no report", args.output.display());
    Err(Failure::new(Exit::Failed, message).hint("replace it with --force, or write elsewhere"))
}

/// What was written, in words.
pub(crate) fn told(output: &Path, bytes: u64, jobs: usize) -> String {
    format!(
        "wrote {}: {} of {}",
        output.display(),
        human::size(bytes),
        human::count(jobs as u64, "job", "jobs"),
    )
}

/// Writes the page of these jobs; its length.
pub(crate) fn write(
    store: &Store,
    jobs: &[JobInfo],
    drift_bytes: u64,
    output: &Path,
) -> Result<u64, Failure> {
    let progress = Progress::start("drawing");
    let stats = store.stats()?;
    let gathered = Gathered::read(store)?;
    let name = store.path().file_name().unwrap_or(store.path().as_os_str());
    let title = format!("ckptdb report: {}", name.to_string_lossy());
    let plain = Style::page();
    let mut facts = vec![
        ("made", human::rfc3339_seconds(plain.time())),
        ("store", store.path().display().to_string()),
        ("jobs", human::thousands(jobs.len() as u64)),
        ("checkpoints", human::thousands(stats.checkpoints)),
        (
            "bytes",
            format!(
                "{} logical, {} stored{}",
                human::size(stats.logical_bytes),
                human::size(stats.stored_bytes),
                human::ratio(stats.logical_bytes, stats.stored_bytes)
                    .map_or(String::new(), |ratio| format!(" ({ratio})")),
            ),
        ),
        ("file", human::size(stats.allocated_bytes)),
    ];
    if gathered.damaged > 0 {
        let places = human::count(gathered.damaged, "place", "places");
        facts.push(("damaged", format!("{places}; `ckptdb verify` names them")));
    }
    let mut sections = Vec::new();
    let (shown, left_out) = newest(jobs);
    let mut all = Vec::new();
    for info in shown {
        all.push(Known::read(store, info, &gathered)?);
    }
    let room = room(&all, drift_bytes);
    for (number, known) in all.iter().enumerate() {
        let body = job::section(store, known, number, room)?;
        sections.push((known.info.name.clone(), body));
    }
    if left_out > 0 {
        let rest = human::count(left_out as u64, "job", "jobs");
        let how = "`ckptdb report JOB` shows one";
        facts.push(("left out", format!("{rest}, saved before these; {how}")));
    }
    let html = page::page(&title, &page::facts(&facts), &sections);
    drop(progress);
    write_bytes(output, html.as_bytes())?;
    Ok(html.len() as u64)
}

/// The jobs that were saved last, in their order, and how many others there are.
fn newest(jobs: &[JobInfo]) -> (Vec<&JobInfo>, usize) {
    let mut times: Vec<_> = jobs.iter().map(|job| job.last_saved_at).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let limit = times.get(JOBS - 1).copied().flatten();
    let mut shown: Vec<&JobInfo> = jobs.iter().collect();
    if jobs.len() > JOBS {
        shown.retain(|job| job.last_saved_at >= limit);
        shown.truncate(JOBS);
    }
    let left_out = jobs.len() - shown.len();
    (shown, left_out)
}

/// What there is room for where all these are shown.
fn room(all: &[Known<'_>], drift: u64) -> Room {
    let jobs = all.len().max(1);
    let metrics = (ALL_METRICS / jobs).clamp(2, METRICS);
    let figures = |known: &Known<'_>| known.metrics.len().min(metrics) + job::OTHERS;
    Room {
        detail: Detail::of(all.iter().map(figures).sum()),
        metrics,
        drift: drift / jobs as u64,
    }
}
