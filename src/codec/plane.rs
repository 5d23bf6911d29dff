//! Planes of bytes: each coded by what suits it.
//!
//! A plane of exponents has few symbols and no repetitions: a Huffman code alone, a zstd frame of
//! literals only, is smaller than what zstd finds at its fast levels, at several times the speed.
//! One symbol that is most of a plane is another matter, on which a Huffman code spends a bit:
//! marks spend what it is worth, and zstd's matches even less where something repeats itself.

use super::entropy::{BIT, Counts, MOST, entropy, is_noise};
use super::marks::{SLACK, bytes_of, mark, unmark};
use std::io::Cursor;
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
    /// The byte that most are; a plane of bits, set where others are; a plane of those.
    Marked = 3,
}

/// What stands before each plane: its coder, and how many bytes it takes.
const HEADER_BYTES: usize = 4;
/// One symbol that is more than so many hundredths of a plane is worth marks, or matches.
const SKEW: u32 = 55;
/// A plane of fewer bytes is not worth two within it.
const MARKED_BYTES: usize = 4096;
/// Bytes of a plane that are tried with matches, in runs.
const TRIED_BYTES: usize = 16_384;
const TRIED_RUNS: usize = 4;
/// A trial that takes fewer bytes tells little.
const NEARLY_CONSTANT: u64 = 100;
/// Matches that take less than so many hundredths of the entropy have found what repeats itself.
const REPEATS: u64 = 90;
/// A negative level so low that zstd looks for no match within a block: what is left is Huffman.
const NO_MATCHES: i32 = -131_072;

/// The compressors, kept from plane to plane.
pub(super) struct Coders {
    level: i32,
    /// None where there is no memory for it: then planes stay as they are.
    huffman: Option<Compressor<'static>>,
    matches: Option<Compressor<'static>>,
    frame: Vec<u8>,
    marks: Vec<u8>,
    others: Vec<u8>,
}

