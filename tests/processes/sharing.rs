//! Several processes on one store: trainers, readers and one that prunes, side by side; and what
//! becomes of the others when one is killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ckptdb::policy::{Keep, Retention};
use ckptdb::{Error, Filter, Options, Store, VerifyDepth};
use tempfile::TempDir;

use crate::child::{self, Process, argument, tell};
use crate::content::{Random, noise};
use crate::shim::Control;

const SMALL: usize = 2_000;
/// A multiple is kept for ever by the one that prunes, and of others the newest so many.
const EVERY: u64 = 10;
const LATEST: u64 = 5;
const TRAINERS: u64 = 8;

/// How much is done: `NAME=NUMBER` in the environment for more than in an ordinary run.
fn amount(name: &str, ordinary: u64) -> u64 {
    std::env::var(name).map_or(ordinary, |text| text.parse().unwrap())
}

fn bytes_of(job: u64, iteration: u64, large: usize) -> Vec<u8> {
    let len = if iteration % 8 == 3 { large } else { SMALL };
    noise(job << 32 | iteration, len)
}

fn role(name: &str, path: &Path) -> Command {
    let mut command = child::command(name);
    command.env("CKPTDB_TEST_STORE", path);
    command
}

/// The role: saves so many states, and tells of each how long it waited for others.
pub(crate) fn run_sharer() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let (number, saves): (u64, u64) = (argument("CKPTDB_TEST_JOB"), argument("CKPTDB_TEST_SAVES"));
    let large: usize = argument("CKPTDB_TEST_LARGE");
    let store = Store::open(&path).unwrap();
    let job = store.job(&format!("market/{number}")).unwrap();
    for iteration in 1..=saves {
        let bytes = bytes_of(number, iteration, large);
        let saved = job.save(iteration).bytes("state", &bytes).commit().unwrap();
        let waited = saved.times.queued.as_micros();
        let took = saved.times.blocked.as_micros();
        tell(&format!("{iteration} {waited} {took}"));
    }
}

