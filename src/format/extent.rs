//! Extents: the page-exact pieces that a chunk is stored in.

use super::limits::{
    EXTENT_HEADER_BYTES, EXTENT_MAGIC, MAX_BASES, MAX_CHUNK_BYTES, MAX_EXTENT_BYTES, MAX_PARTS,
    PAGE_BYTES, PAGE_OVERHEAD_BYTES,
};
use super::malformed::{Fields, Malformed, short_hash};
use crate::id::ChunkId;

const CHECK_AT: usize = EXTENT_HEADER_BYTES - 4;

/// What an extent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtentHeader {
    /// Place of this extent in its chunk, from 0.
    pub(crate) part: u8,
    /// Extents of the chunk.
    pub(crate) parts: u8,
    /// Codec of the stored bytes.
    pub(crate) codec: u8,
    /// Number of base chunk ids before the encoded bytes.
    pub(crate) bases: u8,
    /// Number of the chunk.
    pub(crate) number: u64,
    /// Hash of the chunk's raw bytes.
    pub(crate) chunk: ChunkId,
    /// Raw length of the chunk.
    pub(crate) raw_len: u32,
    /// Stored length of the chunk, all parts together.
    pub(crate) stored_len: u32,
    /// Bytes of it in this extent.
    pub(crate) payload_len: u32,
}

impl ExtentHeader {
    /// The header's bytes.
    pub(crate) fn to_bytes(self) -> [u8; EXTENT_HEADER_BYTES] {
        let mut out = Vec::with_capacity(EXTENT_HEADER_BYTES);
        out.extend_from_slice(EXTENT_MAGIC);
        out.extend_from_slice(&[self.part, self.parts, self.codec, self.bases]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.chunk.as_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        let check: [u8; 4] = short_hash(&[&out]);
        out.extend_from_slice(&check);
        let mut bytes = [0; EXTENT_HEADER_BYTES];
        for (to, from) in bytes.iter_mut().zip(out) {
            *to = from;
        }
        bytes
    }
}

/// An extent: its header, and its payload.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    /// What it says of itself.
    pub(crate) header: ExtentHeader,
    /// Its piece of the stored bytes.
    pub(crate) payload: &'a [u8],
}

impl<'a> Extent<'a> {
    /// Reads an extent. The chunk id vouches for the payload, later.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = ExtentHeader::from_bytes(bytes)?;
        let rest = bytes.get(EXTENT_HEADER_BYTES..).unwrap_or_default();
        let payload_len = header.payload_len as usize;
        let (payload, padding) = rest
            .split_at_checked(payload_len)
            .ok_or_else(|| Malformed::field("its payload", header.payload_len, rest.len()))?;
        if bytes.len() != extent_len(payload_len) || padding.iter().any(|&byte| byte != 0) {
            return Err(Malformed::new("its padding is not what it must be"));
        }
        Ok(Self { header, payload })
    }

    /// What is written, in the place of what `out` holds: who writes many needs one buffer.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.header.to_bytes());
        out.extend_from_slice(self.payload);
        out.resize(self.header.extent_len(), 0);
    }
}

impl ExtentHeader {
    /// The header that these bytes begin with.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        if fields.take(4)? != EXTENT_MAGIC {
            return Err(Malformed::new("it does not begin like an extent"));
        }
        let header = Self {
            part: fields.u8()?,
            parts: fields.u8()?,
            codec: fields.u8()?,
            bases: fields.u8()?,
            number: fields.u64()?,
            chunk: ChunkId::new(fields.array()?),
            raw_len: fields.u32()?,
            stored_len: fields.u32()?,
            payload_len: fields.u32()?,
        };
        let check: [u8; 4] = fields.array()?;
        match bytes.get(..CHECK_AT) {
            Some(covered) if short_hash::<4>(&[covered]) == check => {}
            _ => return Err(Malformed::new("the hash of its header does not match")),
        }
        check_lengths(&header)?;
        Ok(header)
    }

    /// Length of the whole extent.
    pub(crate) fn extent_len(&self) -> usize {
        extent_len(self.payload_len as usize)
    }
}

fn check_lengths(header: &ExtentHeader) -> Result<(), Malformed> {
    let parts = usize::from(header.parts);
    if parts == 0 || parts > MAX_PARTS || header.part >= header.parts {
        return Err(Malformed::new(format!("part {} of {parts}", header.part)));
    }
    let limit = MAX_CHUNK_BYTES + MAX_BASES * 32;
    let in_order = header.payload_len <= header.stored_len && header.payload_len > 0;
    let is_chunk = header.raw_len > 0 && header.raw_len as usize <= MAX_CHUNK_BYTES;
    let is_delta = usize::from(header.bases) <= MAX_BASES;
    if !is_chunk || !is_delta || header.stored_len as usize > limit || !in_order {
        return Err(Malformed::new("its lengths are out of range"));
    }
    Ok(())
}

/// Length of the last extent of a cut that has to take this payload: the smallest that fits.
fn extent_len(payload: usize) -> usize {
    let mut page = PAGE_BYTES;
    while page - PAGE_OVERHEAD_BYTES - EXTENT_HEADER_BYTES < payload && page < MAX_EXTENT_BYTES {
        page *= 2;
    }
    page - PAGE_OVERHEAD_BYTES
}

