//! Building a checkpoint's manifest: small entries into packs, entries into groups, groups into a
//! tree. `docs/format.md`, section 4, is the norm; equal states give equal manifests.

use std::collections::VecDeque;

use super::bases::Place;
use super::intake::{Intake, Span};
use super::pipeline::Raw;
use crate::chunking::is_boundary;
use crate::codec::Texture;
use crate::error::{Error, Result};
use crate::format::{
    ChunkRef, Content, DIRECT_CHUNKS, EntryRecord, Group, INLINE_MANIFEST_BYTES,
    INLINE_STATE_BYTES, KindRecord, LIST_CHUNKS, MAX_ENTRIES, MAX_PACK_BYTES, MAX_TREE_DEPTH,
    Malformed, Manifest, NODE_MIN_MEMBERS, NODE_TARGET_BYTES, NameChild, Node, SpanChild,
    encoded_len,
};
use crate::id::NodeId;
use crate::storage::NodeSet;
use crate::tensor::DType;

/// An entry's bytes as they come: few enough for a pack, or chunks that are on their way.
#[derive(Debug)]
pub(super) enum Body {
    Small(Vec<u8>),
    Large(Span),
}

impl Body {
    /// How many bytes came.
    pub(super) fn len(&self, intake: &Intake<'_, '_, '_>) -> u64 {
        match self {
            Self::Small(data) => data.len() as u64,
            Self::Large(chunks) => intake.bytes(chunks),
        }
    }
}

/// A group with its pack and the chunks of each entry; those on their way have no names yet.
#[derive(Debug, Default)]
struct Open {
    group: Group,
    spans: Vec<Span>,
    pack: Span,
}

impl Open {
    fn has_settled(&self, intake: &Intake<'_, '_, '_>) -> bool {
        intake.has(&self.pack) && self.spans.iter().all(|span| intake.has(span))
    }
}

/// A manifest under construction. Entries come in the order of their names.
#[derive(Debug, Default)]
pub(super) struct ManifestBuilder {
    /// All entries, while they are few enough to lie in the checkpoint's record.
    few: Option<Vec<EntryRecord>>,
    few_bytes: usize,
    open: Open,
    group_bytes: usize,
    pack: Vec<u8>,
    /// Groups of which chunks may be on their way.
    closed: VecDeque<Open>,
    groups: Vec<NameChild>,
    nodes: NodeSet,
    entries: u64,
    bytes: u64,
}

