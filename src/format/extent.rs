//! Extents: the page-exact pieces that a chunk is stored in; and what one in a bundle looks like.

use super::limits::{
    EXTENT_HEADER_BYTES, EXTENT_MAGIC, MAX_BASES, MAX_CHUNK_BYTES, MAX_EXTENT_BYTES,
    MAX_FRAME_BYTES, MAX_PARTS, PAGE_BYTES, PAGE_OVERHEAD_BYTES,
};
use super::malformed::{Fields, Malformed, short_hash};
use crate::id::ChunkId;

const CHECK_AT: usize = EXTENT_HEADER_BYTES - 4;
/// Beside a number of parts: the last of them lies in a bundle.
pub(super) const IN_BUNDLE: u8 = 0x80;
/// What would leave more than one part of so many of its pages empty goes to a bundle.
const WASTE: usize = 8;

/// The key of an extent in its table.
pub(crate) const fn extent_key(number: u64, part: usize) -> u64 {
    number * MAX_PARTS as u64 + part as u64
}

/// What an extent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtentHeader {
    /// Place of this extent in its chunk, from 0.
    pub(crate) part: u8,
    /// Parts of the chunk.
    pub(crate) parts: u8,
    /// Whether it is a frame in a bundle, as the last part may be, and no extent by itself.
    pub(crate) bundled: bool,
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
        let parts = self.parts | if self.bundled { IN_BUNDLE } else { 0 };
        out.extend_from_slice(&[self.part, parts, self.codec, self.bases]);
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
        let (payload, padding) = rest
            .split_at_checked(header.payload_len as usize)
            .ok_or_else(|| Malformed::field("its payload", header.payload_len, rest.len()))?;
        if bytes.len() != header.extent_len() || padding.iter().any(|&byte| byte != 0) {
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
        let [part, parts] = fields.array()?;
        let header = Self {
            part,
            parts: parts & !IN_BUNDLE,
            bundled: parts & IN_BUNDLE != 0,
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

    /// Length of the whole extent, or of the frame in its bundle.
    pub(crate) fn extent_len(&self) -> usize {
        let bytes = EXTENT_HEADER_BYTES + self.payload_len as usize;
        if self.bundled {
            bytes
        } else {
            page_exact(bytes)
        }
    }
}

fn check_lengths(header: &ExtentHeader) -> Result<(), Malformed> {
    let parts = usize::from(header.parts);
    if parts == 0 || parts > MAX_PARTS || header.part >= header.parts {
        return Err(Malformed::new(format!("part {} of {parts}", header.part)));
    }
    let is_last = header.part + 1 == header.parts;
    if header.bundled && (!is_last || header.extent_len() > MAX_FRAME_BYTES) {
        return Err(Malformed::new("it is no end of a chunk in a bundle"));
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

/// The length of a row that takes so many bytes and fills its page: the smallest there is.
pub(super) fn page_exact(bytes: usize) -> usize {
    let mut page = PAGE_BYTES;
    while page - PAGE_OVERHEAD_BYTES < bytes && page < MAX_EXTENT_BYTES {
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

/// Whether so many bytes at the end of a chunk are few enough for a bundle, and would leave much of
/// their pages empty.
fn goes_to_bundle(rest: usize) -> bool {
    let page_bytes = |payload: usize| page_exact(EXTENT_HEADER_BYTES + payload);
    let first = payload_of_largest(rest).min(rest);
    let mut pages = page_bytes(first);
    if first < rest {
        pages += page_bytes(rest - first);
    }
    EXTENT_HEADER_BYTES + rest <= MAX_FRAME_BYTES && (pages - rest) * WASTE > pages
}

/// Cuts the stored bytes of a chunk into parts: extents, each as long as its page takes, and
/// perhaps a frame. Their headers, of which `header` gives what all of them share, and their
/// payloads.
pub(crate) fn cut_parts(header: ExtentHeader, stored: &[u8]) -> Result<Vec<Extent<'_>>, Malformed> {
    let mut payloads = Vec::new();
    let mut rest = stored;
    while !rest.is_empty() && !goes_to_bundle(rest.len()) {
        let (payload, after) = rest.split_at(payload_of_largest(rest.len()).min(rest.len()));
        payloads.push(payload);
        rest = after;
    }
    let bundled = !rest.is_empty();
    payloads.extend(bundled.then_some(rest));
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
            bundled: bundled && part + 1 == parts,
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
            bundled: false,
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
        let extents = cut_parts(header(stored), stored).unwrap();
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
                let extent = Extent::from_bytes(bytes).unwrap();
                let fills = (bytes.len() + PAGE_OVERHEAD_BYTES).is_power_of_two();
                prop_assert!(fills || extent.header.bundled);
                prop_assert_eq!(usize::from(extent.header.part), part);
                joined.extend_from_slice(extent.payload);
            }
            prop_assert_eq!(&joined, &stored);
            let pages: usize = extents.iter().map(|e| e.len() + PAGE_OVERHEAD_BYTES).sum();
            let most = len + MAX_PARTS * 80 + PAGE_BYTES / WASTE;
            prop_assert!(pages <= most, "{} for {}", pages, len);
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
        let extent_len = |payload: usize| page_exact(EXTENT_HEADER_BYTES + payload);
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
