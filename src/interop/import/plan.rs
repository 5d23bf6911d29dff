//! What a folder is understood to hold.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::MODEL_ENTRY;
use super::super::template::{EVENT, Field, ITERATION};
use super::known::{Layout, layouts, named};
use super::{IMPORTED_FROM, ImportOptions, LeftAlone, MODIFIED_AT, Plan, Planned};
use super::{archive, folder, metadata};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::name;
use crate::platform::{self, InputFile};

/// What ends a checkpoint's name in that of a file which belongs to it.
const JOINTS: [char; 3] = ['_', '.', '-'];

impl Plan {
    /// Looks at a folder and all below it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) from the disk. What is wrong with a file is in the plan.
    pub fn of(root: &Path, options: &ImportOptions) -> Result<Self> {
        let layouts = layouts(&options.templates)?;
        let found = folder::look(root, &|path| named(&layouts, path, true).is_some())?;
        let mut making = Making {
            root,
            options,
            layouts: &layouts,
            mains: Vec::new(),
            left: found.left,
        };
        for path in &found.folders {
            if let Some(fields) = named(&layouts, path, true) {
                making.main(path, &fields, true);
            }
        }
        let mut others = Vec::new();
        for path in found.files {
            match named(&layouts, &path, false) {
                Some(fields) => making.main(&path, &fields, false),
                None => others.push(path),
            }
        }
        let others = making.companions(others);
        making.describe()?;
        making.unnumbered(others);
        making.finish()
    }
}

/// A plan on its way.
struct Making<'m> {
    root: &'m Path,
    options: &'m ImportOptions,
    layouts: &'m [Layout],
    mains: Vec<Planned>,
    left: Vec<LeftAlone>,
}