impl Coders {
    /// Coders whose matches take this much effort, in zstd's levels.
    pub(super) const fn new(level: i32) -> Self {
        Self {
            level,
            huffman: None,
            matches: None,
            frame: Vec::new(),
            marks: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Appends a plane of at most 2^24 bytes.
    pub(super) fn put(&mut self, plane: &[u8], out: &mut Vec<u8>) {
        with_header(out, |out| self.put_body(plane, true, out));
    }

    fn put_body(&mut self, plane: &[u8], may_mark: bool, out: &mut Vec<u8>) -> Coder {
        let Some((first, rest)) = plane.split_first() else {
            return Coder::Raw;
        };
        if rest == &plane[..rest.len()] {
            out.push(*first);
            return Coder::Constant;
        }
        let counts = counted(plane);
        let total: u32 = counts.iter().sum();
        let bits = entropy(&counts);
        if !is_noise(bits, u64::from(total)) {
            let symbols = (0..=u8::MAX).zip(counts);
            let (most, common) = symbols
                .map(|(byte, count)| (count, byte))
                .max()
                .unwrap_or_default();
            let is_skewed = most * 100 > SKEW * total;
            if is_skewed && may_mark && plane.len() >= MARKED_BYTES && !self.repeats(plane) {
                let from = out.len();
                self.put_marked(plane, common, out);
                if out.len() - from < plane.len() {
                    return Coder::Marked;
                }
                out.truncate(from);
            }
            let level = self.level;
            let coder = if is_skewed {
                made(&mut self.matches, || Compressor::new(level))
            } else {
                made(&mut self.huffman, huffman)
            };
            let from = out.len();
            if coded(coder, plane, out).is_some_and(|bytes| bytes < plane.len()) {
                return Coder::Zstd;
            }
            out.truncate(from);
        }
        out.extend_from_slice(plane);
        Coder::Raw
    }

    /// Whether there is more in a plane than how often each byte occurs: images, masks, padding.
    fn repeats(&mut self, plane: &[u8]) -> bool {
        let mut tried = std::mem::take(&mut self.others);
        tried.clear();
        let run_bytes = plane.len().min(TRIED_BYTES) / TRIED_RUNS;
        let step = (plane.len() - run_bytes) / (TRIED_RUNS - 1);
        for from in (0..TRIED_RUNS).map(|run| run * step) {
            tried.extend_from_slice(&plane[from..from + run_bytes]);
        }
        let counts = counted(&tried);
        let total: u32 = counts.iter().sum();
        let expected = entropy(&counts) * tried.len() as u64 / u64::from(total.max(1)) / (8 * BIT);
        let level = self.level;
        let matches = made(&mut self.matches, || Compressor::new(level));
        self.frame.clear();
        let taken = coded(matches, &tried, &mut self.frame);
        self.others = tried;
        // Of what is nearly constant, little can be told, and matches take next to nothing.
        let bound = (expected * REPEATS / 100).max(NEARLY_CONSTANT);
        taken.is_some_and(|bytes| (bytes as u64) < bound)
    }

    fn put_marked(&mut self, plane: &[u8], common: u8, out: &mut Vec<u8>) {
        let mut marks = std::mem::take(&mut self.marks);
        let mut others = std::mem::take(&mut self.others);
        mark(plane, common, &mut marks, &mut others);
        out.push(common);
        for part in [&marks, &others] {
            with_header(out, |out| self.put_body(part, false, out));
        }
        (self.marks, self.others) = (marks, others);
    }
}

/// Appends what stands before a plane, and what is put there.
fn with_header(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> Coder) {
    let header = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let coder = put(out);
    let bytes = out.len() - header - HEADER_BYTES;
    let [a, b, c, ..] = (bytes as u64).to_le_bytes();
    out[header..header + HEADER_BYTES].copy_from_slice(&[coder as u8, a, b, c]);
}

/// Bytes that there must be room for when the planes of so many are put, with what is before them.
pub(super) const fn most_bytes(planes: usize) -> usize {
    /// Heads, headers, and what zstd asks for of small ones.
    const MORE: usize = 1024;
    planes + planes / 256 + MORE
}

/// Appends bytes compressed; and how many that are, where it could be done.
fn coded(
    coder: Option<&mut Compressor<'static>>,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Option<usize> {
    let from = out.len() as u64;
    out.reserve_exact(zstd_safe::compress_bound(bytes.len()));
    let mut end = Cursor::new(out);
    end.set_position(from);
    coder?.compress_to_buffer(bytes, &mut end).ok()
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
    if plane.len() <= MOST {
        return Counts::of(plane);
    }
    let mut counts = Counts::NONE;
    let step = (plane.len() - RUN) / (MOST / RUN - 1);
    for run in 0..MOST / RUN {
        counts.add(&plane[run * step..run * step + RUN]);
    }
    counts.all()
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
pub(super) fn borrow<'a>(
    stored: &mut &'a [u8],
    scratch: &'a mut [u8],
    spare: &mut Vec<u8>,
) -> Option<Plane<'a>> {
    match next(stored)? {
        (Coder::Raw, body) if body.len() == scratch.len() => return Some(Plane::Bytes(body)),
        (Coder::Constant, [byte]) if !scratch.is_empty() => return Some(Plane::All(*byte)),
        (Coder::Marked, body) => take_marked(body, scratch, spare)?,
        (coder, body) => fill(coder, body, scratch)?,
    }
    Some(Plane::Bytes(scratch))
}

/// The coder of the next plane, and its bytes.
fn next<'a>(stored: &mut &'a [u8]) -> Option<(Coder, &'a [u8])> {
    let ([coder, a, b, c], rest) = stored.split_first_chunk::<HEADER_BYTES>()?;
    let coders = [Coder::Raw, Coder::Constant, Coder::Zstd, Coder::Marked];
    let coder = *coders.get(usize::from(*coder))?;
    let bytes = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    let (body, rest) = rest.split_at_checked(bytes)?;
    *stored = rest;
    Some((coder, body))
}

fn take_marked(body: &[u8], plane: &mut [u8], spare: &mut Vec<u8>) -> Option<()> {
    let (common, mut body) = body.split_first()?;
    let marks = bytes_of(plane.len());
    let (marks, others) = room(spare, marks + plane.len() + SLACK).split_at_mut(marks);
    fill_next(&mut body, marks)?;
    let end = plane.len() % 8;
    if end > 0 && marks.last().is_some_and(|last| last >> end != 0) {
        return None;
    }
    let many = marks.iter().map(|marks| marks.count_ones() as usize).sum();
    fill_next(&mut body, others.get_mut(..many)?)?;
    unmark(marks, others, *common, plane)?;
    body.is_empty().then_some(())
}

/// Takes the next plane, of so many bytes.
pub(super) fn take(stored: &mut &[u8], bytes: usize, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut plane = vec![0; bytes];
    match next(stored)? {
        (Coder::Marked, body) => take_marked(body, &mut plane, spare)?,
        (coder, body) => fill(coder, body, &mut plane)?,
    }
    Some(plane)
}

/// Takes the next plane, which is not marked, into all of `to`.
fn fill_next(stored: &mut &[u8], to: &mut [u8]) -> Option<()> {
    let (coder, body) = next(stored)?;
    fill(coder, body, to)
}

