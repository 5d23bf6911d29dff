//! What users of other programs lost, told again: kills, full disks, errors that nobody saw.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ckptdb::{Error, Filter, Options, Sharing, Store, VerifyDepth};
use tempfile::TempDir;

use crate::child::{self, Process, argument, tell};
use crate::content::{Random, Size, State, job_name};
use crate::shim::{Action, Control, Fault, RESERVE, SIZE, WRITE};

const fn state(iteration: u64, size: Size) -> State {
    State {
        job: 0,
        iteration,
        revision: 0,
        size,
    }
}

/// The role: a trainer that resumes from the latest checkpoint, and saves one after the other. It
/// keeps `CKPTDB_TEST_KEEP` of them, by deleting the oldest once the newest is safe.
pub(crate) fn run_trainer() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let keep: usize = argument("CKPTDB_TEST_KEEP");
    let store = Store::open(path).unwrap();
    let job = store.job(&job_name(0)).unwrap();
    let latest = job.latest().unwrap();
    let mut iteration = latest.map_or(0, |latest| latest.iteration);
    tell(&format!("resumes {iteration}"));
    loop {
        iteration += 1;
        tell(&format!("saves {iteration}"));
        state(iteration, Size::Large)
            .save(&job, false, false)
            .unwrap();
        tell(&format!("saved {iteration}"));
        let all: Vec<_> = job.list().unwrap().map(Result::unwrap).collect();
        for oldest in all.iter().skip(keep) {
            oldest.delete(false).unwrap();
            store.reclaim(true).unwrap();
        }
    }
}

/// Kills a trainer again and again; each next one resumes from the last save that was
/// acknowledged, or from one that the kill cut off after it was done.
fn train(keep: usize, kills: u64) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let mut random = Random::new(7);
    let (mut saved, mut begun) = (0, 0);
    for _ in 0..kills {
        let mut command = child::command("trainer");
        command
            .env("CKPTDB_TEST_STORE", &path)
            .env("CKPTDB_TEST_KEEP", keep.to_string());
        let mut trainer = Process::start(&mut command);
        let first = trainer.line().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        trainer.kill();
        let resumed: u64 = first.strip_prefix("resumes ").unwrap().parse().unwrap();
        assert!((saved..=begun).contains(&resumed), "{resumed}, not {saved}");
        (saved, begun) = (resumed, resumed);
        for line in trainer.rest() {
            let (word, iteration) = line.split_once(' ').unwrap();
            let iteration = iteration.parse().unwrap();
            if word == "saved" {
                saved = iteration;
            } else {
                begun = iteration;
            }
        }
        trainer.wait();
        look(&path, saved, begun);
    }
    println!("{kills} kills, {saved} saves");
    assert!(saved > kills / 2, "{saved} saves");
}

/// The newest is whole, and so is every other that is listed.
fn look(path: &Path, saved: u64, begun: u64) {
    let store = Store::open(path).unwrap();
    let job = store.job(&job_name(0)).unwrap();
    let all: Vec<_> = job.list().unwrap().map(Result::unwrap).collect();
    for found in &all {
        state(found.iteration, Size::Large).compare(found);
    }
    let newest = all.first().map_or(0, |newest| newest.iteration);
    assert!((saved..=begun).contains(&newest), "{newest}, not {saved}");
}

/// Lightning #688 and #19970, transformers #35525.
#[test]
fn a_kill_in_a_save_never_leaves_a_truncated_newest_checkpoint_to_resume_from() {
    train(1_000, 60);
}

/// transformers #25129, #26961.
#[test]
fn a_rotation_that_keeps_one_never_leaves_none_when_it_is_killed() {
    train(1, 60);
}

#[test]
fn a_killed_process_leaves_no_lock_behind_and_a_running_one_lets_only_those_in_who_share() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let link = folder.path().join("other-name.ckptdb");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut command = child::command("trainer");
    command
        .env("CKPTDB_TEST_STORE", &path)
        .env("CKPTDB_TEST_KEEP", "3");
    let mut trainer = Process::start(&mut command);
    trainer.line().unwrap();
    for name in [&path, &link] {
        let alone = Options {
            sharing: Sharing::Alone,
            ..Options::default()
        };
        let refused = Store::open_with(name, alone).map(drop);
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
        let shared = Store::open(name).unwrap();
        assert!(shared.verify(VerifyDepth::Full).unwrap().is_clean());
    }
    trainer.kill();
    trainer.wait();
    drop(Store::open(&link).unwrap());
}

/// A store with one checkpoint, the files of a next one, and the command line beside a shim.
struct CommandLine {
    folder: TempDir,
    beside: TempDir,
}

impl CommandLine {
    fn new() -> Self {
        let new = Self {
            folder: TempDir::new().unwrap(),
            beside: TempDir::new().unwrap(),
        };
        let store = Store::create(new.store()).unwrap();
        let job = store.job(&job_name(0)).unwrap();
        state(1, Size::Large).save(&job, false, false).unwrap();
        let weights = crate::content::noise(3, 300_000);
        std::fs::write(new.beside.path().join("weights.bin"), weights).unwrap();
        new
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store.ckptdb")
    }

    fn run(&self, arguments: &[&str], fault: Option<Action>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
        command
            .current_dir(&self.beside)
            .env("CKPTDB_STORE", self.store());
        command.args(arguments);
        let page = self.beside.path().join("page");
        let control = Control::prepare(&mut command, &page, self.folder.path());
        if let Some(action) = fault {
            control.arm(Fault {
                mask: WRITE | SIZE | RESERVE,
                action,
                at: 1,
                sticky: true,
            });
        }
        command.output().unwrap()
    }

    /// Whether the first checkpoint is whole, and how many there are.
    fn checkpoints(&self) -> usize {
        let store = Store::open(self.store()).unwrap();
        let job = store.job(&job_name(0)).unwrap();
        state(1, Size::Large).compare(&job.at(1).unwrap().unwrap());
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        store.list(&Filter::default()).unwrap().count()
    }
}

/// keras #23609, orbax #605.
#[test]
fn a_save_that_failed_is_never_reported_as_done() {
    let line = CommandLine::new();
    let save = ["save", "--job", "job/0", "--iteration", "2", "weights.bin"];
    for (action, code, text) in [
        (Action::Fill(0), 12, "no room on the disk"),
        (Action::Fill(50_000), 12, "no room on the disk"),
        (Action::Fail(5), 1, "Input/output error"),
    ] {
        let output = line.run(&save, Some(action));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{action:?}: {errors}");
        assert!(errors.contains(text), "{action:?}: {errors}");
        assert_eq!(line.checkpoints(), 1);
    }
    let output = line.run(&save, None);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(line.checkpoints(), 2);
}

#[test]
fn an_export_from_the_command_line_to_a_full_disk_says_so_and_leaves_nothing() {
    let line = CommandLine::new();
    let target = line.folder.path().join("out");
    let export = ["export", "job/0@1", "--output", target.to_str().unwrap()];
    for room in [0, 100_000, 300_000] {
        let output = line.run(&export, Some(Action::Fill(room)));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(12), "{errors}");
        for file in std::fs::read_dir(&target).unwrap() {
            let name = file.unwrap().file_name();
            let is_whole = ["own", "progress", "tensors.safetensors"]
                .iter()
                .any(|n| name == *n);
            assert!(is_whole, "{} is half a file", name.display());
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
    let output = line.run(&export, None);
    assert!(output.status.success(), "{output:?}");
    let exported = std::fs::read_dir(&target).unwrap().count();
    assert_eq!(exported, 3);
}
