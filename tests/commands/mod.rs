//! The command line: what it says, its JSON, and its exit codes, on damaged stores too.

#[cfg(target_os = "linux")]
mod complete;
mod dry_runs;
mod hints;
#[cfg(target_os = "linux")]
mod interrupted;
mod lines;
mod manual;
#[cfg(target_os = "linux")]
mod pager;
mod readme;
mod report;
#[cfg(target_os = "linux")]
mod transcripts;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ckptdb::{Error, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::noise;

/// Three checkpoints of one job, and what the bytes of the second were.
struct Stored {
    folder: TempDir,
}

impl Stored {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
        let job = store.job("vit").unwrap();
        for iteration in 1..=3 {
            let save = job.save(iteration).metric("loss", 1.0);
            let weights = noise(iteration, 70_000);
            let save = save.bytes("weights", &weights);
            save.bytes("small", b"bytes").commit().unwrap();
        }
        drop(store);
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("runs.ckptdb")
    }

    /// Changes one byte of the weights of a checkpoint.
    fn spoil(&self, iteration: u64) {
        let mut bytes = std::fs::read(self.path()).unwrap();
        let weights = noise(iteration, 70_000);
        let found = bytes.windows(32).position(|w| *w == weights[500..532]);
        bytes[found.unwrap()] ^= 1;
        std::fs::write(self.path(), bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_ckptdb"))
            .current_dir(self.folder.path())
            .env("CKPTDB_STORE", self.path())
            .args(arguments)
            .output();
        Said(output.unwrap())
    }
}

/// What a command said.
struct Said(Output);

impl Said {
    fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    fn text(&self) -> String {
        let both = [&self.0.stdout[..], &self.0.stderr[..]].concat();
        String::from_utf8(both).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

#[test]
fn a_sound_store_is_found_to_be_so() {
    let stored = Stored::new();
    for arguments in [&["verify"][..], &["verify", "vit@2"], &["repair"]] {
        let said = stored.run(arguments);
        assert_eq!(said.code(), 0, "{}", said.text());
        assert!(said.text().contains("no damage"), "{}", said.text());
    }
    let said = stored.run(&["verify", "--json"]).json();
    assert_eq!(said["schema"], "ckptdb.verify/1");
    assert_eq!(
        (&said["ok"], &said["checkpoints"]),
        (&true.into(), &3.into())
    );
    assert_eq!(said["damage"], serde_json::json!([]));
}

#[test]
fn damage_is_named_by_checkpoint_and_entry_with_exit_code_3_and_the_rest_loads() {
    let stored = Stored::new();
    stored.spoil(2);
    let said = stored.run(&["verify"]);
    assert_eq!(said.code(), 3, "{}", said.text());
    for word in ["vit", "weights", "1 place is damaged, in 1 checkpoint"] {
        assert!(said.text().contains(word), "{word}: {}", said.text());
    }
    let said = stored.run(&["verify", "--json"]);
    assert_eq!(said.code(), 3);
    let said = said.json();
    assert_eq!(said["ok"], false);
    let damage = &said["damage"][0];
    let place = (&damage["job"], &damage["iteration"], &damage["entry"]);
    assert_eq!(place, (&"vit".into(), &2.into(), &"weights".into()));
    for (reference, code) in [("vit@1", 0), ("vit@2", 3), ("vit@3", 0), ("vit@9", 4)] {
        let said = stored.run(&["verify", reference]);
        assert_eq!(said.code(), code, "{reference}: {}", said.text());
    }
    // What is not damaged leaves the store as it was.
    let out = stored.folder.path().join("out");
    let out = out.to_str().unwrap();
    let said = stored.run(&["export", "vit@3", "--output", out]);
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(std::fs::read(Path::new(out).join("weights")).unwrap() == noise(3, 70_000));
}

#[test]
fn a_store_that_is_too_damaged_to_open_is_verified_with_exit_code_3() {
    let stored = Stored::new();
    let sound = std::fs::read(stored.path()).unwrap();
    let is_refused = |bytes: &[u8]| {
        std::fs::write(stored.path(), bytes).unwrap();
        matches!(Store::open(stored.path()), Err(Error::Corrupt { .. }))
    };
    // One of the pages that lead to all others.
    let mut pages = (1..sound.len() / 4096).map(|page| {
        let mut bytes = sound.clone();
        bytes[page * 4096..][..4096].fill(0);
        bytes
    });
    assert!(pages.any(|bytes| is_refused(&bytes)));
    let said = stored.run(&["verify"]);
    assert_eq!(said.code(), 3, "{}", said.text());
    let said = stored.run(&["verify", "--json"]);
    assert_eq!(said.code(), 3, "{}", said.text());
    let said = said.json();
    assert_eq!(
        (&said["schema"], &said["ok"]),
        (&"ckptdb.verify/1".into(), &false.into())
    );
    assert!(
        said["damage"][0]["what"]
            .as_str()
            .is_some_and(|what| !what.is_empty())
    );
    assert_eq!(stored.run(&["ls"]).code(), 1);
}

#[test]
fn resume_names_what_it_passed_over_and_fails_where_nothing_loads() {
    let stored = Stored::new();
    stored.spoil(3);
    let said = stored.run(&["resume", "vit"]);
    assert_eq!(said.code(), 0, "{}", said.text());
    assert!(said.text().contains("passed over vit@3"), "{}", said.text());
    let said = stored.run(&["resume", "vit", "--json"]).json();
    assert_eq!(said["checkpoint"]["iteration"], 2);
    assert_eq!(said["skipped"][0]["iteration"], 3);
    stored.spoil(1);
    stored.spoil(2);
    let said = stored.run(&["resume", "vit"]);
    assert_eq!(said.code(), 1, "{}", said.text());
    assert!(
        said.text().contains("every checkpoint of job `vit`"),
        "{}",
        said.text()
    );
    assert_eq!(stored.run(&["resume", "other"]).code(), 4);
}

#[test]
fn a_repair_says_what_stays_lost_and_a_save_of_the_same_bytes_heals_it() {
    let stored = Stored::new();
    stored.spoil(2);
    let said = stored.run(&["repair", "--json"]);
    assert_eq!(said.code(), 3, "{}", said.text());
    let said = said.json();
    assert_eq!(
        (&said["ok"], &said["lost_chunks"]),
        (&false.into(), &1.into())
    );
    assert_eq!(said["left"][0]["iteration"], 2);
    std::fs::write(stored.folder.path().join("again.bin"), noise(2, 70_000)).unwrap();
    let save = [
        "save",
        "weights=again.bin",
        "--job",
        "vit",
        "--iteration",
        "4",
    ];
    let said = stored.run(&save);
    assert_eq!(said.code(), 0, "{}", said.text());
    assert_eq!(stored.run(&["verify"]).code(), 0);
    assert_eq!(stored.run(&["verify", "vit@2"]).code(), 0);
}

#[test]
fn a_salvage_brings_over_what_loads_says_what_is_lost_and_overwrites_nothing() {
    let stored = Stored::new();
    stored.spoil(2);
    let mut bytes = std::fs::read(stored.path()).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(stored.path(), &bytes).unwrap();
    let said = stored.run(&["ls"]);
    assert_eq!(said.code(), 1, "{}", said.text());
    assert!(
        said.text().contains("ckptdb salvage OLD NEW"),
        "{}",
        said.text()
    );
    let salvage = ["salvage", "runs.ckptdb", "new.ckptdb"];
    let said = stored.run(&salvage);
    assert_eq!(said.code(), 3, "{}", said.text());
    assert!(
        said.text().contains("salvaged 2 checkpoints"),
        "{}",
        said.text()
    );
    assert!(
        said.text().contains("1 checkpoint is lost"),
        "{}",
        said.text()
    );
    assert!(
        std::fs::read(stored.path()).unwrap() == bytes,
        "the old file is only read"
    );
    let said = stored.run(&["ls", "vit", "--json", "--store", "new.ckptdb"]);
    assert_eq!(said.json()["checkpoints"].as_array().unwrap().len(), 2);
    let said = stored.run(&salvage);
    assert_eq!(said.code(), 1, "{}", said.text());
    assert!(said.text().contains("exists already"), "{}", said.text());
}
