//! Manifests, nodes and chunks: that they are there, and are counted right.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::report::Findings;
use crate::error::{Error, Result};
use crate::format::{
    CheckpointRecord, ChunkRef, ChunkRow, Content as EntryContent, EntryRecord, Group, Manifest,
    Node, StoredNode,
};
use crate::id::{ChunkId, NodeId};
use crate::storage::{Records, Rows, chunk_row, load_node};
use crate::store::walk::{each_chunk, each_group};

/// A chunk that manifests name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) chunk: ChunkRef,
    refs: u64,
}

/// What the manifests add up to.
#[derive(Debug, Default)]
pub(in crate::store) struct Content {
    pub(super) chunks: BTreeMap<ChunkId, Known>,
    /// Chunks whose row is missing or wrong, and why.
    pub(super) bad: BTreeMap<ChunkId, String>,
    pub(super) orphans: u64,
    /// The numbers of the chunks in each bundle, by its key.
    pub(super) bundles: HashMap<u64, HashSet<u64>>,
    /// How often a node is named, and what is wrong below it.
    nodes: HashMap<NodeId, (u64, Option<String>)>,
    /// Nodes that could not be read.
    lost_nodes: Vec<NodeId>,
}

impl Content {
    /// Follows a checkpoint's manifest. A node that was followed before is only counted.
    pub(in crate::store) fn check_manifest(
        &mut self,
        rows: &dyn Rows,
        id: u64,
        record: &CheckpointRecord,
        findings: &mut Findings,
    ) -> Result<()> {
        let fault = match &record.saved.manifest {
            Manifest::Inline(group) => self.group(rows, group)?,
            Manifest::Tree { root, depth } => {
                self.node(rows, &NodeId::new(*root), u16::from(*depth))?
            }
        };
        if let Some(what) = fault {
            findings.checkpoint(id, record, None, what);
        }
        Ok(())
    }

    fn group(&mut self, rows: &dyn Rows, group: &Group) -> Result<Option<String>> {
        if let Some(pack) = &group.pack {
            self.chunk(pack);
        }
        let mut fault = None;
        for entry in &group.entries {
            match &entry.content {
                EntryContent::Inline(_) | EntryContent::Packed(_) => {}
                EntryContent::Chunks(chunks) => chunks.iter().for_each(|chunk| self.chunk(chunk)),
                EntryContent::Tree { root, depth } => {
                    let below = self.node(rows, &NodeId::new(*root), u16::from(*depth))?;
                    fault = fault.or_else(|| {
                        below.map(|what| {
                            let name = crate::name::printable(&entry.name);
                            format!("entry `{name}`: {what}")
                        })
                    });
                }
            }
        }
        Ok(fault)
    }

    /// Counts a node and follows it the first time. Returns what is wrong with it or below it.
    fn node(&mut self, rows: &dyn Rows, id: &NodeId, depth: u16) -> Result<Option<String>> {
        if let Some((refs, fault)) = self.nodes.get_mut(id) {
            *refs += 1;
            return Ok(fault.clone());
        }
        // Counted before it is followed, so that a loop ends here.
        self.nodes.insert(*id, (1, None));
        let fault = match load_node(rows, id) {
            Ok(node) => self.below(rows, id, node, depth)?,
            Err(Error::Corrupt { what, why }) => {
                self.lost_nodes.push(*id);
                Some(format!("{what}: {why}"))
            }
            Err(other) => return Err(other),
        };
        if let Some((_, known)) = self.nodes.get_mut(id) {
            known.clone_from(&fault);
        }
        Ok(fault)
    }

