//! What is encoded comes back bit for bit, and nothing else decodes to something longer.

use proptest::prelude::*;

use super::*;
use crate::tensor::DType;

const ID: [u8; 32] = [7; 32];

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut noise);
    noise
}

/// Encoded and decoded again; the codec, and what it takes.
fn there_and_back(
    texture: Texture,
    raw: &[u8],
    base: Option<&[u8]>,
    effort: Compression,
) -> (Codec, usize) {
    let mut encoder = Encoder::new(effort);
    let against = base.map(|raw| Against {
        id: &ID,
        raw,
        allows_steps: true,
    });
    let Some(encoded) = encoder.encode(texture, raw, against) else {
        return (Codec::Raw, raw.len());
    };
    assert!(encoded.bytes.len() < raw.len());
    let again = encoder.encode(texture, raw, against);
    assert_eq!(again.as_ref(), Some(&encoded), "the same again");
    let (bases, bytes) = match (base, encoded.with_base) {
        (Some(base), true) => {
            assert_eq!(encoded.bytes[..32], ID);
            (vec![base], &encoded.bytes[32..])
        }
        _ => (Vec::new(), &encoded.bytes[..]),
    };
    let back = decode(encoded.codec.code(), bytes, &bases, raw.len()).unwrap();
    assert!(back == raw, "{:?} of {texture:?}", encoded.codec);
    if bytes.len() > 1 {
        let cut = decode(
            encoded.codec.code(),
            &bytes[..bytes.len() - 1],
            &bases,
            raw.len(),
        );
        assert!(
            cut.map_or(true, |cut| cut != raw),
            "cut short, it is the same"
        );
    }
    (encoded.codec, encoded.bytes.len())
}

/// Words with the bits that are easy to get wrong: zeros of both signs, denormals, infinities, NaN
/// with payloads, and values around them.
fn awkward(texture: Texture, seed: u64, count: usize) -> Vec<u8> {
    let Texture::Numeric(words) = texture else {
        return noise(seed, count);
    };
    let width = words.width();
    let mut bytes = noise(seed, count * width);
    for (at, word) in bytes.chunks_exact_mut(width).enumerate() {
        match at % 11 {
            0 => word.fill(0),
            1 => {
                word.fill(0);
                word[width - 1] = 0x80;
            }
            2 => {
                word.fill(0);
                word[0] = 1;
            }
            3 => {
                word.fill(0xff);
                word[width - 1] = 0x7f;
            }
            4 => word.fill(0xff),
            _ => {}
        }
    }
    bytes
}

proptest! {
    #[test]
    fn every_type_comes_back_alone_and_after_any_base(
        dtype in 0..DType::ALL.len(),
        count in 0..3_000_usize,
        extra in 0..9_usize,
        base_bytes in 0..26_000_usize,
        changed in 0..100_u64,
        seed in any::<u64>(),
        effort in 0..4_usize,
    ) {
        use Compression::{Default, Fast, Max, None as Plain};
        let effort = [Plain, Fast, Default, Max][effort];
        let texture = Texture::of(DType::ALL[dtype]);
        let mut raw = awkward(texture, seed, count);
        raw.extend(noise(seed ^ 1, extra));
        there_and_back(texture, &raw, None, effort);
        there_and_back(texture, &raw, Some(&noise(seed ^ 2, base_bytes)), effort);
        // A neighbour: little of it is other.
        let mut near = raw.clone();
        for (at, byte) in near.iter_mut().enumerate() {
            if (at as u64 / 64).wrapping_mul(0x9e37_79b9).wrapping_add(seed) % 100 < changed {
                *byte = byte.wrapping_add(1);
            }
        }
        there_and_back(texture, &raw, Some(&near), effort);
        near.truncate(base_bytes);
        there_and_back(texture, &raw, Some(&near), effort);
    }

    #[test]
    fn arbitrary_bytes_decode_to_the_stated_length_or_not_at_all(
        codec in 0..7_u8,
        stored in proptest::collection::vec(any::<u8>(), 0..300),
        base in proptest::collection::vec(any::<u8>(), 0..300),
        bases in 0..3_usize,
        raw_len in 0..1_000_usize,
    ) {
        let bases = vec![&*base; bases];
        if let Ok(raw) = decode(codec, &stored, &bases, raw_len) {
            prop_assert_eq!(raw.len(), raw_len);
        }
    }
}