/// Payload of the largest extent that `rest` bytes fill, or of the smallest one.
fn payload_of_largest(rest: usize) -> usize {
    let room = |page: usize| page - PAGE_OVERHEAD_BYTES - EXTENT_HEADER_BYTES;
    let mut page = MAX_EXTENT_BYTES + PAGE_OVERHEAD_BYTES;
    while page > PAGE_BYTES && room(page) > rest {
        page /= 2;
    }
    room(page)
}

/// Cuts the stored bytes of a chunk into extents, each exactly as long as its page takes: their
/// headers, of which `header` gives what all of them share, and their payloads.
pub(crate) fn cut_extents(
    header: ExtentHeader,
    stored: &[u8],
) -> Result<Vec<Extent<'_>>, Malformed> {
    let mut payloads = Vec::new();
    let mut rest = stored;
    while !rest.is_empty() {
        let (payload, after) = rest.split_at(payload_of_largest(rest.len()).min(rest.len()));
        payloads.push(payload);
        rest = after;
    }
    let too_many = || Malformed::new(format!("{} parts", payloads.len()));
    let parts = u8::try_from(payloads.len()).map_err(|_| too_many())?;
    if payloads.len() > MAX_PARTS {
        return Err(too_many());
    }
    let extents = (0..parts).zip(&payloads).map(|(part, payload)| {
        let payload_len =
            u32::try_from(payload.len()).map_err(|_| Malformed::new("a part is too long"))?;
        let header = ExtentHeader {
            part,
            parts,
            payload_len,
            ..header
        };
        Ok(Extent { header, payload })
    });
    extents.collect()
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test values")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(stored: &[u8]) -> ExtentHeader {
        ExtentHeader {
            part: 0,
            parts: 0,
            codec: 0,
            bases: 0,
            number: 9,
            chunk: ChunkId::new([3; 32]),
            raw_len: stored.len() as u32,
            stored_len: stored.len() as u32,
            payload_len: 0,
        }
    }

    fn cut(stored: &[u8]) -> Vec<Vec<u8>> {
        let extents = cut_extents(header(stored), stored).unwrap();
        let mut bytes = vec![7];
        let written = |extent: &Extent<'_>| {
            extent.write_to(&mut bytes);
            bytes.clone()
        };
        extents.iter().map(written).collect()
    }

    proptest! {
        #[test]
        fn extents_fill_their_pages_and_join_to_the_stored_bytes(len in 1..=MAX_CHUNK_BYTES) {
            let stored: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let extents = cut(&stored);
            let mut joined = Vec::new();
            for (part, bytes) in extents.iter().enumerate() {
                prop_assert!((bytes.len() + PAGE_OVERHEAD_BYTES).is_power_of_two());
                let extent = Extent::from_bytes(bytes).unwrap();
                prop_assert_eq!(usize::from(extent.header.part), part);
                joined.extend_from_slice(extent.payload);
            }
            prop_assert_eq!(&joined, &stored);
            let pages: usize = extents.iter().map(|e| e.len() + PAGE_OVERHEAD_BYTES).sum();
            prop_assert!(pages <= len + MAX_PARTS * 80 + PAGE_BYTES, "{} for {}", pages, len);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Extent::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_full_chunk_is_one_extent() {
        let stored = vec![1; MAX_CHUNK_BYTES];
        let extents = cut(&stored);
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].len(), MAX_EXTENT_BYTES);
    }

    #[test]
    fn a_changed_header_or_padding_is_noticed() {
        let stored = vec![1; 100];
        let extent = cut(&stored).remove(0);
        for at in (0..EXTENT_HEADER_BYTES).chain(EXTENT_HEADER_BYTES + 100..extent.len()) {
            let mut damaged = extent.clone();
            damaged[at] ^= 4;
            assert!(
                Extent::from_bytes(&damaged).is_err(),
                "byte {at} went unnoticed"
            );
        }
    }

    #[test]
    fn an_extent_is_the_smallest_page_that_its_payload_fits() {
        let room = |page: usize| page - PAGE_OVERHEAD_BYTES - EXTENT_HEADER_BYTES;
        for page in [PAGE_BYTES, 2 * PAGE_BYTES, 64 * PAGE_BYTES] {
            assert_eq!(extent_len(room(page)), page - PAGE_OVERHEAD_BYTES);
            assert_eq!(extent_len(room(page) + 1), 2 * page - PAGE_OVERHEAD_BYTES);
        }
        assert_eq!(extent_len(1), PAGE_BYTES - PAGE_OVERHEAD_BYTES);
        assert_eq!(extent_len(MAX_CHUNK_BYTES), MAX_EXTENT_BYTES);
    }

    #[test]
    fn a_header_says_how_long_its_extent_is() {
        for len in [
            1,
            4011,
            4012,
            4013,
            8107,
            8108,
            8109,
            300_000,
            MAX_CHUNK_BYTES,
        ] {
            for bytes in cut(&vec![1; len]) {
                let header = ExtentHeader::from_bytes(&bytes).unwrap();
                assert_eq!(header.extent_len(), bytes.len(), "{len}");
            }
        }
    }
}
