//! A process that forks while a store is open, as Python's `multiprocessing` does: the store stays
//! that of the process that opened it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ckptdb::policy::Trigger;
use ckptdb::session::{Overlap, SaveState, Session, SessionOptions};
use ckptdb::{Error, Filter, Options, Store, VerifyDepth};
use rustix::process::{Pid, WaitOptions, waitpid};
use tempfile::TempDir;

use crate::child::{self, argument, finish, tell};
use crate::shim::Control;

fn save(store: &Store, iteration: u64) -> ckptdb::Result<()> {
    let job = store.job("job")?;
    let save = job.save(iteration).bytes("own", &[7; 5_000]);
    save.commit().map(drop)
}

/// What went another way than it should in the process that was forked.
fn in_the_fork(store: Store, mut session: Session, path: &Path) -> Vec<&'static str> {
    let is_refused = |error: Option<Error>| matches!(error, Some(Error::Forked { .. }));
    // The thread that saves beside the training is not in this process: nothing waits for it.
    let step = session.step(1, &BTreeMap::new(), |save| save.bytes("x", &[1]));
    let is_failed = matches!(step.save, SaveState::Failed);
    session.wait();
    drop(session);
    let list = Filter::default();
    let mut answers = vec![
        ("a step of a session", is_failed),
        ("a save", is_refused(save(&store, 2).err())),
        ("a list", is_refused(store.list(&list).err())),
        ("a reclaim", is_refused(store.reclaim(true).err())),
        ("a compaction", is_refused(store.compact().err())),
        ("a reopening", is_refused(store.reopen().err())),
    ];
    // Closing and dropping it may neither write nor give the other's lock back.
    store.clone().close();
    drop(store);
    // What it opens itself is its own, and another has the turn.
    let own = impatient(path);
    let found = own.list(&list).map(Iterator::count);
    answers.push(("a list of its own", found.is_ok_and(|count| count == 1)));
    let refused = save(&own, 2);
    answers.push((
        "a save of its own",
        matches!(refused, Err(Error::Busy { .. })),
    ));
    drop(own);
    let wrong = answers.into_iter().filter(|(_, is_right)| !is_right);
    wrong.map(|(what, _)| what).collect()
}

/// A handle that waits for nobody.
fn impatient(path: &Path) -> Store {
    let options = Options {
        wait: Duration::ZERO,
        ..Options::default()
    };
    Store::open_with(path, options).unwrap()
}

/// Says that it is read, and waits for the word to end.
struct Slow(Sender<()>, Receiver<()>);

impl Read for Slow {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(0)
    }
}

/// The role: `CKPTDB_TEST_STORE`. The shim forks where a process asks for its parent's number, and
/// answers with zero in the new one.
#[expect(
    clippy::exit,
    reason = "a forked process has no business in the harness"
)]
pub(crate) fn run() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::create(&path).unwrap();
    save(&store, 1).unwrap();
    let options = SessionOptions {
        triggers: Trigger::Iterations(NonZeroU64::MIN).into(),
        background: Some(Overlap::Wait),
        ..SessionOptions::default()
    };
    let session = store.job("session").unwrap().session(options).unwrap();
    // Another thread is in the middle of a save: in the new process nobody gives its turn back.
    let (is_read, was_read) = channel();
    let (go_on, word) = channel();
    let saver = thread::spawn({
        let store = store.clone();
        move || {
            let job = store.job("other").unwrap();
            let slow = job.save(1).file("slow", Slow(is_read, word));
            slow.commit().map(drop).unwrap();
        }
    });
    was_read.recv().unwrap();
    let before = std::fs::read(&path).unwrap();
    let forked = i32::try_from(std::os::unix::process::parent_id()).unwrap();
    let Some(forked) = Pid::from_raw(forked) else {
        let wrong = in_the_fork(store, session, &path);
        for what in &wrong {
            tell(&format!("not refused as it should be: {what}"));
        }
        std::process::exit(i32::from(!wrong.is_empty()));
    };
    let (_, status) = waitpid(Some(forked), WaitOptions::empty())
        .unwrap()
        .unwrap();
    tell(&format!("ended with {:?}", status.exit_status()));
    assert!(std::fs::read(&path).unwrap() == before, "it was written to");
    let refused = save(&impatient(&path), 2);
    assert!(matches!(refused, Err(Error::Busy { .. })));
    go_on.send(()).unwrap();
    saver.join().unwrap();
    save(&store, 3).unwrap();
    drop((session, store));
    let store = Store::open(&path).unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    assert_eq!(store.list(&Filter::default()).unwrap().count(), 3);
}

#[test]
fn a_store_that_was_open_at_a_fork_is_refused_in_the_new_process_and_not_disturbed_by_it() {
    let folder = TempDir::new().unwrap();
    let mut command = child::command("forked");
    let page = folder.path().join("page");
    let _control = Control::prepare(&mut command, &page, folder.path());
    command
        .env("CKPTDB_SHIM_FORKS", "1")
        .env("CKPTDB_TEST_STORE", folder.path().join("store.ckptdb"));
    assert_eq!(finish(&mut command), ["ended with Some(0)"]);
}