/// Values that drift, as weights do under an optimizer.
fn drift(seed: u64, count: usize, step: f32) -> Vec<f32> {
    let noise = noise(seed, 4 * count);
    let unit = |bytes: &[u8]| f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32768.0;
    noise
        .chunks_exact(4)
        .map(|bytes| unit(bytes) * step)
        .collect()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn each_codec_is_chosen_for_what_it_is_good_at() {
    let floats = Texture::of(DType::F32);
    let old = drift(1, 100_000, 0.1);
    let new: Vec<f32> = old
        .iter()
        .zip(drift(2, 100_000, 1e-4))
        .map(|(a, b)| a + b)
        .collect();
    let mut touched = old.clone();
    for row in touched.chunks_mut(64).step_by(50) {
        for value in row {
            *value += 1e-4;
        }
    }
    let (old, new, touched) = (bytes_of(&old), bytes_of(&new), bytes_of(&touched));
    let stored = |texture, raw: &[u8], base: Option<&[u8]>| {
        let (codec, bytes) = there_and_back(texture, raw, base, Compression::Default);
        (codec, bytes * 1000 / raw.len())
    };
    let (codec, share) = stored(floats, &old, None);
    assert!(codec == Codec::Planes && share < 900, "{codec:?} {share}");
    let (codec, share) = stored(floats, &new, Some(&old));
    assert!(codec == Codec::Steps && share < 700, "{codec:?} {share}");
    let (codec, share) = stored(floats, &touched, Some(&old));
    assert!(codec == Codec::Sparse && share < 20, "{codec:?} {share}");
    let (codec, share) = stored(floats, &vec![0; 1 << 18], None);
    assert!(codec == Codec::Sparse && share < 1, "{codec:?} {share}");
    let noise = noise(3, 1 << 18);
    assert_eq!(stored(floats, &noise, Some(&old)), (Codec::Raw, 1000));
    assert_eq!(stored(Texture::General, &noise, None), (Codec::Raw, 1000));
    let text = br#"{"role": "user", "content": "go on"}, "#.repeat(500);
    let (codec, _) = stored(Texture::General, &text, None);
    assert_eq!(codec, Codec::Zstd);
    let log: Vec<u8> = noise.iter().map(|byte| byte % 64 + 32).collect();
    // zstd takes no match from a prefix that overlaps what it reads.
    let before = log[..1 << 17].to_vec();
    let (codec, share) = stored(Texture::General, &log, Some(&before));
    assert!(codec == Codec::Zstd && share < 500, "{codec:?} {share}");
}

/// Bytes of floats, and of the same moved by about as much each, whatever their size.
fn moved(dtype: DType, count: usize) -> (Vec<u8>, Vec<u8>) {
    // Sizes over some twelve powers of two.
    let sizes = drift(5, count, 6.0)
        .into_iter()
        .map(|size| size.exp2() / 64.0);
    let signs = drift(6, count, 1.0).into_iter().map(f32::signum);
    let old: Vec<f32> = sizes.zip(signs).map(|(size, sign)| size * sign).collect();
    let steps = drift(7, count, 1e-3);
    let new: Vec<f32> = old
        .iter()
        .zip(&steps)
        .map(|(old, step)| old + step)
        .collect();
    let bytes = |values: &[f32]| -> Vec<u8> {
        let bytes = values.iter().map(|value| match dtype {
            DType::F32 => value.to_le_bytes().to_vec(),
            DType::F64 => f64::from(*value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes()[2..].to_vec(),
        });
        bytes.flatten().collect()
    };
    (bytes(&old), bytes(&new))
}

fn after(raw: &[u8]) -> Against<'_> {
    Against {
        id: &ID,
        raw,
        allows_steps: true,
    }
}

#[test]
fn steps_are_sorted_where_the_base_tells_how_long_they_are() {
    let types = [(DType::F32, 3), (DType::Bf16, 6), (DType::F64, 1)];
    for (dtype, won) in types {
        let (old, new) = moved(dtype, 120_000);
        let texture = Texture::of(dtype);
        let head = |effort| {
            let encoded = Encoder::new(effort)
                .encode(texture, &new, Some(after(&old)))
                .unwrap();
            assert_eq!(
                texture_of(encoded.codec.code(), &encoded.bytes[32..]),
                texture
            );
            encoded.bytes[32]
        };
        assert_eq!(
            head(Compression::Default) >> WORDS_BITS,
            3,
            "{dtype:?}: four classes"
        );
        assert!(head(Compression::Max) >> WORDS_BITS > 3, "{dtype:?}");
        // By the same planes, unsorted.
        let Texture::Numeric(words) = texture else {
            panic!("{texture:?}");
        };
        let (mut coders, mut buffers) = (plane::Coders::new(1), Buffers::default());
        let mut plain = Vec::new();
        dense::put(
            words,
            &new,
            Some(&old),
            &Classes::ONE,
            &mut coders,
            &mut buffers,
            &mut plain,
        );
        let bound = plain.len() * (100 - won) / 100;
        for effort in [Compression::Default, Compression::Max] {
            for rest in [0, 3] {
                let new = &new[..new.len() - rest];
                let (codec, bytes) = there_and_back(texture, new, Some(&old), effort);
                assert_eq!(codec, Codec::Steps);
                assert!(bytes < bound, "{dtype:?}: {bytes} of {}", plain.len());
            }
        }
    }
}

#[test]
fn classes_are_of_floats_with_bounds_that_rise() {
    let (old, new) = moved(DType::F32, 20_000);
    let mut encoder = Encoder::new(Compression::Default);
    let encoded = encoder.encode(Texture::of(DType::F32), &new, Some(after(&old)));
    let encoded = encoded.unwrap();
    let stored = &encoded.bytes[32..];
    assert_eq!(stored[0], 3 << WORDS_BITS | 6);
    let decoded = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut stored = stored.to_vec();
        edit(&mut stored);
        decode(3, &stored, &[&old], new.len())
    };
    assert!(decoded(&|_| ()).unwrap() == new);
    assert!(decoded(&|stored| stored[2] = stored[1]).is_err());
    assert!(decoded(&|stored| stored.swap(1, 3)).is_err());
    let eight = |stored: &mut Vec<u8>| {
        stored[0] = 0x86;
        stored.splice(1..4, 110..118);
    };
    assert!(decoded(&eight).is_err(), "more bounds than there may be");
    assert!(decoded(&|stored| stored[0] = 0x32).is_err(), "integers");
    assert!(decoded(&|stored| stored[0] = 0x34).is_err(), "a byte each");
    assert!(decoded(&|stored| stored.truncate(3)).is_err());
    assert!(decoded(&|stored| stored.push(0)).is_err());
    // Other bounds are other classes, of other lengths, which the planes are not of.
    assert!(decoded(&|stored| stored[1] -= 1).is_err());
}

