//! `export`: a checkpoint's entries become files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ckptdb::interop::{self, Exported, NameTemplate};
use ckptdb::name::printable;
use ckptdb::{Checkpoint, Store};
use serde_json::json;

use super::save::has_extension;
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::lookup;
use crate::output::{Progress, Style, human, json};

/// Entries that a note names before it only counts.
const NAMED: usize = 3;

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// Where to: a *.safetensors or *.npz file takes the tensors, any other path is a folder.
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Write the bytes of this entry alone.
    #[arg(long, value_name = "NAME", conflicts_with = "only")]
    #[arg(add = ArgValueCompleter::new(complete::entries))]
    entry: Option<String>,
    /// Only entries whose name matches this pattern with * and ?; may be repeated.
    #[arg(long, value_name = "GLOB")]
    #[arg(add = ArgValueCompleter::new(complete::entries))]
    only: Vec<String>,
    /// Name files by this template: `{market}_ts-{iteration:07d}_val-{val_reward:+.3f}.zip`.
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["entry", "only"])]
    template: Option<NameTemplate>,
    /// All checkpoints of the jobs that REF matches, by the template.
    #[arg(long, requires = "template")]
    all: bool,
    /// Write over what is there.
    #[arg(short, long)]
    force: bool,
}

/// Writes the files and says what they hold.
pub(crate) fn run(
    args: &Args,
    global: &Global,
    store: &Store,
    style: &Style,
) -> Result<(), Failure> {
    if let Some(template) = &args.template {
        return named(args, template, (global, store), style);
    }
    let checkpoint = lookup::checkpoint(store, &args.reference)?;
    lookup::check_not_store(store, [&args.output])?;
    check_free(&args.output, args.force)?;
    let total = selected_bytes(args, &checkpoint)?;
    let progress = Progress::follow("exporting", &global.monitor, total);
    let written = write(args, store, &checkpoint)?;
    drop(progress);
    if style.json {
        let body = json!({
            "checkpoint": json::checkpoint(&checkpoint),
            "path": args.output.display().to_string(),
            "tensors": written.tensors,
            "files": written.files,
            "bytes": written.bytes,
            "skipped": written.skipped,
        });
        return style.document("export", &body);
    }
    note_skipped(&written.skipped, style);
    style.line(format_args!(
        "exported {} to {}: {}",
        human::labelled(&checkpoint),
        args.output.display(),
        human::size(written.bytes),
    ))
}

/// The files of each checkpoint. Before anything is written: no two checkpoints are one file, and
/// nothing is written over.
fn files_of(
    checkpoints: &[Checkpoint],
    template: &NameTemplate,
    args: &Args,
) -> Result<Vec<Vec<(String, PathBuf)>>, Failure> {
    let mut taken: BTreeMap<PathBuf, &Checkpoint> = BTreeMap::new();
    let mut all = Vec::new();
    for checkpoint in checkpoints {
        let of = |error| {
            let of = format!("it is not in {}", human::labelled(checkpoint));
            Failure::from(error).hint(of)
        };
        let files = interop::named_files(checkpoint, template).map_err(of)?;
        for (_, path) in &files {
            let full = args.output.join(path);
            if full.exists() && !args.force {
                return Err(exists(&full));
            }
            if let Some(other) = taken.insert(path.clone(), checkpoint)
                && other.id != checkpoint.id
            {
                let message = format!(
                    "{} and {} would be one file: `{}`",
                    human::labelled(other),
                    human::labelled(checkpoint),
                    full.display()
                );
                return Err(Failure::new(Exit::Failed, message)
                    .hint("a template with {job} and {iteration} keeps them apart"));
            }
        }
        all.push(files);
    }
    Ok(all)
}

