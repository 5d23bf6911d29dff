//! Every number of the format, once. `docs/format.md` lists them; `tests/tidy` compares the two.

/// In the identity record.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Begins a record.
pub(crate) const RECORD_MAGIC: &[u8; 4] = b"CKR1";
/// Begins a node.
pub(crate) const NODE_MAGIC: &[u8; 4] = b"CKN1";
/// Begins an extent.
pub(crate) const EXTENT_MAGIC: &[u8; 4] = b"CKX1";
/// Before a record's key.
pub(crate) const RECORD_HEADER_BYTES: usize = 28;
/// After a record's body.
pub(crate) const RECORD_CHECK_BYTES: usize = 16;
/// Before an extent's payload.
pub(crate) const EXTENT_HEADER_BYTES: usize = 64;
/// Before a node's body.
pub(crate) const NODE_HEADER_BYTES: usize = 12;
/// redb's page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// What redb adds to one value with a `u64` key.
pub(crate) const PAGE_OVERHEAD_BYTES: usize = 16;
/// The largest extent.
pub(crate) const MAX_EXTENT_BYTES: usize = 1_048_560;
/// The largest bundle.
pub(crate) const MAX_BUNDLE_BYTES: usize = 16_368;
/// The longest frame in a bundle; what is longer fills pages of its own well enough.
pub(crate) const MAX_FRAME_BYTES: usize = 8_176;
/// Raw bytes of a chunk. Divisible by 16, so that no tensor element is split.
pub(crate) const MAX_CHUNK_BYTES: usize = 1_048_496;
/// Extents of one chunk.
pub(crate) const MAX_PARTS: usize = 16;
/// Bases of one chunk.
pub(crate) const MAX_BASES: usize = 4;
/// Deltas between a chunk and its nearest chunk without base.
pub(crate) const MAX_CHAIN_DEPTH: u8 = 64;
/// Entries shorter than this share packs.
pub(crate) const SMALL_ENTRY_BYTES: usize = 65_536;
/// Raw bytes of a pack.
pub(crate) const MAX_PACK_BYTES: usize = 262_064;
/// A checkpoint whose entries and names are no longer than this is one row.
pub(crate) const INLINE_STATE_BYTES: usize = 1_600;
/// A manifest of one group no longer than this lies in the checkpoint record.
pub(crate) const INLINE_MANIFEST_BYTES: usize = 1_024;
/// A node is closed before it grows over this, unless it has one member.
pub(crate) const NODE_TARGET_BYTES: usize = 1_900;
/// Members before a node may close at a boundary name.
pub(crate) const NODE_MIN_MEMBERS: usize = 8;
/// Chunk references in a full list node, children in a full spans node.
pub(crate) const LIST_CHUNKS: usize = 48;
/// Chunk references that an entry lists itself.
pub(crate) const DIRECT_CHUNKS: usize = 8;
/// Largest node that is read.
pub(crate) const MAX_NODE_BYTES: usize = 65_536;
/// Largest number of a log record or a chunk: what is counted on from it, and the keys that are
/// made of it, do not overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 59;
/// Largest record that is read.
pub(crate) const MAX_RECORD_BYTES: usize = 1_048_576;
/// Levels of a node tree.
pub(crate) const MAX_TREE_DEPTH: u8 = 24;
/// Entries of one checkpoint.
pub(crate) const MAX_ENTRIES: usize = 4_194_304;
/// Names and values of all attributes of one checkpoint.
pub(crate) const MAX_ATTRIBUTE_BYTES: usize = 65_536;
/// Events of one checkpoint.
pub(crate) const MAX_EVENTS: usize = 64;
/// Metrics of one checkpoint.
pub(crate) const MAX_METRICS: usize = 1_024;
/// Largest document.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 67_108_864;
/// Rows of one telemetry block.
pub(crate) const MAX_BLOCK_ROWS: usize = 8_192;
/// Values of one telemetry block, over all its columns.
pub(crate) const BLOCK_VALUES: usize = 32_768;
/// Metrics of one telemetry segment.
pub(crate) const MAX_SERIES: usize = 256;
/// Bins of a quantile sketch, of both signs together.
pub(crate) const MAX_SKETCH_BINS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_raw_chunk_and_a_full_raw_pack_fill_their_pages() {
        assert_eq!(MAX_EXTENT_BYTES, PAGE_BYTES * 256 - PAGE_OVERHEAD_BYTES);
        assert_eq!(MAX_CHUNK_BYTES, MAX_EXTENT_BYTES - EXTENT_HEADER_BYTES);
        assert_eq!(MAX_CHUNK_BYTES % 16, 0);
        assert_eq!(
            MAX_PACK_BYTES,
            PAGE_BYTES * 64 - PAGE_OVERHEAD_BYTES - EXTENT_HEADER_BYTES
        );
    }
}