/// Decodes a plane, which is not marked, into all of `to`.
fn fill(coder: Coder, body: &[u8], to: &mut [u8]) -> Option<()> {
    match (coder, body) {
        (Coder::Raw, _) if body.len() == to.len() => to.copy_from_slice(body),
        (Coder::Constant, [byte]) if !to.is_empty() => to.fill(*byte),
        (Coder::Zstd, _) => super::zstd_codec::decode_into(body, None, to)?,
        _ => return None,
    }
    Some(())
}

/// Room for so many bytes.
pub(super) fn room(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    &mut buffer[..bytes]
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

    /// The plane of so many bytes that all of `stored` stands for.
    fn taken(stored: &[u8], bytes: usize) -> Option<Vec<u8>> {
        let mut rest = stored;
        let plane = take(&mut rest, bytes, &mut vec![1; 9])?;
        rest.is_empty().then_some(plane)
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
            prop_assert_eq!(taken(&stored, plane.len()), Some(plane));
        }

        #[test]
        fn no_bytes_are_taken_for_a_plane_of_another_length(
            coder in 0..6_u8,
            body in proptest::collection::vec(any::<u8>(), 0..40),
            bytes in 0..40_usize,
        ) {
            let mut stored = vec![coder, body.len().to_le_bytes()[0], 0, 0];
            stored.extend_from_slice(&body);
            let taken = taken(&stored, bytes);
            prop_assert!(taken.as_ref().is_none_or(|taken| taken.len() == bytes));
            if coder == 0 {
                prop_assert_eq!(taken, (body.len() == bytes).then_some(body));
            }
        }
    }

    #[test]
    fn marks_are_of_this_plane_and_of_nothing_else() {
        let plane = |coder: Coder, body: &[u8]| {
            let mut out = Vec::new();
            with_header(&mut out, |out| {
                out.extend_from_slice(body);
                coder
            });
            out
        };
        let marked = |marks: &[u8], others: &[u8]| {
            let (marks, others) = (plane(Coder::Raw, marks), plane(Coder::Raw, others));
            plane(Coder::Marked, &[&[7], &*marks, &others].concat())
        };
        let good = marked(&[0b1000_0001, 0b100], &[1, 2, 3]);
        assert_eq!(
            taken(&good, 12),
            Some(vec![1, 7, 7, 7, 7, 7, 7, 2, 7, 7, 3, 7])
        );
        // Marks after the end, others that are too few or too many, marks for another length.
        assert_eq!(taken(&marked(&[0b1000_0001, 0b100], &[1, 2, 3]), 10), None);
        assert_eq!(taken(&marked(&[0b1000_0001, 0b100], &[1, 2]), 12), None);
        assert_eq!(
            taken(&marked(&[0b1000_0001, 0b100], &[1, 2, 3, 4]), 12),
            None
        );
        assert_eq!(taken(&good, 20), None);
        assert_eq!(taken(&plane(Coder::Marked, &[]), 12), None);
        // Something after them; marks of marks.
        let longer = [&good[HEADER_BYTES..], &[0]].concat();
        assert_eq!(taken(&plane(Coder::Marked, &longer), 12), None);
        let nested = [&[7], &*marked(&[3], &[1, 2]), &plane(Coder::Raw, &[1, 2])].concat();
        assert_eq!(taken(&plane(Coder::Marked, &nested), 12), None);
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
        // One symbol most of the time, without a pattern: marks, at the entropy of 0.47 bits.
        let common = |byte: &u8| if *byte < 231 { 9 } else { *byte };
        let random: Vec<u8> = noise.iter().map(common).collect();
        let coded = stored(&random);
        assert_eq!(coded[0], Coder::Marked as u8);
        let bound = random.len() * 14 / 100;
        assert!(coded.len() < bound, "{} of {}", coded.len(), random.len());
        // The same where rows come again: matches.
        let again: Vec<u8> = random[..2000].repeat(130);
        let coded = stored(&again);
        assert_eq!(coded[0], Coder::Zstd as u8);
        assert!(coded.len() < again.len() / 50, "{}", coded.len());
        // What repeats itself is found beside much that is constant.
        let mut padded = again.clone();
        padded[60_000..160_000].fill(9);
        assert_eq!(stored(&padded)[0], Coder::Zstd as u8);
        // Where the common symbol was not what the sample said, it is as it is at the worst.
        let mut misleading = noise.clone();
        let step = (misleading.len() - 64) / (MOST / 64 - 1);
        for run in 0..MOST / 64 {
            misleading[run * step..run * step + 64].fill(9);
        }
        assert!(stored(&misleading).len() <= misleading.len() + HEADER_BYTES);
        // One symbol in long runs: a Huffman code alone could not get under an eighth.
        let rare: Vec<u8> = (0..1 << 18).map(|at| u8::from(at % 5000 == 0)).collect();
        assert!(stored(&rare).len() < rare.len() / 100);
    }
}
