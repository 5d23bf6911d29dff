//! Rows of the `chunks` table: where a chunk is, how it is stored, how often it is named.

use super::extent::IN_BUNDLE;
use super::limits::{MAX_BASES, MAX_CHAIN_DEPTH, MAX_CHUNK_BYTES, MAX_PARTS};
use super::malformed::{Fields, Malformed, short_hash};
use crate::id::ChunkId;

/// A chunk as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRow {
    /// How many times nodes and inline manifests name it.
    pub(crate) refs: u64,
    /// How many times chunks name it as a base.
    pub(crate) deltas: u32,
    /// Its number: where its extents are.
    pub(crate) number: u64,
    /// Length of its raw bytes.
    pub(crate) raw_len: u32,
    /// Length of its stored bytes.
    pub(crate) stored_len: u32,
    /// How the stored bytes are encoded.
    pub(crate) codec: u8,
    /// Number of its parts; none if its bytes are lost.
    pub(crate) parts: u8,
    /// At least the number of deltas down to a chunk without base; more than that of every base.
    pub(crate) depth: u8,
    /// How many deltas were written since that chunk.
    pub(crate) position: u8,
    /// The chunks that it is a delta against.
    pub(crate) bases: Vec<ChunkId>,
    /// The key of the bundle that its last part is in; 0 if that is an extent like the others.
    pub(crate) bundle: u64,
}

impl ChunkRow {
    /// The row of a chunk whose bytes are lost. It keeps the count, so that whoever brings the
    /// bytes again heals every checkpoint that names them.
    pub(crate) const fn lost(refs: u64, deltas: u32, number: u64, raw_len: u32) -> Self {
        Self {
            refs,
            deltas,
            number,
            raw_len,
            stored_len: 0,
            codec: 0,
            parts: 0,
            depth: 0,
            position: 0,
            bases: Vec::new(),
            bundle: 0,
        }
    }

    /// Whether nothing names it any more.
    pub(crate) const fn is_unused(&self) -> bool {
        self.refs == 0 && self.deltas == 0
    }

    /// Whether only deltas need it: no checkpoint has it.
    pub(crate) const fn is_dead_weight(&self) -> bool {
        self.refs == 0 && self.deltas > 0
    }

    /// Whether the chunk's bytes are known to be lost.
    pub(crate) const fn is_lost(&self) -> bool {
        self.parts == 0
    }

    /// How many of its parts are extents.
    pub(crate) fn extents(&self) -> u8 {
        self.parts - u8::from(self.bundle > 0 && self.parts > 0)
    }

    /// The row's bytes, bound to the chunk id.
    pub(crate) fn to_bytes(&self, id: &ChunkId) -> Vec<u8> {
        let mut out = Vec::with_capacity(41 + 32 * self.bases.len());
        out.extend_from_slice(&self.refs.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        let bases = u8::try_from(self.bases.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&self.deltas.to_le_bytes());
        let parts = self.parts | if self.bundle > 0 { IN_BUNDLE } else { 0 };
        out.extend_from_slice(&[self.codec, parts, self.depth, self.position, bases]);
        for base in &self.bases {
            out.extend_from_slice(base.as_bytes());
        }
        if self.bundle > 0 {
            out.extend_from_slice(&self.bundle.to_le_bytes());
        }
        let check: [u8; 8] = short_hash(&[id.as_bytes(), &out]);
        out.extend_from_slice(&check);
        out
    }

    /// The row of this chunk.
    pub(crate) fn from_bytes(id: &ChunkId, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        let refs = fields.u64()?;
        let number = fields.u64()?;
        let raw_len = fields.u32()?;
        let stored_len = fields.u32()?;
        let deltas = fields.u32()?;
        let [codec, parts, depth, position, count] = fields.array()?;
        if usize::from(count) > MAX_BASES {
            return Err(Malformed::field(
                "the number of its bases",
                "within the limit",
                count,
            ));
        }
        let bases = (0..count)
            .map(|_| fields.array().map(ChunkId::new))
            .collect::<Result<Vec<_>, _>>()?;
        let (parts, is_bundled) = (parts & !IN_BUNDLE, parts & IN_BUNDLE != 0);
        let bundle = if is_bundled { fields.u64()? } else { 0 };
        if is_bundled && (parts == 0 || bundle == 0) {
            return Err(Malformed::field("its bundle", "in order", bundle));
        }
        let check: [u8; 8] = fields.array()?;
        fields.end()?;
        let covered = bytes.get(..bytes.len() - 8).unwrap_or_default();
        if short_hash::<8>(&[id.as_bytes(), covered]) != check {
            return Err(Malformed::new("its hash does not match its bytes"));
        }
        let row = Self {
            refs,
            deltas,
            number,
            raw_len,
            stored_len,
            codec,
            parts,
            depth,
            position,
            bases,
            bundle,
        };
        row.check()?;
        Ok(row)
    }

    fn check(&self) -> Result<(), Malformed> {
        let parts = usize::from(self.parts);
        if parts > MAX_PARTS {
            return Err(Malformed::field(
                "the number of its parts",
                "at most 16",
                parts,
            ));
        }
        if self.is_lost() != (self.stored_len == 0) || (self.is_lost() && self.codec != 0) {
            return Err(Malformed::new("its lengths are out of range"));
        }
        // A bundle begins with the end of a chunk that came no later.
        let own = self.number.saturating_mul(MAX_PARTS as u64);
        if self.bundle > 0 && self.bundle >= own.saturating_add(u64::from(self.parts)) {
            return Err(Malformed::field("its bundle", "in order", self.bundle));
        }
        let longest = u64::from(self.raw_len) + 32 * self.bases.len() as u64;
        let fits = self.raw_len as usize <= MAX_CHUNK_BYTES;
        if !fits || self.raw_len == 0 || u64::from(self.stored_len) > longest {
            return Err(Malformed::new("its lengths are out of range"));
        }
        let is_delta = !self.bases.is_empty();
        if self.depth > MAX_CHAIN_DEPTH || (self.depth > 0) != is_delta {
            return Err(Malformed::field(
                "its chain depth",
                "what its bases say",
                self.depth,
            ));
        }
        if self.position > 0 && !is_delta {
            return Err(Malformed::field(
                "its position in a chain",
                "0 without a base",
                self.position,
            ));
        }
        if self.number > u64::MAX / 16 {
            return Err(Malformed::field(
                "its number",
                "within the limit",
                self.number,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_bit_and_another_chunks_row_are_noticed() {
        let id = ChunkId::new([1; 32]);
        let row = ChunkRow {
            refs: 3,
            deltas: 4,
            number: 77,
            raw_len: 1000,
            stored_len: 900,
            codec: 1,
            parts: 1,
            depth: 2,
            position: 3,
            bases: vec![ChunkId::new([2; 32])],
            bundle: 0,
        };
        let bundled = ChunkRow {
            bundle: 76,
            ..row.clone()
        };
        for row in [row, bundled] {
            let bytes = row.to_bytes(&id);
            assert_eq!(ChunkRow::from_bytes(&id, &bytes).unwrap(), row);
            assert!(ChunkRow::from_bytes(&ChunkId::new([9; 32]), &bytes).is_err());
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x40;
                assert!(
                    ChunkRow::from_bytes(&id, &damaged).is_err(),
                    "byte {at} went unnoticed"
                );
                assert!(ChunkRow::from_bytes(&id, &bytes[..at]).is_err());
            }
        }
    }
}
