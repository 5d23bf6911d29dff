//! Files that come to be: a store that is created, an export. Each appears whole or not at all,
//! whichever call fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ckptdb::{Checkpoint, Error, Result, Store, interop};

use crate::child::{argument, tell};
use crate::content::{Size, State, job_name};
use crate::shim::{Action, Control, Fault, SYNC};
use crate::sweep::{each_point, print_points, swept, word};

const STATE: State = State {
    job: 0,
    iteration: 7,
    revision: 0,
    size: Size::Large,
};

/// What a point of a create can show that is wrong.
const STAYS: &str = "a file stays";
const SYNC_STAYS: &str = "after a failed sync a file stays";
const PASSED_OVER: &str = "a failed sync is passed over";
const WRONG: [&str; 3] = [STAYS, SYNC_STAYS, PASSED_OVER];

/// What a folder holds.
type Members = BTreeMap<OsString, Vec<u8>>;

fn members(folder: &Path) -> Members {
    let read = |member: std::io::Result<std::fs::DirEntry>| {
        let member = member.unwrap();
        (member.file_name(), std::fs::read(member.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Makes an empty folder in place of what was there.
fn anew(folder: &Path) {
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir(folder).unwrap();
}

/// The role: all points of creating a store.
pub(crate) fn run_create() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let folder = folder.join("new");
    each_point(1, &mut |fault| create_point(&folder, fault));
}

fn create_point(folder: &Path, fault: Fault) -> Option<String> {
    let control = Control::own();
    anew(folder);
    let path = folder.join("runs.ckptdb");
    control.arm(fault);
    let created = Store::create(&path);
    let seen = control.disarm();
    let result = word(&created);
    let error = created.as_ref().err();
    let at = format!("{fault:x?}: {result} {error:?}, {seen:x?}");
    if created.is_err() {
        let left = members(folder);
        if !left.is_empty() {
            // What is wrong is told, so that the other points are seen as well.
            let kind = if seen.kinds & SYNC == 0 {
                STAYS
            } else {
                SYNC_STAYS
            };
            tell(&format!("{kind}: {:?}, {at}", left.keys()));
            anew(folder);
        }
    } else if seen.fired == 0 {
        return None;
    } else if seen.kinds & SYNC != 0 && fault.action != Action::Interrupt {
        tell(&format!("{PASSED_OVER}: {at}"));
    }
    let store = match created {
        Ok(store) => store,
        Err(Error::Full { .. } | Error::Io { .. } | Error::SyncFailed { .. }) => {
            Store::create(&path).unwrap_or_else(|e| panic!("there is room again: {e:?}; {at}"))
        }
        Err(error) => panic!("{error:?}; {at}"),
    };
    assert_eq!(members(folder).len(), 1, "{at}");
    let job = store.job(&job_name(0)).unwrap();
    let saved = STATE.save(&job, false, false).unwrap();
    STATE.compare(&saved.checkpoint);
    Some(format!("{} {result} -", seen.first))
}

/// A way of exporting to a folder.
type Export = fn(&Checkpoint, &Path) -> Result<interop::Exported>;

fn entry(found: &Checkpoint, folder: &Path) -> Result<interop::Exported> {
    interop::write_entry(found, "own", &folder.join("own"))
}

fn safetensors(found: &Checkpoint, folder: &Path) -> Result<interop::Exported> {
    interop::write_safetensors(found, &|_| true, &folder.join("all.safetensors"))
}

fn folder(found: &Checkpoint, folder: &Path) -> Result<interop::Exported> {
    interop::write_folder(found, &|_| true, folder)
}

/// The role: all points of the export `CKPTDB_TEST_CASE`, to an empty folder and over files of the
/// same names.
pub(crate) fn run_export() {
    let beside: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let case: String = argument("CKPTDB_TEST_CASE");
    let export: Export = match case.as_str() {
        "entry" => entry,
        "safetensors" => safetensors,
        _ => folder,
    };
    let store = Store::create(beside.join("store.ckptdb")).unwrap();
    let job = store.job(&job_name(0)).unwrap();
    let found = STATE.save(&job, false, false).unwrap().checkpoint;
    let target = beside.join("out");
    anew(&target);
    export(&found, &target).unwrap();
    let whole = members(&target);
    for old in [&b""[..], b"what was there before"] {
        each_point(1, &mut |fault| {
            export_point(&target, &whole, old, fault, &|| export(&found, &target))
        });
    }
}

fn export_point(
    target: &Path,
    whole: &Members,
    old: &[u8],
    fault: Fault,
    export: &dyn Fn() -> Result<interop::Exported>,
) -> Option<String> {
    let control = Control::own();
    anew(target);
    for name in whole.keys().filter(|_| !old.is_empty()) {
        std::fs::write(target.join(name), old).unwrap();
    }
    control.arm(fault);
    let result = export();
    let seen = control.disarm();
    let at = format!("{fault:x?}: {result:?}, {seen:x?}");
    if seen.fired == 0 {
        assert!(result.is_ok(), "{at}");
        return None;
    }
    let left = members(target);
    for (name, bytes) in &left {
        let is_whole = whole.get(name).is_some_and(|expected| bytes == expected);
        let is_old = !old.is_empty() && bytes == old && whole.contains_key(name);
        assert!(is_whole || is_old, "{}: {at}", name.display());
    }
    assert!(old.is_empty() || left.len() == whole.len(), "lost: {at}");
    match &result {
        Ok(_) => assert_eq!(&left, whole, "{at}"),
        Err(Error::Full { .. } | Error::Io { .. }) => {}
        Err(error) => panic!("{error:?}; {at}"),
    }
    export().unwrap_or_else(|e| panic!("there is room again: {e:?}; {at}"));
    assert_eq!(&members(target), whole, "{at}");
    let outcome = if left == *whole { "Whole" } else { "Absent" };
    Some(format!("{} {} {outcome}", seen.first, word(&result)))
}

/// Goes through all points of creating a store, of which none may be wrong in this way.
fn create_sweep(wrong: &str) {
    let lines = swept("create", "create");
    let is_wrong = |line: &String| WRONG.iter().any(|kind| line.starts_with(kind));
    let (found, points): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_wrong);
    assert!(print_points("create", &points) >= 100);
    let found: Vec<_> = found
        .iter()
        .filter(|line| line.starts_with(wrong))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_create_without_room_leaves_nothing_and_can_be_tried_again() {
    create_sweep(STAYS);
}

#[test]
fn a_create_that_reports_a_failed_sync_leaves_nothing() {
    create_sweep(SYNC_STAYS);
}

#[test]
fn a_create_passes_over_no_failed_sync() {
    create_sweep(PASSED_OVER);
}

#[test]
fn an_export_that_fails_leaves_nothing_half() {
    for case in ["entry", "safetensors", "folder"] {
        assert!(print_points(case, &swept("export", case)) >= 40);
    }
}
