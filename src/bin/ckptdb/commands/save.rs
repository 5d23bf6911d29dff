//! `save`: files become a checkpoint.

use std::path::{Path, PathBuf};

use ckptdb::interop;
use ckptdb::name::{nearest, printable};
use ckptdb::session::SessionOptions;
use ckptdb::{Compression, Direction, Error, Event, Saved, Store};
use serde_json::{Value, json};

use super::annotate::attribute;
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::lookup;
use crate::output::{Progress, Style, human, json};
use crate::{settings, store_path};

/// Options of `save`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to save: safetensors files become tensors, JSON files documents, others files, a
    /// folder all that is in it. NAME=PATH sets the entry's name, or a prefix NAME/ to several.
    #[arg(value_name = "[NAME=]PATH", required = true)]
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    paths: Vec<String>,
    /// The job that it belongs to.
    #[arg(short, long)]
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: String,
    /// The trainer's own counter.
    #[arg(short, long, value_name = "N")]
    iteration: u64,
    /// A metric's value; NAME:min=V or NAME:max=V declares its direction too.
    #[arg(short, long = "metric", value_name = "NAME[:min|max]=V", value_parser = metric)]
    metrics: Vec<Metric>,
    /// Why it is saved, for instance periodic or best:loss [default: manual].
    #[arg(short, long = "event", value_name = "EVENT")]
    events: Vec<Event>,
    /// An attribute; a value that is not JSON is text.
    #[arg(short, long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Value)>,
    /// A name for it; unique within the job.
    #[arg(short, long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Protect it from every removal.
    #[arg(long)]
    pin: bool,
    /// Replace the job's latest checkpoint if it has the same iteration and other entries.
    #[arg(long)]
    overwrite: bool,
    /// The checkpoint that it continues [default: the job's latest].
    #[arg(long, value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    parent: Option<String>,
    /// How much the encoding of what is new may cost: none, fast, default or max [default: what
    /// the configuration says].
    #[arg(long, value_name = "EFFORT")]
    compression: Option<Compression>,
    /// How many deltas a load of it may take where all words change from checkpoint to checkpoint,
    /// 0 to 8 [default: what the configuration says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=8))]
    chain_depth: Option<u8>,
    /// Create the store if there is none.
    #[arg(long)]
    create: bool,
}

/// A metric from the command line.
#[derive(Clone, Debug, PartialEq)]
struct Metric {
    name: String,
    value: f64,
    direction: Option<Direction>,
}

/// A file or folder to save.
#[derive(Debug)]
struct Source {
    /// The entry's name, or the prefix of several; empty for the file's own.
    name: String,
    path: PathBuf,
}

/// How entries are encoded and how deep chains may get: as asked for, or as the configuration says
/// for the job.
fn encoding(args: &Args) -> Result<(Compression, Option<u8>), Failure> {
    if let (Some(compression), Some(_)) = (args.compression, args.chain_depth) {
        return Ok((compression, args.chain_depth));
    }
    let options = SessionOptions::from_settings(&settings::load()?.settings(&args.job))?;
    let compression = args.compression.or(options.compression);
    let depth = args.chain_depth.or(options.chain_depth);
    Ok((compression.unwrap_or_default(), depth))
}

/// Saves the checkpoint and says what it took.
pub(crate) fn run(args: &Args, global: &Global, style: &Style) -> Result<(), Failure> {
    // The sources come first: a mistyped path must not leave a new store or a declaration.
    let sources = args
        .paths
        .iter()
        .map(|text| Source::find(text))
        .collect::<Result<Vec<_>, _>>()?;
    let store = store_path::open_or(args.create, global, style)?;
    let saved = save(args, global, &store, &sources)?;
    store.close();
    report(&saved, style)
}

fn save(args: &Args, global: &Global, store: &Store, sources: &[Source]) -> Result<Saved, Failure> {
    let job = store.job(&args.job)?;
    let parent = args
        .parent
        .as_deref()
        .map(|text| lookup::checkpoint(store, text))
        .transpose()?;
    let (compression, chain_depth) = encoding(args)?;
    let mut save = job.save(args.iteration).compression(compression);
    if let Some(depth) = chain_depth {
        save = save.chain_depth(depth);
    }
    for source in sources {
        save = interop::add_path(save, &source.name, &source.path)?;
    }
    for metric in &args.metrics {
        if let Some(direction) = metric.direction {
            save = save.direction(&metric.name, direction);
        }
    }
    for metric in &args.metrics {
        save = save.metric(&metric.name, metric.value);
    }
    for event in &args.events {
        save = save.event(event.clone());
    }
    for (name, value) in &args.attributes {
        save = save.attribute(name, value);
    }
    for tag in &args.tags {
        save = save.tag(tag);
    }
    if let Some(parent) = &parent {
        save = save.parent(parent.id);
    }
    if args.pin {
        save = save.pin();
    }
    if args.overwrite {
        save = save.overwrite();
    }
    let total = sources.iter().map(|source| bytes_in(&source.path)).sum();
    let progress = Progress::follow("saving", &global.monitor, total);
    let saved = save.commit();
    drop(progress);
    saved.map_err(|error| match error {
        Error::Invalid { .. } if sources.len() > 1 => {
            Failure::from(error).hint("NAME=PATH puts what a file holds under NAME/")
        }
        _ => error.into(),
    })
}

