//! The format's decoders for the fuzz targets: bytes in; the bytes that what was read encodes to,
//! or an error, out. Not part of the API: it is there with the feature `fuzzing` only.

use crate::codec::{self, Against, Compression, Encoder, Texture};
use crate::error::Result;
use crate::format::{
    CheckpointRecord, ChunkRow, Extent, Head, Identity, IndexKey, JobRecord, LogRecord,
    LooseRecord, Malformed, NameRecord, Node, Record, StoreTag, StoredNode, TelemetryRecord,
    frames, without,
};
use crate::id::{ChunkId, NodeId, StoreId};
use crate::tensor::DType;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// What a store is.
    Identity,
    /// Where it stands.
    Head,
    /// Something that happened.
    Log,
    /// A checkpoint.
    Checkpoint,
    /// A job.
    Job,
    /// An interned name.
    Name,
    /// A row of telemetry.
    Telemetry,
}

impl RecordKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Identity,
        Self::Head,
        Self::Log,
        Self::Checkpoint,
        Self::Job,
        Self::Name,
        Self::Telemetry,
    ];

    /// The code of its table in the envelope.
    pub const fn table(self) -> u8 {
        let code = match self {
            Self::Identity => Identity::TABLE,
            Self::Head => Head::TABLE,
            Self::Log => LogRecord::TABLE,
            Self::Checkpoint => CheckpointRecord::TABLE,
            Self::Job => JobRecord::TABLE,
            Self::Name => NameRecord::TABLE,
            Self::Telemetry => TelemetryRecord::TABLE,
        };
        code as u8
    }
}

/// Reads a record in its envelope.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) with what is wrong with it.
pub fn record(kind: RecordKind, store: StoreId, key: u64, bytes: &[u8]) -> Result<Vec<u8>> {
    let again = match kind {
        RecordKind::Identity => again::<Identity>,
        RecordKind::Head => again::<Head>,
        RecordKind::Log => again::<LogRecord>,
        RecordKind::Checkpoint => again::<CheckpointRecord>,
        RecordKind::Job => again::<JobRecord>,
        RecordKind::Name => again::<NameRecord>,
        RecordKind::Telemetry => again::<TelemetryRecord>,
    };
    again(StoreTag::of(store), &key.to_be_bytes(), bytes).map_err(|why| why.of("a record"))
}

fn again<R: Record>(store: StoreTag, key: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    R::from_bytes(store, key, bytes)?.to_bytes(store, key)
}

/// The length of the record that these bytes begin with, as a raw scan finds it.
pub fn loose_record(bytes: &[u8]) -> Option<usize> {
    LooseRecord::at(bytes).map(|found| found.len)
}

/// Reads a node whose id is the hash of these bytes.
///
/// # Errors
/// As [`record`].
pub fn node(bytes: &[u8]) -> Result<Vec<u8>> {
    let id = NodeId::new(*blake3::hash(bytes).as_bytes());
    let node = Node::from_bytes(&id, bytes);
    let bytes = node.and_then(|node| node.to_bytes());
    bytes
        .map(|(_, bytes)| bytes)
        .map_err(|why| why.of("a node"))
}

/// Reads a row of the table of nodes.
///
/// # Errors
/// As [`record`].
pub fn stored_node(id: [u8; 32], value: &[u8]) -> Result<Vec<u8>> {
    let id = NodeId::new(id);
    let again = || {
        let stored = StoredNode::from_bytes(&id, value)?;
        let (_, node) = stored.node.to_bytes()?;
        Ok(StoredNode::value(&id, stored.refs, &node))
    };
    again().map_err(|why: Malformed| why.of("a node"))
}

/// The length of the node that these bytes begin with, as a raw scan finds it.
pub fn loose_node(bytes: &[u8]) -> Option<usize> {
    Node::loose(bytes).map(|(_, length)| length)
}

