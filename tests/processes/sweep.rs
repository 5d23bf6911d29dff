//! Every write and every sync of every operation fails once, or fails until there is room again.
//!
//! The child goes through the points by itself: a copy of a prepared store, one operation with one
//! fault in it, then what must hold whatever happened. It tells a line for each point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ckptdb::{Error, Result, Store};
use tempfile::TempDir;

use crate::child::{self, argument, tell};
use crate::content::{Size, State};
use crate::model::{Model, Outcome};
use crate::operation::Operation;
use crate::shim::{Action, Control, Fault, NAME, SIZE, SYNC, WRITE};
use crate::shim::{CREATE, EDQUOT, EIO, ENOSPC, RESERVE};

/// Calls that need room.
pub(crate) const SPACE: u64 = WRITE | SIZE | NAME | CREATE | RESERVE;

/// What is done to the calls, what they are, and whether nobody may notice.
pub(crate) const FAULTS: &[(&str, u64, Action)] = &[
    ("ENOSPC", SPACE, Action::Fail(ENOSPC)),
    ("EDQUOT", SPACE, Action::Fail(EDQUOT)),
    ("EIO", SPACE, Action::Fail(EIO)),
    ("sync-EIO", SYNC, Action::Fail(EIO)),
    ("sync-ENOSPC", SYNC, Action::Fail(ENOSPC)),
    ("short", WRITE, Action::Short),
    ("EINTR", WRITE | SIZE | SYNC | RESERVE, Action::Interrupt),
];

/// A prepared store, and what is done to it.
struct Case {
    model: Model,
    template: PathBuf,
    operation: Operation,
    /// Of the points of a long operation, each so many-th.
    step: u64,
}

const fn state(iteration: u64, size: Size) -> State {
    State {
        job: 0,
        iteration,
        revision: 0,
        size,
    }
}

/// What each case does, after four saves whose ids are told to it.
fn operations(name: &str, ids: &[u64]) -> (Vec<Operation>, Operation, u64) {
    let save = |size| Operation::Save(state(10, size));
    let deleted = vec![Operation::Delete(ids[0]), Operation::Delete(ids[1])];
    match name {
        "save-tiny" => (vec![], save(Size::Tiny), 1),
        "save-large" => (vec![], save(Size::Large), 1),
        "save-huge" => (vec![], save(Size::Huge), 23),
        "merge" => (vec![], Operation::Merge(ids[3], state(4, Size::Large)), 1),
        "overwrite" => {
            let revision = 1;
            let new = State {
                revision,
                ..state(4, Size::Large)
            };
            (vec![], Operation::Overwrite(ids[3], new), 1)
        }
        "delete" => (vec![], Operation::Delete(ids[1]), 1),
        "undelete" => (deleted, Operation::Undelete(ids[0]), 1),
        "rollback" => (vec![], Operation::Rollback(ids[1]), 1),
        "fork" => (vec![], Operation::Fork(ids[2]), 1),
        "log" => (vec![], Operation::Log(1, 3_000), 1),
        "reclaim" => (deleted, Operation::Reclaim, 1),
        "compact" => {
            let prepared = [deleted, vec![Operation::Reclaim]].concat();
            (prepared, Operation::Compact, 1)
        }
        _ => panic!("no case {name}"),
    }
}

impl Case {
    fn prepare(name: &str, folder: &Path) -> Self {
        let template = folder.join("template.ckptdb");
        let store = Store::create(&template).unwrap();
        let mut model = Model::default();
        let mut ids = Vec::new();
        for (iteration, size) in [(1, Size::Large), (2, Size::Small), (3, Size::Tiny)]
            .into_iter()
            .chain([(4, Size::Large)])
        {
            let save = Operation::Save(state(iteration, size));
            ids.push(done(&store, &mut model, save).unwrap());
        }
        let (before, operation, step) = operations(name, &ids);
        for operation in before {
            done(&store, &mut model, operation).unwrap();
        }
        Self {
            model,
            template,
            operation,
            step,
        }
    }