/// A save does not load what is said to be of no use; so that must change nothing.
#[test]
fn what_is_of_no_use_as_a_base_makes_no_difference() {
    let old = noise(1, 400_000);
    let mut few = old.clone();
    few[1000..1300].fill(9);
    let near: Vec<u8> = old.iter().map(|byte| byte.wrapping_add(1)).collect();
    let mut some = noise(2, 400_000);
    some[..60_000].copy_from_slice(&old[..60_000]);
    let floats = bytes_of(&drift(3, 100_000, 0.01));
    let cases = [
        (DType::U8, noise(2, 400_000), false),
        (DType::F32, noise(2, 400_000), false),
        (DType::I64, noise(2, 400_000), false),
        (DType::U8, old.clone(), true),
        (DType::U8, few, true),
        (DType::U8, near, true),
        (DType::F32, some, true),
        (DType::F32, floats, true),
        (DType::F32, noise(2, 300_000), true),
    ];
    for (number, (dtype, raw, is_of_use)) in cases.into_iter().enumerate() {
        let mut encoder = Encoder::new(Compression::Default);
        let found = encoder.may_use(Texture::of(dtype), &raw, &old);
        assert_eq!(found, is_of_use, "{number}");
        let alone = encoder.encode(Texture::of(dtype), &raw, None);
        let beside = encoder.encode(Texture::of(dtype), &raw, Some(after(&old)));
        assert!(found || alone == beside, "{number}");
    }
}

