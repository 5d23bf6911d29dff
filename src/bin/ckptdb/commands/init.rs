//! `init`: create an empty store.

use std::path::PathBuf;

use ckptdb::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::global::Global;
use crate::output::Style;
use crate::store_path;

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to create it, for instance runs.ckptdb [default: -s or `CKPTDB_STORE`].
    path: Option<PathBuf>,
}

/// Creates the store and says where it is.
pub(crate) fn run(args: &Args, global: &Global, style: &Style) -> Result<(), Failure> {
    let path = args
        .path
        .clone()
        .or_else(|| store_path::named(global))
        .ok_or_else(|| {
            Failure::usage("no path for the store").hint("for instance: ckptdb init runs.ckptdb")
        })?;
    let store = Store::create_with(&path, global.options())?;
    let (id, created) = (store.id().to_string(), store.path().display().to_string());
    store.close();
    if path
        .extension()
        .is_none_or(|extension| extension != store_path::EXTENSION)
    {
        style.note(format_args!(
            "note: only *.{} is found without -s; name this store with -s",
            store_path::EXTENSION
        ));
    }
    if style.json {
        return style.document("init", &json!({ "path": created, "store": id }));
    }
    style.line(format_args!("created {created}"))
}
