//! `version`: which release this is.

use serde_json::json;

use crate::failure::Failure;
use crate::output::Style;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the release's version.
pub(crate) fn run(style: &Style) -> Result<(), Failure> {
    if style.json {
        return style.document("version", &json!({ "version": VERSION }));
    }
    style.line(format_args!("ckptdb {VERSION}"))
}