    /// One point: returns what is told of it, or none if the operation has fewer calls.
    fn point(&self, path: &Path, is_warm: bool, fault: Fault) -> Option<String> {
        let control = Control::own();
        std::fs::copy(&self.template, path).unwrap();
        let store = Store::open(path).unwrap();
        let mut model = self.model.clone();
        if is_warm {
            done(&store, &mut model, Operation::Save(other(5))).unwrap();
        }
        control.arm(fault);
        let result = self.operation.run(&store);
        if fault.sticky {
            model.read_live(&store, self.operation);
        }
        let seen = control.disarm();
        let at = format!("{} at {fault:x?}: {result:?}, {seen:x?}", self.operation);
        as_killed(path, &model, self.operation, &result, &at);
        let outcome = match &result {
            Ok(id) => {
                model.apply(self.operation, *id);
                model.settle(&store, None)
            }
            Err(_) => model.settle(&store, Some(self.operation)),
        };
        if seen.fired == 0 {
            assert!(result.is_ok(), "{at}");
            return None;
        }
        check_result(&at, &result, fault.action, seen.kinds);
        let again = done(&store, &mut model, Operation::Save(other(20)));
        if seen.kinds & SYNC != 0 && result.is_err() {
            let refused = matches!(again, Err(Error::SyncFailed { .. }));
            assert!(refused, "after a failed sync: {again:?}; {at}");
        } else {
            assert!(again.is_ok(), "there is room again: {again:?}; {at}");
        }
        drop(store);
        live_on(path, model, &at);
        Some(format!("{} {} {outcome:?}", seen.first, word(&result)))
    }
}

/// A state of the other job.
const fn other(iteration: u64) -> State {
    State {
        job: 1,
        ..state(iteration, Size::Small)
    }
}

/// Does it to the store, then to the model.
fn done(store: &Store, model: &mut Model, operation: Operation) -> Result<u64> {
    let id = operation.run(store)?;
    model.apply(operation, id);
    Ok(id)
}

/// The errors are those that the page on errors promises, and what can be tried again is not seen.
fn check_result(at: &str, result: &Result<u64>, action: Action, kinds: u64) {
    let is_expected = match (action, result) {
        // Where all that was wished for can't be reserved, less may do.
        (Action::Fail(_), Ok(_)) if kinds == RESERVE => true,
        // A sweep that finds no room, or something that it can't read, tries again; a compaction
        // that has no room to write rows anew moves them as they are.
        (Action::Fail(errno), Ok(_)) if errno != EIO => {
            at.starts_with("reclaim") || at.starts_with("compact")
        }
        (Action::Fail(_), Ok(_)) => at.starts_with("reclaim") && kinds & SYNC == 0,
        (Action::Fail(_), Err(Error::SyncFailed { .. })) => kinds & SYNC != 0,
        (Action::Fail(errno), Err(Error::Io { .. })) => errno == EIO,
        (Action::Fail(errno), Err(Error::Full { .. })) => errno != EIO,
        (_, result) => result.is_ok(),
    };
    assert!(is_expected, "{at}");
}

/// What a kill at this instant would leave is no less.
fn as_killed(path: &Path, model: &Model, operation: Operation, result: &Result<u64>, at: &str) {
    let copy = path.with_extension("killed");
    std::fs::copy(path, &copy).unwrap();
    let store = Store::open(&copy).unwrap_or_else(|e| panic!("killed: {e:?}; {at}"));
    let mut model = model.clone();
    match result {
        Ok(id) => {
            model.apply(operation, *id);
            assert_eq!(model.settle(&store, None), Outcome::Nothing, "killed: {at}");
        }
        Err(_) => {
            model.settle(&store, Some(operation));
        }
    }
    drop(store);
    std::fs::remove_file(copy).unwrap();
}

