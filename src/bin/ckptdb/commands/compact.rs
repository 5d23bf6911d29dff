//! `compact`: shrink the file to what it holds.

use ckptdb::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Progress, Style, human};

/// Compacts and says what the disk got back.
pub(crate) fn run(store: &Store, style: &Style) -> Result<(), Failure> {
    let progress = Progress::start("compacting");
    let done = store.compact()?;
    drop(progress);
    if style.json {
        let body = json!({ "before": done.before, "after": done.after });
        return style.document("compact", &body);
    }
    style.line(format_args!(
        "compacted {} to {} on the disk, {} given back",
        human::size(done.before),
        human::size(done.after),
        human::size(done.before.saturating_sub(done.after)),
    ))
}