/// A finished manifest and the nodes that it needs.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) manifest: Manifest,
    pub(super) nodes: NodeSet,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl ManifestBuilder {
    pub(super) fn new() -> Self {
        Self {
            few: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Adds an entry.
    pub(super) fn add(
        &mut self,
        intake: &mut Intake<'_, '_, '_>,
        name: String,
        kind: KindRecord,
        body: Body,
    ) -> Result<()> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES as u64 {
            let why = format!("more than {MAX_ENTRIES} entries");
            return Err(Error::invalid("the checkpoint", why));
        }
        let body = match (body, &mut self.few) {
            (Body::Small(data), Some(few)) => {
                self.few_bytes += name.len() + data.len();
                let bytes = data.len() as u64;
                self.bytes += bytes;
                few.push(EntryRecord {
                    name,
                    kind,
                    bytes,
                    content: Content::Inline(data),
                });
                return if self.few_bytes > INLINE_STATE_BYTES {
                    self.no_longer_few(intake)
                } else {
                    Ok(())
                };
            }
            (body, _) => body,
        };
        self.no_longer_few(intake)?;
        self.bytes += body.len(intake);
        self.place(intake, name, kind, body)
    }

    /// Moves the entries that were held as few into groups.
    fn no_longer_few(&mut self, intake: &mut Intake<'_, '_, '_>) -> Result<()> {
        for entry in self.few.take().unwrap_or_default() {
            if let Content::Inline(data) = entry.content {
                self.place(intake, entry.name, entry.kind, Body::Small(data))?;
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        intake: &mut Intake<'_, '_, '_>,
        name: String,
        kind: KindRecord,
        body: Body,
    ) -> Result<()> {
        let bytes = body.len(intake);
        // What stands for chunks is as long as what will.
        let (packed, content) = match &body {
            Body::Small(data) if data.is_empty() => (0, Content::Inline(Vec::new())),
            Body::Small(data) => (data.len(), Content::Packed(0)),
            Body::Large(span) if span.len() <= DIRECT_CHUNKS => {
                (0, Content::Chunks(intake.chunks(span).to_vec()))
            }
            Body::Large(_) => {
                let (root, depth) = ([0; 32], 0);
                (0, Content::Tree { root, depth })
            }
        };
        let mut entry = EntryRecord {
            name,
            kind,
            bytes,
            content,
        };
        let entry_bytes = encoded_len(&entry).map_err(refused)? + 4;
        let members = self.open.group.entries.len();
        let full = self.group_bytes + entry_bytes > NODE_TARGET_BYTES
            || self.pack.len() + packed > MAX_PACK_BYTES
            || (members >= NODE_MIN_MEMBERS && is_boundary(&entry.name));
        if members > 0 && full {
            self.close_group(intake)?;
        }
        let mut span = Span::default();
        match body {
            Body::Small(data) if data.is_empty() => {}
            Body::Small(data) => {
                let offset = u32::try_from(self.pack.len())
                    .map_err(|_| Error::invalid("a pack", "it is too long"))?;
                entry.content = Content::Packed(offset);
                self.pack.extend_from_slice(&data);
            }
            Body::Large(chunks) => span = chunks,
        }
        self.group_bytes += entry_bytes;
        self.open.group.entries.push(entry);
        self.open.spans.push(span);
        Ok(())
    }

    /// Where an entry of these chunks finds them.
    fn content_of(&mut self, chunks: &[ChunkRef]) -> Result<Content> {
        if chunks.len() <= DIRECT_CHUNKS {
            return Ok(Content::Chunks(chunks.to_vec()));
        }
        let mut level = Vec::new();
        for list in chunks.chunks(LIST_CHUNKS) {
            let bytes = list.iter().map(|chunk| u64::from(chunk.raw_len)).sum();
            let node = self.nodes.add(Node::List(list.to_vec()))?;
            level.push(SpanChild {
                node: *node.as_bytes(),
                bytes,
            });
        }
        let mut depth = 0;
        while level.len() > 1 {
            let mut above = Vec::new();
            for children in level.chunks(LIST_CHUNKS) {
                let bytes = children.iter().map(|child| child.bytes).sum();
                let node = self.nodes.add(Node::Spans(children.to_vec()))?;
                above.push(SpanChild {
                    node: *node.as_bytes(),
                    bytes,
                });
            }
            level = above;
            depth += 1;
        }
        match level.first() {
            Some(root) if depth <= MAX_TREE_DEPTH => Ok(Content::Tree {
                root: root.node,
                depth,
            }),
            _ => Err(Error::invalid(
                "an entry",
                "it has more chunks than a tree can hold",
            )),
        }
    }

    fn close_group(&mut self, intake: &mut Intake<'_, '_, '_>) -> Result<()> {
        while self
            .closed
            .front()
            .is_some_and(|open| open.has_settled(intake))
        {
            self.settle_first(intake)?;
        }
        if !self.pack.is_empty() {
            let pack = std::mem::take(&mut self.pack);
            let (texture, first) = packed(&self.open.group).unwrap_or((Texture::General, ""));
            let place = intake.chunk(Raw::Own(pack), texture, (Place::PackOf(first), false))?;
            self.open.pack.add(place);
        }
        self.closed.push_back(std::mem::take(&mut self.open));
        self.group_bytes = 0;
        Ok(())
    }

    /// The first of the closed groups, with all that its entries name.
    fn first_settled(&mut self, intake: &Intake<'_, '_, '_>) -> Result<Option<Group>> {
        let Some(open) = self.closed.pop_front() else {
            return Ok(None);
        };
        let mut group = open.group;
        for (entry, span) in group.entries.iter_mut().zip(&open.spans) {
            if span.len() > 0 {
                entry.content = self.content_of(intake.chunks(span))?;
            }
        }
        group.pack = intake.chunks(&open.pack).first().copied();
        Ok(Some(group))
    }

    fn settle_first(&mut self, intake: &Intake<'_, '_, '_>) -> Result<()> {
        match self.first_settled(intake)? {
            Some(group) => self.add_group(group),
            None => Ok(()),
        }
    }

    fn add_group(&mut self, group: Group) -> Result<()> {
        let first = group
            .entries
            .first()
            .map(|entry| entry.name.clone())
            .unwrap_or_default();
        let node = self.nodes.add(Node::Group(group))?;
        self.groups.push(NameChild {
            node: *node.as_bytes(),
            first,
        });
        Ok(())
    }

    /// Closes the manifest.
    pub(super) fn finish(mut self, intake: &mut Intake<'_, '_, '_>) -> Result<Built> {
        let manifest = match self.few.take() {
            Some(entries) => {
                intake.inline(self.bytes);
                Manifest::Inline(Group {
                    pack: None,
                    entries,
                })
            }
            None => self.finish_groups(intake)?,
        };
        let Self {
            nodes,
            entries,
            bytes,
            ..
        } = self;
        Ok(Built {
            manifest,
            nodes,
            entries,
            bytes,
        })
    }

    fn finish_groups(&mut self, intake: &mut Intake<'_, '_, '_>) -> Result<Manifest> {
        self.close_group(intake)?;
        intake.settle()?;
        let is_one = self.groups.is_empty() && self.closed.len() == 1;
        while let Some(group) = self.first_settled(intake)? {
            if is_one && encoded_len(&group).map_err(refused)? <= INLINE_MANIFEST_BYTES {
                return Ok(Manifest::Inline(group));
            }
            self.add_group(group)?;
        }
        let mut level = std::mem::take(&mut self.groups);
        let mut depth = 0;
        while level.len() > 1 {
            level = self.names_above(level)?;
            depth += 1;
        }
        match level.first() {
            Some(root) if depth <= MAX_TREE_DEPTH => Ok(Manifest::Tree {
                root: root.node,
                depth,
            }),
            _ => Err(Error::invalid("the checkpoint", "its manifest is too deep")),
        }
    }

    /// One level of names nodes, closed by the rule that closes groups.
    fn names_above(&mut self, below: Vec<NameChild>) -> Result<Vec<NameChild>> {
        let mut above = Vec::new();
        let mut children: Vec<NameChild> = Vec::new();
        let mut bytes = 0;
        for child in below {
            let child_bytes = encoded_len(&child).map_err(refused)?;
            let full = bytes + child_bytes > NODE_TARGET_BYTES
                || (children.len() >= NODE_MIN_MEMBERS && is_boundary(&child.first));
            // At least two to a node, so that every level is shorter than the one below.
            if children.len() >= 2 && full {
                above.push(self.names_node(std::mem::take(&mut children))?);
                bytes = 0;
            }
            bytes += child_bytes;
            children.push(child);
        }
        above.push(self.names_node(children)?);
        Ok(above)
    }

    fn names_node(&mut self, children: Vec<NameChild>) -> Result<NameChild> {
        let first = children
            .first()
            .map(|child| child.first.clone())
            .unwrap_or_default();
        let id: NodeId = self.nodes.add(Node::Names(children))?;
        Ok(NameChild {
            node: *id.as_bytes(),
            first,
        })
    }
}

/// What a group's pack is: what most of its bytes are; and the first entry in it.
pub(super) fn packed(group: &Group) -> Option<(Texture, &str)> {
    let is_packed = |entry: &&EntryRecord| matches!(entry.content, Content::Packed(_));
    let mut textures: Vec<(Texture, u64)> = Vec::new();
    for entry in group.entries.iter().filter(is_packed) {
        let texture = texture_of(&entry.kind);
        match textures.iter_mut().find(|(known, _)| *known == texture) {
            Some((_, bytes)) => *bytes += entry.bytes,
            None => textures.push((texture, entry.bytes)),
        }
    }
    let (texture, _) = textures.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    let first = group.entries.iter().find(is_packed)?;
    Some((texture, &first.name))
}

/// What kind of bytes an entry of this kind has.
pub(super) const fn texture_of(kind: &KindRecord) -> Texture {
    match kind {
        KindRecord::Tensor { dtype, .. } => match DType::from_code(*dtype) {
            Some(dtype) => Texture::of(dtype),
            None => Texture::General,
        },
        KindRecord::Document | KindRecord::File => Texture::General,
    }
}

fn refused(error: Malformed) -> Error {
    error.of("an entry")
}
