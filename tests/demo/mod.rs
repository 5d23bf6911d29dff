//! `ckptdb demo`, run as a user runs it: trained, killed in the middle of a save, resumed.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use ckptdb::{Direction, Event, Store, VerifyDepth};
use serde_json::Value;
use tempfile::TempDir;

/// Fewer iterations than a user gets: the tests' build does not use vector instructions.
const SMALL: [&str; 4] = ["--iterations", "24", "--every", "3"];

fn demo(folder: &Path, arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_ckptdb"))
        .current_dir(folder)
        .env_remove("CKPTDB_STORE")
        .args(["demo"])
        .args(arguments)
        .output()
}

fn demo_small(folder: &Path, arguments: &[&str]) -> io::Result<Output> {
    demo(folder, &[&SMALL, arguments].concat())
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[test]
fn demo_ends_bit_identical_and_leaves_a_sound_store() {
    let folder = TempDir::new().unwrap();
    let output = demo_small(folder.path(), &[]).unwrap();
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("  killed     SIGKILL "), "{stdout}");
    assert!(
        stdout.contains("bit-identical to the uninterrupted run"),
        "{stdout}"
    );
    let shown = [
        "ls demo",
        "best demo loss",
        "diff demo@3",
        "stats",
        "report -o demo.html",
    ];
    for command in shown {
        assert!(
            stdout.contains(&format!("$ ckptdb -s demo.ckptdb {command}")),
            "{stdout}"
        );
    }

    assert!(folder.path().join("demo.html").is_file());
    let store = Store::open(folder.path().join("demo.ckptdb")).unwrap();
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!((report.damage.len(), report.checkpoints), (0, 8));
    let job = store.job("demo").unwrap();
    let last = job.latest().unwrap().unwrap();
    assert_eq!(last.iteration, 24);
    assert!(
        last.events
            .is_superset(&[Event::Periodic, Event::Final].into())
    );
    assert_eq!(
        last.tensor("model/layer1.weight").unwrap().shape,
        [320, 320]
    );
    assert_eq!(last.document("progress").unwrap()["iteration"], 24);
    let info = job.info().unwrap().unwrap();
    assert_eq!(info.metrics["loss"], Direction::Min);
    assert_eq!(info.metrics["accuracy"], Direction::Max);
}

#[test]
fn demo_document_tells_the_whole_story() {
    let folder = TempDir::new().unwrap();
    let output = demo_small(folder.path(), &["--json", "--store", "elsewhere.ckptdb"]).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "ckptdb.demo/1");
    assert_eq!(document["final"]["bit_identical"], true);
    assert_eq!(
        document["final"]["weights"],
        document["reference"]["weights"]
    );
    assert_eq!(document["final"]["checkpoints"], 8);
    // Half of the eight saves are acknowledged before the kill: 3, 6, 9 and 12. A disk that
    // suddenly gets faster can slip in one more.
    let acknowledged = document["killed"]["acknowledged"].as_array().unwrap();
    assert!((4..=5).contains(&acknowledged.len()), "{document}");
    let newest = match document["found"]["interrupted_save"].as_str().unwrap() {
        "absent" => acknowledged.last().unwrap(),
        _ => &document["killed"]["saving"],
    };
    assert_eq!(document["found"]["newest"], *newest);
    assert_eq!(document["resumed"]["iteration"], *newest);
    assert!(folder.path().join("elsewhere.ckptdb").exists());
}

#[test]
fn demo_replaces_its_own_store_only_if_told_to() {
    let folder = TempDir::new().unwrap();
    assert!(demo_small(folder.path(), &[]).unwrap().status.success());
    let refused = demo_small(folder.path(), &[]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("--force"),
        "{}",
        text(&refused.stderr)
    );

    let shorter = [
        "--force",
        "--seed",
        "2",
        "--iterations",
        "4",
        "--every",
        "2",
    ];
    let forced = demo(folder.path(), &shorter).unwrap();
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    let store = Store::open(folder.path().join("demo.ckptdb")).unwrap();
    let latest = store.job("demo").unwrap().latest().unwrap().unwrap();
    assert_eq!(
        (latest.iteration, latest.attributes["seed"].as_str()),
        (4, "2")
    );
}

#[test]
fn demo_never_replaces_somebody_elses_checkpoints() {
    let folder = TempDir::new().unwrap();
    for job in ["vit", "demo"] {
        let path = folder.path().join(format!("{job}.ckptdb"));
        let store = Store::create(&path).unwrap();
        store
            .job(job)
            .unwrap()
            .save(1)
            .bytes("weights", b"years of work")
            .commit()
            .unwrap();
        store.close();
        let name = format!("{job}.ckptdb");
        let output = demo_small(folder.path(), &["--force", "--store", &name]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains("holds job"),
            "{}",
            text(&output.stderr)
        );
        let store = Store::open(&path).unwrap();
        let kept = store.job(job).unwrap().latest().unwrap().unwrap();
        assert_eq!(kept.read("weights").unwrap(), b"years of work".as_slice());
    }
}

#[test]
fn demo_refuses_a_plan_without_a_save_to_kill() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        ["--iterations", "10", "--every", "10"],
        ["--iterations", "9", "--every", "0"],
    ] {
        assert_eq!(
            demo(folder.path(), &arguments).unwrap().status.code(),
            Some(2)
        );
    }
    assert!(!folder.path().join("demo.ckptdb").exists());
}
