//! Checkpoints as files whose names say what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::folder::{prepare, safe_component, safe_path, same_file, write_entry};
use super::template::{EVENT, Field, ITERATION, NameTemplate};
use super::{Exported, IMPORTED_FROM, MODEL_ENTRY};
use crate::checkpoint::CheckpointInfo;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::platform;
use crate::store::Checkpoint;

/// Writes a checkpoint's entries into a folder under a name that the template makes of its
/// iteration, events, metrics and attributes: the entry `model`, with any extension, under that
/// name, the others under it without its extension, `_` and their own. If the template ends with a
/// slash, it names a folder, and all entries go there. Where a checkpoint has several events and
/// the template has a field for one, it is written once for each.
///
/// What was imported comes out as it was, to the byte.
///
/// # Errors
/// [`Error::Invalid`] when the template asks for what the checkpoint has not; [`Error::Conflict`]
/// when a file is there already, unless `force` says to write over it; as the reads of
/// [`Checkpoint`]; from the disk.
pub fn write_named(
    checkpoint: &Checkpoint,
    template: &NameTemplate,
    folder: &Path,
    force: bool,
) -> Result<Exported> {
    let files = named_files(checkpoint, template)?;
    let paths = files.iter().map(|(_, path)| folder.join(path));
    if let Some(taken) = paths
        .filter(|_| !force)
        .find(|path| platform::is_taken(path))
    {
        let what = format!("`{}` is there already", taken.display());
        return Err(Error::conflict(
            what,
            "write over it with --force, or elsewhere",
        ));
    }
    write_files(checkpoint, &files, folder)
}

/// Writes these entries to these files below a folder, over what is there.
///
/// # Errors
/// As the reads of [`Checkpoint`]; from the disk.
pub fn write_files(
    checkpoint: &Checkpoint,
    files: &[(String, PathBuf)],
    folder: &Path,
) -> Result<Exported> {
    let mut done = Exported::default();
    for (entry, path) in files {
        done.bytes += write_entry(checkpoint, entry, &prepare(folder, path)?)?.bytes;
        done.files += 1;
    }
    Ok(done)
}

/// The files that [`write_named`] writes, below its folder, and the entry that each is.
///
/// # Errors
/// As [`write_named`]; [`Error::Conflict`] when two entries would be one file.
pub fn named_files(
    checkpoint: &Checkpoint,
    template: &NameTemplate,
) -> Result<Vec<(String, PathBuf)>> {
    let entries: Vec<String> = checkpoint
        .entries()?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let (mut found, mut taken) = (Vec::new(), BTreeMap::new());
    for name in names(checkpoint, template)? {
        for (entry, path) in places(&entries, template, &name)? {
            if let Some(other) = taken.insert(path.clone(), entry) {
                return Err(same_file(entry, other));
            }
            found.push((entry.clone(), path));
        }
    }
    Ok(found)
}

/// The names of a checkpoint: one, or one for each event.
fn names(checkpoint: &CheckpointInfo, template: &NameTemplate) -> Result<BTreeSet<String>> {
    let imported = imported_name(checkpoint, template);
    let is_one = !template.fields().any(|name| name == EVENT) || checkpoint.events.len() <= 1;
    if let (Some(name), true) = (&imported, is_one) {
        return Ok(BTreeSet::from([name.clone()]));
    }
    let named = |event: Option<&Event>| {
        let name = template.write(&|name| field_of(checkpoint, event, name))?;
        // There is more than one way to write a zero.
        let is_it = |own: &String| template.read(own) == template.read(&name);
        Ok(imported.clone().filter(is_it).unwrap_or(name))
    };
    if is_one {
        return Ok(BTreeSet::from([named(checkpoint.events.first())?]));
    }
    checkpoint
        .events
        .iter()
        .map(|event| named(Some(event)))
        .collect()
}

/// The name that a checkpoint had when it was imported, if the template reads it and its iteration
/// still is the same.
fn imported_name(checkpoint: &CheckpointInfo, template: &NameTemplate) -> Option<String> {
    let path: String = serde_json::from_str(checkpoint.attributes.get(IMPORTED_FROM)?).ok()?;
    let mut own = Path::new(&path).file_name()?.to_str()?.to_owned();
    if template.is_folder() {
        own.push('/');
    }
    let iteration = Field::Integer(i64::try_from(checkpoint.iteration).ok()?);
    (template.read(&own)?.get(ITERATION) == Some(&iteration)).then_some(own)
}

/// What stands in a field.
fn field_of(checkpoint: &CheckpointInfo, event: Option<&Event>, name: &str) -> Option<Field> {
    let attribute = || {
        let value: Value = serde_json::from_str(checkpoint.attributes.get(name)?).ok()?;
        match value {
            Value::String(text) => Some(Field::Text(text)),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Some(Field::Integer(whole)),
                None => number.as_f64().map(Field::Float),
            },
            Value::Bool(flag) => Some(Field::Text(flag.to_string())),
            _ => None,
        }
    };
    match name {
        ITERATION => i64::try_from(checkpoint.iteration).ok().map(Field::Integer),
        EVENT => event.map(|event| Field::Text(word_of(event))),
        _ => {
            let metric = checkpoint.metrics.get(name).copied().map(Field::Float);
            let job =
                || matches!(name, "job" | "market").then(|| Field::Text(checkpoint.job.clone()));
            metric.or_else(attribute).or_else(job)
        }
    }
}

/// An event in a name, where parentheses would have to be quoted.
fn word_of(event: &Event) -> String {
    match event {
        Event::Custom(word) => word.clone(),
        other => other.family().to_owned(),
    }
}

/// Where the entries go for this name.
fn places<'e>(
    entries: &'e [String],
    template: &NameTemplate,
    name: &str,
) -> Result<Vec<(&'e String, PathBuf)>> {
    let name = name.trim_end_matches('/');
    // What is one plain name already stays as it is.
    let is_plain = Path::new(name).file_name() == Some(name.as_ref());
    let whole = if is_plain {
        PathBuf::from(name)
    } else {
        safe_path(name)
    };
    if template.is_folder() {
        return Ok(entries
            .iter()
            .map(|entry| (entry, whole.join(safe_path(entry))))
            .collect());
    }
    let is_main = |entry: &&String| {
        let rest = entry.strip_prefix(MODEL_ENTRY);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut mains = entries.iter().filter(is_main);
    let (Some(main), None) = (mains.next(), mains.next()) else {
        let why = format!("the checkpoint has not one entry `{MODEL_ENTRY}` with any extension");
        return Err(Error::invalid(format!("template `{template}`"), why));
    };
    let stem = whole
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let place = |entry: &'e String| {
        if entry == main {
            return (entry, whole.clone());
        }
        (
            entry,
            whole.with_file_name(format!(
                "{stem}_{}",
                safe_component(&entry.replace('/', "_"))
            )),
        )
    };
    Ok(entries.iter().map(place).collect())
}
