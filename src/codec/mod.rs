//! How a chunk's bytes are stored: the codec's code, and the bytes to and from it.

mod zstd_codec;

use crate::error::{Error, Result};

/// How the stored bytes of a chunk are encoded. The codes are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec with this code.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The code of this codec.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// What a chunk holds, as far as it matters for the choice of a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texture {
    /// Text or opaque bytes, worth a try with zstd.
    General,
    /// Numbers, which zstd alone hardly shortens and slows down.
    Numeric,
}

/// Encodes raw bytes by the codec that suits them. Deterministic: the same bytes give the same
/// result everywhere. `None` means raw: the bytes themselves are stored.
pub(crate) fn encode(texture: Texture, raw: &[u8]) -> Option<(Codec, Vec<u8>)> {
    match texture {
        Texture::Numeric => None,
        Texture::General => zstd_codec::encode(raw).map(|bytes| (Codec::Zstd, bytes)),
    }
}

/// Decodes stored bytes into exactly `raw_len` raw ones. The chunk id has yet to vouch for them.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes do not decode to that length.
pub(crate) fn decode(codec: u8, stored: &[u8], raw_len: usize) -> Result<Vec<u8>> {
    let fault = |why: &str| Error::corrupt("a chunk", why);
    match Codec::from_code(codec) {
        Some(Codec::Raw) if stored.len() == raw_len => Ok(stored.to_vec()),
        Some(Codec::Raw) => Err(fault("its stored length is not its raw length")),
        Some(Codec::Zstd) => zstd_codec::decode(stored, raw_len)
            .ok_or_else(|| fault("it does not decompress to its length")),
        None => Err(fault("its codec is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_bytes(
            raw in proptest::collection::vec(0..4_u8, 0..5_000),
        ) {
            if let Some((codec, stored)) = encode(Texture::General, &raw) {
                prop_assert!(stored.len() < raw.len());
                prop_assert_eq!(decode(codec.code(), &stored, raw.len()).unwrap(), raw);
            }
        }

        #[test]
        fn arbitrary_bytes_decode_to_the_stated_length_or_not_at_all(
            codec in 0..4_u8,
            stored in proptest::collection::vec(any::<u8>(), 0..300),
            raw_len in 0..1_000_usize,
        ) {
            if let Ok(raw) = decode(codec, &stored, raw_len) {
                prop_assert_eq!(raw.len(), raw_len);
            }
        }
    }

    #[test]
    fn a_frame_that_holds_more_than_the_stated_length_is_refused() {
        let (codec, stored) = encode(Texture::General, &vec![0; 1 << 20]).unwrap();
        assert!(stored.len() < 1000);
        assert!(decode(codec.code(), &stored, 1 << 10).is_err());
        assert!(decode(codec.code(), &stored, (1 << 20) + 1).is_err());
    }

    #[test]
    fn what_is_not_one_frame_that_says_its_length_is_refused() {
        let raw = [7; 200];
        let (codec, frame) = encode(Texture::General, &raw).unwrap();
        let empty = zstd::bulk::compress(&[], 3).unwrap();
        let skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00none".as_slice();
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_contentsize(false).unwrap();
        let unsized_frame = compressor.compress(&raw).unwrap();
        for other in [
            frame.repeat(2),
            [skipped, &frame].concat(),
            [&frame, skipped].concat(),
            [&frame, &*empty].concat(),
            unsized_frame,
        ] {
            for len in [raw.len(), 2 * raw.len()] {
                assert!(decode(codec.code(), &other, len).is_err());
            }
        }
        assert_eq!(decode(codec.code(), &frame, raw.len()).unwrap(), raw);
    }

    #[test]
    fn numbers_and_incompressible_bytes_stay_raw() {
        let mut noise = [0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(encode(Texture::General, &noise).is_none());
        assert!(encode(Texture::Numeric, &[0; 4096]).is_none());
    }
}
