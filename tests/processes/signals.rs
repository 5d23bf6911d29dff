//! Real signals at random moments: a session saves its state with event `interrupt` and ends,
//! between iterations, inside of one, and while another save runs beside it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ckptdb::policy::{Trigger, Triggers};
use ckptdb::session::{MinFree, Overlap, SessionOptions, State};
use ckptdb::{Checkpoint, Event, Result, Save, Store, VerifyDepth};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::child::{self, Process, argument, tell};
use crate::content::Random;

const ROUNDS: u64 = 60;
const MARKETS: usize = 2;
/// What an iteration takes at most.
const ITERATION: Duration = Duration::from_millis(3);
/// A session ends this soon after a signal, an iteration and its save included, on a machine that
/// has other things to do.
const LIMIT: Duration = Duration::from_secs(20);

struct Weights(Vec<u8>);

impl State for Weights {
    fn save<'s>(&'s self, save: Save<'s>) -> Save<'s> {
        save.bytes("weights", &self.0)
    }
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.0 = checkpoint.read("weights")?.to_vec();
        Ok(())
    }
}

fn weights(iteration: u64) -> Vec<u8> {
    iteration.to_le_bytes().repeat(20_000)
}

fn options(beside: bool) -> SessionOptions {
    SessionOptions {
        triggers: Triggers::from(Trigger::Iterations(5.try_into().unwrap())) | Trigger::Interrupt,
        background: beside.then_some(Overlap::Replace),
        min_free: MinFree::NONE,
        ..SessionOptions::default()
    }
}

/// The role: markets that train as threads of one process, until they are told to stop.
pub(crate) fn run_market() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let beside: bool = argument("CKPTDB_TEST_BESIDE");
    let store = Store::open(path).unwrap();
    let markets: Vec<_> = (0..MARKETS)
        .map(|market| {
            let job = store.job(&format!("market/{market}")).unwrap();
            (market, job.session(options(beside)).unwrap())
        })
        .collect();
    tell("begun");
    thread::scope(|scope| {
        for (market, session) in markets {
            scope.spawn(move || {
                let mut state = Weights(weights(0));
                let mut at = 0;
                let finished = session.run(&mut state, u64::MAX, |state, iteration| {
                    thread::sleep(ITERATION / 2);
                    state.0 = weights(iteration);
                    at = iteration;
                    Ok::<_, String>(BTreeMap::from([("loss".to_owned(), 1.0)]))
                });
                let finished = finished.unwrap();
                assert!(finished.stop.is_some());
                tell(&format!("stopped {market} {at}"));
            });
        }
    });
    store.close();
}

/// The role: a loop that never looks whether it is to stop.
pub(crate) fn run_deaf() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::open(path).unwrap();
    let _session = store.job("deaf").unwrap().session(options(false)).unwrap();
    tell("begun");
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// The role: its session ends, and it goes on with something else.
pub(crate) fn run_after() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::open(path).unwrap();
    for _ in 0..2 {
        let job = store.job("over").unwrap();
        let session = job.session(options(false)).unwrap();
        let state = weights(0);
        session.finish(0, &BTreeMap::new(), |save| save.bytes("weights", &state));
    }
    tell("begun");
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn start(role: &str, path: &Path, beside: bool) -> Process {
    let mut command = child::command(role);
    command
        .env("CKPTDB_TEST_STORE", path)
        .env("CKPTDB_TEST_BESIDE", beside.to_string());
    let mut process = Process::start(&mut command);
    assert_eq!(process.line().as_deref(), Some("begun"));
    process
}

fn send(process: &Process, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_signal_at_any_moment_saves_the_state_of_every_session_and_ends_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let mut random = Random::new(11);
    let signals = [Signal::INT, Signal::TERM, Signal::USR1];
    let mut slowest = Duration::ZERO;
    let mut last = [0; MARKETS];
    for round in 0..ROUNDS {
        let beside = round % 2 == 0;
        let mut process = start("market", &path, beside);
        thread::sleep(Duration::from_micros(random.below(60_000)));
        let sent = Instant::now();
        let which = usize::try_from(random.below(3)).unwrap();
        send(&process, signals[which]);
        let told = process.rest();
        let status = process.wait();
        slowest = slowest.max(sent.elapsed());
        assert!(status.success(), "{status}, after {told:#?}");
        let stopped: BTreeMap<usize, u64> = told.iter().map(|line| stopped(line)).collect();
        assert_eq!(stopped.len(), MARKETS, "{told:#?}");
        let store = Store::open(&path).unwrap();
        for (market, at) in stopped {
            let job = store.job(&format!("market/{market}")).unwrap();
            let head = job.latest().unwrap().unwrap();
            assert_eq!(head.iteration, at, "market {market}");
            assert!(head.events.contains(&Event::Interrupt), "{:?}", head.events);
            assert_eq!(head.read("weights").unwrap(), weights(at));
            assert!(at > last[market], "it went on from where it was");
            last[market] = at;
            let sessions = job.sessions().unwrap();
            assert_eq!((sessions.interrupted, sessions.vanished), (round + 1, 0));
        }
    }
    assert!(slowest < LIMIT, "{slowest:?}");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.verify(VerifyDepth::Full).unwrap().damage, []);
    println!(
        "{ROUNDS} signals to {MARKETS} sessions each: every state saved, the slowest end after \
         {:.0} ms",
        slowest.as_secs_f64() * 1000.0
    );
}

fn stopped(line: &str) -> (usize, u64) {
    let rest = line.strip_prefix("stopped ").unwrap();
    let (market, at) = rest.split_once(' ').unwrap();
    (market.parse().unwrap(), at.parse().unwrap())
}

#[test]
fn who_asks_twice_does_not_wait() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = start("deaf", &path, false);
        send(&process, signal);
        // The first one is remembered, and another one is not it.
        thread::sleep(Duration::from_millis(50));
        send(&process, Signal::USR1);
        thread::sleep(Duration::from_millis(50));
        assert!(process.is_running());
        send(&process, signal);
        assert_eq!(process.wait().signal(), Some(signal.as_raw()));
    }
    let store = Store::open(&path).unwrap();
    let session = store.job("deaf").unwrap().session(options(false)).unwrap();
    drop(session);
    let sessions = store.job("deaf").unwrap().sessions().unwrap();
    assert_eq!((sessions.vanished, sessions.interrupted), (2, 1));
}

#[test]
fn after_the_last_session_signals_end_the_process_as_before() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    for signal in [Signal::INT, Signal::TERM, Signal::USR1] {
        let mut process = start("after", &path, false);
        send(&process, signal);
        assert_eq!(process.wait().signal(), Some(signal.as_raw()));
    }
    let store = Store::open(&path).unwrap();
    let sessions = store.job("over").unwrap().sessions().unwrap();
    assert_eq!((sessions.completed, sessions.vanished), (6, 0));
}
