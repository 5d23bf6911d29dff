//! What is said to somebody who mistyped a job, a selector, a metric, an event, a tag, an age: what
//! it may have been, or what there is; with the exit code of its kind, and nothing on stdout.

use ckptdb::{Direction, Event, Store};
use tempfile::TempDir;

use crate::support::ckptdb;

/// Two jobs; `NQ` has metrics, tags and events.
fn stored() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("sharpe", Direction::Max).unwrap();
    for iteration in [500, 1000] {
        let save = job.save(iteration).metric("sharpe", 1.0);
        let save = save.metric("val_loss", 0.5);
        let save = save.bytes("policy/weights", &[1; 100]);
        let event = Event::PhaseBoundary("warm".to_owned());
        let save = save.event(event).tag(&format!("good-{iteration}"));
        save.commit().unwrap();
    }
    let other = store.job("ES").unwrap();
    other.save(1).bytes("x", b"x").commit().unwrap();
    folder
}

/// What is typed, the exit code, and what is said.
const SLIPS: &[(&[&str], i32, &str)] = &[
    (&["show", "NQ@lates"], 2, "did you mean `latest`?"),
    (
        &["show", "NQ@bset:sharpe"],
        2,
        "did you mean `best:sharpe`?",
    ),
    (&["show", "lates"], 4, "did you mean `latest`?"),
    (&["show", "nq"], 4, "did you mean `NQ`?"),
    (&["show", "NZ"], 4, "did you mean `NQ`?"),
    (&["show", "vit"], 4, "there are: "),
    (&["ls", "nq"], 4, "did you mean `NQ`?"),
    (&["telemetry", "nq"], 4, "did you mean `NQ`?"),
    (
        &["telemetry", "NQ", "--metric", "loss"],
        4,
        "there is no logged metric yet",
    ),
    (&["show", "NQ@best:sharp"], 4, "did you mean `sharpe`?"),
    (
        &["show", "NQ@best:reward"],
        4,
        "there are: sharpe, val_loss",
    ),
    (&["best", "NQ", "sharp"], 4, "did you mean `sharpe`?"),
    (
        &["show", "NQ@best:val_loss"],
        1,
        "ckptdb metric declare NQ val_loss",
    ),
    (
        &["prune", "NQ", "-n", "--keep-best", "sharp=1"],
        4,
        "did you mean `sharpe`?",
    ),
    (
        &["prune", "NQ", "-n", "--keep-best", "acc:max=1"],
        4,
        "there are: sharpe, val_loss",
    ),
    (&["show", "NQ@tag:god-500"], 4, "did you mean `good-500`?"),
    (
        &["show", "NQ@tag:release"],
        4,
        "there are: good-1000, good-500",
    ),
    (&["show", "ES@tag:release"], 4, "there is no tag yet"),
    (
        &["show", "NQ@event:phase_boundry"],
        2,
        "did you mean `phase_boundary`?",
    ),
    (
        &["show", "NQ@event:phase_boundary:wram"],
        4,
        "did you mean `event:phase_boundary:warm`?",
    ),
    (&["show", "NQ@"], 2, "nothing follows `@`"),
    (
        &["show", "NQ@event:final"],
        4,
        "its events: phase_boundary, phase_boundary(warm)",
    ),
    (
        &["show", "NQ@500:final"],
        4,
        "the events of iteration 500: phase_boundary(warm)",
    ),
    (
        &["show", "NQ@12000"],
        4,
        "iterations 500..1000 (2 checkpoints), nearest is 1000",
    ),
    (&["show", "NQ@-2h"], 4, "no checkpoint matches `NQ@-2h`"),
    (
        &["show", "-2h"],
        4,
        "write JOB@..., as in ES@latest: ES, NQ",
    ),
    (
        &["metric", "declare", "NZ", "sharpe", "max"],
        4,
        "did you mean `NQ`? --create",
    ),
    (
        &["metric", "declare", "NQ", "sharp", "max"],
        0,
        "did you mean `sharpe`?",
    ),
    (
        &["ls", "NQ", "--event", "perodic"],
        2,
        "did you mean `periodic`?",
    ),
    (
        &["export", "NQ", "-o", "out", "--only", "polcy/*"],
        4,
        "ckptdb show NQ@1000 --entries",
    ),
    (&["shwo", "NQ"], 2, "'show'"),
    (&["ls", "--limt", "3"], 2, "'--limit'"),
];

