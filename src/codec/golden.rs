//! Golden vectors: what each codec writes, to the byte, and what decodes from it for ever. A file
//! that was written once must load: where a test here fails, the format has changed.
//!
//! `golden.txt` has a line for each: its name, the codec's code, the hash of the raw bytes, and the
//! encoded bytes in hexadecimal. `CKPTDB_GOLDEN=write` writes it anew, for codecs that are added.

use std::fmt::Write as _;

use super::*;
use crate::format::as_always;
use crate::tensor::DType;

const GOLDEN: &str = include_str!("golden.txt");

/// What is encoded, and what against.
struct Case {
    name: String,
    raw: Vec<u8>,
    texture: Texture,
    bases: Vec<Vec<u8>>,
}

/// Numbers without a pattern, the same everywhere.
fn random(seed: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; 8 * count];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect()
}

/// Elements of a type, in the bits that matter: a few exponents, and low bits that `step` moves.
fn words(dtype: DType, step: u64, count: usize) -> Vec<u8> {
    let width = usize::try_from(dtype.bits() / 8).unwrap();
    let bits = 8 * width as u64;
    let (fraction, exponent) = match dtype {
        DType::F64 => (52, 1020),
        DType::F32 => (23, 120),
        DType::F16 => (10, 12),
        DType::Bf16 => (7, 120),
        DType::F8E4M3 => (3, 5),
        _ => (bits / 2, 1),
    };
    let word = |(at, noise): (usize, u64)| {
        let value = (exponent + noise % 3) << fraction | (noise >> 8) & ((1 << fraction) - 1);
        let moved = value + step * (at as u64 % 5);
        (moved | (noise >> 7 & 1) << (bits - 1)).to_le_bytes()[..width].to_vec()
    };
    random(bits, count)
        .into_iter()
        .enumerate()
        .flat_map(word)
        .collect()
}

fn cases() -> Vec<Case> {
    [of_types(), of_shapes(), of_skew()]
        .into_iter()
        .flatten()
        .collect()
}

fn case(name: impl Into<String>, texture: Texture, raw: Vec<u8>, bases: Vec<Vec<u8>>) -> Case {
    Case {
        name: name.into(),
        raw,
        texture,
        bases,
    }
}

/// Words of every kind, alone and as steps.
fn of_types() -> Vec<Case> {
    let types = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::Bf16,
        DType::F8E4M3,
        DType::I64,
        DType::I32,
        DType::I16,
    ];
    let both = |dtype: DType| {
        let texture = Texture::of(dtype);
        let (old, new) = (words(dtype, 0, 700), words(dtype, 1, 700));
        let (planes, steps) = (
            format!("planes-{}", dtype.name()),
            format!("steps-{}", dtype.name()),
        );
        [
            case(planes, texture, old.clone(), Vec::new()),
            case(steps, texture, new, vec![old]),
        ]
    };
    types.into_iter().flat_map(both).collect()
}

/// Steps that are sorted, and planes that are marked: of words enough for their headers.
fn of_skew() -> Vec<Case> {
    let sorted = |dtype: DType, fraction: u64, longest: u64| {
        let width = usize::try_from(dtype.bits()).unwrap() / 8;
        // Of eleven bits, the middle is that of eight.
        let first = if dtype == DType::F64 { 1_008 } else { 112 };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for noise in random(11, 9_000) {
            // The higher the exponent is, the shorter a step is in the last places.
            let higher = noise % 4;
            let value = (first + higher) << fraction | (noise >> 8 & 7) << (fraction - 3);
            let step = (noise >> 16) % (1 << (longest - longest / 4 * higher));
            old.extend_from_slice(&value.to_le_bytes()[..width]);
            new.extend_from_slice(&(value + step).to_le_bytes()[..width]);
        }
        let name = format!("steps-sorted-{}", dtype.name());
        case(name, Texture::of(dtype), new, vec![old])
    };
    let skewed = random(12, 6_000)
        .into_iter()
        .map(|noise| match noise.to_le_bytes() {
            [rare, other, ..] if rare < 20 => other % 8,
            _ => 3,
        });
    let skewed = case(
        "planes-marked",
        Texture::of(DType::U8),
        skewed.collect(),
        Vec::new(),
    );
    vec![
        sorted(DType::F32, 23, 16),
        sorted(DType::Bf16, 7, 8),
        skewed,
        sorted(DType::F64, 52, 20),
    ]
}

