//! Tags: one checkpoint of a job each.

use std::ops::ControlFlow;

use super::index_rows::span;
use super::line::JobLine;
use crate::error::{Error, Result};
use crate::format::IndexKind;
use crate::storage::Change;

/// No other checkpoint of the job may have one of these tags.
pub(super) fn check_tags_free(
    change: &Change<'_>,
    line: &JobLine,
    tags: &[String],
    id: u64,
) -> Result<()> {
    for tag in tags {
        if let Some(holder) = tag_holder(change, line.number, tag)?.filter(|holder| *holder != id) {
            return Err(Error::conflict(
                format!(
                    "tag `{tag}` of job `{}` is on id:{holder}",
                    line.record.name
                ),
                "move it with `ckptdb tag --move`, or choose another",
            ));
        }
    }
    Ok(())
}

/// The checkpoint that has a tag.
pub(super) fn tag_holder(change: &Change<'_>, job: u32, tag: &str) -> Result<Option<u64>> {
    let Some(name) = change.records().name_number(tag)? else {
        return Ok(None);
    };
    let mut holder = None;
    change
        .records()
        .0
        .index(span(IndexKind::Tag, job, name), false, &mut |key| {
            holder = Some(key.id);
            Ok(ControlFlow::Break(()))
        })?;
    Ok(holder)
}
