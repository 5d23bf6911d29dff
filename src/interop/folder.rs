//! Files and folders as entries, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::copying::copy_entry;
use super::safetensors::write_tensors;
use super::{Exported, SafetensorsFile};
use crate::checkpoint::{EntryInfo, EntryKind};
use crate::error::{Error, Result};
use crate::name::printable;
use crate::platform::{self, AtomicFile, InputFile};
use crate::store::{Checkpoint, Save, canonical_json};

/// Where a folder keeps the tensors that came without a file name.
const LOOSE_TENSORS: &str = "tensors.safetensors";
/// Largest JSON file that becomes a document; larger ones are files.
const MAX_JSON_BYTES: usize = 64 << 20;
/// Digits of escaped characters.
const HEX: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
];

/// Adds a path to a save. A `.safetensors` file becomes its tensors, named `name/` and their
/// names (just their names if `name` is empty); a `.json` file a document called `name`; a folder
/// all that is in it, each under `name/` and its path; anything else a file called `name`.
///
/// # Errors
/// [`Error::Io`], and [`Error::Invalid`] for a broken safetensors file or one that is no file.
pub fn add_path<'a>(save: Save<'a>, name: &str, path: &Path) -> Result<Save<'a>> {
    if platform::is_folder(path) {
        return add_folder(save, name, path);
    }
    let join = if name.is_empty() {
        String::new()
    } else {
        format!("{name}/")
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => Ok(SafetensorsFile::open(path)?.add_to(save, &join)),
        Some("json") => match json_of(path)? {
            Some(text) => Ok(save.document_text(&given(name, path)?, &text)),
            None => Ok(save.file_in(&given(name, path)?, InputFile::open(path)?.whole())),
        },
        _ => Ok(save.file_in(&given(name, path)?, InputFile::open(path)?.whole())),
    }
}

/// The entry's name: what was asked for, or the file's.
fn given(name: &str, path: &Path) -> Result<String> {
    if !name.is_empty() {
        return Ok(name.to_owned());
    }
    let own = path.file_name().and_then(|name| name.to_str());
    own.map(str::to_owned).ok_or_else(|| {
        Error::invalid(
            format!("`{}`", path.display()),
            "its name is not UTF-8; give it one",
        )
    })
}

/// The text of a file that holds one JSON value.
fn json_of(path: &Path) -> Result<Option<String>> {
    let bytes = platform::read_to_limit(path, MAX_JSON_BYTES)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.filter(|text| canonical_json("a file", text).is_ok()))
}

fn add_folder<'a>(mut save: Save<'a>, name: &str, folder: &Path) -> Result<Save<'a>> {
    for path in platform::members_of(folder)? {
        let own = given("", &path)?;
        let name = if name.is_empty() {
            own
        } else {
            format!("{name}/{own}")
        };
        save = add_path(save, &name, &path)?;
    }
    Ok(save)
}

/// What an export into a folder writes: each file's path in it, with what goes there.
struct FolderLayout {
    files: BTreeMap<PathBuf, EntryInfo>,
    /// By path, and the prefix that the names of its tensors have.
    tensors: BTreeMap<(PathBuf, String), Vec<EntryInfo>>,
}

impl FolderLayout {
    fn of(checkpoint: &Checkpoint, only: &dyn Fn(&str) -> bool) -> Result<Self> {
        let mut files: BTreeMap<PathBuf, EntryInfo> = BTreeMap::new();
        let mut tensors: BTreeMap<(PathBuf, String), Vec<EntryInfo>> = BTreeMap::new();
        let entries = checkpoint.entries()?.into_iter();
        for entry in entries.filter(|entry| only(&entry.name)) {
            if let Some(prefix) = tensor_file(&entry) {
                let path = safe_path(prefix.strip_suffix('/').unwrap_or(LOOSE_TENSORS));
                tensors.entry((path, prefix)).or_default().push(entry);
            } else {
                let path = safe_path(&entry.name);
                if let Some(other) = files.insert(path, entry.clone()) {
                    return Err(same_file(&entry.name, &other.name));
                }
            }
        }
        let mut taken = BTreeSet::new();
        for (path, prefix) in tensors.keys() {
            if files.contains_key(path) || !taken.insert(path) {
                return Err(same_file(prefix, &path.display().to_string()));
            }
        }
        Ok(Self { files, tensors })
    }
}

/// The files that [`write_folder`] would write, by their paths in the folder.
///
/// # Errors
/// [`Error::Conflict`] when two entries would be one file; as the reads of [`Checkpoint`].
pub fn folder_files(
    checkpoint: &Checkpoint,
    only: &dyn Fn(&str) -> bool,
) -> Result<BTreeSet<PathBuf>> {
    let layout = FolderLayout::of(checkpoint, only)?;
    let tensors = layout.tensors.into_keys().map(|(path, _)| path);
    Ok(layout.files.into_keys().chain(tensors).collect())
}

