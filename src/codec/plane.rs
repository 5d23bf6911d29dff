//! Planes of bytes: each coded by what suits it.
//!
//! A plane of exponents has few symbols and no repetitions: a Huffman code alone, a zstd frame of
//! literals only, is smaller than what zstd finds at its fast levels, at several times the speed.
//! One symbol that is most of a plane is another matter: a Huffman code spends a bit on it, and
//! zstd's matches next to nothing.

use super::entropy::{BIT, MOST, count, entropy};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{self, CParameter, ParamSwitch};

/// How a plane's bytes are stored. The codes are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Coder {
    /// As they are.
    Raw = 0,
    /// One byte, which all are.
    Constant = 1,
    /// A zstd frame that says its length.
    Zstd = 2,
}

/// What stands before each plane: its coder, and how many bytes it takes.
const HEADER_BYTES: usize = 4;
/// A plane with more entropy than this, in tenths of a bit a byte, stays as it is.
const NOISE: u64 = 78;
/// One symbol that is more than so many hundredths of a plane is worth matches.
const SKEW: u32 = 55;
/// A negative level so low that zstd looks for no match within a block: what is left is Huffman.
const NO_MATCHES: i32 = -131_072;

/// The compressors, kept from plane to plane.
pub(super) struct Coders {
    level: i32,
    /// None where there is no memory for it: then planes stay as they are.
    huffman: Option<Compressor<'static>>,
    matches: Option<Compressor<'static>>,
    frame: Vec<u8>,
}

impl Coders {
    /// Coders whose matches take this much effort, in zstd's levels.
    pub(super) const fn new(level: i32) -> Self {
        Self {
            level,
            huffman: None,
            matches: None,
            frame: Vec::new(),
        }
    }

    /// Appends a plane of at most 2^24 bytes.
    pub(super) fn put(&mut self, plane: &[u8], out: &mut Vec<u8>) {
        let header = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        let coder = self.put_body(plane, out);
        let bytes = out.len() - header - HEADER_BYTES;
        let [a, b, c, ..] = (bytes as u64).to_le_bytes();
        out[header..header + HEADER_BYTES].copy_from_slice(&[coder as u8, a, b, c]);
    }

    fn put_body(&mut self, plane: &[u8], out: &mut Vec<u8>) -> Coder {
        let Some((first, rest)) = plane.split_first() else {
            return Coder::Raw;
        };
        if rest == &plane[..rest.len()] {
            out.push(*first);
            return Coder::Constant;
        }
        let counts = counted(plane);
        let total: u32 = counts.iter().sum();
        if entropy(&counts) * 10 < NOISE * BIT * u64::from(total) {
            let most = counts.iter().max().copied().unwrap_or(0);
            let coder = if most * 100 > SKEW * total {
                let level = self.level;
                made(&mut self.matches, || Compressor::new(level))
            } else {
                made(&mut self.huffman, huffman)
            };
            self.frame.clear();
            self.frame.reserve(zstd_safe::compress_bound(plane.len()));
            let frame = &mut self.frame;
            let is_coded =
                coder.is_some_and(|coder| coder.compress_to_buffer(plane, frame).is_ok());
            if is_coded && self.frame.len() < plane.len() {
                out.extend_from_slice(&self.frame);
                return Coder::Zstd;
            }
        }
        out.extend_from_slice(plane);
        Coder::Raw
    }
}

/// A compressor, made when it is first asked for.
fn made<'a>(
    coder: &'a mut Option<Compressor<'static>>,
    make: impl FnOnce() -> std::io::Result<Compressor<'static>>,
) -> Option<&'a mut Compressor<'static>> {
    if coder.is_none() {
        *coder = make().ok();
    }
    coder.as_mut()
}

/// A compressor that writes literals only.
fn huffman() -> std::io::Result<Compressor<'static>> {
    let mut coder = Compressor::new(NO_MATCHES)?;
    coder.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
    Ok(coder)
}

/// How often each symbol is in a sample, spread over the plane.
fn counted(plane: &[u8]) -> [u32; 256] {
    const RUN: usize = 64;
    let mut counts = [0; 256];
    if plane.len() <= MOST {
        count(plane, &mut counts);
    } else {
        let step = (plane.len() - RUN) / (MOST / RUN - 1);
        for run in 0..MOST / RUN {
            count(&plane[run * step..run * step + RUN], &mut counts);
        }
    }
    counts
}

