//! Manifests: entries, groups of them, and the content-addressed nodes that hold both.

use serde::{Deserialize, Serialize};

use super::limits::{
    DIRECT_CHUNKS, LIST_CHUNKS, MAX_CHUNK_BYTES, MAX_NODE_BYTES, MAX_PACK_BYTES, MAX_TREE_DEPTH,
    NODE_HEADER_BYTES, NODE_MAGIC,
};
use super::malformed::{Fields, Malformed, short_hash};
use super::wire;
use crate::id::{ChunkId, NodeId};
use crate::name::MAX_ENTRY_NAME_BYTES;
use crate::tensor::DType;

const NODE_VERSION: u8 = 1;
const REFS_BYTES: usize = 12;

/// A chunk, and how many raw bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkRef {
    /// The chunk id.
    pub(crate) id: [u8; 32],
    /// Raw length.
    pub(crate) raw_len: u32,
}

impl ChunkRef {
    /// The chunk's id.
    pub(crate) const fn chunk(&self) -> ChunkId {
        ChunkId::new(self.id)
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.raw_len == 0 || self.raw_len as usize > MAX_CHUNK_BYTES {
            return Err(Malformed::field(
                "a chunk's length",
                "within the limit",
                self.raw_len,
            ));
        }
        Ok(())
    }
}

/// What an entry is, in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KindRecord {
    /// Element type code and shape.
    Tensor { dtype: u8, shape: Vec<u64> },
    /// JSON text.
    Document,
    /// Opaque bytes.
    File,
}

/// Where an entry's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// Here.
    Inline(Vec<u8>),
    /// In the group's pack, from this offset.
    Packed(u32),
    /// In these chunks.
    Chunks(Vec<ChunkRef>),
    /// In the chunks of this tree, with so many levels of spans above its lists.
    Tree { root: [u8; 32], depth: u8 },
}

/// An entry of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRecord {
    pub(crate) name: String,
    pub(crate) kind: KindRecord,
    pub(crate) bytes: u64,
    pub(crate) content: Content,
}

impl EntryRecord {
    fn check(&self, pack: Option<&ChunkRef>) -> Result<(), Malformed> {
        if self.name.is_empty() || self.name.len() > MAX_ENTRY_NAME_BYTES {
            return Err(Malformed::field(
                "an entry name's length",
                "1 to 1024",
                self.name.len(),
            ));
        }
        if let KindRecord::Tensor { dtype, shape } = &self.kind {
            let dtype = DType::from_code(*dtype)
                .ok_or_else(|| Malformed::field("an element type", "one that we know", dtype))?;
            let bytes = dtype
                .size_of(shape)
                .map_err(|error| Malformed::new(error.to_string()))?;
            if bytes != self.bytes {
                return Err(Malformed::field("a tensor's length", bytes, self.bytes));
            }
        }
        let held = match &self.content {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Packed(offset) => {
                let room = pack.map_or(0, |pack| u64::from(pack.raw_len));
                match u64::from(*offset).checked_add(self.bytes) {
                    Some(end) if end <= room => self.bytes,
                    _ => return Err(Malformed::new("an entry lies outside its pack")),
                }
            }
            Content::Chunks(chunks) => {
                if chunks.is_empty() || chunks.len() > DIRECT_CHUNKS {
                    return Err(Malformed::field("a list of chunks", "1 to 8", chunks.len()));
                }
                sum_of(chunks)?
            }
            Content::Tree { depth, .. } if *depth > MAX_TREE_DEPTH => {
                return Err(Malformed::field(
                    "a tree's depth",
                    "within the limit",
                    depth,
                ));
            }
            Content::Tree { .. } => self.bytes,
        };
        if held != self.bytes {
            return Err(Malformed::field("an entry's content", self.bytes, held));
        }
        Ok(())
    }
}

fn sum_of(chunks: &[ChunkRef]) -> Result<u64, Malformed> {
    chunks.iter().try_fold(0, |sum, chunk| {
        chunk.check()?;
        Ok(sum + u64::from(chunk.raw_len))
    })
}