/// Reads the row of a chunk.
///
/// # Errors
/// As [`record`].
pub fn chunk_row(chunk: ChunkId, bytes: &[u8]) -> Result<Vec<u8>> {
    let row = ChunkRow::from_bytes(&chunk, bytes).map_err(|why| why.of("a chunk row"))?;
    Ok(row.to_bytes(&chunk))
}

/// Reads an extent.
///
/// # Errors
/// As [`record`].
pub fn extent(bytes: &[u8]) -> Result<Vec<u8>> {
    let extent = Extent::from_bytes(bytes).map_err(|why| why.of("an extent"))?;
    let mut again = extent.header.to_bytes().to_vec();
    again.extend_from_slice(extent.payload);
    again.resize(extent.header.extent_len(), 0);
    Ok(again)
}

/// The payloads of the frames in a bundle.
pub fn bundle(bytes: &[u8]) -> Vec<Vec<u8>> {
    frames(bytes)
        .map(|(_, frame)| frame.payload.to_vec())
        .collect()
}

/// A bundle without its last frame, if that leaves anything.
pub fn bundle_without_last(bytes: &[u8]) -> Option<Vec<u8>> {
    let (range, _) = frames(bytes).last()?;
    without(bytes, range)
}

/// Reads the key of an index row.
pub fn index_key(bytes: &[u8; 25]) -> Option<[u8; 25]> {
    IndexKey::from_bytes(bytes).map(IndexKey::to_bytes)
}

/// Decodes the stored bytes of a chunk, without the ids of its bases, whose bytes are given.
///
/// # Errors
/// As [`record`].
pub fn chunk(codec: u8, stored: &[u8], bases: &[&[u8]], raw_len: usize) -> Result<Vec<u8>> {
    codec::decode(codec, stored, bases, raw_len)
}

/// Encodes one chunk after another, as a save does: into the same buffer.
#[derive(Debug)]
pub struct Coder {
    encoder: Encoder,
    encoded: Vec<u8>,
}

impl Coder {
    /// With the effort that a store has unless it is told otherwise.
    pub fn new() -> Self {
        Self {
            encoder: Encoder::new(Compression::Default),
            encoded: Vec::new(),
        }
    }

    /// How a save would keep a chunk of a tensor of this type or of a document, after a base: the
    /// codec's code, whether it takes the base, and the encoded bytes; or none for the bytes
    /// themselves.
    pub fn encode(
        &mut self,
        dtype: Option<DType>,
        raw: &[u8],
        base: Option<&[u8]>,
    ) -> Option<(u8, bool, &[u8])> {
        let texture = dtype.map_or(Texture::General, Texture::of);
        let base = base.map(|raw| Against {
            id: &[0; 32],
            raw,
            allows_steps: true,
        });
        if self.encoded.capacity() > 0 {
            self.encoder.reuse(std::mem::take(&mut self.encoded));
        }
        let encoded = self.encoder.encode(texture, raw, base)?;
        self.encoded = encoded.bytes;
        let ids = if encoded.with_base { 32 } else { 0 };
        Some((
            encoded.codec.code(),
            encoded.with_base,
            self.encoded.get(ids..)?,
        ))
    }
}

impl Default for Coder {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes stored bytes in the place of the base's, as a load does.
///
/// # Errors
/// As [`record`].
pub fn decode_onto(
    codec: u8,
    stored: &[u8],
    with_base: bool,
    raw_len: usize,
    raw: &mut Vec<u8>,
) -> Result<()> {
    let base_len = with_base.then_some(raw.len());
    raw.resize(raw.len().max(raw_len), 0);
    let decoded = codec::decode_onto(codec, stored, base_len, raw_len, raw);
    raw.truncate(raw_len);
    decoded
}

/// [`Coder::encode`] of the first chunk of a save.
pub fn stored(
    dtype: Option<DType>,
    raw: &[u8],
    base: Option<&[u8]>,
) -> Option<(u8, bool, Vec<u8>)> {
    let mut coder = Coder::new();
    let (codec, with_base, bytes) = coder.encode(dtype, raw, base)?;
    Some((codec, with_base, bytes.to_vec()))
}
