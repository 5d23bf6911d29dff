//! What lies in a folder that is to be imported.

use std::path::{Path, PathBuf};

use super::LeftAlone;
use crate::error::Result;
use crate::platform;

/// Folders within folders that are looked into.
const DEEPEST: usize = 16;

/// Files, and folders that are a checkpoint, below a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files, by path below the folder.
    pub(super) files: Vec<PathBuf>,
    /// Folders that are taken whole.
    pub(super) folders: Vec<PathBuf>,
    pub(super) left: Vec<LeftAlone>,
}

/// Looks at all of a folder. What `is_whole` says is a checkpoint is not looked into.
pub(super) fn look(root: &Path, is_whole: &dyn Fn(&Path) -> bool) -> Result<Found> {
    let mut found = Found::default();
    look_into(root, Path::new(""), is_whole, 0, &mut found)?;
    Ok(found)
}

fn look_into(
    root: &Path,
    below: &Path,
    is_whole: &dyn Fn(&Path) -> bool,
    depth: usize,
    found: &mut Found,
) -> Result<()> {
    let members = match platform::listing(&root.join(below)) {
        Ok(members) => members,
        // What can't be looked into is no reason to leave the rest.
        Err(error) if depth > 0 => {
            found.left.push(LeftAlone {
                path: below.to_owned(),
                why: error.to_string(),
            });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for path in members {
        let Some(name) = path.file_name() else {
            continue;
        };
        let own = below.join(name);
        let mut leave = |why: &str| {
            found.left.push(LeftAlone {
                path: own.clone(),
                why: why.to_owned(),
            });
        };
        // As macOS leaves `._model.zip` beside a file of this name.
        if name.as_encoded_bytes().starts_with(b".") {
            leave("it is hidden");
        } else if platform::is_linked_folder(&path) {
            leave("it is a link to a folder, which is not followed");
        } else if own.to_str().is_none() {
            leave("its name is not UTF-8");
        } else if platform::is_folder(&path) {
            if is_whole(&own) {
                found.folders.push(own);
            } else if depth < DEEPEST {
                look_into(root, &own, is_whole, depth + 1, found)?;
            } else {
                leave("it lies too deep");
            }
        } else if let Some(why) = platform::no_file(&path) {
            leave(why);
        } else {
            found.files.push(own);
        }
    }
    Ok(())
}

/// A file, and the name that it has within its folder.
type Within = (String, PathBuf);

/// All files of a folder that is a checkpoint, by their names within it, and what is left of it.
pub(super) fn files_of(root: &Path, folder: &Path) -> Result<(Vec<Within>, Vec<LeftAlone>)> {
    let found = look(&root.join(folder), &|_| false)?;
    let named = found.files.into_iter().filter_map(|path| {
        let name = path.to_str()?.to_owned();
        Some((name, folder.join(path)))
    });
    let left = found.left.into_iter().map(|left| LeftAlone {
        path: folder.join(left.path),
        ..left
    });
    Ok((named.collect(), left.collect()))
}
