//! Manifest nodes of a store that is mended in place, and what they name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::{Node, StoredNode};
use crate::id::NodeId;
use crate::storage::Change;
use crate::store::verify::{Content, Findings};

use super::frames::Frames;
use super::plan::Plan;

/// What to do with a row.
enum Fix<T> {
    Put(T),
    Remove,
}

/// Counts what the checkpoints of a plan name. Nodes that the tables have lost, and the file has
/// elsewhere, are put back first.
pub(super) fn count_content(
    change: &mut Change<'_>,
    plan: &Plan,
    frames: &Frames,
) -> Result<Content> {
    loop {
        let mut content = Content::default();
        let mut findings = Findings::default();
        for (id, record) in &plan.checkpoints {
            content.check_manifest(change.records().0, *id, record, &mut findings)?;
        }
        let mut restored = false;
        for id in content.lost_nodes() {
            if let Some(bytes) = frames.node_bytes(id) {
                let refs = content.node_refs(id);
                change
                    .rows()
                    .put_node(id, &StoredNode::value(id, refs, &bytes))?;
                restored = true;
            }
        }
        // Below those may be others.
        if !restored {
            return Ok(content);
        }
    }
}

/// Makes every node's row say how often it is named; a node whose bytes are spoilt keeps its count.
/// Returns how many these are.
pub(super) fn mend_nodes(change: &mut Change<'_>, content: &Content) -> Result<u64> {
    let mut fixes: Vec<(NodeId, Fix<Vec<u8>>)> = Vec::new();
    let mut lost = 0;
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    change.records().0.each_node(&mut |id, value| {
        let refs = content.node_refs(&id);
        seen.insert(id);
        if refs == 0 {
            fixes.push((id, Fix::Remove));
            return Ok(ControlFlow::Continue(()));
        }
        // The count may be spoilt, and the bytes after it sound.
        let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
        let is_sound = Node::from_bytes(&id, bytes).is_ok();
        lost += u64::from(!is_sound);
        let fixed = StoredNode::value(&id, refs, if is_sound { bytes } else { &[] });
        if fixed != value {
            fixes.push((id, Fix::Put(fixed)));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (id, refs) in content.nodes() {
        if !seen.contains(&id) {
            lost += 1;
            fixes.push((id, Fix::Put(StoredNode::value(&id, refs, &[]))));
        }
    }
    for (id, fix) in fixes {
        match fix {
            Fix::Put(value) => change.rows().put_node(&id, &value)?,
            Fix::Remove => change.rows().remove_node(&id)?,
        }
    }
    Ok(lost)
}