/// A plane's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plane<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// This one, again and again.
    All(u8),
}

/// Takes the next plane from `stored`, of exactly as many bytes as `scratch` has. Those that stand
/// there as they are are not copied, others are decoded into `scratch`, and no more than that is
/// ever written. Nothing but what was put there decodes.
pub(super) fn borrow<'a>(stored: &mut &'a [u8], scratch: &'a mut [u8]) -> Option<Plane<'a>> {
    let ([coder, a, b, c], rest) = stored.split_first_chunk::<HEADER_BYTES>()?;
    let bytes = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    let (body, rest) = rest.split_at_checked(bytes)?;
    *stored = rest;
    match *coder {
        code if code == Coder::Raw as u8 => {
            (body.len() == scratch.len()).then_some(Plane::Bytes(body))
        }
        code if code == Coder::Constant as u8 => match body {
            [byte] if !scratch.is_empty() => Some(Plane::All(*byte)),
            _ => None,
        },
        code if code == Coder::Zstd as u8 => {
            super::zstd_codec::decode_into(body, None, scratch)?;
            Some(Plane::Bytes(scratch))
        }
        _ => None,
    }
}

/// [`borrow`], copied.
pub(super) fn take(stored: &mut &[u8], scratch: &mut [u8]) -> Option<Vec<u8>> {
    let bytes = scratch.len();
    let mut left = *stored;
    let plane = match borrow(&mut left, scratch)? {
        Plane::Bytes(plane) => plane.to_vec(),
        Plane::All(byte) => vec![byte; bytes],
    };
    *stored = stored.get(stored.len() - left.len()..)?;
    Some(plane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(plane: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Coders::new(1).put(plane, &mut out);
        out
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    proptest! {
        #[test]
        fn a_plane_of_any_skew_and_length_comes_back(
            bytes in 0..9_000_usize,
            symbols in 1..=256_u16,
            common in 0..=255_u8,
        ) {
            let plane: Vec<u8> = noise(2 * bytes)
                .chunks(2)
                .map(|pair| {
                    let symbol = u16::from(pair[1]) % symbols;
                    if pair[0] < common { 7 } else { symbol.to_le_bytes()[0] }
                })
                .collect();
            let stored = stored(&plane);
            prop_assert!(stored.len() <= plane.len() + HEADER_BYTES);
            let mut rest = &*stored;
            prop_assert_eq!(take(&mut rest, &mut vec![1; plane.len()]), Some(plane));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_are_taken_for_a_plane_of_another_length(
            coder in 0..4_u8,
            body in proptest::collection::vec(any::<u8>(), 0..40),
            bytes in 0..40_usize,
        ) {
            let mut stored = vec![coder, body.len().to_le_bytes()[0], 0, 0];
            stored.extend_from_slice(&body);
            let mut rest = &*stored;
            let taken = take(&mut rest, &mut vec![0; bytes]);
            prop_assert!(taken.as_ref().is_none_or(|taken| taken.len() == bytes));
            if coder == 0 {
                prop_assert_eq!(taken, (body.len() == bytes).then_some(body));
            }
        }
    }

    #[test]
    fn each_coder_is_chosen_for_what_it_is_good_at() {
        let noise = noise(1 << 18);
        assert_eq!(stored(&noise).len(), noise.len() + HEADER_BYTES);
        assert_eq!(stored(&vec![9; 1 << 18]).len(), HEADER_BYTES + 1);
        // Sixteen symbols without a pattern: half the bits.
        let nibbles: Vec<u8> = noise.iter().map(|byte| byte % 16).collect();
        let coded = stored(&nibbles).len();
        assert!(coded < nibbles.len() * 51 / 100, "{coded}");
        // One symbol in long runs: a Huffman code alone could not get under an eighth.
        let rare: Vec<u8> = (0..1 << 18).map(|at| u8::from(at % 5000 == 0)).collect();
        assert!(stored(&rare).len() < rare.len() / 100);
    }
}
