//! What a folder is understood to hold.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::MODEL_ENTRY;
use super::super::template::{Field, ITERATION};
use super::fields::{JOINTS, main_entry, planned};
use super::known::{Layout, layouts, named};
use super::same::is_same;
use super::{IMPORTED_FROM, ImportOptions, LeftAlone, MODIFIED_AT, Plan, Planned};
use super::{archive, folder, metadata};
use crate::error::{Error, Result};
use crate::name;
use crate::platform::{self, InputFile};

/// What Stable-Baselines3 has its archives end in.
const ARCHIVE: &str = ".zip";

impl Plan {
    /// Looks at a folder and all below it.
    ///
    /// # Errors
    /// [`Error::Io`] from the disk; [`Error::Cancelled`] when the options' monitor ends it. What is
    /// wrong with a file is in the plan.
    pub fn of(root: &Path, options: &ImportOptions) -> Result<Self> {
        let layouts = layouts(&options.templates)?;
        let found = folder::look(root, &|path| named(&layouts, path, true).is_some())?;
        let mut making = Making {
            root,
            options,
            layouts: &layouts,
            mains: Vec::new(),
            unnumbered: BTreeSet::new(),
            copies: Vec::new(),
            left: found.left,
        };
        for path in &found.folders {
            if let Some(fields) = named(&layouts, path, true) {
                making.main(path, &fields, Shape::Folder);
            }
        }
        let mut others = Vec::new();
        for path in found.files {
            match named(&layouts, &path, false) {
                Some(fields) => making.main(&path, &fields, Shape::File),
                None => match making.without_extension(&path) {
                    Some(fields) => making.main(&path, &fields, Shape::Bare),
                    None => others.push(path),
                },
            }
        }
        let others = making.companions(others)?;
        let others = making.unnumbered(others)?;
        for path in making.companions(others)? {
            making.leave(&path, "no template fits its name");
        }
        making.describe()?;
        making.finish()
    }
}

/// What a checkpoint's own is.
#[derive(Clone, Copy)]
enum Shape {
    Folder,
    File,
    /// A file whose name lacks the extension that it should have.
    Bare,
}

/// The folder, the extension and the length of a file.
type Likeness = (PathBuf, Option<OsString>, u64);
/// Checkpoints by that of their files.
type Sizes = HashMap<Likeness, Vec<usize>>;

fn likeness(path: &Path, length: u64) -> Likeness {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    (folder, path.extension().map(ToOwned::to_owned), length)
}

/// A plan on its way.
struct Making<'m> {
    root: &'m Path,
    options: &'m ImportOptions,
    layouts: &'m [Layout],
    mains: Vec<Planned>,
    /// Those whose names have no iteration.
    unnumbered: BTreeSet<PathBuf>,
    /// Files that are a checkpoint again, and which.
    copies: Vec<(PathBuf, usize)>,
    left: Vec<LeftAlone>,
}