#[test]
fn each_slip_gets_the_hint_that_helps() {
    let folder = stored();
    for (arguments, exit, hint) in SLIPS {
        let (code, stdout, stderr) = ckptdb(folder.path(), arguments);
        assert_eq!(code, *exit, "{arguments:?}: {stderr}");
        assert!(stderr.contains(hint), "{arguments:?}: {stderr}");
        let is_quiet = stdout.is_empty() || code == 0;
        assert!(is_quiet, "{arguments:?} printed {stdout:?}");
    }
    // None of them began a job.
    let store = Store::open(folder.path().join("runs.ckptdb")).unwrap();
    assert_eq!(store.jobs().unwrap().len(), 2);
}

#[test]
fn an_age_is_a_reference_without_a_job_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(path).unwrap();
    let job = store.job("NQ").unwrap();
    job.save(1).bytes("x", b"x").commit().unwrap();
    drop(store);
    std::thread::sleep(std::time::Duration::from_millis(5));
    for age in ["-0s", "@-0s", "NQ@-0s"] {
        let (code, stdout, stderr) = ckptdb(folder.path(), &["show", age]);
        assert_eq!(code, 0, "{age}: {stderr}");
        assert!(stdout.contains("NQ@1"), "{age}: {stdout}");
    }
    let (code, _, stderr) = ckptdb(folder.path(), &["show", "-2h"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("`NQ@-2h`") && stderr.contains("that old"),
        "{stderr}"
    );
}

/// `--force` was for files: it gave a device away, and left what a link led to.
#[cfg(unix)]
#[test]
fn an_export_replaces_files_and_nothing_else() {
    let folder = stored();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("target.bin"), b"before").unwrap();
    std::os::unix::fs::symlink("target.bin", at("link.bin")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling.bin")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket.bin")).unwrap();
    let export = |name: &str| {
        let words = [
            "export",
            "NQ",
            "--entry",
            "policy/weights",
            "-f",
            "-o",
            name,
        ];
        ckptdb(folder.path(), &words)
    };
    assert_eq!(export("link.bin").0, 0);
    assert!(at("link.bin").is_symlink());
    assert_eq!(std::fs::read(at("target.bin")).unwrap(), [1; 100]);
    for (name, why) in [
        ("socket.bin", "is not a regular file"),
        ("dangling.bin", "leads nowhere"),
    ] {
        let (code, _, stderr) = export(name);
        assert!(code == 2 && stderr.contains(why), "{name}: {stderr}");
    }
    drop(socket);
    assert!(at("dangling.bin").is_symlink());
    assert!(std::fs::symlink_metadata(at("socket.bin")).is_ok());
}

#[test]
fn a_job_is_begun_by_a_declaration_that_says_so() {
    let folder = stored();
    let declare = |rest: &[&str]| {
        let mut arguments = vec!["metric", "declare", "YM", "sharpe", "max"];
        arguments.extend(rest);
        ckptdb(folder.path(), &arguments)
    };
    assert_eq!(declare(&[]).0, 4);
    let (code, stdout, _) = declare(&["--create", "-n"]);
    assert_eq!(
        (code, stdout.starts_with("dry run: ")),
        (0, true),
        "{stdout}"
    );
    assert_eq!(declare(&[]).0, 4);
    assert_eq!(declare(&["--create"]).0, 0);
    assert_eq!(declare(&[]).0, 0);
}