#[test]
fn without_effort_nothing_is_encoded_and_with_little_nothing_needs_another() {
    let raw = bytes_of(&drift(1, 10_000, 0.1));
    let floats = Texture::of(DType::F32);
    let (codec, _) = there_and_back(floats, &raw, Some(&raw), Compression::None);
    assert_eq!(codec, Codec::Raw);
    let (codec, _) = there_and_back(floats, &raw, Some(&raw), Compression::Fast);
    assert_eq!(codec, Codec::Planes);
}

#[test]
fn a_codec_takes_the_bases_that_it_needs_and_no_others() {
    let raw = vec![0; 4096];
    let planes = [&[6_u8][..], &[1, 1, 0, 0, 0].repeat(4)].concat();
    assert_eq!(decode(2, &planes, &[], 4096).unwrap(), raw);
    assert!(decode(2, &planes, &[&raw], 4096).is_err());
    assert_eq!(decode(3, &planes, &[&raw], 4096).unwrap(), raw);
    assert!(decode(3, &planes, &[], 4096).is_err());
    assert!(decode(3, &planes, &[&raw, &raw], 4096).is_err());
    assert!(decode(0, &raw, &[&raw], 4096).is_err());
    assert!(decode(6, &raw, &[], 4096).is_err());
    // No words, more planes than the words have, something after them.
    assert!(decode(2, &[8, 1, 1, 0, 0, 0], &[], 4096).is_err());
    assert!(decode(2, &[planes.clone(), vec![0]].concat(), &[], 4096).is_err());
    assert!(decode(2, &planes[..16], &[], 4096).is_err());
}

#[test]
fn a_frame_that_holds_more_than_the_stated_length_is_refused() {
    let (codec, stored) = encode_alone(&vec![0; 1 << 20]).unwrap();
    assert!(stored.len() < 1000);
    assert!(decode(codec.code(), &stored, &[], 1 << 10).is_err());
    assert!(decode(codec.code(), &stored, &[], (1 << 20) + 1).is_err());
}

#[test]
fn what_is_not_one_frame_that_says_its_length_is_refused() {
    let raw = [7; 200];
    let (codec, frame) = encode_alone(&raw).unwrap();
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
            assert!(decode(codec.code(), &other, &[], len).is_err());
        }
    }
    assert_eq!(decode(codec.code(), &frame, &[], raw.len()).unwrap(), raw);
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "shorter floats are wanted")]
fn opaque_bytes_are_taken_for_floats_only_where_they_look_like_them() {
    let bell = |at: usize| {
        let bits = |from: usize| {
            noise(from as u64, 8)
                .iter()
                .map(|byte| f64::from(*byte))
                .sum::<f64>()
        };
        (bits(at) - 1020.0) / 5000.0
    };
    let values: Vec<f64> = (0..20_000).map(bell).collect();
    let narrow = |value: &f64| *value as f32;
    let singles: Vec<u8> = values
        .iter()
        .flat_map(|value| narrow(value).to_le_bytes())
        .collect();
    let halves: Vec<u8> = values
        .iter()
        .flat_map(|value| ((narrow(value).to_bits() >> 16) as u16).to_le_bytes())
        .collect();
    let doubles: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let text: Vec<u8> = values
        .iter()
        .flat_map(|value| format!("{value:.4}, ").into_bytes())
        .collect();
    let codec = |raw: &[u8]| there_and_back(Texture::General, raw, None, Compression::Default).0;
    assert_eq!(codec(&singles), Codec::Planes);
    assert_eq!(codec(&halves), Codec::Planes);
    assert_eq!(codec(&doubles), Codec::Planes);
    assert_eq!(codec(&text), Codec::Zstd);
    assert_eq!(codec(&noise(3, 100_000)), Codec::Raw);
    // A step later, in an archive or not, it is the steps that are stored.
    let later: Vec<u8> = values
        .iter()
        .flat_map(|value| (narrow(value) * 1.0001).to_le_bytes())
        .collect();
    let (codec, bytes) = there_and_back(
        Texture::General,
        &later,
        Some(&singles),
        Compression::Default,
    );
    assert_eq!(codec, Codec::Steps);
    assert!(bytes < singles.len() * 3 / 4, "{bytes}");
}