impl Making<'_> {
    fn leave(&mut self, path: &Path, why: impl Into<String>) {
        self.left.push(LeftAlone {
            path: path.to_owned(),
            why: why.into(),
        });
    }

    /// Takes note of a checkpoint's file or folder.
    fn main(&mut self, path: &Path, fields: &BTreeMap<String, Field>, is_folder: bool) {
        let Some(Field::Integer(iteration)) = fields.get(ITERATION) else {
            return self.leave(path, "its template has no iteration");
        };
        let Ok(iteration) = u64::try_from(*iteration) else {
            return self.leave(path, "its iteration is negative");
        };
        let job = match self.job_of(path, fields) {
            Ok(job) => job,
            Err(error) => return self.leave(path, error.to_string()),
        };
        let mut files = BTreeMap::new();
        if is_folder {
            match folder::files_of(self.root, path) {
                Ok((found, left)) => {
                    files.extend(found);
                    self.left.extend(left);
                }
                Err(error) => return self.leave(path, error.to_string()),
            }
        } else {
            files.insert(main_entry(path), path.to_owned());
        }
        self.mains
            .push(planned(path, job, iteration, files, fields));
    }

    /// The job of a checkpoint with these fields.
    fn job_of(&self, path: &Path, fields: &BTreeMap<String, Field>) -> Result<String> {
        let named = match &self.options.job {
            Some(template) => Some(template.write(&|name| fields.get(name).cloned())?),
            None => ["job", "market"]
                .iter()
                .find_map(|name| match fields.get(*name) {
                    Some(Field::Text(job)) => Some(job.clone()),
                    _ => None,
                }),
        };
        let job = named.unwrap_or_else(|| self.folder_name(path));
        name::check_job(&job)?;
        Ok(job)
    }

    /// The name of the folder that a path is in.
    fn folder_name(&self, path: &Path) -> String {
        let inner = path
            .parent()
            .and_then(Path::file_name)
            .map(ToOwned::to_owned);
        let outer = || {
            platform::real_path(self.root)?
                .file_name()
                .map(ToOwned::to_owned)
        };
        let name = inner.or_else(outer).unwrap_or_default();
        name.to_string_lossy().replace(' ', "_")
    }

    /// Gives files to the checkpoints whose names theirs begin with, or that their templates lead
    /// to. What belongs to none is left.
    fn companions(&mut self, files: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut stems: HashMap<(PathBuf, String), usize> = HashMap::new();
        for (number, planned) in self.mains.iter().enumerate() {
            let folder = planned.path.parent().unwrap_or(Path::new("")).to_owned();
            // A folder has its own files within it.
            if !planned.files.values().any(|path| *path == planned.path) {
                continue;
            }
            if let Some(stem) = planned.path.file_stem().and_then(|stem| stem.to_str()) {
                stems.insert((folder, stem.to_owned()), number);
            }
        }
        let mut rest = Vec::new();
        for path in files {
            match self.owner(&path, &stems) {
                Some((number, entry)) => {
                    let Some(planned) = self.mains.get_mut(number) else {
                        continue;
                    };
                    match planned.files.entry(entry) {
                        Entry::Vacant(place) => {
                            place.insert(path);
                        }
                        Entry::Occupied(place) => {
                            let why = format!(
                                "`{}` of {} is another file already",
                                place.key(),
                                planned.path.display()
                            );
                            self.leave(&path, why);
                        }
                    }
                }
                None => rest.push(path),
            }
        }
        rest
    }

    /// The checkpoint that a file belongs to, and the entry that it is.
    fn owner(
        &self,
        path: &Path,
        stems: &HashMap<(PathBuf, String), usize>,
    ) -> Option<(usize, String)> {
        let name = path.file_name()?.to_str()?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let main_of = |stem: &str| stems.get(&(folder.to_owned(), stem.to_owned())).copied();
        for layout in self.layouts {
            let found = layout
                .companion(name)
                .and_then(|(entry, stem)| Some((main_of(&stem)?, entry)));
            if let Some((number, entry)) = found {
                return Some((number, entry.to_owned()));
            }
        }
        // The longest name that fits: others may begin like it.
        let ends = name
            .char_indices()
            .rev()
            .filter(|(_, letter)| JOINTS.contains(letter));
        ends.into_iter().find_map(|(at, _)| {
            let number = main_of(name.get(..at)?)?;
            // What looks like a checkpoint's own file is one, under a name that is not understood.
            if self.mains.get(number)?.path.extension() == path.extension() {
                return None;
            }
            let entry = name.get(at..)?.trim_start_matches(JOINTS);
            (!entry.is_empty()).then(|| (number, entry.to_owned()))
        })
    }

    /// Adds what files beside the checkpoints say, how long all are, and when they were made.
    fn describe(&mut self) -> Result<()> {
        for mut planned in std::mem::take(&mut self.mains) {
            let mut why = None;
            for (entry, path) in &planned.files.clone() {
                let full = self.root.join(path);
                match InputFile::open(&full) {
                    Ok(file) => planned.bytes += file.len(),
                    Err(error) => {
                        why = why.or(Some(error.to_string()));
                        continue;
                    }
                }
                if entry == "trainer_state.json" {
                    metadata::add_trainer_state(&mut planned, &full)?;
                } else if entry.ends_with("metadata.json") {
                    why = why.or(metadata::add(&mut planned, &full)?);
                }
            }
            let from = planned.path.to_string_lossy().into_owned();
            planned
                .attributes
                .insert(IMPORTED_FROM.to_owned(), from.into());
            if let Some(at) = platform::modified_at(&self.root.join(&planned.path)) {
                planned.attributes.insert(MODIFIED_AT.to_owned(), at.into());
            }
            match why {
                Some(why) => self.leave(&planned.path, why),
                None => self.mains.push(planned),
            }
        }
        Ok(())
    }

    /// Files without an iteration in their names: one that is a checkpoint again is a name of it, a
    /// Stable-Baselines3 archive knows its own.
    fn unnumbered(&mut self, files: Vec<PathBuf>) {
        for path in files {
            if let Err(error) = self.unnumbered_one(&path) {
                self.leave(&path, error.to_string());
            }
        }
    }

    fn unnumbered_one(&mut self, path: &Path) -> Result<()> {
        let full = self.root.join(path);
        let bytes = InputFile::open(&full)?.len();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let tag = name::check_tag(&stem).is_ok().then(|| stem.into_owned());
        if let Some(number) = self.same(path, bytes)? {
            match (self.mains.get_mut(number), tag) {
                (Some(planned), Some(tag)) => planned.tags.push(tag),
                _ => self.leave(path, "it is another one's copy, and its name can be no tag"),
            }
            return Ok(());
        }
        let Some(iteration) = archive::steps_of(&full)? else {
            self.leave(path, "no template fits its name");
            return Ok(());
        };
        let fields = BTreeMap::from([(ITERATION.to_owned(), Field::Integer(iteration))]);
        let before = self.mains.len();
        self.main(path, &fields, false);
        let job = self.only_job(path, before);
        if let Some(planned) = self.mains.get_mut(before) {
            planned.bytes = bytes;
            let from = path.to_string_lossy().into_owned();
            planned
                .attributes
                .insert(IMPORTED_FROM.to_owned(), from.into());
            planned.tags.extend(tag);
            if self.options.job.is_none() {
                planned.job = job.unwrap_or(std::mem::take(&mut planned.job));
            }
        }
        Ok(())
    }

    /// The job of all checkpoints in a path's folder, if it is one.
    fn only_job(&self, path: &Path, count: usize) -> Option<String> {
        let beside = self.mains.iter().take(count);
        let beside = beside.filter(|planned| planned.path.parent() == path.parent());
        let mut jobs = beside.map(|planned| &planned.job);
        let first = jobs.next()?;
        jobs.all(|job| job == first).then(|| first.clone())
    }

    /// The checkpoint of which a file of so many bytes is another copy.
    fn same(&self, path: &Path, bytes: u64) -> Result<Option<usize>> {
        for (number, planned) in self.mains.iter().enumerate() {
            let is_near = planned.path.parent() == path.parent()
                && planned.path.extension() == path.extension()
                && planned.files.values().any(|own| *own == planned.path);
            let (own, other) = (self.root.join(path), self.root.join(&planned.path));
            // One file is no more than all of a checkpoint's.
            if is_near && planned.bytes >= bytes && is_same(&own, &other)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Unites those that are one checkpoint, and sorts.
    fn finish(mut self) -> Result<Plan> {
        let mut all: BTreeMap<(String, u64), Planned> = BTreeMap::new();
        let mut mains = std::mem::take(&mut self.mains);
        mains.sort_by(|a, b| a.path.cmp(&b.path));
        for planned in mains {
            let key = (planned.job.clone(), planned.iteration);
            let Some(first) = all.get_mut(&key) else {
                all.insert(key, planned);
                continue;
            };
            let main = |planned: &Planned| self.root.join(&planned.path);
            if platform::is_folder(&main(&planned)) || !is_same(&main(first), &main(&planned))? {
                let why = format!(
                    "{}@{} is {} already, and that has other bytes; --job can tell them apart",
                    planned.job,
                    planned.iteration,
                    first.path.display()
                );
                self.leave(&planned.path, why);
                continue;
            }
            // The files beside it may say other things of it: the first ones are taken.
            for (entry, path) in &planned.files {
                let same = match first.files.get(entry) {
                    _ if *path == planned.path => true,
                    Some(own) => is_same(&self.root.join(own), &self.root.join(path))?,
                    None => false,
                };
                if !same {
                    self.left.push(LeftAlone {
                        path: path.clone(),
                        why: format!("it belongs to a copy of {}", first.path.display()),
                    });
                }
            }
            first.events.extend(planned.events);
            first.events.sort();
            first.events.dedup();
            first.tags.extend(planned.tags);
            let path = planned.path.display();
            first.notes.push(format!("{path} is the same"));
        }
        self.left.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Plan {
            checkpoints: all.into_values().collect(),
            left: self.left,
        })
    }
}

