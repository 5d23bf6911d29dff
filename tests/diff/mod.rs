//! What differs between two checkpoints, beside what a comparison of all bytes says.

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::{
    Change, Checkpoint, DType, Diff, EntryDiff, EntryKind, MemoryMedium, Options, Store,
    TensorSlice,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{CountingMedium, ckptdb, noise, vector, walk};

/// An entry: its kind, and which of a few contents of a few lengths it has.
type Made = (u8, usize, u64);

/// Lengths below a pack's limit, of a chunk, and of several.
const NUMBERS: [usize; 4] = [3, 5_000, 40_000, 700_000];

fn content(made: Made) -> (Option<DType>, Vec<u8>) {
    let (kind, len, seed) = made;
    let count = NUMBERS[len % NUMBERS.len()];
    match kind {
        0 => (None, noise(seed, count)),
        1 => (Some(DType::F32), walk(1, seed, count)),
        2 => (Some(DType::Bf16), noise(seed, 2 * count)),
        3 => (Some(DType::I64), noise(seed, 8 * count.min(40_000))),
        _ => (Some(DType::F8E4M3), noise(seed, count)),
    }
}

fn saved(store: &Store, iteration: u64, entries: &BTreeMap<u8, Made>) -> Checkpoint {
    let job = store.job("vit").unwrap();
    let made: Vec<_> = entries
        .iter()
        .map(|(name, made)| (format!("entry {name:03}"), content(*made)))
        .collect();
    let mut save = job.save(iteration);
    for (name, (dtype, bytes)) in &made {
        save = match dtype {
            Some(dtype) => save.tensor(name, vector(*dtype, bytes)),
            None => save.bytes(name, bytes),
        };
    }
    save.commit().unwrap();
    store.resolve(&format!("vit@{iteration}")).unwrap()
}

fn as_f32(bytes: &[u8]) -> Vec<f64> {
    let words = bytes.as_chunks::<4>().0.iter();
    words
        .map(|word| f64::from(f32::from_le_bytes(*word)))
        .collect()
}

/// What a diff of an entry must say, by all of its bytes.
fn check_entry(found: &EntryDiff, before: Option<&Made>, after: Option<&Made>) {
    let [old, new] = [before, after].map(|made| made.map(|made| content(*made)));
    let expected = match (&old, &new) {
        (Some(old), Some(new)) if old == new => Change::Identical,
        (Some(_), Some(_)) => Change::Changed,
        (Some(_), None) => Change::Removed,
        _ => Change::Added,
    };
    assert_eq!(found.change, expected, "{found:?}");
    let whole = new.as_ref().or(old.as_ref()).unwrap().1.len() as u64;
    match expected {
        Change::Identical => assert_eq!(found.changed_bytes, 0),
        Change::Changed => assert!(found.changed_bytes > 0 && found.changed_bytes <= whole),
        _ => assert_eq!(found.changed_bytes, whole),
    }
    let (Some((Some(DType::F32), old)), Some((Some(DType::F32), new))) = (old, new) else {
        return;
    };
    if expected == Change::Identical || old.len() != new.len() {
        assert!(found.values.is_none());
        return;
    }
    let (old, new) = (as_f32(&old), as_f32(&new));
    let values = found.values.as_ref().unwrap();
    let pairs = || old.iter().zip(&new);
    let changed = pairs().filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    let largest = pairs().map(|(a, b)| (b - a).abs()).fold(0.0, f64::max);
    let squared: f64 = pairs().map(|(a, b)| (b - a) * (b - a)).sum();
    assert_eq!((values.changed, values.max_abs), (changed, largest));
    assert!((values.squared_difference / squared - 1.0).abs() < 1e-9);
    // The states of a walk differ in all of their chunks.
    assert_eq!(values.compared, old.len() as u64);
    let norm: f64 = old.iter().map(|a| a * a).sum::<f64>();
    assert!((values.relative_l2() / (squared / norm).sqrt() - 1.0).abs() < 1e-9);
}

fn entries() -> impl Strategy<Value = BTreeMap<u8, Made>> {
    let made = (0..5_u8, 0..NUMBERS.len(), 0..3_u64);
    prop::collection::btree_map(0..12_u8, made, 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_diff_says_what_a_look_at_all_bytes_says(before in entries(), after in entries()) {
        let store = Store::in_memory().unwrap();
        let old = saved(&store, 1, &before);
        // In a store of its own too: ids of chunks are the same everywhere.
        let elsewhere = Store::in_memory().unwrap();
        for other in [&store, &elsewhere] {
            let new = saved(other, 2, &after);
            let diff = old.diff(&new).unwrap();
            let names: Vec<u8> = before.keys().chain(after.keys()).copied().collect();
            let names: std::collections::BTreeSet<u8> = names.into_iter().collect();
            prop_assert_eq!(diff.entries.len(), names.len());
            for (found, name) in diff.entries.iter().zip(names) {
                prop_assert_eq!(&found.name, &format!("entry {name:03}"));
                check_entry(found, before.get(&name), after.get(&name));
            }
        }
        let same = old.diff(&old).unwrap();
        prop_assert_eq!(same.count(Change::Identical), before.len() as u64);
    }

    #[test]
    fn the_sums_are_the_same_with_any_number_of_threads(seed in 0..1000_u64) {
        let told = [1, 2, 5].map(|threads| {
            let options = Options { threads, ..Options::default() };
            let medium = Arc::new(MemoryMedium::default());
            let store = Store::create_in(medium, options).unwrap();
            let made = |step| BTreeMap::from([(0, (1, 3, seed + step)), (1, (1, 2, seed + step))]);
            saved(&store, 1, &made(0)).diff(&saved(&store, 2, &made(1))).unwrap()
        });
        prop_assert!(told[0] == told[1] && told[1] == told[2]);
    }
}

/// As much as a chunk of a tensor has.
const CHUNK: usize = 1_048_496;

/// Sixteen chunks of which the first so many are others.
fn large(changed: usize) -> Vec<u8> {
    let mut bytes = noise(1, 16 * CHUNK);
    let other = noise(2, changed * CHUNK);
    bytes[..other.len()].copy_from_slice(&other);
    bytes
}

#[test]
fn what_both_have_is_not_read() {
    let (medium, counters) = CountingMedium::new(Arc::new(MemoryMedium::default()));
    let options = Options {
        cache_bytes: 1 << 20,
        recent_bytes: 0,
        ..Options::default()
    };
    let store = Store::create_in(medium, options).unwrap();
    let job = store.job("vit").unwrap();
    for (iteration, changed) in [(1, 0), (2, 1), (3, 16)] {
        let (frozen, table) = (noise(3, 32 << 20), large(changed));
        let save = job
            .save(iteration)
            .tensor("frozen", vector(DType::U8, &frozen));
        save.tensor("table", vector(DType::U8, &table))
            .commit()
            .unwrap();
    }
    let read = |one: &str, other: &str| -> (u64, Diff) {
        let (one, other) = (store.resolve(one).unwrap(), store.resolve(other).unwrap());
        let before = counters.read_bytes();
        let diff = one.diff(&other).unwrap();
        (counters.read_bytes() - before, diff)
    };
    let (bytes, diff) = read("vit@1", "vit@1");
    assert!(bytes < 1 << 20, "{bytes}");
    assert_eq!(diff.count(Change::Identical), 2);
    let (bytes, diff) = read("vit@1", "vit@2");
    assert!((2 << 20..5 << 20).contains(&bytes), "{bytes}");
    let table = &diff.entries[1];
    let chunk = CHUNK as u64;
    assert_eq!(
        (table.changed_bytes, table.values.unwrap().compared),
        (chunk, chunk)
    );
    assert_eq!(diff.changed_bytes(), chunk);
    let (bytes, _) = read("vit@1", "vit@3");
    assert!((32 << 20..40 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn another_type_or_shape_is_compared_by_its_values_and_another_size_is_not() {
    let store = Store::in_memory().unwrap();
    let job = store.job("vit").unwrap();
    let wide: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let narrow: Vec<u8> = wide
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|w| [w[2], w[3]])
        .collect();
    let save = job
        .save(1)
        .tensor("a", TensorSlice::new(DType::F32, &[4], &wide).unwrap());
    let save = save.tensor("b", TensorSlice::new(DType::F32, &[4], &wide).unwrap());
    save.tensor("c", TensorSlice::new(DType::F32, &[4], &wide).unwrap())
        .commit()
        .unwrap();
    let save = job
        .save(2)
        .tensor("a", TensorSlice::new(DType::Bf16, &[4], &narrow).unwrap());
    let save = save.tensor("b", TensorSlice::new(DType::F32, &[2, 2], &wide).unwrap());
    save.tensor("c", TensorSlice::new(DType::F32, &[2], &wide[..8]).unwrap())
        .commit()
        .unwrap();
    let diff = store
        .resolve("vit@1")
        .unwrap()
        .diff(&store.resolve("vit@2").unwrap())
        .unwrap();
    assert_eq!(diff.count(Change::Changed), 3);
    for (entry, changed) in diff.entries.iter().zip([Some(0), Some(0), None]) {
        assert_eq!(
            entry.values.map(|values| values.changed),
            changed,
            "{}",
            entry.name
        );
    }
    let kind = |info: &Option<ckptdb::EntryInfo>| info.as_ref().unwrap().kind.clone();
    let EntryKind::Tensor { shape, .. } = kind(&diff.entries[1].after) else {
        panic!("{diff:?}");
    };
    assert_eq!(shape, [2, 2]);
}

/// Two checkpoints in one store, and one in another.
fn stored() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let job = store.job("vit").unwrap();
    for step in 0..2_u64 {
        let rate = [0.1, 0.05][usize::from(step == 1)];
        let config = json!({"lr": rate, "layers": 2});
        let (first, second) = (walk(1, step, 300), walk(2, 0, 300));
        let mut save = job
            .save(1000 * (step + 1))
            .tensor("blocks.0.weight", vector(DType::F32, &first))
            .tensor("blocks.1.weight", vector(DType::F32, &second))
            .document("config", &config)
            .metric("loss", [0.5, 0.25][usize::try_from(step).unwrap()])
            .attribute("seed", &json!(7 + step));
        if step == 1 {
            save = save.bytes("added.bin", b"bytes");
        }
        save.commit().unwrap();
    }
    let other = Store::create(folder.path().join("other.db")).unwrap();
    let save = other.job("vit").unwrap().save(1);
    save.bytes("added.bin", b"bytes").commit().unwrap();
    drop((store, other));
    folder
}

#[test]
fn the_command_line_shows_what_differs_and_says_all_of_it_as_json() {
    let folder = stored();
    let (code, text, _) = ckptdb(folder.path(), &["diff", "vit@1000", "vit@2000"]);
    assert_eq!(code, 0);
    for part in [
        "vit@1000 (id:2) -> vit@2000 (id:3)",
        "4: 1 identical, 2 changed, 1 added, 0 removed",
        "loss 0.5 -> 0.25 (-0.25)",
        "seed 7 -> 8",
        "blocks.0.weight",
        "/lr  0.1 -> 0.05",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !text.contains("blocks.1"),
        "what is identical has no row: {text}"
    );
    // Alone, a checkpoint is compared with its parent.
    assert_eq!(ckptdb(folder.path(), &["diff", "vit@2000"]).1, text);
    let (code, text, _) = ckptdb(folder.path(), &["diff", "vit@1000", "vit", "--group"]);
    assert_eq!(code, 0);
    assert!(
        text.contains("blocks.0") && text.contains("1 of 1"),
        "{text}"
    );
    let (_, text, _) = ckptdb(folder.path(), &["diff", "vit@1000", "vit", "--json"]);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["schema"], "ckptdb.diff/1");
    assert_eq!(said["counts"]["changed"], 2);
    assert_eq!(said["metrics"], json!({"loss": [0.5, 0.25]}));
    assert_eq!(said["attributes"], json!({"seed": [7, 8]}));
    assert_eq!(said["documents"]["config"][0]["pointer"], "/lr");
    let entries = said["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    let weight = entries
        .iter()
        .find(|entry| entry["name"] == "blocks.0.weight")
        .unwrap();
    assert!(weight["values"]["relative_l2"].as_f64().unwrap() > 0.0);
}

#[test]
fn checkpoints_of_two_stores_are_compared_and_what_can_not_be_is_said_with_a_way_out() {
    let folder = stored();
    // Across stores.
    let across = [
        "diff",
        "vit",
        "other.db:vit@latest",
        "--only",
        "added*",
        "-s",
        "runs.ckptdb",
    ];
    let (code, _, said) = ckptdb(folder.path(), &across);
    assert_eq!(code, 2, "{said}");
    let (code, text, said) = ckptdb(
        folder.path(),
        &[
            "diff",
            "runs.ckptdb:vit@latest",
            "other.db:vit@latest",
            "--only",
            "added*",
        ],
    );
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("1: 1 identical"), "{text}");
    // What can't be is said, with a way out.
    let (code, _, said) = ckptdb(folder.path(), &["diff", "vit@1000"]);
    assert!(
        code == 2 && said.contains("has no parent") && said.contains("hint"),
        "{said}"
    );
    let (code, _, said) = ckptdb(folder.path(), &["diff", "vit@1000", "vit@9"]);
    assert!(code == 4 && said.contains("nearest"), "{said}");
    let (code, _, said) = ckptdb(folder.path(), &["diff", "vit", "vit", "--only", "none*"]);
    assert!(code == 4 && said.contains("--entries"), "{said}");
}