impl Making<'_> {
    /// Ends a look that is to end.
    fn go_on(&self) -> Result<()> {
        self.options.monitor.advance(0, "looking")
    }

    fn leave(&mut self, path: &Path, why: impl Into<String>) {
        self.left.push(LeftAlone {
            path: path.to_owned(),
            why: why.into(),
        });
    }

    /// A checkpoint that can't be imported, with what belongs to it.
    fn leave_all(&mut self, planned: &Planned, why: String) {
        self.leave(&planned.path, why);
        // The files of a folder are that.
        let beside = planned
            .files
            .values()
            .filter(|path| **path != planned.path && !path.starts_with(&planned.path));
        for path in beside {
            self.leave(path, format!("{} is left alone", planned.path.display()));
        }
    }

    /// What the name of an archive says that lacks the extension: Stable-Baselines3 adds none to a
    /// name with a dot in it, as one with a number has.
    fn without_extension(&self, path: &Path) -> Option<BTreeMap<String, Field>> {
        let mut name = path.as_os_str().to_owned();
        name.push(ARCHIVE);
        let fields = named(self.layouts, Path::new(&name), false)?;
        archive::is_zip(&self.root.join(path))
            .is_ok_and(|is_it| is_it)
            .then_some(fields)
    }

    /// Takes note of a checkpoint's file or folder.
    fn main(&mut self, path: &Path, fields: &BTreeMap<String, Field>, shape: Shape) {
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
        match shape {
            Shape::Folder => match folder::files_of(self.root, path) {
                Ok((found, left)) => {
                    files.extend(found);
                    self.left.extend(left);
                }
                Err(error) => return self.leave(path, error.to_string()),
            },
            Shape::File => {
                files.insert(main_entry(path), path.to_owned());
            }
            Shape::Bare => {
                files.insert(MODEL_ENTRY.to_owned(), path.to_owned());
            }
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
    fn companions(&mut self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        let stems = self.stems();
        let mut rest = Vec::new();
        for path in files {
            self.go_on()?;
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
                            let own = self.root.join(place.get());
                            if is_same(&own, &self.root.join(&path))? {
                                let note = format!("{} is the same", path.display());
                                planned.notes.push(note);
                                continue;
                            }
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
        Ok(rest)
    }

    /// The names that those of a checkpoint's files begin with, in their folders: that of its own
    /// file, or of a copy of that.
    fn stems(&self) -> HashMap<(PathBuf, String), usize> {
        let own = self.mains.iter().enumerate();
        // A folder has its own files within it.
        let own = own.filter(|(_, planned)| planned.files.values().any(|f| *f == planned.path));
        let own = own.map(|(number, planned)| {
            let is_whole = planned.files.contains_key(MODEL_ENTRY);
            (&planned.path, is_whole, number)
        });
        let copies = self
            .copies
            .iter()
            .map(|(path, number)| (path, false, *number));
        // What is a checkpoint of its own goes before.
        let named = copies.chain(own).filter_map(|(path, is_whole, number)| {
            let stem = if is_whole {
                path.file_name()
            } else {
                path.file_stem()
            };
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            Some(((folder, stem?.to_str()?.to_owned()), number))
        });
        named.collect()
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
        for (number, mut planned) in std::mem::take(&mut self.mains).into_iter().enumerate() {
            self.go_on()?;
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
                Some(why) => {
                    let copies = self.copies.iter().filter(|(_, of)| *of == number);
                    let copies: Vec<PathBuf> = copies.map(|(path, _)| path.clone()).collect();
                    self.leave_all(&planned, why);
                    for path in copies {
                        self.leave(&path, format!("{} is left alone", planned.path.display()));
                    }
                }
                None => self.mains.push(planned),
            }
        }
        Ok(())
    }

    /// Files without an iteration in their names: one that is a checkpoint again is a name of it, a
    /// Stable-Baselines3 archive knows its own. The others are the answer.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; what is wrong with a file is in the plan.
    fn unnumbered(&mut self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        let mut rest = Vec::new();
        let sizes = self.sizes();
        for path in files {
            match self.unnumbered_one(&path, &sizes) {
                Ok(true) => {}
                Ok(false) => rest.push(path),
                Err(error @ Error::Cancelled { .. }) => return Err(error),
                Err(error) => self.leave(&path, error.to_string()),
            }
        }
        Ok(rest)
    }

    fn unnumbered_one(&mut self, path: &Path, sizes: &Sizes) -> Result<bool> {
        self.go_on()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let tag = name::check_tag(&stem).is_ok().then(|| stem.into_owned());
        if let Some(number) = self.same(path, sizes) {
            self.copies.push((path.to_owned(), number));
            match (self.mains.get_mut(number), tag) {
                (Some(planned), Some(tag)) => planned.tags.push(tag),
                _ => self.leave(path, "it is another one's copy, and its name can be no tag"),
            }
            return Ok(true);
        }
        let Some(iteration) = archive::steps_of(&self.root.join(path))? else {
            return Ok(false);
        };
        let fields = BTreeMap::from([(ITERATION.to_owned(), Field::Integer(iteration))]);
        let before = self.mains.len();
        self.main(path, &fields, Shape::File);
        let job = self.only_job(path, before);
        if let Some(planned) = self.mains.get_mut(before) {
            self.unnumbered.insert(path.to_owned());
            planned.tags.extend(tag);
            if self.options.job.is_none() {
                planned.job = job.unwrap_or(std::mem::take(&mut planned.job));
            }
        }
        Ok(true)
    }

    /// The job of all checkpoints in a path's folder, if it is one.
    fn only_job(&self, path: &Path, count: usize) -> Option<String> {
        let beside = self.mains.iter().take(count);
        let beside = beside.filter(|planned| planned.path.parent() == path.parent());
        let mut jobs = beside.map(|planned| &planned.job);
        let first = jobs.next()?;
        jobs.all(|job| job == first).then(|| first.clone())
    }

    /// The checkpoint of which a file is another copy. One that can't be read is no copy of any.
    fn same(&self, path: &Path, sizes: &Sizes) -> Option<usize> {
        let own = self.root.join(path);
        let among = sizes.get(&likeness(path, platform::length(&own)?))?;
        let is_it = |number: &&usize| {
            let other = self.mains.get(**number);
            other.is_some_and(|other| is_same(&own, &self.root.join(&other.path)).unwrap_or(false))
        };
        among.iter().find(is_it).copied()
    }

    /// The checkpoints that are a file, by what a copy of it has too.
    fn sizes(&self) -> Sizes {
        let mut sizes = Sizes::new();
        for (number, planned) in self.mains.iter().enumerate() {
            // A folder has none.
            if let Some(length) = platform::length(&self.root.join(&planned.path)) {
                let like = likeness(&planned.path, length);
                sizes.entry(like).or_default().push(number);
            }
        }
        sizes
    }

    /// Unites those that are one checkpoint, and sorts.
    fn finish(mut self) -> Result<Plan> {
        let mut all: BTreeMap<(String, u64), Planned> = BTreeMap::new();
        let mut mains = std::mem::take(&mut self.mains);
        // Of two that are one iteration, the one whose name says so is it.
        // Of several copies, the one is it that has most beside it, and a file before a link.
        mains.sort_by_cached_key(|planned| {
            let is_unnumbered = self.unnumbered.contains(&planned.path);
            let is_link = platform::is_link(&self.root.join(&planned.path));
            let files = Reverse(planned.files.len());
            (is_unnumbered, is_link, files, planned.path.clone())
        });
        for planned in mains {
            let key = (planned.job.clone(), planned.iteration);
            let Some(first) = all.get_mut(&key) else {
                all.insert(key, planned);
                continue;
            };
            let main = |planned: &Planned| self.root.join(&planned.path);
            self.go_on()?;
            let has_folder = [&*first, &planned]
                .iter()
                .any(|one| platform::is_folder(&main(one)));
            if has_folder || !is_same(&main(first), &main(&planned)).unwrap_or(false) {
                let why = format!(
                    "{}@{} is {} already, and that has other bytes; --job with a field of \
                     the names tells them apart, as in --job '{{market}}-{{seed}}'",
                    planned.job,
                    planned.iteration,
                    first.path.display()
                );
                self.leave_all(&planned, why);
                continue;
            }
            // The files beside it may say other things of it: the first ones are taken.
            for (entry, path) in &planned.files {
                let same = match first.files.get(entry) {
                    _ if *path == planned.path => true,
                    Some(own) => is_same(&self.root.join(own), &self.root.join(path))?,
                    // What only the copy has is the checkpoint's.
                    None => {
                        first.bytes += platform::length(&self.root.join(path)).unwrap_or(0);
                        first.files.insert(entry.clone(), path.clone());
                        true
                    }
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