    fn below(
        &mut self,
        rows: &dyn Rows,
        id: &NodeId,
        node: Node,
        depth: u16,
    ) -> Result<Option<String>> {
        let mut fault = None;
        match (node, depth) {
            (Node::Group(group), 0) => return self.group(rows, &group),
            (Node::List(chunks), 0) => chunks.iter().for_each(|chunk| self.chunk(chunk)),
            (Node::Spans(children), 1..) => {
                for child in children {
                    fault = self
                        .node(rows, &NodeId::new(child.node), depth - 1)?
                        .or(fault);
                }
            }
            (Node::Names(children), 1..) => {
                for child in children {
                    fault = self
                        .node(rows, &NodeId::new(child.node), depth - 1)?
                        .or(fault);
                }
            }
            _ => fault = Some(format!("manifest node {id} is not where its kind belongs")),
        }
        Ok(fault)
    }

    fn chunk(&mut self, chunk: &ChunkRef) {
        let known = self.chunks.entry(chunk.chunk()).or_insert(Known {
            chunk: *chunk,
            refs: 0,
        });
        known.refs += 1;
    }

    /// How often a node is named.
    pub(in crate::store) fn node_refs(&self, id: &NodeId) -> u64 {
        self.nodes.get(id).map_or(0, |(refs, _)| *refs)
    }

    /// Nodes that are named and can't be read.
    pub(in crate::store) fn lost_nodes(&self) -> &[NodeId] {
        &self.lost_nodes
    }

    /// Every node that is named, and how often.
    pub(in crate::store) fn nodes(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.nodes.iter().map(|(id, (refs, _))| (*id, *refs))
    }

    /// Every chunk that is named, and how often.
    pub(in crate::store) fn chunk_refs(&self) -> impl Iterator<Item = (ChunkRef, u64)> {
        self.chunks.values().map(|known| (known.chunk, known.refs))
    }

