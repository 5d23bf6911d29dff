//! Which store a command is about, and opening it.

use std::env;
use std::path::{Path, PathBuf};

use ckptdb::reference::Reference;
use ckptdb::{Error, Store};

use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::output::Style;

/// The extension by which a store is found.
pub(crate) const EXTENSION: &str = "ckptdb";
const VARIABLE: &str = "CKPTDB_STORE";

/// Opens the store that the command is about.
pub(crate) fn open(global: &Global) -> Result<Store, Failure> {
    Ok(Store::open_with(find(global)?, global.options())?)
}

/// Opens the store that the option names, else the one that the command's reference names, else
/// the one that is found without either.
pub(crate) fn open_for(global: &Global, reference: Option<&str>) -> Result<Store, Failure> {
    let parsed = reference.and_then(|text| text.parse::<Reference>().ok());
    match parsed.and_then(|reference| reference.store) {
        Some(store) if global.store.is_none() => Ok(Store::open_with(store, global.options())?),
        _ => open(global),
    }
}

/// Opens it; if wanted, one that is not at the path that was named is made, and that is said.
pub(crate) fn open_or(create: bool, global: &Global, style: &Style) -> Result<Store, Failure> {
    let Some(path) = named(global) else {
        let store = open(global)?;
        // One that was found above is perhaps not the one that was meant.
        if store.path().parent() != Some(env::current_dir()?.as_path()) {
            style.note(format_args!("store {}", store.path().display()));
        }
        return Ok(store);
    };
    if !create {
        let or_create = |failure: Failure| {
            if failure.is_no_store() {
                failure.hint("--create makes it; or name another one with -s PATH")
            } else {
                failure
            }
        };
        return open(global).map_err(or_create);
    }
    match Store::create_with(&path, global.options()) {
        // It was there, or another process has just made it.
        Err(Error::Exists { .. }) => Ok(Store::open_with(path, global.options())?),
        created => {
            let store = created?;
            style.note(format_args!("created {}", store.path().display()));
            Ok(store)
        }
    }
}

/// The path given by option or environment. An empty variable is as good as none.
pub(crate) fn named(global: &Global) -> Option<PathBuf> {
    let variable = || env::var_os(VARIABLE).filter(|value| !value.is_empty());
    global
        .store
        .clone()
        .or_else(|| variable().map(PathBuf::from))
}

fn find(global: &Global) -> Result<PathBuf, Failure> {
    match named(global) {
        Some(path) => Ok(path),
        None => search(&env::current_dir()?),
    }
}

/// The one store in `start` or the nearest folder above that has any.
fn search(start: &Path) -> Result<PathBuf, Failure> {
    for folder in start.ancestors() {
        let mut stores = stores_in(folder);
        stores.sort();
        match stores.as_slice() {
            [] => {}
            [store] => return Ok(store.clone()),
            several => {
                let names: Vec<_> = several.iter().filter_map(|path| path.file_name()).collect();
                let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
                let message = format!("several stores in `{}`", folder.display());
                let hint = format!("name one with -s: {}", names.join(", "));
                return Err(Failure::usage(message).hint(hint));
            }
        }
    }
    let message = format!("no *.{EXTENSION} in `{}` or above", start.display());
    let hint = format!("create one: ckptdb init runs.{EXTENSION}; or name one with -s PATH");
    Err(Failure::new(Exit::NoStore, message).hint(hint))
}

/// A folder that can't be read holds no store for this user.
fn stores_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = folder.read_dir() else {
        return Vec::new();
    };
    let paths = listing.filter_map(|item| item.ok().map(|item| item.path()));
    paths
        .filter(|path| path.extension().is_some_and(|e| e == EXTENSION) && path.is_file())
        .collect()
}