/// Entries that lie together, and the pack that the small ones share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) pack: Option<ChunkRef>,
    pub(crate) entries: Vec<EntryRecord>,
}

impl Group {
    /// The rules of a group: sorted names, contents that add up.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        if let Some(pack) = &self.pack {
            pack.check()?;
            if pack.raw_len as usize > MAX_PACK_BYTES {
                return Err(Malformed::field("a pack", "within the limit", pack.raw_len));
            }
        }
        for entry in &self.entries {
            entry.check(self.pack.as_ref())?;
        }
        if self
            .entries
            .iter()
            .zip(self.entries.iter().skip(1))
            .any(|(a, b)| a.name >= b.name)
        {
            return Err(Malformed::new("its names are not in order"));
        }
        Ok(())
    }
}

/// A child of a list's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpanChild {
    pub(crate) node: [u8; 32],
    /// Bytes below it.
    pub(crate) bytes: u64,
}

/// A child of a manifest's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameChild {
    pub(crate) node: [u8; 32],
    /// First entry name below it.
    pub(crate) first: String,
}

/// How a checkpoint finds its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Manifest {
    /// They are few: here.
    Inline(Group),
    /// In the groups of this tree, with so many levels of names above them.
    Tree { root: [u8; 32], depth: u8 },
}

/// A content-addressed piece of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Entries.
    Group(Group),
    /// Chunks of one entry.
    List(Vec<ChunkRef>),
    /// Lists, or spans of them.
    Spans(Vec<SpanChild>),
    /// Groups, or names of them.
    Names(Vec<NameChild>),
}

impl Node {
    const fn kind(&self) -> u8 {
        match self {
            Self::Group(_) => 1,
            Self::List(_) => 2,
            Self::Spans(_) => 3,
            Self::Names(_) => 4,
        }
    }

    /// The node's bytes and their hash, which is its id.
    pub(crate) fn to_bytes(&self) -> Result<(NodeId, Vec<u8>), Malformed> {
        self.check()?;
        let body = match self {
            Self::Group(group) => wire::encode(group)?,
            Self::List(chunks) => wire::encode(chunks)?,
            Self::Spans(children) => wire::encode(children)?,
            Self::Names(children) => wire::encode(children)?,
        };
        let length = match u32::try_from(body.len()) {
            Ok(length) if body.len() + NODE_HEADER_BYTES <= MAX_NODE_BYTES => length,
            _ => return Err(Malformed::field("a node", "within the limit", body.len())),
        };
        let mut out = Vec::with_capacity(NODE_HEADER_BYTES + body.len());
        out.extend_from_slice(NODE_MAGIC);
        out.extend_from_slice(&[self.kind(), NODE_VERSION, 0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&body);
        Ok((NodeId::new(*blake3::hash(&out).as_bytes()), out))
    }

    /// The node with this id.
    pub(crate) fn from_bytes(id: &NodeId, bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_NODE_BYTES {
            return Err(Malformed::field(
                "its length",
                "within the limit",
                bytes.len(),
            ));
        }
        if bytes.is_empty() {
            return Err(Malformed::new("its bytes are lost"));
        }
        if blake3::hash(bytes).as_bytes() != id.as_bytes() {
            return Err(Malformed::new("its hash is not its id"));
        }
        Self::decode(bytes)
    }

    /// The id that the node at the front of these bytes has, and its length, if there is one.
    pub(crate) fn loose(bytes: &[u8]) -> Option<(NodeId, usize)> {
        let mut fields = Fields::new(bytes);
        if fields.take(4).ok()? != NODE_MAGIC {
            return None;
        }
        let [kind, version, zero, also_zero] = fields.array().ok()?;
        let length = NODE_HEADER_BYTES + usize::try_from(fields.u32().ok()?).ok()?;
        if !(1..=4).contains(&kind)
            || (version, zero, also_zero) != (NODE_VERSION, 0, 0)
            || length > MAX_NODE_BYTES
        {
            return None;
        }
        let id = NodeId::new(*blake3::hash(bytes.get(..length)?).as_bytes());
        Some((id, length))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        if fields.take(4)? != NODE_MAGIC {
            return Err(Malformed::new("it does not begin like a node"));
        }
        let [kind, version, zero, also_zero] = fields.array()?;
        if (version, zero, also_zero) != (NODE_VERSION, 0, 0) {
            return Err(Malformed::field("its version", NODE_VERSION, version));
        }
        let length = fields.u32()?;
        let body = fields.take(length as usize)?;
        fields.end()?;
        let node = match kind {
            1 => Self::Group(wire::decode_node(body)?),
            2 => Self::List(wire::decode_node(body)?),
            3 => Self::Spans(wire::decode_node(body)?),
            4 => Self::Names(wire::decode_node(body)?),
            _ => return Err(Malformed::field("its kind", "1 to 4", kind)),
        };
        node.check()?;
        Ok(node)
    }

    fn check(&self) -> Result<(), Malformed> {
        let members = match self {
            Self::Group(group) => {
                group.check()?;
                return Ok(());
            }
            Self::List(chunks) => {
                sum_of(chunks)?;
                (chunks.len(), LIST_CHUNKS)
            }
            Self::Spans(children) => (children.len(), LIST_CHUNKS),
            Self::Names(children) => {
                let pairs = children.iter().zip(children.iter().skip(1));
                if pairs.into_iter().any(|(a, b)| a.first >= b.first) {
                    return Err(Malformed::new("its names are not in order"));
                }
                (children.len(), MAX_NODE_BYTES)
            }
        };
        match members {
            (0, _) => Err(Malformed::new("it has no members")),
            (count, most) if count > most => Err(Malformed::field(
                "its members",
                format!("at most {most}"),
                count,
            )),
            _ => Ok(()),
        }
    }
}

/// A node as the table keeps it: how often it is named, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredNode {
    pub(crate) refs: u64,
    pub(crate) node: Node,
}

