//! Ctrl-C: what is under way ends at a safe point with exit code 130, nothing is left by half, and
//! the store is as sound as before.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ckptdb::{Store, VerifyDepth};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::noise;

/// Large enough that no machine is done with it before it hears of the signal.
const BYTES: usize = 160 << 20;
const ATTEMPTS: u64 = 12;

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
    command.args(arguments).current_dir(folder);
    command.env_remove("CKPTDB_STORE").stderr(Stdio::piped());
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Runs a command and interrupts it once `is_due`: its exit code, none if the signal itself ended
/// it, and what it said.
fn interrupted(
    folder: &Path,
    arguments: &[&str],
    signal: Signal,
    is_due: &dyn Fn() -> bool,
) -> (Option<i32>, String) {
    let mut child = spawn(folder, arguments);
    while !is_due() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Of a child that has ended, the process is there until it is waited for.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap_or(());
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (code, said)
}

/// Tries until the signal came while the command was at it; what it had done at other times is
/// what it does.
fn until_it_hits(mut attempt: impl FnMut(u64) -> (Option<i32>, String), doing: &str) {
    for number in 0..ATTEMPTS {
        let (code, said) = attempt(number);
        match code {
            Some(130) => {
                assert!(said.contains(&format!("{doing} was cancelled")), "{said}");
                return;
            }
            // Too late, or too early.
            Some(0) | None => {}
            Some(other) => panic!("exit code {other}: {said}"),
        }
    }
    panic!("none of {ATTEMPTS} signals hit {doing}");
}

fn listing(folder: &Path) -> Vec<String> {
    let names = folder
        .read_dir()
        .unwrap()
        .map(|item| item.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// A store in its folder, with one checkpoint of a large file.
fn stored() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let bytes = noise(1, BYTES);
    let save = store
        .job("NQ")
        .unwrap()
        .save(1)
        .compression(ckptdb::Compression::None);
    save.bytes("model.pt", &bytes).commit().unwrap();
    folder
}

#[test]
fn an_export_that_is_interrupted_leaves_no_file() {
    let folder = stored();
    let out = folder.path().join("out");
    for signal in [Signal::INT, Signal::TERM] {
        let attempt = |_| {
            let _ = std::fs::remove_dir_all(&out);
            std::fs::create_dir(&out).unwrap();
            // There is a file that is being written.
            let is_due = || !listing(&out).is_empty();
            let told = interrupted(
                folder.path(),
                &["export", "NQ", "-o", "out"],
                signal,
                &is_due,
            );
            if told.0 == Some(130) {
                assert_eq!(listing(&out), Vec::<String>::new());
            }
            told
        };
        until_it_hits(attempt, "reading");
    }
}

#[test]
fn a_save_that_is_interrupted_leaves_no_checkpoint() {
    let folder = stored();
    let path = folder.path().join("runs.ckptdb");
    std::fs::write(folder.path().join("new.pt"), noise(2, BYTES)).unwrap();
    let attempt = |number: u64| {
        let before = path.metadata().unwrap().len();
        let is_due = || path.metadata().unwrap().len() > before + (4 << 20);
        let iteration = (number + 2).to_string();
        let arguments = [
            "save",
            "new.pt",
            "-j",
            "NQ",
            "-i",
            &iteration,
            "--compression",
            "none",
        ];
        let told = interrupted(folder.path(), &arguments, Signal::INT, &is_due);
        if told.0 == Some(130) {
            let store = Store::open(&path).unwrap();
            assert_eq!(
                store
                    .job("NQ")
                    .unwrap()
                    .latest()
                    .unwrap()
                    .unwrap()
                    .iteration,
                number + 1
            );
            let report = store.verify(VerifyDepth::Full).unwrap();
            assert!(report.damage.is_empty(), "{report:?}");
        }
        told
    };
    until_it_hits(attempt, "saving");
}

#[test]
fn a_verification_that_is_interrupted_says_so() {
    let folder = stored();
    for arguments in [&["verify"][..], &["verify", "NQ"]] {
        let attempt = |number| {
            let begun = std::time::Instant::now();
            let is_due = || begun.elapsed() > Duration::from_millis(20 * (number + 1));
            interrupted(folder.path(), arguments, Signal::INT, &is_due)
        };
        until_it_hits(attempt, "verifying");
    }
}