/// Whether two files have the same bytes. Most that have not differ early.
fn is_same(one: &Path, other: &Path) -> Result<bool> {
    const BLOCK: u64 = 1 << 16;
    let (first, second) = (InputFile::open(one)?, InputFile::open(other)?);
    if first.len() != second.len() {
        return Ok(false);
    }
    let read = |file: &InputFile, path: &Path, at: u64| {
        let mut bytes = Vec::new();
        let read = file.section(at, BLOCK).read_to_end(&mut bytes);
        read.map_err(|error| platform::io_error("reading", path, error))?;
        Ok::<_, Error>(bytes)
    };
    let mut at = 0;
    while at < first.len() {
        if read(&first, one, at)? != read(&second, other, at)? {
            return Ok(false);
        }
        at += BLOCK;
    }
    Ok(true)
}

/// The entry that a checkpoint's own file becomes.
fn main_entry(path: &Path) -> String {
    match path.extension() {
        Some(extension) => format!("{MODEL_ENTRY}.{}", extension.to_string_lossy()),
        None => MODEL_ENTRY.to_owned(),
    }
}

/// A checkpoint, as far as its name says.
fn planned(
    path: &Path,
    job: String,
    iteration: u64,
    files: BTreeMap<String, PathBuf>,
    fields: &BTreeMap<String, Field>,
) -> Planned {
    let mut planned = Planned {
        path: path.to_owned(),
        job,
        iteration,
        events: Vec::new(),
        metrics: BTreeMap::new(),
        attributes: BTreeMap::new(),
        tags: Vec::new(),
        files,
        bytes: 0,
        notes: Vec::new(),
    };
    for (name, field) in fields.iter().filter(|(name, _)| *name != ITERATION) {
        match field {
            Field::Text(text) if name == EVENT => planned.events.push(event_of(text, fields)),
            Field::Float(value) => {
                planned.metrics.insert(name.clone(), *value);
            }
            Field::Integer(number) => {
                planned.attributes.insert(name.clone(), (*number).into());
            }
            Field::Text(text) => {
                planned.attributes.insert(name.clone(), value_of(text));
            }
        }
    }
    if planned.events.is_empty() {
        planned.events.push(Event::Periodic);
    }
    planned
}

