//! The committed corpora, on the stable toolchain: what the fuzzer once found interesting, or
//! wrong, is run again with every change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What all corpora may take of a checkout.
const MOST_BYTES: u64 = 400 << 10;
const MOST_BYTES_OF_A_FILE: u64 = 64 << 10;

fn inputs(target: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let found = fs::read_dir(corpus.join(target)).expect("the target has a corpus");
    let mut found: Vec<PathBuf> = found.flatten().map(|item| item.path()).collect();
    found.sort();
    found
}

fn replay(target: &str) {
    let (_, body) = ckptdb_fuzz::TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .expect("the target is listed");
    body(b"");
    let begun = Instant::now();
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for path in &inputs {
        println!("{}", path.display());
        body(&fs::read(path).expect("it was listed a moment ago"));
    }
    println!("{target}: {} inputs in {:?}", inputs.len(), begun.elapsed());
}

macro_rules! targets {
    ($($target:ident),*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            assert_eq!(ckptdb_fuzz::TARGETS.map(|(name, _)| name), replayed);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
            let mut files: Vec<String> = fs::read_dir(folder)
                .expect("it is there")
                .flatten()
                .map(|item| item.file_name().to_string_lossy().replace(".rs", ""))
                .collect();
            files.sort();
            assert_eq!(files, replayed);
        }
    };
}

targets!(
    chunk_decode,
    configuration,
    deletion,
    open_any_bytes,
    ops_crash,
    ops_iofault,
    record_decode,
    reference_and_template,
    retention,
    safetensors_import,
    salvage
);

#[test]
fn the_corpora_stay_small() {
    let mut all = 0;
    for (target, _) in ckptdb_fuzz::TARGETS {
        for path in inputs(target) {
            let len = fs::metadata(&path).expect("it was listed").len();
            assert!(len <= MOST_BYTES_OF_A_FILE, "{}: {len}", path.display());
            all += len;
        }
    }
    assert!(all <= MOST_BYTES, "{all} bytes in all corpora");
}
