//! `import`: folders of checkpoints that other programs have left.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use ckptdb::interop::{ImportOptions, Imported, LeftAlone, NameTemplate, Plan, Planned};
use ckptdb::name::printable;
use ckptdb::{Compression, Direction, Event, Store};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::output::{Progress, Style, Table, human, json};
use crate::store_path;

/// Files that are named one by one before the rest is only counted.
const NAMED: usize = 20;
/// Room in a file that is worth a compaction.
const WORTH_A_NOTE: u64 = 4 << 20;

const TEMPLATES: &str = "\
Names that are understood without --template:
  {market}_ts-{iteration:07d}_evt-{event}_val-{val_reward:+.3f}_sharpe-{sharpe_ratio:+.2f}_\
  seed-{seed}.zip
  phase{N}_{iteration}_steps.zip, {prefix}_{iteration}_steps.zip (Stable-Baselines3)
  checkpoint-{iteration}/ (Hugging Face), epoch=3-step=1000-val_loss=0.31.ckpt (Lightning)
  best_model.zip and such, if they are another's copy or Stable-Baselines3's
Files that begin with a checkpoint's name, as NAME_vecnormalize.pkl, belong to it.";

/// Options of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = TEMPLATES)]
pub(crate) struct Args {
    /// The folder; those in it are looked into.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How checkpoints are named, in Python's formats; may be repeated, and goes before the known.
    #[arg(long, value_name = "TEMPLATE")]
    template: Vec<NameTemplate>,
    /// The job, with fields of the name in braces [default: {job} or {market}, else the folder].
    #[arg(short, long, value_name = "JOB")]
    job: Option<NameTemplate>,
    /// Which way a metric is better: `val_loss:min`; may be repeated.
    #[arg(long, value_name = "NAME:min|max", value_parser = direction)]
    metric: Vec<(String, Direction)>,
    /// How much encoding may cost: none, fast, default or max.
    #[arg(long, value_name = "EFFORT")]
    compression: Option<Compression>,
    /// Make the store if it is not there.
    #[arg(long)]
    create: bool,
    /// Show what was understood; save nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

fn direction(text: &str) -> Result<(String, Direction), String> {
    let wrong = || format!("`{text}` is not like val_loss:min");
    let (name, way) = text.rsplit_once(':').ok_or_else(wrong)?;
    let way = Direction::from_str(way).map_err(|_| wrong())?;
    Ok((name.to_owned(), way))
}

/// Plans, and carries it out.
pub(crate) fn run(args: &Args, global: &Global, style: &Style) -> Result<(), Failure> {
    if !args.folder.is_dir() {
        let message = format!("no folder `{}`", args.folder.display());
        return Err(Failure::usage(message).hint("import takes a folder; save takes files"));
    }
    let mut options = ImportOptions::default();
    options.templates.clone_from(&args.template);
    options.job.clone_from(&args.job);
    options.directions = args.metric.iter().cloned().collect();
    options.compression = args.compression;
    options.monitor = global.monitor.clone();
    // A store that is not there is told of before a long look at files.
    let store = if args.dry_run {
        None
    } else {
        Some(store_path::open_or(args.create, global, style)?)
    };
    let progress = Progress::start("looking");
    let plan = Plan::of(&args.folder, &options)?;
    drop(progress);
    check_metrics(args, &plan)?;
    if plan.checkpoints.is_empty() {
        style.note("no checkpoint was understood; say how they are named with --template");
    }
    let done = match &store {
        None => None,
        Some(store) => {
            let progress = Progress::start("importing");
            let mut tell = |done, total| {
                progress.set(done, total);
                !global.monitor.is_cancelled()
            };
            Some(plan.run(&args.folder, store, &options, &mut tell)?)
        }
    };
    if style.json {
        style.document("import", &document(&plan, done.as_ref()))?;
    } else {
        print(args, &plan, done.as_ref(), style)?;
    }
    if done.as_ref().is_some_and(|done| done.stopped) {
        let failure = Failure::new(Exit::Interrupted, "interrupted before all were imported");
        return Err(failure.hint("the same command goes on with the others"));
    }
    if let (Some(store), Some(done)) = (&store, &done) {
        note_room(store, done, style)?;
    }
    match done.map_or(0, |done| done.left.len()) {
        0 => Ok(()),
        count => {
            let what = human::count(count as u64, "checkpoint", "checkpoints");
            let message = format!("{what} could not be saved");
            Err(Failure::new(Exit::Failed, message).hint("all others are in the store"))
        }
    }
}

/// A file grows ahead of what it holds, which shows where many small checkpoints come in.
fn note_room(store: &Store, done: &Imported, style: &Style) -> Result<(), Failure> {
    let stats = store.stats()?;
    let free = stats.allocated_bytes.saturating_sub(stats.stored_bytes);
    if done.saved > 0 && free > stats.allocated_bytes / 4 && free > WORTH_A_NOTE {
        let free = human::size(free);
        style.note(format_args!(
            "{free} of the file are indexes and room for more; ckptdb compact gives back the room"
        ));
    }
    Ok(())
}

/// A direction of a metric that no checkpoint has is a slip.
fn check_metrics(args: &Args, plan: &Plan) -> Result<(), Failure> {
    let known: BTreeSet<&String> = plan
        .checkpoints
        .iter()
        .flat_map(|one| one.metrics.keys())
        .collect();
    let Some((unknown, _)) = args.metric.iter().find(|(name, _)| !known.contains(name)) else {
        return Ok(());
    };
    let names: Vec<String> = known.iter().take(8).map(|name| printable(name)).collect();
    let message = format!("no checkpoint has a metric `{}`", printable(unknown));
    Err(Failure::usage(message).hint(format!("there are: {}", names.join(", "))))
}

fn print(args: &Args, plan: &Plan, done: Option<&Imported>, style: &Style) -> Result<(), Failure> {
    let mut out = style.out();
    if done.is_none() && !plan.checkpoints.is_empty() {
        let mut table = Table::new(0)
            .wrapped("FILE")
            .wrapped("JOB")
            .right("ITERATION");
        table = table
            .spare("EVENTS")
            .wrapped("METRICS")
            .spare("ENTRIES")
            .wrapped("NOTES");
        for planned in &plan.checkpoints {
            table.row(cells(planned));
        }
        table.write(&mut out, style)?;
    }
    let failed = done.map_or(&[][..], |done| &done.left);
    let left: Vec<&LeftAlone> = plan.left.iter().chain(failed).collect();
    if !left.is_empty() {
        let mut table = Table::new(0).wrapped("LEFT ALONE").wrapped("WHY");
        let shown = if done.is_some() { NAMED } else { left.len() };
        for left in left.iter().take(shown) {
            table.row(vec![
                printable(&left.path.to_string_lossy()).into(),
                plain(&left.why).into(),
            ]);
        }
        table.write(&mut out, style)?;
        if left.len() > shown {
            let more = human::thousands((left.len() - shown) as u64);
            writeln!(out, "...  {more} more (--dry-run)")?;
        }
    }
    out.flush()?;
    let of_job = |planned: &Planned| planned.job.clone();
    let mut jobs: Vec<String> = plan.checkpoints.iter().map(of_job).collect();
    jobs.dedup();
    let jobs = human::count(jobs.len() as u64, "job", "jobs");
    let bytes: u64 = plan.checkpoints.iter().map(|planned| planned.bytes).sum();
    match done {
        None => style.line(format_args!(
            "would import {} of {jobs} from {}, {}\nnothing was changed (dry run)",
            human::checkpoints(plan.checkpoints.len() as u64),
            args.folder.display(),
            human::size(bytes),
        )),
        Some(done) => style.line(format_args!(
            "imported {} of {jobs} from {}: {}, {} new{}",
            human::checkpoints(done.saved),
            args.folder.display(),
            human::size(done.bytes),
            human::size(done.new_bytes),
            rest(&[
                (done.already, "there before"),
                (left.len() as u64, "left alone")
            ]),
        )),
    }
}

/// Text of any length in one line.
fn plain(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { '?' } else { letter };
    text.chars().map(shown).collect()
}

/// What was not imported, as an end of the sentence that says what was.
fn rest(counts: &[(u64, &str)]) -> String {
    let there_are = counts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = there_are
        .map(|(count, what)| format!("{} {what}", human::thousands(*count)))
        .collect();
    if told.is_empty() {
        return String::new();
    }
    format!("; {}", told.join(", "))
}

fn cells(planned: &Planned) -> Vec<crate::output::Cell> {
    let events: Vec<String> = planned.events.iter().map(Event::to_string).collect();
    let entries: Vec<String> = planned.files.keys().map(|name| printable(name)).collect();
    let tags = planned
        .tags
        .iter()
        .map(|tag| format!("tag {}", printable(tag)));
    let notes: Vec<String> = planned
        .notes
        .iter()
        .map(|note| printable(note))
        .chain(tags)
        .collect();
    let entries = match entries.as_slice() {
        few @ ([] | [_] | [_, _] | [_, _, _]) => few.join(" "),
        many => human::count(many.len() as u64, "entry", "entries"),
    };
    vec![
        printable(&planned.path.to_string_lossy()).into(),
        printable(&planned.job).into(),
        human::thousands(planned.iteration).into(),
        printable(&events.join(", ")).into(),
        human::metrics(planned.metrics.iter()).into(),
        entries.into(),
        notes.join(", ").into(),
    ]
}

fn document(plan: &Plan, done: Option<&Imported>) -> Value {
    let planned = |planned: &Planned| {
        let events: Vec<String> = planned.events.iter().map(Event::to_string).collect();
        let files = planned.files.iter();
        let files = files.map(|(entry, path)| (entry.clone(), path.display().to_string().into()));
        json!({
            "path": planned.path.display().to_string(),
            "job": planned.job,
            "iteration": planned.iteration,
            "events": events,
            "metrics": json::metrics(&planned.metrics),
            "attributes": planned.attributes,
            "tags": planned.tags,
            "files": files.collect::<serde_json::Map<String, Value>>(),
            "bytes": planned.bytes,
            "notes": planned.notes,
        })
    };
    let left = |left: &LeftAlone| json!({"path": left.path.display().to_string(), "why": left.why});
    json!({
        "dry_run": done.is_none(),
        "checkpoints": plan.checkpoints.iter().map(planned).collect::<Vec<_>>(),
        "left": plan.left.iter().map(left).collect::<Vec<_>>(),
        "saved": done.map(|done| done.saved),
        "already": done.map(|done| done.already),
        "bytes": done.map(|done| done.bytes),
        "new_bytes": done.map(|done| done.new_bytes),
        "stopped": done.map(|done| done.stopped),
        "failed": done.map(|done| done.left.iter().map(left).collect::<Vec<_>>()),
    })
}
