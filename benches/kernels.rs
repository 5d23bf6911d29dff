//! The kernels, each by itself on one thread: `cargo bench --features fuzzing --bench kernels`.
//! Numbers like trained weights, the same some steps earlier, with few of them changed, and noise;
//! beside memcpy and BLAKE3 of the same bytes.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]

use std::hint::black_box;

use ckptdb::DType;
use ckptdb::fuzzing::{Coder, decode_onto};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use noise::noise;

#[path = "support/noise.rs"]
mod noise;

/// Raw bytes of a chunk, as `docs/format.md` has it.
const CHUNK: usize = 1_048_496;

/// Numbers about zero: sums of uniform ones.
fn weights(seed: u64, size: f32) -> Vec<f32> {
    let parts = noise(seed, CHUNK * 2);
    let uniform = |two: &[u8]| f32::from(u16::from_le_bytes([two[0], two[1]])) / 65_536.0 - 0.5;
    let sum = |eight: &[u8]| eight.chunks_exact(2).map(uniform).sum::<f32>();
    parts
        .chunks_exact(8)
        .map(|eight| sum(eight) * size)
        .collect()
}

fn bytes(numbers: impl Iterator<Item = f32>) -> Vec<u8> {
    numbers.flat_map(f32::to_le_bytes).collect()
}

/// Encodes with hashing, and decodes with verifying.
fn both(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, new: &[u8], base: Option<&[u8]>) {
    let mut coder = Coder::new();
    group.bench_function(format!("encode/{name}"), |bench| {
        bench.iter(|| {
            black_box(blake3::hash(new));
            black_box(coder.encode(Some(DType::F32), new, base));
        });
    });
    let Some((codec, is_delta, stored)) = coder.encode(Some(DType::F32), new, base) else {
        return;
    };
    let mut raw = Vec::with_capacity(new.len());
    group.bench_function(format!("decode/{name}"), |bench| {
        bench.iter(|| {
            raw.clear();
            raw.extend_from_slice(base.filter(|_| is_delta).unwrap_or_default());
            decode_onto(codec, stored, is_delta, new.len(), &mut raw).unwrap();
            black_box(blake3::hash(&raw));
        });
    });
    assert!(raw == new);
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let older = weights(1, 0.1);
    let steps = weights(2, 0.0004);
    let old = bytes(older.iter().copied());
    let new = bytes(older.iter().zip(&steps).map(|(weight, step)| weight + step));
    let mut touched = old.clone();
    for row in touched.chunks_mut(4096).step_by(50) {
        row.fill(1);
    }
    let noise = noise(3, CHUNK);
    let mut buffer = vec![0; CHUNK];
    group.bench_function("memcpy", |bench| {
        bench.iter(|| black_box(&mut buffer).copy_from_slice(black_box(&new)));
    });
    group.bench_function("BLAKE3", |bench| {
        bench.iter(|| blake3::hash(black_box(&new)));
    });
    both(&mut group, "weights alone", &new, None);
    both(&mut group, "weights as steps", &new, Some(&old));
    both(&mut group, "few touched", &touched, Some(&old));
    both(&mut group, "noise", &noise, None);
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