impl StoredNode {
    /// What stands before the node's bytes.
    pub(crate) const PREFIX_BYTES: usize = REFS_BYTES;

    /// The table's value for node bytes that are named so many times.
    pub(crate) fn value(id: &NodeId, refs: u64, node: &[u8]) -> Vec<u8> {
        let refs = refs.to_le_bytes();
        let check: [u8; 4] = short_hash(&[id.as_bytes(), &refs]);
        [&refs[..], &check, node].concat()
    }

    /// The count of the table's value and the node's bytes, without decoding the node.
    pub(crate) fn split<'a>(id: &NodeId, value: &'a [u8]) -> Result<(u64, &'a [u8]), Malformed> {
        let mut fields = Fields::new(value);
        let refs = fields.take(REFS_BYTES - 4)?;
        let check: [u8; 4] = fields.array()?;
        if short_hash::<4>(&[id.as_bytes(), refs]) != check {
            return Err(Malformed::new(
                "the hash of its reference count does not match",
            ));
        }
        let count = Fields::new(refs).u64()?;
        Ok((count, fields.rest()))
    }

    /// Reads the table's value.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn from_bytes(id: &NodeId, value: &[u8]) -> Result<Self, Malformed> {
        let (refs, bytes) = Self::split(id, value)?;
        Ok(Self {
            refs,
            node: Node::from_bytes(id, bytes)?,
        })
    }
}