/// The role: looks at everything again and again, until it is killed.
pub(crate) fn run_onlooker() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let large: usize = argument("CKPTDB_TEST_LARGE");
    let store = Store::open(&path).unwrap();
    let mut random = Random::new(u64::from(std::process::id()));
    loop {
        let begun = Instant::now();
        let checkpoints = store.list(&Filter::default()).unwrap();
        let checkpoints: Vec<_> = checkpoints.map(|found| found.unwrap()).collect();
        let took = begun.elapsed();
        for _ in 0..3 {
            let Some(checkpoint) = random.pick(&checkpoints.iter().collect::<Vec<_>>()) else {
                continue;
            };
            let number = checkpoint.job.rsplit('/').next().unwrap().parse().unwrap();
            match checkpoint.read("state") {
                Ok(bytes) => {
                    assert!(bytes == bytes_of(number, checkpoint.iteration, large));
                }
                // It was pruned, and reclaimed, since it was listed.
                Err(Error::Deleted { .. } | Error::NotFound { .. }) => {
                    store.resolve(&checkpoint.id.to_string()).unwrap_err();
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        tell(&format!("{}", took.as_micros()));
    }
}

/// Applies retention to all jobs.
fn prune(store: &Store) -> u64 {
    let rules = [Keep::Latest(LATEST), Keep::Every(EVERY.try_into().unwrap())];
    let retention = Retention::new(rules).unwrap();
    let jobs = store.jobs().unwrap().into_iter();
    jobs.map(|job| {
        let job = store.job(&job.name).unwrap();
        job.prune(&retention).unwrap().deleted
    })
    .sum()
}

/// The role: applies retention to all jobs again and again, and reclaims, until it is killed.
pub(crate) fn run_pruner() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::open(&path).unwrap();
    for round in 1.. {
        let deleted = prune(&store);
        let reclaimed = store.reclaim(true).unwrap();
        if round % 10 == 1 {
            store.compact().unwrap();
        }
        tell(&format!("{deleted} {}", reclaimed.checkpoints));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What may be said of the order of things.
fn shown(name: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |part: usize| micros.get(micros.len() * part / 100).copied().unwrap_or(0);
    let worst = micros.last().copied().unwrap_or(0);
    println!(
        "{name}: {} times, p50 {} us, p99 {} us, worst {worst} us",
        micros.len(),
        at(50),
        at(99)
    );
}

/// The lines of a process that is stopped now, and not by a surprise of its own before.
fn stopped(mut process: Process) -> Vec<String> {
    assert!(process.is_running());
    process.kill();
    process.rest()
}

/// Whether all that the rules keep of what the trainers saved is there, and after one more round
/// of retention not a byte more.
fn holds_what_the_model_does(path: &Path, saves: u64, large: usize) {
    let store = Store::open(path).unwrap();
    let is_kept = |iteration| iteration % EVERY == 0 || iteration + LATEST > saves;
    let iterations = |number: u64| -> Vec<u64> {
        let job = store.job(&format!("market/{number}")).unwrap();
        let found = job.list().unwrap().map(|found| {
            let found = found.unwrap();
            assert!(found.read("state").unwrap() == bytes_of(number, found.iteration, large));
            found.iteration
        });
        let mut found: Vec<u64> = found.collect();
        found.sort_unstable();
        found
    };
    for number in 0..TRAINERS {
        let there = iterations(number);
        for iteration in (1..=saves).filter(|iteration| is_kept(*iteration)) {
            let is_there = there.binary_search(&iteration).is_ok();
            assert!(is_there, "market/{number}@{iteration} is gone");
        }
    }
    prune(&store);
    store.reclaim(true).unwrap();
    let kept: Vec<u64> = (1..=saves)
        .filter(|iteration| is_kept(*iteration))
        .collect();
    for number in 0..TRAINERS {
        assert_eq!(iterations(number), kept);
    }
    let of_one = |iteration: &u64| bytes_of(0, *iteration, large).len() as u64;
    let bytes = TRAINERS * kept.iter().map(of_one).sum::<u64>();
    let stats = store.stats().unwrap();
    assert_eq!(stats.checkpoints, TRAINERS * kept.len() as u64);
    assert_eq!(stats.unique_bytes, bytes);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn eight_trainers_two_readers_and_a_pruner_share_a_store_and_nothing_is_lost_or_refused() {
    let saves = amount("CKPTDB_SHARED_SAVES", 24);
    let large = amount("CKPTDB_SHARED_LARGE", 1 << 20);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    drop(Store::create(&path).unwrap());
    let trainer = |number: u64| {
        let mut command = role("sharer", &path);
        command
            .env("CKPTDB_TEST_JOB", number.to_string())
            .env("CKPTDB_TEST_SAVES", saves.to_string())
            .env("CKPTDB_TEST_LARGE", large.to_string());
        Process::start(&mut command)
    };
    let reader = || {
        let mut command = role("onlooker", &path);
        Process::start(command.env("CKPTDB_TEST_LARGE", large.to_string()))
    };
    let begun = Instant::now();
    let mut trainers: Vec<Process> = (0..TRAINERS).map(trainer).collect();
    let readers = [reader(), reader()];
    let pruner = Process::start(&mut role("pruner", &path));
    let (mut waits, mut times) = (Vec::new(), Vec::new());
    for process in &mut trainers {
        let lines = process.rest();
        assert!(process.wait().success(), "{lines:?}");
        assert_eq!(lines.len() as u64, saves);
        for line in lines {
            let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            waits.push(numbers[1]);
            times.push(numbers[2]);
        }
    }
    let all = begun.elapsed();
    let lists = readers.map(stopped).concat();
    let pruned = stopped(pruner);
    println!("{TRAINERS} processes saved {saves} states each in {all:?}");
    shown("waits", waits);
    shown("saves", times);
    assert!(!lists.is_empty() && !pruned.is_empty());
    shown(
        "lists",
        lists.iter().map(|micros| micros.parse().unwrap()).collect(),
    );
    println!("{} rounds of retention", pruned.len());

    holds_what_the_model_does(&path, saves, usize::try_from(large).unwrap());
}

#[test]
fn of_many_that_save_to_a_new_store_one_makes_it_and_all_are_in_it() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state.bin");
    std::fs::write(&state, noise(1, 5_000)).unwrap();
    let savers = (0..8).map(|number| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
        let job = format!("market/{number}");
        command.args([
            "save",
            "--create",
            "--iteration",
            "1",
            "--job",
            &job,
            "-s",
            "new.ckptdb",
        ]);
        command.arg(&state).current_dir(&folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    let savers: Vec<_> = savers.collect();
    for saver in savers {
        let output = saver.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let path = folder.path().join("new.ckptdb");
    let store = Store::open_or_create(&path).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().count(), 8);
    let other = Store::open_or_create(folder.path().join("other.ckptdb")).unwrap();
    assert_ne!(other.id(), store.id());
}

#[test]
fn whoever_is_killed_the_next_goes_on_at_once_and_has_all_that_was_acknowledged() {
    let kills = amount("CKPTDB_SHARED_KILLS", 25);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(&path).unwrap();
    let own = store.job("own").unwrap();
    let mut random = Random::new(kills);
    let mut waits = Vec::new();
    for round in 0..kills {
        let number = 100 + round;
        let mut command = role("sharer", &path);
        command
            .env("CKPTDB_TEST_JOB", number.to_string())
            .env("CKPTDB_TEST_SAVES", "1000000")
            .env("CKPTDB_TEST_LARGE", "3000000");
        let mut saver = Process::start(&mut command);
        // At some moment after it has begun.
        saver.line().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        saver.kill();
        let begun = Instant::now();
        own.save(round)
            .bytes("x", &round.to_le_bytes())
            .commit()
            .unwrap();
        let took = begun.elapsed();
        waits.push(u64::try_from(took.as_micros()).unwrap());
        assert!(took < Duration::from_secs(1), "{took:?}");
        let acknowledged = saver.rest();
        saver.wait();
        let job = store.job(&format!("market/{number}")).unwrap();
        let latest = job.latest().unwrap().unwrap();
        let last = acknowledged
            .last()
            .map_or(1, |line| line.split(' ').next().unwrap().parse().unwrap());
        // One more may have been saved without anybody having been told.
        assert!((last..=last + 1).contains(&latest.iteration));
        assert!(latest.read("state").unwrap() == bytes_of(number, latest.iteration, 3_000_000));
        store.delete_job(job.name()).unwrap();
        store.reclaim(true).unwrap();
    }
    println!("{kills} savers were killed");
    shown("the next save", waits);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    let left = store.list(&Filter::default()).unwrap().count();
    assert_eq!(left as u64, kills);
}

/// The role: a save that takes as long as somebody lets it.
pub(crate) fn run_lingerer() {
    struct Slow(Instant);
    impl std::io::Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.elapsed() > Duration::from_millis(2500) {
                return Ok(0);
            }
            std::thread::sleep(Duration::from_millis(1));
            let len = out.len().min(20_000);
            let seed = u64::from(self.0.elapsed().subsec_nanos());
            out[..len].copy_from_slice(&noise(seed, len));
            Ok(len)
        }
    }
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::open(&path).unwrap();
    tell("begins");
    let slow = Slow(Instant::now());
    let save = store.job("slow").unwrap().save(1).file("x", slow);
    save.commit().unwrap();
    tell("done");
}

#[test]
fn a_long_save_holds_up_no_reader_and_tells_a_writer_who_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let options = Options {
        wait: Duration::from_millis(100),
        ..Options::default()
    };
    let store = Store::create_with(&path, options).unwrap();
    let job = store.job("own").unwrap();
    let state = noise(1, 3_000_000);
    job.save(1).bytes("x", &state).commit().unwrap();
    let mut saver = Process::start(&mut role("lingerer", &path));
    assert_eq!(saver.line().unwrap(), "begins");
    std::thread::sleep(Duration::from_millis(300));
    let mut waits = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(800) {
        let asked = Instant::now();
        // A handle that has been open, and one that comes.
        for store in [store.clone(), Store::open(&path).unwrap()] {
            assert_eq!(store.list(&Filter::default()).unwrap().count(), 1);
            let found = store.resolve("own@latest").unwrap();
            assert!(found.read("x").unwrap() == state);
        }
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        waits.push(u64::try_from(asked.elapsed().as_micros()).unwrap());
    }
    shown("list, latest, load, verify beside a long save", waits);
    let refused = job.save(2).bytes("x", &state).commit().unwrap_err();
    let Error::Busy { holder, .. } = &refused else {
        panic!("{refused:?}");
    };
    let holder = holder.as_ref().unwrap();
    assert_eq!(holder.process, saver.id());
    assert!(holder.program.is_some() && holder.held_for.as_secs() < 60);
    let told = refused.to_string();
    assert!(told.contains(&format!("process {}", saver.id())), "{told}");
    assert_eq!(saver.line().unwrap(), "done");
    job.save(2).bytes("x", &state).commit().unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().count(), 3);
}

#[test]
fn what_two_processes_save_at_the_same_time_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(&path).unwrap();
    let mut command = role("sharer", &path);
    command
        .env("CKPTDB_TEST_JOB", "7")
        .env("CKPTDB_TEST_SAVES", "40")
        .env("CKPTDB_TEST_LARGE", "2000000");
    let mut other = Process::start(&mut command);
    other.line().unwrap();
    let job = store.job("own").unwrap();
    let mut raw = 0;
    for iteration in 1..=40 {
        let bytes = bytes_of(7, iteration, 2_000_000);
        raw += bytes.len() as u64;
        job.save(iteration).bytes("state", &bytes).commit().unwrap();
    }
    other.rest();
    assert!(other.wait().success());
    let stats = store.stats().unwrap();
    assert_eq!(stats.logical_bytes, 2 * raw);
    assert!(stats.stored_bytes < raw + raw / 50, "{stats:?}");
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_store_on_another_machine_s_disk_is_refused_with_words_unless_forced() {
    let (folder, beside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().canonicalize().unwrap().join("runs.ckptdb");
    let run = |arguments: &[&str], path: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
        let page = beside.path().join("page");
        Control::prepare(&mut command, &page, folder.path());
        command.args(arguments).arg("-s").arg(path);
        command.env("CKPTDB_SHIM_NETWORK", "1").output().unwrap()
    };
    let is_refused = |arguments: &[&str]| {
        let output = run(arguments, &path);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("runs.ckptdb` is on a network file system (NFS)"));
        assert!(told.contains("--force-network"), "{told}");
    };
    is_refused(&["init"]);
    assert!(!path.exists());
    for arguments in [
        &["init", "--force-network"][..],
        &["jobs", "--force-network"],
    ] {
        let output = run(arguments, &path);
        assert!(output.status.success(), "{output:?}");
    }
    for arguments in [&["jobs"][..], &["verify"], &["reclaim"]] {
        is_refused(arguments);
    }
    // What is elsewhere is not concerned.
    assert!(
        run(&["init"], &beside.path().join("x.ckptdb"))
            .status
            .success()
    );
}

