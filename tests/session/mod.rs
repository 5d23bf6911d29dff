//! Training sessions: when they save, what they keep, how they go on, and that nothing stops them.

#![expect(clippy::cast_precision_loss, reason = "metrics made of small counters")]

mod agents;
mod failures;
mod hooks;
mod loops;
mod restarts;
mod training;

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::policy::Trigger;
use ckptdb::session::{MinFree, OnLowDisk, SessionOptions};
use ckptdb::{ManualClock, Medium, MemoryMedium, Options, Save, Store};

use crate::support::LimitedMedium;

/// A store in memory, its clock, and its medium.
fn store() -> (Store, Arc<ManualClock>, Arc<dyn Medium>) {
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::default());
    let clock = Arc::new(ManualClock::default());
    let store = Store::create_in(medium.clone(), options(&clock)).unwrap();
    (store, clock, medium)
}

/// The same on a disk that can be filled, in a process that can be killed.
fn limited() -> (Store, Arc<ManualClock>, Arc<LimitedMedium>) {
    let medium = LimitedMedium::new(Arc::new(MemoryMedium::default()));
    let clock = Arc::new(ManualClock::default());
    let store = Store::create_in(medium.clone(), options(&clock)).unwrap();
    (store, clock, medium)
}

fn options(clock: &Arc<ManualClock>) -> Options {
    Options {
        clock: clock.clone(),
        ..Options::default()
    }
}

/// Every so many iterations, and what the loop says; no signals, no limit on the disk.
fn every(iterations: u64) -> SessionOptions {
    SessionOptions {
        triggers: ckptdb::policy::Triggers::from(Trigger::Iterations(
            iterations.try_into().unwrap(),
        )) | Trigger::Final
            | Trigger::Interrupt
            | Trigger::PhaseEnd
            | Trigger::PhaseBoundary,
        min_free: MinFree::NONE,
        signals: false,
        ..SessionOptions::default()
    }
}

/// The same, where saves are left out while less than 1 MiB of the disk is free.
fn refusing(iterations: u64) -> SessionOptions {
    SessionOptions {
        min_free: MinFree {
            bytes: 1 << 20,
            part: 1.0,
        },
        on_low_disk: OnLowDisk::Refuse,
        ..every(iterations)
    }
}

fn none() -> BTreeMap<String, f64> {
    BTreeMap::new()
}

fn metric(name: &str, value: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([(name.to_owned(), value)])
}

/// Adds the state of an iteration.
fn state(save: Save<'_>, iteration: u64) -> Save<'_> {
    save.file("weights", std::io::Cursor::new(iteration.to_le_bytes()))
}

fn iterations(store: &Store, job: &str) -> Vec<u64> {
    let list = store.job(job).unwrap().list().unwrap();
    let mut found: Vec<u64> = list
        .map(|checkpoint| checkpoint.unwrap().iteration)
        .collect();
    found.reverse();
    found
}