/// A number, if the text is one as it would be written.
fn value_of(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

/// The event that a name has a word for.
fn event_of(text: &str, fields: &BTreeMap<String, Field>) -> Event {
    let metrics = || {
        fields
            .iter()
            .filter(|(_, field)| matches!(field, Field::Float(_)))
    };
    let best = text
        .strip_prefix("best")
        .map(|rest| rest.trim_start_matches(JOINTS));
    match (text.parse(), best) {
        (Ok(event), _) => event,
        (Err(_), Some("")) => match main_metric(fields) {
            Some(metric) => Event::Best(metric),
            None => Event::Custom("best".to_owned()),
        },
        (Err(_), Some(metric)) if metrics().any(|(name, _)| name == metric) => {
            Event::Best(metric.to_owned())
        }
        (Err(_), _) if text == "phase_boundary" => Event::PhaseBoundary("unnamed".to_owned()),
        (Err(_), _) => Event::Custom(text.to_owned()),
    }
}

/// The metric that a bare `best` is by: `val_reward`, or the only one.
fn main_metric(fields: &BTreeMap<String, Field>) -> Option<String> {
    let mut metrics = fields
        .iter()
        .filter(|(_, field)| matches!(field, Field::Float(_)));
    if fields.contains_key("val_reward") {
        return Some("val_reward".to_owned());
    }
    let (name, _) = metrics.next()?;
    metrics.next().is_none().then(|| name.clone())
}