/// Writes one or all checkpoints under the names that a template makes.
fn named(
    args: &Args,
    template: &NameTemplate,
    (global, store): (&Global, &Store),
    style: &Style,
) -> Result<(), Failure> {
    let mut checkpoints = Vec::new();
    if args.all {
        for job in lookup::jobs(store, Some(&args.reference))? {
            let listed = store.job(&job.name)?.list()?;
            checkpoints.extend(listed.collect::<Result<Vec<_>, _>>()?);
        }
    } else {
        checkpoints.push(lookup::checkpoint(store, &args.reference)?);
    }
    let files = files_of(&checkpoints, template, args)?;
    let paths = files.iter().flatten().map(|(_, path)| path);
    lookup::check_not_store(store, paths.map(|path| args.output.join(path)))?;
    let total = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.logical_bytes)
        .sum();
    let progress = Progress::follow("exporting", &global.monitor, total);
    let mut done = Exported::default();
    for (checkpoint, files) in checkpoints.iter().zip(&files) {
        let written = interop::write_files(checkpoint, files, &args.output)?;
        done.files += written.files;
        done.bytes += written.bytes;
    }
    drop(progress);
    if style.json {
        let body = json!({
            "checkpoints": checkpoints
                .iter()
                .map(|found| json::checkpoint(found))
                .collect::<Vec<_>>(),
            "path": args.output.display().to_string(),
            "files": done.files,
            "bytes": done.bytes,
        });
        return style.document("export", &body);
    }
    style.line(format_args!(
        "exported {} to {}: {} in {}",
        human::checkpoints(checkpoints.len() as u64),
        args.output.display(),
        human::size(done.bytes),
        human::count(done.files, "file", "files"),
    ))
}

fn write(args: &Args, store: &Store, checkpoint: &Checkpoint) -> Result<Exported, Failure> {
    let only = |name: &str| lookup::selects(&args.only, name);
    let target = &args.output;
    Ok(match &args.entry {
        Some(entry) => interop::write_entry(checkpoint, entry, target)?,
        None if has_extension(target, "safetensors") => {
            interop::write_safetensors(checkpoint, &only, target)?
        }
        None if has_extension(target, "npz") => interop::write_npz(checkpoint, &only, target)?,
        None => {
            let paths = interop::folder_files(checkpoint, &only)?.into_iter();
            lookup::check_not_store(store, paths.map(|path| target.join(path)))?;
            interop::write_folder(checkpoint, &only, target)?
        }
    })
}

/// Bytes of what is to be written. A pattern that matches nothing is a mistake: an empty file would
/// hide it.
fn selected_bytes(args: &Args, checkpoint: &Checkpoint) -> Result<u64, Failure> {
    if let Some(entry) = &args.entry {
        return Ok(checkpoint.entry(entry)?.bytes);
    }
    let entries = checkpoint.entries()?.into_iter();
    let selected = entries.filter(|entry| lookup::selects(&args.only, &entry.name));
    let bytes: Vec<u64> = selected.map(|entry| entry.bytes).collect();
    if bytes.is_empty() && !args.only.is_empty() {
        return Err(lookup::no_entry(checkpoint, &args.only));
    }
    Ok(bytes.iter().sum())
}

/// Fails if something would be written over. An empty folder holds nothing.
fn check_free(path: &Path, force: bool) -> Result<(), Failure> {
    let is_empty_folder = path
        .read_dir()
        .is_ok_and(|mut listing| listing.next().is_none());
    if force || !path.exists() || is_empty_folder {
        return Ok(());
    }
    Err(exists(path))
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Failed, format!("`{}` exists already", path.display()))
        .hint("write over it with --force, or choose another path")
}

fn note_skipped(skipped: &[String], style: &Style) {
    if skipped.is_empty() {
        return;
    }
    let named: Vec<_> = skipped
        .iter()
        .take(NAMED)
        .map(|name| printable(name))
        .collect();
    let more = match skipped.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    style.note(format_args!(
        "note: {} left out, being no tensors: {}{more}",
        human::count(skipped.len() as u64, "entry", "entries"),
        named.join(", "),
    ));
}