fn report(saved: &Saved, style: &Style) -> Result<(), Failure> {
    let checkpoint = &saved.checkpoint;
    if style.json {
        let body = json!({
            "checkpoint": json::checkpoint(checkpoint),
            "merged": saved.merged,
            "logical_bytes": saved.logical_bytes,
            "shared_bytes": saved.shared_bytes,
            "new_bytes": saved.new_bytes,
            "stored_bytes": saved.stored_bytes,
            "chunks": saved.chunks,
            "new_chunks": saved.new_chunks,
            "seconds": {
                "queued": saved.times.queued.as_secs_f64(),
                "encode": saved.times.encode.as_secs_f64(),
                "commit": saved.times.commit.as_secs_f64(),
            },
        });
        return style.document("save", &body);
    }
    let label = human::labelled(checkpoint);
    if saved.merged {
        let events: Vec<_> = checkpoint.events.iter().map(Event::to_string).collect();
        let events = printable(&events.join(", "));
        return style.line(format_args!(
            "merged into {label}: same entries; events: {events}"
        ));
    }
    style.line(format_args!(
        "saved {label}: {}, {}, {} shared ({}), {} new ({} stored)",
        human::count(checkpoint.entries, "entry", "entries"),
        human::size(saved.logical_bytes),
        human::size(saved.shared_bytes),
        human::percent(saved.shared_bytes, saved.logical_bytes),
        human::size(saved.new_bytes),
        human::size(saved.stored_bytes),
    ))
}

impl Source {
    /// Reads `PATH` or `NAME=PATH`. A path with `=` in it that is there is meant as it stands.
    fn find(text: &str) -> Result<Self, Failure> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if !Path::new(text).exists() => (name.to_owned(), path),
            _ => (String::new(), text),
        };
        let path = PathBuf::from(path);
        if path.exists() {
            return Ok(Self { name, path });
        }
        let message = format!("no file or folder at `{}`", path.display());
        Err(Failure::new(Exit::Failed, message))
    }
}

/// Bytes of a file, or of all below a folder, for a progress bar: what can't be read counts nothing
/// here, and is told of by the save.
fn bytes_in(path: &Path) -> u64 {
    let Ok(listing) = path.read_dir() else {
        return path.metadata().map_or(0, |found| found.len());
    };
    let paths = listing.filter_map(Result::ok).map(|item| item.path());
    paths.map(|path| bytes_in(&path)).sum()
}

/// Whether the path ends in this extension, in whatever case.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Reads `name=value`, `name:min=value` or `name:max=value`.
fn metric(text: &str) -> Result<Metric, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a metric looks like val_loss=0.3")?;
    let value = value
        .parse()
        .map_err(|_| format!("`{value}` is not a number"))?;
    let (name, direction) = match name.rsplit_once(':') {
        Some((name, "min")) => (name, Some(Direction::Min)),
        Some((name, "max")) => (name, Some(Direction::Max)),
        Some((name, word)) if let Some(near) = nearest(word, ["min", "max"]) => {
            return Err(format!(
                "`{word}` is no direction; did you mean `{name}:{near}={value}`?"
            ));
        }
        _ => (name, None),
    };
    Ok(Metric {
        name: name.to_owned(),
        value,
        direction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_may_bring_its_direction() {
        let slip = metric("loss:mn=1").err();
        assert!(slip.is_some_and(|slip| slip.contains("`loss:min=1`")));
        let read = |text| {
            metric(text)
                .map(|m| (m.name, m.value, m.direction))
                .unwrap()
        };
        assert_eq!(read("loss=0.5"), ("loss".to_owned(), 0.5, None));
        assert_eq!(
            read("loss:min=-1"),
            ("loss".to_owned(), -1.0, Some(Direction::Min))
        );
        assert_eq!(read("val:r=1e3"), ("val:r".to_owned(), 1e3, None));
        assert!(metric("loss").is_err());
        assert!(metric("loss=low").is_err());
    }
}