/// Writes a checkpoint's entries, those that `only` selects by name, into a folder: documents and
/// files under their names, tensors into the safetensors file that their names begin with, or
/// into `tensors.safetensors`. Each file appears complete or not at all, in place of what had its
/// name: [`folder_files`] tells the names before.
///
/// Nothing is written outside the folder: what a name has of `..`, separators and control
/// characters is escaped.
///
/// # Errors
/// [`Error::Conflict`] when two entries would be one file; as [`write_entry`] otherwise.
pub fn write_folder(
    checkpoint: &Checkpoint,
    only: &dyn Fn(&str) -> bool,
    folder: &Path,
) -> Result<Exported> {
    let layout = FolderLayout::of(checkpoint, only)?;
    let mut done = Exported::default();
    for ((path, prefix), entries) in &layout.tensors {
        let path = prepare(folder, path)?;
        let written = write_tensors(checkpoint, entries, prefix, &path)?;
        done.tensors += written.tensors;
        done.bytes += written.bytes;
        done.skipped.extend(written.skipped);
    }
    for (path, entry) in layout.files {
        let written = write_entry(checkpoint, &entry.name, &prepare(folder, &path)?)?;
        done.files += 1;
        done.bytes += written.bytes;
    }
    Ok(done)
}

/// The prefix of the safetensors file that an entry belongs to; empty for a loose tensor, none
/// for what is no tensor and no tensor file's map.
fn tensor_file(entry: &EntryInfo) -> Option<String> {
    let is_tensor = matches!(entry.kind, EntryKind::Tensor { .. });
    let is_map = entry.name.rsplit('/').next() == Some(super::METADATA_ENTRY);
    if !is_tensor && !is_map {
        return None;
    }
    match entry.name.find(".safetensors/") {
        Some(at) => entry
            .name
            .get(..at + ".safetensors/".len())
            .map(str::to_owned),
        None if is_tensor || entry.name == super::METADATA_ENTRY => Some(String::new()),
        None => None,
    }
}

/// Writes the bytes of one entry to a file, which appears complete or not at all.
///
/// # Errors
/// As the reads of [`Checkpoint`]; [`Error::Io`] and [`Error::Full`] from the disk.
pub fn write_entry(checkpoint: &Checkpoint, entry: &str, path: &Path) -> Result<Exported> {
    let mut file = AtomicFile::create(path)?;
    let bytes = copy_entry(checkpoint, entry, &mut file, path)?;
    file.finish()?;
    Ok(Exported {
        files: 1,
        bytes,
        ..Exported::default()
    })
}

/// Writes bytes to a file, which appears complete or not at all, in place of what had its name.
///
/// # Errors
/// [`Error::Io`] and [`Error::Full`] from the disk.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.finish()
}

pub(super) fn prepare(folder: &Path, relative: &Path) -> Result<PathBuf> {
    let path = folder.join(relative);
    if let Some(parent) = path.parent() {
        platform::create_directory(parent)?;
    }
    Ok(path)
}

pub(super) fn same_file(one: &str, other: &str) -> Error {
    let what = format!(
        "entries `{}` and `{}` would be one file",
        printable(one),
        printable(other)
    );
    Error::conflict(what, "export them one by one")
}

/// A path below a folder for an entry's name.
pub(super) fn safe_path(name: &str) -> PathBuf {
    name.split('/').map(safe_component).collect()
}

pub(super) fn safe_component(component: &str) -> String {
    match component {
        "" => return "%".to_owned(),
        "." => return "%2E".to_owned(),
        ".." => return "%2E%2E".to_owned(),
        _ => {}
    }
    let mut out = String::new();
    for c in component.chars() {
        if c.is_control() || matches!(c, '\\' | ':' | '%' | '*' | '?' | '"' | '<' | '>' | '|') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push('%');
                out.extend([byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_folder(name in "[./\\\\a\u{0}:%]{1,12}|\\PC{1,20}") {
            let path = safe_path(&name);
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            prop_assert!(path.components().count() > 0);
        }
    }

    #[test]
    fn usual_names_stay_as_they_are() {
        assert_eq!(safe_path("a/b_c-1.json"), PathBuf::from("a/b_c-1.json"));
        assert_eq!(safe_path("../x"), PathBuf::from("%2E%2E/x"));
        assert_eq!(safe_path("/etc/passwd"), PathBuf::from("%/etc/passwd"));
    }
}