/// What differs in places, in length, or is no number at all.
fn of_shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, texture, raw, bases| cases.push(case(name, texture, raw, bases));
    let floats = Texture::of(DType::F32);
    let (old, new) = (words(DType::F32, 0, 2_000), words(DType::F32, 9, 2_000));
    let mut touched = old.clone();
    touched[1_000..1_500].copy_from_slice(&new[1_000..1_500]);
    add("sparse", floats, touched.clone(), vec![old.clone()]);
    let mut mostly_zero = vec![0; 8_000];
    mostly_zero[300..700].copy_from_slice(&old[..400]);
    add("sparse-zeros", floats, mostly_zero, Vec::new());
    // A base of another length is cut, or filled up with zeros; an end is no whole word.
    add(
        "steps-short-base",
        floats,
        new[..6_003].to_vec(),
        vec![old[..5_000].to_vec()],
    );
    add(
        "steps-long-base",
        floats,
        new[..6_001].to_vec(),
        vec![old.clone()],
    );
    let text = |to: usize| -> Vec<u8> {
        let line = |at: usize| format!("{{\"step\": {at}, \"thought\": \"go on, {}\"}}\n", at * at);
        (0..to).flat_map(|at| line(at).into_bytes()).collect()
    };
    add("zstd", Texture::General, text(60), Vec::new());
    add("zstd-prefix", Texture::General, text(61), vec![text(60)]);
    let master = words(DType::F32, 0, 600);
    for (narrow_to, dtype) in [(Narrow::Bf16, DType::Bf16), (Narrow::F16, DType::F16)] {
        let copy = rounded(narrow_to, &master);
        let halves = master.split_at(1_200);
        let bases = vec![halves.0.to_vec(), halves.1.to_vec()];
        add(
            &format!("derived-{}", dtype.name()),
            Texture::of(dtype),
            copy,
            bases,
        );
    }
    cases
}

/// Rounded by the decoder, whose own tests compare it with arithmetic.
fn rounded(narrow: Narrow, master: &[u8]) -> Vec<u8> {
    let mut raw = vec![0; master.len() / 2];
    decode_copy(&[narrow as u8], &[master], &mut raw).unwrap();
    raw
}

/// The codec's code, and the encoded bytes without the bases' ids.
fn encode(case: &Case) -> (u8, Vec<u8>) {
    let mut encoder = Encoder::new(Compression::Default);
    let narrow = match &case.name[..] {
        "derived-BF16" => Some(Narrow::Bf16),
        "derived-F16" => Some(Narrow::F16),
        _ => None,
    };
    let bases: Vec<&[u8]> = case.bases.iter().map(Vec::as_slice).collect();
    let encoded = match narrow {
        Some(narrow) => Encoder::derive(
            narrow,
            &case.raw,
            &bases,
            &[crate::id::ChunkId::new([1; 32]); 2],
        ),
        None => {
            let base = bases.first().map(|raw| Against {
                id: &[1; 32],
                raw,
                allows_steps: true,
            });
            encoder.encode(case.texture, &case.raw, base)
        }
    };
    let encoded = encoded.unwrap_or_else(|| panic!("{} is not worth it", case.name));
    let ids = if encoded.with_base {
        32 * bases.len()
    } else {
        0
    };
    assert_eq!(encoded.with_base, !bases.is_empty(), "{}", case.name);
    (encoded.codec.code(), encoded.bytes[ids..].to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn line(case: &Case) -> String {
    let (codec, bytes) = encode(case);
    let hash = blake3::hash(&case.raw);
    format!("{} {codec} {hash} {}\n", case.name, hex(&bytes))
}

#[test]
fn every_codec_writes_what_it_always_wrote() {
    let lines: String = cases().iter().map(line).collect();
    as_always(&lines, GOLDEN, "src/codec/golden.txt");
}

#[test]
fn what_was_written_once_decodes_for_ever() {
    let cases = cases();
    let mut codecs = std::collections::BTreeSet::new();
    for (line, case) in GOLDEN.lines().zip(&cases) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, codec, hash, stored] = fields[..] else {
            panic!("{line}");
        };
        assert_eq!(name, case.name);
        let bases: Vec<&[u8]> = case.bases.iter().map(Vec::as_slice).collect();
        let codec = codec.parse().unwrap();
        codecs.insert(codec);
        let raw = decode(codec, &unhex(stored), &bases, case.raw.len()).unwrap();
        assert_eq!(blake3::hash(&raw).to_string(), hash, "{name}");
    }
    assert_eq!(GOLDEN.lines().count(), cases.len());
    assert_eq!(
        codecs,
        (1..=5).collect(),
        "every codec but raw has a vector"
    );
}