/// Bytes of a value in a node's body.
pub(crate) fn encoded_len<T: Serialize>(value: &T) -> Result<usize, Malformed> {
    wire::encode(value).map(|bytes| bytes.len())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test values")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group() -> Group {
        let pack = ChunkRef {
            id: [5; 32],
            raw_len: 64,
        };
        let entry = |name: &str, bytes, content| EntryRecord {
            name: name.into(),
            kind: KindRecord::File,
            bytes,
            content,
        };
        Group {
            pack: Some(pack),
            entries: vec![
                entry("a", 4, Content::Packed(60)),
                entry("b", 3, Content::Inline(vec![1, 2, 3])),
                entry(
                    "c",
                    70,
                    Content::Chunks(vec![ChunkRef {
                        id: [6; 32],
                        raw_len: 70,
                    }]),
                ),
                EntryRecord {
                    name: "d".into(),
                    kind: KindRecord::Tensor {
                        dtype: DType::F32.code(),
                        shape: vec![2, 3],
                    },
                    bytes: 24,
                    content: Content::Packed(0),
                },
            ],
        }
    }

    #[test]
    fn every_kind_of_node_reads_back_and_any_changed_byte_is_noticed() {
        let nodes = [
            Node::Group(group()),
            Node::List(vec![
                ChunkRef {
                    id: [1; 32],
                    raw_len: 9
                };
                3
            ]),
            Node::Spans(vec![SpanChild {
                node: [2; 32],
                bytes: 1 << 40,
            }]),
            Node::Names(vec![NameChild {
                node: [3; 32],
                first: "x".into(),
            }]),
        ];
        for node in nodes {
            let (id, bytes) = node.to_bytes().unwrap();
            assert_eq!(Node::from_bytes(&id, &bytes).unwrap(), node);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert!(Node::from_bytes(&id, &damaged).is_err());
            }
            let value = StoredNode::value(&id, 7, &bytes);
            assert_eq!(StoredNode::from_bytes(&id, &value).unwrap().refs, 7);
            for at in 0..REFS_BYTES {
                let mut damaged = value.clone();
                damaged[at] ^= 1;
                assert!(StoredNode::from_bytes(&id, &damaged).is_err());
            }
        }
    }

    #[test]
    fn contents_that_do_not_add_up_are_refused() {
        let spoil: [fn(&mut Group); 7] = [
            |g| g.entries.swap(0, 1),
            |g| g.entries[0].content = Content::Packed(61),
            |g| g.pack = None,
            |g| g.entries[1].bytes = 4,
            |g| g.entries[2].content = Content::Chunks(vec![]),
            |g| {
                g.entries[3].kind = KindRecord::Tensor {
                    dtype: 200,
                    shape: vec![],
                }
            },
            |g| {
                g.entries[3].kind = KindRecord::Tensor {
                    dtype: 18,
                    shape: vec![u64::MAX, 9],
                }
            },
        ];
        group().check().unwrap();
        for (index, spoil) in spoil.into_iter().enumerate() {
            let mut bad = group();
            spoil(&mut bad);
            assert!(bad.check().is_err(), "case {index} was accepted");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            kind in 0..6u8,
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = Vec::from(*NODE_MAGIC);
            bytes.extend_from_slice(&[kind, 1, 0, 0]);
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&body);
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.to_bytes().unwrap().1, bytes);
            }
        }
    }

    #[test]
    fn a_node_is_as_long_as_the_limit_and_no_longer() {
        let sealed = |len: usize| {
            let entry = EntryRecord {
                name: "state".to_owned(),
                kind: KindRecord::File,
                bytes: len as u64,
                content: Content::Inline(vec![1; len]),
            };
            let entries = vec![entry];
            Node::Group(Group {
                entries,
                ..Group::default()
            })
            .to_bytes()
        };
        let around = sealed(30_000).unwrap().1.len() - 30_000;
        let (id, longest) = sealed(MAX_NODE_BYTES - around).unwrap();
        assert_eq!(longest.len(), MAX_NODE_BYTES);
        assert_eq!(Node::loose(&longest), Some((id, MAX_NODE_BYTES)));
        assert!(sealed(MAX_NODE_BYTES - around + 1).is_err());
    }

    #[test]
    fn what_only_begins_like_a_node_is_none() {
        let chunks = vec![ChunkRef {
            id: [1; 32],
            raw_len: 9,
        }];
        let (id, mut bytes) = Node::List(chunks).to_bytes().unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(b"what follows it");
        assert_eq!(Node::loose(&bytes), Some((id, len)));
        // Its mark, its kind, its version, two zeros.
        for at in 0..8 {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            assert_eq!(Node::loose(&other), None, "byte {at}");
        }
        let mut longer = bytes.clone();
        longer.resize(MAX_NODE_BYTES + 100, 0);
        let body = u32::try_from(MAX_NODE_BYTES - NODE_HEADER_BYTES + 1).unwrap();
        longer[8..12].copy_from_slice(&body.to_le_bytes());
        assert_eq!(Node::loose(&longer), None);
    }
}