#[test]
fn the_command_line_answers_beside_a_save_and_says_who_is_in_the_way_of_a_change() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("own").unwrap();
    for iteration in 1..4 {
        let state = noise(iteration, 300_000);
        job.save(iteration).bytes("x", &state).commit().unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
        command.args(arguments).arg("-s").arg(&path);
        command.current_dir(&folder).output().unwrap()
    };
    let mut saver = Process::start(&mut role("lingerer", &path));
    assert_eq!(saver.line().unwrap(), "begins");
    std::thread::sleep(Duration::from_millis(300));
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for arguments in [
        &["ls"][..],
        &["show", "own@latest"],
        &["stats"],
        &["watch", "--times", "1"],
        &["verify"],
        &["export", "own@2", "-o", out],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let output = run(&["delete", "own@1", "--wait", "0s"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(11), "{told}");
    assert!(told.contains(&format!("process {}", saver.id())), "{told}");
    assert!(told.contains("--wait"), "{told}");
    // Whoever waits, gets it.
    let output = run(&["delete", "own@1"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(saver.line().unwrap(), "done");
    assert_eq!(store.list(&Filter::default()).unwrap().count(), 3);
}

#[test]
fn what_goes_wrong_for_a_while_is_told_by_watch_and_does_not_end_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runs.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("own").unwrap();
    job.save(1).bytes("x", &[1]).commit().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
    command.args(["watch", "own", "--json", "--interval", "20ms", "-s"]);
    command
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut looks = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut look = || looks.next().unwrap().unwrap();
    assert!(look().contains(r#""latest":1"#));
    store.delete_job("own").unwrap();
    let mut told = BufReader::new(watching.stderr.take().unwrap()).lines();
    let told = told.next().unwrap().unwrap();
    assert!(told.contains("own"), "{told}");
    job.save(2).bytes("x", &[2]).commit().unwrap();
    while !look().contains(r#""latest":2"#) {}
    watching.kill().unwrap();
    watching.wait().unwrap();
}
