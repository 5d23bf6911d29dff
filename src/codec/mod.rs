//! How a chunk's bytes are stored: the codec's code, and the bytes to and from it. `docs/codec.md`
//! tells what each is for and what it was measured to do.

#![expect(
    clippy::elidable_lifetime_names,
    clippy::inline_always,
    reason = "kernels are compiled for several processors, each with what it calls, by \
              `multiversion`, which takes no lifetime without a name"
)]

mod choose;
mod classes;
mod dense;
mod derived;
mod encoder;
mod entropy;
mod marks;
mod order;
mod plane;
mod sparse;
#[expect(
    clippy::cast_possible_truncation,
    reason = "a plane takes one byte of each word, and an exponent is a part of one"
)]
mod words;
mod zstd_codec;

pub(crate) use derived::Narrow;
pub use encoder::Compression;
pub(crate) use encoder::{Against, Encoder, Texture, texture_of};

use std::cell::RefCell;

use self::classes::Classes;
use self::dense::Buffers;
use self::words::Words;
use self::zstd_codec::ZstdCoder;
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

/// Bits of the byte before the planes of steps that tell the words; the others count the bounds of
/// their classes, which come next.
const WORDS_BITS: u32 = 4;

/// What stands before planes of steps.
fn head(words: Words, classes: &Classes) -> u8 {
    words.code() | classes.listed() << WORDS_BITS
}

/// The code of the words, and how many bounds come next.
const fn of_head(head: u8) -> (u8, u8) {
    (head & ((1 << WORDS_BITS) - 1), head >> WORDS_BITS)
}

/// Buffers of decoding; fresh pages for each chunk would cost a quarter of the speed.
#[derive(Default)]
struct Scratch {
    planes: Buffers,
    there: Vec<u8>,
    prefix: Vec<u8>,
}

/// What a codec is called, by its code.
pub(crate) const fn encoding_name(codec: u8) -> &'static str {
    match Codec::from_code(codec) {
        Some(Codec::Raw) => "raw",
        Some(Codec::Zstd) => "zstd",
        Some(Codec::Planes) => "planes",
        Some(Codec::Steps) => "steps",
        Some(Codec::Sparse) => "sparse",
        Some(Codec::Derived) => "derived",
        None => "unknown",
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Encodes opaque bytes by themselves, if that makes them shorter.
pub(crate) fn encode_alone(raw: &[u8]) -> Option<(Codec, Vec<u8>)> {
    let mut coder = ZstdCoder::default();
    let frame = coder.encode(raw, None, zstd_codec::LEVEL)?;
    Some((Codec::Zstd, frame.to_vec()))
}

/// Decodes stored bytes into exactly `raw_len` raw ones. The chunk id has yet to vouch for them.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes do not decode to that length.
pub(crate) fn decode(codec: u8, stored: &[u8], bases: &[&[u8]], raw_len: usize) -> Result<Vec<u8>> {
    if codec == Codec::Derived.code() {
        let mut raw = vec![0; raw_len];
        decode_copy(stored, bases, &mut raw)?;
        return Ok(raw);
    }
    let base = match bases {
        [] => None,
        [base] => Some(*base),
        _ => return Err(Error::corrupt("a chunk", "its codec has one base at most")),
    };
    let mut raw = base.map_or_else(Vec::new, <[u8]>::to_vec);
    raw.resize(raw.len().max(raw_len), 0);
    decode_onto(codec, stored, base.map(<[u8]>::len), raw_len, &mut raw)?;
    raw.truncate(raw_len);
    Ok(raw)
}

/// Decodes stored bytes into the first `raw_len` of `buffer`, in the place of the base's, which are
/// its first `base_len` if there is one: a chain takes one buffer, whatever its length. What else
/// was there is overwritten, or of no use any more. The chunk id has yet to vouch for the bytes.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes do not decode to that length.
pub(crate) fn decode_onto(
    codec: u8,
    stored: &[u8],
    base_len: Option<usize>,
    raw_len: usize,
    buffer: &mut [u8],
) -> Result<()> {
    let codec = known(codec)?;
    SCRATCH
        .with_borrow_mut(|scratch| onto(codec, stored, base_len, raw_len, buffer, scratch))
        .ok_or_else(|| malformed(codec))
}

fn onto(
    codec: Codec,
    stored: &[u8],
    base_len: Option<usize>,
    raw_len: usize,
    buffer: &mut [u8],
    scratch: &mut Scratch,
) -> Option<()> {
    let Scratch {
        planes,
        there,
        prefix,
    } = scratch;
    if codec == Codec::Zstd {
        prefix.clear();
        prefix.extend_from_slice(buffer.get(..base_len.unwrap_or(0))?);
        let base = base_len.map(|_| &**prefix);
        return zstd_codec::decode_into(stored, base, buffer.get_mut(..raw_len)?);
    }
    let raw = buffer.get_mut(..raw_len)?;
    match (codec, base_len) {
        (Codec::Raw, None) => (stored.len() == raw_len).then(|| raw.copy_from_slice(stored)),
        (Codec::Planes, None) => {
            let (code, stored) = stored.split_first()?;
            let words = Words::from_code(*code)?;
            dense::decode(words, stored, false, &Classes::ONE, planes, raw)
        }
        (Codec::Steps, Some(base_len)) => {
            let (code, stored) = stored.split_first()?;
            zeros_after(base_len, raw);
            let (words, bounds) = of_head(*code);
            let words = Words::from_code(words)?;
            let (bounds, stored) = stored.split_at_checked(usize::from(bounds))?;
            let classes = Classes::with(bounds)?;
            if classes != Classes::ONE && !words.has_exponents() {
                return None;
            }
            dense::decode(words, stored, true, &classes, planes, raw)
        }
        (Codec::Sparse, _) => {
            zeros_after(base_len.unwrap_or(0), raw);
            sparse::decode(stored, planes, there, raw)
        }
        _ => None,
    }
}

/// A base is cut, or filled with zeros, to the length of what is taken from it.
fn zeros_after(base_len: usize, raw: &mut [u8]) {
    if let Some(rest) = raw.get_mut(base_len..) {
        rest.fill(0);
    }
}

/// Decodes what is a rounded copy of these bytes, into all of `raw`.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes do not decode to that length.
pub(crate) fn decode_copy(stored: &[u8], masters: &[&[u8]], raw: &mut [u8]) -> Result<()> {
    derived::decode(stored, masters, raw).ok_or_else(|| malformed(Codec::Derived))
}

fn known(codec: u8) -> Result<Codec> {
    Codec::from_code(codec).ok_or_else(|| Error::corrupt("a chunk", "its codec is not known"))
}

fn malformed(codec: Codec) -> Error {
    let why = match codec {
        Codec::Raw => "its stored length is not its raw length",
        _ => "it does not decode to its length",
    };
    Error::corrupt("a chunk", why)
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
mod golden;
#[cfg(test)]
mod tests;
