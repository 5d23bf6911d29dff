//! Building a checkpoint's manifest: small entries into packs, entries into groups, groups into a
//! tree. `docs/format.md`, section 4, is the norm; equal states give equal manifests.

use super::bases::Place;
use super::ingest::Ingest;
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

/// An entry's bytes as they come: few enough for a pack, or chunks already taken in.
#[derive(Debug)]
pub(super) enum Body {
    Small(Vec<u8>),
    Large(Vec<ChunkRef>),
}

/// A manifest under construction. Entries come in the order of their names.
#[derive(Debug, Default)]
pub(super) struct ManifestBuilder {
    /// All entries, while they are few enough to lie in the checkpoint's record.
    few: Option<Vec<EntryRecord>>,
    few_bytes: usize,
    group: Group,
    group_bytes: usize,
    pack: Vec<u8>,
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
        ingest: &mut Ingest<'_>,
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
                    self.no_longer_few(ingest)
                } else {
                    Ok(())
                };
            }
            (body, _) => body,
        };
        self.no_longer_few(ingest)?;
        self.bytes += match &body {
            Body::Small(data) => data.len() as u64,
            Body::Large(chunks) => chunks.iter().map(|c| u64::from(c.raw_len)).sum(),
        };
        self.place(ingest, name, kind, body)
    }

    /// Moves the entries that were held as few into groups.
    fn no_longer_few(&mut self, ingest: &mut Ingest<'_>) -> Result<()> {
        for entry in self.few.take().unwrap_or_default() {
            if let Content::Inline(data) = entry.content {
                self.place(ingest, entry.name, entry.kind, Body::Small(data))?;
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        ingest: &mut Ingest<'_>,
        name: String,
        kind: KindRecord,
        body: Body,
    ) -> Result<()> {
        let packed = match &body {
            Body::Small(data) => data.len(),
            Body::Large(_) => 0,
        };
        let content = match body {
            Body::Small(ref data) if data.is_empty() => Content::Inline(Vec::new()),
            Body::Small(_) => Content::Packed(0),
            Body::Large(ref chunks) => self.content_of(chunks)?,
        };
        let bytes = match &body {
            Body::Small(data) => data.len() as u64,
            Body::Large(chunks) => chunks.iter().map(|c| u64::from(c.raw_len)).sum(),
        };
        let mut entry = EntryRecord {
            name,
            kind,
            bytes,
            content,
        };
        let entry_bytes = encoded_len(&entry).map_err(refused)? + 4;
        let members = self.group.entries.len();
        let full = self.group_bytes + entry_bytes > NODE_TARGET_BYTES
            || self.pack.len() + packed > MAX_PACK_BYTES
            || (members >= NODE_MIN_MEMBERS && is_boundary(&entry.name));
        if members > 0 && full {
            self.close_group(ingest)?;
        }
        if let Body::Small(data) = body
            && !data.is_empty()
        {
            let offset = u32::try_from(self.pack.len())
                .map_err(|_| Error::invalid("a pack", "it is too long"))?;
            entry.content = Content::Packed(offset);
            self.pack.extend_from_slice(&data);
        }
        self.group_bytes += entry_bytes;
        self.group.entries.push(entry);
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

    fn close_group(&mut self, ingest: &mut Ingest<'_>) -> Result<()> {
        self.seal_pack(ingest)?;
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
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

    fn seal_pack(&mut self, ingest: &mut Ingest<'_>) -> Result<()> {
        if !self.pack.is_empty() {
            let pack = std::mem::take(&mut self.pack);
            let (texture, first) = packed(&self.group).unwrap_or((Texture::General, ""));
            let place = Place::PackOf(first);
            self.group.pack = Some(ingest.chunk(&pack, texture, place)?);
        }
        Ok(())
    }

    /// Closes the manifest.
    pub(super) fn finish(mut self, ingest: &mut Ingest<'_>) -> Result<Built> {
        let manifest = match self.few.take() {
            Some(entries) => {
                ingest.inline(self.bytes);
                Manifest::Inline(Group {
                    pack: None,
                    entries,
                })
            }
            None => self.finish_groups(ingest)?,
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

    fn finish_groups(&mut self, ingest: &mut Ingest<'_>) -> Result<Manifest> {
        if self.groups.is_empty() {
            self.seal_pack(ingest)?;
            if encoded_len(&self.group).map_err(refused)? <= INLINE_MANIFEST_BYTES {
                return Ok(Manifest::Inline(std::mem::take(&mut self.group)));
            }
        }
        self.close_group(ingest)?;
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