/// Opened anew the store is what it was, goes on, and keeps nothing that nobody needs.
fn live_on(path: &Path, mut model: Model, at: &str) {
    let store = Store::open(path).unwrap();
    assert_eq!(model.settle(&store, None), Outcome::Nothing, "{at}");
    done(&store, &mut model, Operation::Save(other(30))).unwrap();
    for job in store.jobs().unwrap() {
        store.delete_job(&job.name).unwrap();
    }
    store.reclaim(true).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.chunks, stats.nodes), (0, 0), "left behind: {at}");
}

/// The word for a result.
pub(crate) fn word<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "Ok",
        Err(Error::Full { .. }) => "Full",
        Err(Error::Io { .. }) => "Io",
        Err(Error::SyncFailed { .. }) => "SyncFailed",
        Err(_) => "other",
    }
}

/// The role: goes through all points of the case `CKPTDB_TEST_CASE` in `CKPTDB_TEST_FOLDER`.
pub(crate) fn run() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let name: String = argument("CKPTDB_TEST_CASE");
    let case = Case::prepare(&name, &folder);
    let path = folder.join("store.ckptdb");
    for is_warm in [false, true] {
        each_point(case.step, &mut |fault| case.point(&path, is_warm, fault));
    }
}

/// Goes through the calls of an operation, each with each fault, until it has no more of them.
pub(crate) fn each_point(step: u64, point: &mut dyn FnMut(Fault) -> Option<String>) {
    for (name, mask, action) in FAULTS {
        for sticky in [false, true] {
            let mut at = 1;
            loop {
                let fault = Fault {
                    mask: *mask,
                    action: *action,
                    at,
                    sticky,
                };
                let Some(told) = point(fault) else { break };
                tell(&format!("{name} {told}"));
                at += step;
            }
        }
    }
}

/// Runs a role with the shim over a folder of its own, and returns what it told.
pub(crate) fn swept(role: &str, case: &str) -> Vec<String> {
    let beside = TempDir::new().unwrap();
    // Syncs cost nothing in memory, and there are thousands.
    let memory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    let folder = memory.unwrap();
    let mut command = child::command(role);
    command
        .env("CKPTDB_TEST_FOLDER", folder.path())
        .env("CKPTDB_TEST_CASE", case);
    Control::prepare(&mut command, &beside.path().join("page"), folder.path());
    child::finish(&mut command)
}

/// Prints how many points there were, by fault and result, and returns their number.
pub(crate) fn print_points(case: &str, lines: &[String]) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    println!("{case}: {} fault points", lines.len());
    for (line, count) in counts {
        let (fault, rest) = line.split_once(' ').unwrap();
        let (class, result) = rest.split_once(' ').unwrap();
        let call = match class.parse().unwrap() {
            WRITE => "write",
            SYNC => "sync",
            SIZE => "size",
            NAME => "name",
            RESERVE => "reservation",
            _ => "create",
        };
        println!("  {fault} at a {call}: {result}: {count}");
    }
    lines.len()
}

fn sweep(case: &str, least: usize) {
    let points = print_points(case, &swept("sweep", case));
    assert!(points >= least, "{points} points");
}

#[test]
fn every_call_of_a_small_save_can_fail() {
    sweep("save-tiny", 100);
}

#[test]
fn every_call_of_a_save_of_several_chunks_can_fail() {
    sweep("save-large", 100);
}

#[test]
fn calls_of_a_save_in_stages_can_fail() {
    sweep("save-huge", 30);
}

#[test]
fn every_call_of_a_repeated_save_can_fail() {
    sweep("merge", 100);
    sweep("overwrite", 100);
}

#[test]
fn every_call_of_a_delete_and_of_an_undelete_can_fail() {
    sweep("delete", 100);
    sweep("undelete", 100);
}

#[test]
fn every_call_of_a_rollback_a_fork_and_a_batch_of_telemetry_can_fail() {
    sweep("rollback", 50);
    sweep("fork", 50);
    sweep("log", 50);
}

#[test]
fn every_call_of_a_reclaim_can_fail() {
    sweep("reclaim", 100);
}

#[test]
fn every_call_of_a_compaction_can_fail() {
    sweep("compact", 100);
}
