//! How a chunk's bytes are stored: the codec's code, and the bytes to and from it. `docs/codec.md`
//! tells what each is for and what it was measured to do.

mod choose;
mod dense;
mod derived;
mod encoder;
mod entropy;
mod plane;
mod sparse;
#[expect(
    clippy::cast_possible_truncation,
    reason = "a plane takes one byte of each word"
)]
mod words;
mod zstd_codec;

pub(crate) use derived::Narrow;
pub use encoder::Compression;
pub(crate) use encoder::{Encoder, Texture, texture_of};

use std::cell::RefCell;

use self::words::Words;
use crate::error::{Error, Result};

/// How the stored bytes of a chunk are encoded. The codes are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame; with a base, it refers to that as to what came before.
    Zstd = 1,
    /// Words in planes of bytes.
    Planes = 2,
    /// Words as steps from the base's, in planes.
    Steps = 3,
    /// The places that differ from the base, or from zeros.
    Sparse = 4,
    /// The bases rounded to shorter floats.
    Derived = 5,
}

impl Codec {
    /// The codec with this code.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Planes),
            3 => Some(Self::Steps),
            4 => Some(Self::Sparse),
            5 => Some(Self::Derived),
            _ => None,
        }
    }

    /// The code of this codec.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

thread_local! {
    /// Planes on their way out; fresh pages for each chunk would cost a quarter of the speed.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes opaque bytes by themselves, if that makes them shorter.
pub(crate) fn encode_alone(raw: &[u8]) -> Option<(Codec, Vec<u8>)> {
    zstd_codec::encode(raw, None, zstd_codec::LEVEL).map(|bytes| (Codec::Zstd, bytes))
}

/// Decodes stored bytes into exactly `raw_len` raw ones. The chunk id has yet to vouch for them.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes do not decode to that length.
pub(crate) fn decode(codec: u8, stored: &[u8], bases: &[&[u8]], raw_len: usize) -> Result<Vec<u8>> {
    let fault = |why: &str| Error::corrupt("a chunk", why);
    let codec = Codec::from_code(codec).ok_or_else(|| fault("its codec is not known"))?;
    let mut raw = vec![0; raw_len];
    decode_as(codec, stored, bases, &mut raw).ok_or_else(|| match codec {
        Codec::Raw => fault("its stored length is not its raw length"),
        _ => fault("it does not decode to its length"),
    })?;
    Ok(raw)
}

fn decode_as(codec: Codec, stored: &[u8], bases: &[&[u8]], raw: &mut [u8]) -> Option<()> {
    let mut fitted = Vec::new();
    let base = match (codec, bases) {
        (Codec::Derived, _) | (_, []) => None,
        (Codec::Zstd, [base]) => Some(*base),
        (Codec::Steps | Codec::Sparse, [base]) => Some(fit(base, raw.len(), &mut fitted)),
        _ => return None,
    };
    SCRATCH.with_borrow_mut(|scratch| match codec {
        Codec::Raw => (stored.len() == raw.len()).then(|| raw.copy_from_slice(stored)),
        Codec::Zstd => zstd_codec::decode_into(stored, base, raw),
        Codec::Planes => {
            let (code, stored) = stored.split_first()?;
            dense::decode(Words::from_code(*code)?, stored, None, scratch, raw)
        }
        Codec::Steps => {
            let (code, stored) = stored.split_first()?;
            dense::decode(Words::from_code(*code)?, stored, Some(base?), scratch, raw)
        }
        Codec::Sparse => sparse::decode(stored, base, scratch, raw),
        Codec::Derived => derived::decode(stored, bases, raw),
    })
}

/// A base cut, or filled with zeros, to the length of what is taken from it.
fn fit<'a>(base: &'a [u8], bytes: usize, fitted: &'a mut Vec<u8>) -> &'a [u8] {
    match base.get(..bytes) {
        Some(base) => base,
        None => {
            fitted.extend_from_slice(base);
            fitted.resize(bytes, 0);
            fitted
        }
    }
}

#[cfg(test)]
mod tests;
