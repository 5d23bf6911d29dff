//! What was acknowledged was synced before: a kill can't show it, the order of calls can.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ckptdb::{Checkpoint, Direction, Event, Store, interop};

use crate::child::{argument, tell};
use crate::content::{Size, State, job_name};
use crate::shim::{ALL, Action, Control, Fault, SYNC, WRITE};
use crate::sweep::swept;

/// What a sync takes here.
const SLOW: Duration = Duration::from_millis(200);

const fn state(iteration: u64, size: Size) -> State {
    State {
        job: 0,
        iteration,
        revision: 0,
        size,
    }
}

/// Runs something that must write and sync, and be done with that when it returns.
fn watched<T>(name: &str, run: impl FnOnce() -> T) -> T {
    let control = Control::own();
    control.arm(Fault {
        mask: ALL,
        action: Action::Count,
        at: 1,
        sticky: false,
    });
    let result = run();
    let seen = control.disarm();
    let (writes, syncs) = (seen.count(WRITE), seen.count(SYNC));
    assert!(!seen.is_unsynced, "{name} returned before a sync: {seen:?}");
    assert!(writes > 0 && syncs > 0, "{name}: {seen:?}");
    tell(&format!("{name}: {writes} writes, {syncs} syncs"));
    result
}

/// The role: everything that changes a store or makes a file.
pub(crate) fn run_watched() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let path = folder.join("store.ckptdb");
    let store = watched("create", || Store::create(&path).unwrap());
    let job = store.job(&job_name(0)).unwrap();
    watched("declare", || {
        job.declare_metric("loss", Direction::Min).unwrap();
    });
    let mut saved: Vec<Checkpoint> = Vec::new();
    for (iteration, (size, name)) in (1..).zip(Size::ALL) {
        let state = state(iteration, size);
        let save = || state.save(&job, false, false).unwrap();
        saved.push(watched(&format!("save {name}"), save).checkpoint);
    }
    let last = state(4, Size::Huge);
    watched("merge", || last.save(&job, true, false).unwrap());
    let other = State {
        revision: 1,
        ..last
    };
    watched("overwrite", || other.save(&job, false, true).unwrap());
    watched("tag", || saved[0].set_tag("kept", false).unwrap());
    watched("pin", || saved[0].set_pinned(true).unwrap());
    watched("unpin", || saved[0].set_pinned(false).unwrap());
    watched("annotate", || {
        let value = serde_json::json!("seen");
        saved[0].annotate("note", &value).unwrap();
    });
    watched("delete", || saved[1].delete(false).unwrap());
    watched("undelete", || store.undelete(saved[1].id).unwrap());
    watched("export an entry", || {
        interop::write_entry(&saved[2], "own", &folder.join("own")).unwrap()
    });
    watched("export tensors", || {
        let path = folder.join("all.safetensors");
        interop::write_safetensors(&saved[2], &|_| true, &path).unwrap()
    });
    watched("export a folder", || {
        interop::write_folder(&saved[2], &|_| true, &folder.join("out")).unwrap()
    });
    watched("delete a job", || store.delete_job(&job_name(0)).unwrap());
    watched("reclaim", || store.reclaim(true).unwrap());
    watched("compact", || store.compact().unwrap());
}

/// The role: a save whose syncs take long.
pub(crate) fn run_slow() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let store = Store::create(folder.join("store.ckptdb")).unwrap();
    let job = store.job(&job_name(0)).unwrap();
    state(1, Size::Tiny).save(&job, false, false).unwrap();
    let control = Control::own();
    control.arm(Fault {
        mask: SYNC,
        action: Action::Sleep(u64::try_from(SLOW.as_millis()).unwrap()),
        at: 1,
        sticky: true,
    });
    let begun = Instant::now();
    let state = state(2, Size::Large);
    let saved = state.save(&job, false, false).unwrap();
    let took = begun.elapsed();
    let syncs = control.disarm().count(SYNC);
    state.compare(&saved.checkpoint);
    assert!(saved.checkpoint.events.contains(&Event::Periodic));
    assert!(syncs > 0, "a save syncs");
    let least = SLOW * u32::try_from(syncs).unwrap();
    assert!(took >= least, "{syncs} syncs, and it returned in {took:?}");
    tell(&format!("{syncs} slow syncs"));
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let lines = swept("watched", "");
    for line in &lines {
        println!("  {line}");
    }
    assert_eq!(lines.len(), 20);
}

#[test]
fn a_save_waits_for_a_slow_disk() {
    println!("{:?}", swept("slow", ""));
}