    /// Every reference count is what the manifests add up to.
    pub(super) fn check_counts(&mut self, rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
        let staged: HashSet<ChunkId> = rows
            .staged(usize::MAX)?
            .into_iter()
            .map(|(_, id)| id)
            .collect();
        let deltas = deltas_of(rows)?;
        let mut seen = 0;
        let mut parts = 0;
        rows.each_chunk(&mut |id, bytes| {
            findings.go_on()?;
            let named = self.chunks.get(&id);
            seen += u64::from(named.is_some());
            match (ChunkRow::from_bytes(&id, bytes), named) {
                (Err(error), Some(_)) => {
                    self.bad
                        .insert(id, error.of(format!("the row of chunk {id}")).to_string());
                }
                (Err(error), None) => {
                    findings.store(error.of(format!("the row of chunk {id}")).to_string());
                }
                (Ok(row), named) => {
                    parts += u64::from(row.extents());
                    if row.bundle > 0 {
                        self.bundles
                            .entry(row.bundle)
                            .or_default()
                            .insert(row.number);
                    }
                    let refs = named.map_or(0, |known| known.refs);
                    if let Some(what) = fault_of_row(rows, &id, &row)
                        && refs > 0
                    {
                        self.bad.insert(id, what);
                    }
                    let counted = (row.refs, row.deltas);
                    let right = (refs, deltas.get(&id).copied().unwrap_or(0));
                    if counted != right {
                        findings.store(format!(
                            "chunk {id} counts {} references and {} deltas; there are {} and {}",
                            counted.0, counted.1, right.0, right.1
                        ));
                    } else if row.is_unused() && !staged.contains(&id) {
                        self.orphans += 1;
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !rows.are_extents_ended()? {
            findings.store("the end of the extents is missing");
        }
        // Extents that no row leads to any more.
        let leads = parts + self.bundles.len() as u64;
        self.orphans += rows.extent_count()?.saturating_sub(leads);
        if seen < self.chunks.len() as u64 {
            let missing: Vec<ChunkId> = self.chunks.keys().copied().collect();
            for id in missing {
                if rows.chunk(&id)?.is_none() {
                    self.bad.insert(id, format!("chunk {id} is missing"));
                }
            }
        }
        self.check_nodes(rows, findings)
    }

    /// The reference counts of the nodes.
    fn check_nodes(&self, rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
        rows.each_node(&mut |id, value| {
            findings.go_on()?;
            let named = self.nodes.get(&id).map_or(0, |(refs, _)| *refs);
            match StoredNode::split(&id, value) {
                Ok((refs, _)) if refs == named => {}
                Ok((refs, _)) => findings.store(format!(
                    "manifest node {id} counts {refs} references, manifests have {named}"
                )),
                Err(error) => {
                    findings.store(error.of(format!("manifest node {id}")).to_string());
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// What a chunk's row, or one below it, says that is wrong.
fn fault_of_row(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Option<String> {
    if row.is_lost() {
        return Some(format!("the bytes of chunk {id} are lost"));
    }
    let below = fault_below(rows, row)?;
    Some(format!("chunk {id} is a delta, and {below}"))
}

/// What the rows below one say that is wrong. Each lies lower than the one above, so that it ends.
fn fault_below(rows: &dyn Rows, row: &ChunkRow) -> Option<String> {
    row.bases
        .iter()
        .find_map(|base| match chunk_row(rows, base) {
            Ok(Some(below)) if below.is_lost() => {
                Some(format!("the bytes of its base {base} are lost"))
            }
            Ok(Some(below)) if below.depth >= row.depth || below.bases.len() > 1 => {
                Some("its bases are no chain".to_owned())
            }
            Ok(Some(below)) => fault_below(rows, &below),
            Ok(None) => Some(format!("its base {base} is missing")),
            Err(error) => Some(error.to_string()),
        })
}

/// How many deltas there are against each chunk.
fn deltas_of(rows: &dyn Rows) -> Result<HashMap<ChunkId, u32>> {
    let mut deltas: HashMap<ChunkId, u32> = HashMap::new();
    rows.each_chunk(&mut |id, bytes| {
        if let Ok(row) = ChunkRow::from_bytes(&id, bytes) {
            for base in row.bases {
                *deltas.entry(base).or_default() += 1;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(deltas)
}

/// Finds the entries that bad chunks belong to.
pub(super) struct Users;

impl Users {
    /// Names every checkpoint and entry that one of these chunks is part of.
    pub(super) fn of(
        rows: &dyn Rows,
        bad: &BTreeMap<ChunkId, String>,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut found: Vec<(u64, CheckpointRecord, String, String)> = Vec::new();
        Records(rows).checkpoints((0, u64::MAX), false, &mut |id, record| {
            findings.go_on()?;
            // A damaged record has been reported; what it leads to can't be named.
            let Ok(record) = record else {
                return Ok(ControlFlow::Continue(()));
            };
            let manifest = record.saved.manifest.clone();
            let walked = each_group(rows, &manifest, &mut |group| {
                for entry in &group.entries {
                    if let Some(what) = fault_of(rows, group, entry, bad)? {
                        found.push((id, record.clone(), entry.name.clone(), what));
                    }
                }
                Ok(())
            });
            match walked {
                // A damaged manifest has been reported; what is beyond it can't be named.
                Ok(()) | Err(Error::Corrupt { .. }) => Ok(ControlFlow::Continue(())),
                Err(other) => Err(other),
            }
        })?;
        for (id, record, entry, what) in found {
            if !Records(rows).is_reclaimed(id) {
                findings.checkpoint(id, &record, Some(&entry), what);
            }
        }
        Ok(())
    }
}

fn fault_of(
    rows: &dyn Rows,
    group: &Group,
    entry: &EntryRecord,
    bad: &BTreeMap<ChunkId, String>,
) -> Result<Option<String>> {
    if matches!(entry.content, EntryContent::Packed(_)) {
        return Ok(group.pack.and_then(|pack| bad.get(&pack.chunk()).cloned()));
    }
    let mut fault = None;
    each_chunk(rows, entry, &mut |chunk| {
        if fault.is_none() {
            fault = bad.get(&chunk.chunk()).cloned();
        }
        Ok(())
    })?;
    Ok(fault)
}
