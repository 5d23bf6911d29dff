//! Finding what the user named: jobs, ids, events, and names by pattern.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ckptdb::name::{instead, matches_pattern, nearest, printable, some_of};
use ckptdb::reference::Reference;
use ckptdb::{Checkpoint, CheckpointId, CheckpointInfo, Event, JobInfo, Store, Telemetry};

use crate::failure::{Exit, Failure};
use crate::output::human;

/// The checkpoint that a reference names in this store. A reference may name its store; one that
/// names another must not be taken for one of this.
pub(crate) fn checkpoint(store: &Store, text: &str) -> Result<Checkpoint, Failure> {
    let mut reference: Reference = text.parse()?;
    if let Some(named) = reference.store.take()
        && real(Path::new(&named)) != real(store.path())
    {
        let message = format!("`{}` is about another store", printable(text));
        let hint = format!("name the store with -s {}", printable(&named));
        return Err(Failure::usage(message).hint(hint));
    }
    Ok(store.resolve(&reference.to_string())?)
}

/// Refuses files to be written of which one is the store itself.
pub(crate) fn check_not_store(
    store: &Store,
    outputs: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<(), Failure> {
    let Some(own) = real(store.path()) else {
        return Ok(());
    };
    for output in outputs {
        let output = output.as_ref();
        if real(output).is_some_and(|path| path == own) {
            let message = format!("`{}` is the store", output.display());
            return Err(Failure::usage(message).hint("write to another path"));
        }
    }
    Ok(())
}

/// Where a path leads to, if to anything.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Whether a name is selected: by no pattern, each is; by several, what any of them matches.
pub(crate) fn selects(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| matches_pattern(pattern, name))
}

/// None of a checkpoint's entries is selected by these.
pub(crate) fn no_entry(checkpoint: &CheckpointInfo, patterns: &[String]) -> Failure {
    let message = format!("no entry matches `{}`", patterns.join("`, `"));
    let hint = format!("ckptdb show {} --entries", human::reference(checkpoint));
    Failure::new(Exit::NotFound, message).hint(hint)
}

/// How a series goes: the means of so many parts of it.
pub(crate) fn trend(
    telemetry: &Telemetry,
    name: &str,
    last: u64,
    parts: usize,
) -> Result<Vec<f64>, Failure> {
    let buckets = telemetry.downsample(name, 0..=last, parts)?;
    Ok(buckets.iter().map(|bucket| bucket.mean).collect())
}

/// The job with this name.
pub(crate) fn job(store: &Store, name: &str) -> Result<JobInfo, Failure> {
    let jobs = store.jobs()?;
    match jobs.iter().position(|job| job.name == name) {
        Some(index) => jobs.into_iter().nth(index).ok_or_else(|| no_job(name, &[])),
        None => Err(no_job(name, &jobs)),
    }
}

/// The job with this name; without a name, the only one in the store.
pub(crate) fn one_job(store: &Store, name: Option<&str>) -> Result<JobInfo, Failure> {
    if let Some(name) = name {
        return job(store, name);
    }
    let mut jobs = store.jobs()?;
    match jobs.len() {
        0 => Err(Failure::new(Exit::NotFound, "the store has no job yet")),
        1 => jobs.pop().ok_or_else(|| no_job("", &[])),
        _ => Err(Failure::usage("several jobs").hint(format!("name one: {}", names(&jobs)))),
    }
}

/// The jobs that match a name or a pattern; without one, all jobs.
pub(crate) fn jobs(store: &Store, pattern: Option<&str>) -> Result<Vec<JobInfo>, Failure> {
    let mut jobs = store.jobs()?;
    if let Some(pattern) = pattern {
        if !jobs.iter().any(|job| matches_pattern(pattern, &job.name)) {
            return Err(no_job(pattern, &jobs));
        }
        jobs.retain(|job| matches_pattern(pattern, &job.name));
    }
    Ok(jobs)
}

/// The failure of a metric that no job of these has, if so.
pub(crate) fn check_metric(jobs: &[JobInfo], metric: &str) -> Result<(), Failure> {
    let names: BTreeSet<&str> = jobs.iter().flat_map(JobInfo::metric_names).collect();
    if names.contains(metric) {
        return Ok(());
    }
    let metric = printable(metric);
    let message = match jobs {
        [job] => format!("no metric `{metric}` in job `{}`", printable(&job.name)),
        _ => format!("no metric `{metric}` in these jobs"),
    };
    let names: Vec<&str> = names.into_iter().collect();
    Err(Failure::new(Exit::NotFound, message).hint(instead(&metric, &names, "metric")))
}

fn no_job(name: &str, jobs: &[JobInfo]) -> Failure {
    let failure = Failure::new(Exit::NotFound, format!("no job `{}`", printable(name)));
    match nearest(name, jobs.iter().map(|job| job.name.as_str())) {
        Some(near) => failure.hint(format!("did you mean `{}`?", printable(near))),
        None if jobs.is_empty() => failure.hint("the store has no job yet"),
        None => failure.hint(format!("there are: {}", names(jobs))),
    }
}

fn names(jobs: &[JobInfo]) -> String {
    some_of(jobs.iter().map(|job| job.name.as_str()))
}

/// Checks an event filter: a family word, or one event in full.
pub(crate) fn check_event(text: &str) -> Result<(), Failure> {
    if Event::WORDS.contains(&text) {
        return Ok(());
    }
    text.parse::<Event>()?;
    Ok(())
}

/// Reads `id:12` or `12`.
pub(crate) fn checkpoint_id(text: &str) -> Result<CheckpointId, String> {
    let digits = text.strip_prefix("id:").unwrap_or(text);
    let number = digits
        .parse()
        .map_err(|_| "an id looks like id:12".to_owned())?;
    Ok(CheckpointId::new(number))
}
