//! A process that exits while a save runs beside its training: what was acknowledged is there, and
//! of the rest all or nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ckptdb::policy::Trigger;
use ckptdb::session::{MinFree, Overlap, SaveState, SessionOptions, after_save};
use ckptdb::{Store, VerifyDepth};
use tempfile::TempDir;

use crate::child::{self, Process, argument, tell};
use crate::content::Random;

const ROUNDS: u64 = 20;
const STEPS: u64 = 3;
const CODE: i32 = 7;
/// Long enough that its stages are written before the last transaction.
const WORDS: usize = 5 << 18;

/// No two are alike, and none is shorter than it is.
fn weights(iteration: u64) -> Vec<u8> {
    let mut random = Random::new(iteration);
    let words = (0..WORDS).map(|_| random.below(u64::MAX));
    words.flat_map(u64::to_le_bytes).collect()
}

fn options() -> SessionOptions {
    SessionOptions {
        triggers: Trigger::Iterations(1.try_into().unwrap()).into(),
        background: Some(Overlap::Wait),
        min_free: MinFree::NONE,
        signals: false,
        hooks: vec![after_save("acknowledged", |done| {
            tell(&format!("saved {}", done.checkpoint.iteration));
            Ok(())
        })],
        ..SessionOptions::default()
    }
}

/// The role: it trains a little, and exits without an end, some time after its last step.
#[expect(clippy::exit, reason = "it is what the test is about")]
pub(crate) fn run() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let after: u64 = argument("CKPTDB_TEST_AFTER");
    let store = Store::open(path).unwrap();
    let mut session = store.job("NQ").unwrap().session(options()).unwrap();
    let first = session.next_iteration();
    for iteration in first..first + STEPS {
        let state = weights(iteration);
        let step = session.step(iteration, &BTreeMap::new(), |save| save.bytes("w", &state));
        assert!(matches!(step.save, SaveState::Queued), "{step:?}");
    }
    thread::sleep(Duration::from_micros(after));
    let in_flight = session.in_flight();
    tell(if in_flight { "in flight" } else { "done" });
    std::process::exit(CODE);
}

#[test]
fn a_process_that_exits_with_a_save_beside_it_leaves_all_of_it_or_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let mut random = Random::new(5);
    let (mut in_flight, mut left_out) = (0, 0);
    for round in 1..=ROUNDS {
        let mut command = child::command("exiter");
        command
            .env("CKPTDB_TEST_STORE", &path)
            .env("CKPTDB_TEST_AFTER", random.below(60_000).to_string());
        let mut process = Process::start(&mut command);
        let told = process.rest();
        assert_eq!(process.wait().code(), Some(CODE), "{told:#?}");
        let store = Store::open(&path).unwrap();
        let job = store.job("NQ").unwrap();
        for line in &told {
            if let Some(iteration) = line.strip_prefix("saved ") {
                let saved = job.at(iteration.parse().unwrap()).unwrap();
                assert!(saved.is_some(), "{iteration} was acknowledged");
            }
        }
        in_flight += u64::from(told.iter().any(|line| line == "in flight"));
        let head = job.latest().unwrap().unwrap();
        assert!(head.read("w").unwrap() == weights(head.iteration));
        left_out = STEPS * round - job.list().unwrap().count() as u64;
    }
    println!("{ROUNDS} exits, {in_flight} with a save in flight; {left_out} saves are not there");
    assert!(in_flight > 0);
    let store = Store::open(&path).unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    drop(store.job("NQ").unwrap().session(options()).unwrap());
    let sessions = store.job("NQ").unwrap().sessions().unwrap();
    assert_eq!(sessions.vanished, ROUNDS);
}
