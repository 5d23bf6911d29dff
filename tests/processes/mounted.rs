//! Disks that are full in fact, and disks that became read-only: small file systems in memory,
//! mounted in a name space of the child's own, which goes with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use ckptdb::interop::write_safetensors;
use ckptdb::{CheckpointId, Error, Store, VerifyDepth};
use tempfile::TempDir;

use crate::child::{self, Process, argument, finish, tell};
use crate::content::{Size, State};
use crate::model::{Model, Outcome};
use crate::operation::Operation;
use crate::sweep::word;

/// The file system: how many bytes, and how many files.
const ROOM: &str = "size=8m";
const FEW_FILES: &str = "size=8m,nr_inodes=4";
/// What lets these tests pass without having run.
const WITHOUT: &str = "CKPTDB_WITHOUT_MOUNTS";

/// How to come by a name space where mounting is allowed, the simplest first.
const UNSHARE: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// The arguments of `unshare` that this machine accepts.
fn unshare() -> Option<&'static [&'static str]> {
    let folder = TempDir::new().unwrap();
    UNSHARE.into_iter().find(|arguments| {
        let output = Command::new("unshare")
            .args(*arguments)
            .args(["mount", "-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(folder.path())
            .output();
        output.is_ok_and(|output| output.status.success())
    })
}

/// Runs a role in a name space with a small file system. Where there can be none, whoever runs the
/// tests has to say that he knows.
fn run_mounted(role: &str, options: &str) {
    let Some(arguments) = unshare() else {
        let why = "neither root nor a user name space may mount a tmpfs here";
        assert!(
            std::env::var_os(WITHOUT).is_some(),
            "{why}: {WITHOUT}=1 leaves it out"
        );
        println!("NOT RUN: {why}");
        return;
    };
    let folder = TempDir::new().unwrap();
    let inner = child::command(role);
    let mut command = Command::new("unshare");
    command
        .args(arguments)
        .args(["sh", "-c"])
        .arg("mount -t tmpfs -o \"$0\" none \"$CKPTDB_TEST_FOLDER\" && exec \"$@\"")
        .arg(options)
        .arg(inner.get_program())
        .args(inner.get_args())
        .envs(
            inner
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .env("CKPTDB_TEST_FOLDER", folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    let lines = finish(&mut command);
    for line in &lines {
        println!("  {line}");
    }
}

const fn save(iteration: u64, size: Size) -> Operation {
    Operation::Save(State {
        job: 0,
        iteration,
        revision: 0,
        size,
    })
}

/// A store on the small disk, and what it must hold.
struct Small {
    folder: PathBuf,
    store: Store,
    model: Model,
    next: u64,
}

impl Small {
    fn new() -> Self {
        let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
        let store = Store::create(folder.join("store.ckptdb")).unwrap();
        Self {
            folder,
            store,
            model: Model::default(),
            next: 1,
        }
    }

    fn run(&mut self, operation: Operation) -> ckptdb::Result<u64> {
        let id = operation.run(&self.store)?;
        self.model.apply(operation, id);
        Ok(id)
    }

    fn save(&mut self, size: Size) -> ckptdb::Result<u64> {
        let id = self.run(save(self.next, size))?;
        self.next += 1;
        Ok(id)
    }

    /// Saves until it is told that the disk is full; returns the ids.
    fn fill_up(&mut self, size: Size) -> Vec<u64> {
        let mut ids = Vec::new();
        loop {
            match self.save(size) {
                Ok(id) => ids.push(id),
                Err(Error::Full { .. }) => {
                    self.hold();
                    return ids;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// All that was acknowledged is there, and nothing else.
    fn hold(&mut self) {
        assert_eq!(self.model.settle(&self.store, None), Outcome::Nothing);
    }
}

/// A file that takes all the room that is left.
fn take_the_rest(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut piece = 1 << 20;
    while piece > 0 {
        if std::io::Write::write_all(&mut file, &vec![1; piece]).is_err() {
            piece /= 2;
        }
    }
    path
}

/// The role: a disk that somebody else fills, and that has room again.
pub(crate) fn run_filler() {
    let mut small = Small::new();
    for size in [Size::Large, Size::Tiny, Size::Small] {
        small.save(size).unwrap();
    }
    let filler = take_the_rest(&small.folder);
    let mut refused = 0;
    for size in [Size::Large, Size::Small, Size::Large] {
        match small.save(size) {
            // The file may have room of its own.
            Ok(_) => {}
            Err(Error::Full { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        small.hold();
    }
    assert!(refused > 0, "the disk is full");
    std::fs::remove_file(filler).unwrap();
    for size in [Size::Large, Size::Tiny, Size::Small] {
        small.save(size).unwrap();
    }
    small.hold();
    small.store.reopen().unwrap();
    small.hold();
    tell(&format!("{refused} saves were refused, then all went on"));
}

/// The role: a disk that the store fills itself.
pub(crate) fn run_full() {
    for (round, size) in [Size::Large, Size::Small].into_iter().enumerate() {
        let mut small = Small::new();
        let ids = small.fill_up(size);
        tell(&format!("{} saves of {size:?}, then full", ids.len()));
        assert!(ids.len() > 10, "{}", ids.len());
        // Opened anew while there is no room.
        small.store.reopen().unwrap();
        small.hold();
        let path = small.store.path().to_owned();
        small.store.close();
        let store = Store::open(&path).unwrap();
        assert_eq!(small.model.settle(&store, None), Outcome::Nothing);
        drop(store);
        std::fs::rename(&path, path.with_extension(round.to_string())).unwrap();
        std::fs::remove_file(path.with_extension(round.to_string())).unwrap();
    }
}

/// The role: a disk that the store fills itself, and makes room on by itself.
pub(crate) fn run_room_from_inside() {
    let mut small = Small::new();
    let ids = small.fill_up(Size::Large);
    for id in &ids[..ids.len() / 2] {
        let deleted = small.run(Operation::Delete(*id));
        assert!(deleted.is_ok(), "a delete on a full disk: {deleted:?}");
    }
    let reclaimed = small.run(Operation::Reclaim);
    assert!(reclaimed.is_ok(), "a reclaim on a full disk: {reclaimed:?}");
    small.hold();
    let saved = small.save(Size::Large);
    assert!(saved.is_ok(), "a save after the reclaim: {saved:?}");
    small.hold();
    tell("delete, reclaim and save went on the full disk");
}

/// The role: a store that a killed process left on a disk that is then read-only.
pub(crate) fn run_read_only() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let path = folder.join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let mut model = killed_in_a_save(&path);
    let bytes = std::fs::read(&path).unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&folder)
        .status();
    assert!(remounted.unwrap().success());

    let store = Store::open(&path).unwrap_or_else(|e| panic!("opening to read: {e:?}"));
    // The save that the kill cut off is there or not; from then on nothing changes.
    model.settle(&store, Some(save(3, Size::Large)));
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    let refused = save(9, Size::Tiny).run(&store);
    let error = refused.as_ref().unwrap_err();
    tell(&format!("a save says: {} {error}", word(&refused)));
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    assert_eq!(model.settle(&store, None), Outcome::Nothing);
    drop(store);
    assert!(
        std::fs::read(&path).unwrap() == bytes,
        "the file is as it was"
    );
}

/// The role: a store that a killed process left on a disk that is then full.
pub(crate) fn run_unclean_full() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let path = folder.join("store.ckptdb");
    drop(Store::create(&path).unwrap());
    let mut model = killed_in_a_save(&path);
    let filler = take_the_rest(&folder);
    let store = Store::open(&path).unwrap();
    model.settle(&store, Some(save(3, Size::Large)));
    let refused = save(9, Size::Huge).run(&store);
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!(model.settle(&store, None), Outcome::Nothing);
    std::fs::remove_file(filler).unwrap();
    let id = save(9, Size::Large).run(&store).unwrap();
    model.apply(save(9, Size::Large), id);
    store.reopen().unwrap();
    assert_eq!(model.settle(&store, None), Outcome::Nothing);
    tell("it was read, refused a save, and saved again");
}

/// The role: a disk that has room, but not for one file more.
pub(crate) fn run_inodes() {
    let mut small = Small::new();
    small.save(Size::Large).unwrap();
    let others = take_every_file(&small.folder);
    let before = files_of(&small.folder);
    // Saving makes no files.
    for size in [Size::Small, Size::Large, Size::Tiny] {
        small.save(size).unwrap();
    }
    small.store.reopen().unwrap();
    let id = CheckpointId::new(small.save(Size::Large).unwrap());
    let checkpoint = small.store.resolve(&id.to_string()).unwrap();
    let new = small.folder.join("new.ckptdb");
    let refused = [
        Store::create(&new).map(drop),
        Store::salvage(small.store.path(), &new, &mut |_, _| {}).map(drop),
        write_safetensors(&checkpoint, &|_| true, &new).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
        assert_eq!(files_of(&small.folder), before);
    }
    for other in others {
        std::fs::remove_file(other).unwrap();
    }
    drop(Store::create(&new).unwrap());
    small.hold();
    tell("it was saved to, and nothing else was made");
}

/// Makes empty files until there can be no more.
fn take_every_file(folder: &Path) -> Vec<PathBuf> {
    let names = (0..).map(|number| folder.join(format!("other.{number}")));
    names
        .take_while(|path| std::fs::File::create_new(path).is_ok())
        .collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A worker saves two states and is killed in the third: the file is not closed.
fn killed_in_a_save(path: &Path) -> Model {
    let mut command = child::command("saver");
    command.env("CKPTDB_TEST_STORE", path);
    let mut saver = Process::start(&mut command);
    let mut model = Model::default();
    for iteration in [1, 2] {
        let id = saver.line().unwrap().parse().unwrap();
        model.apply(save(iteration, Size::Large), id);
    }
    assert_eq!(saver.line().unwrap(), "third");
    saver.kill();
    saver.wait();
    model
}

/// The role: saves two states, and says so before it saves the third, after which it stays.
pub(crate) fn run_saver() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    let store = Store::open(path).unwrap();
    for iteration in [1, 2] {
        let id = save(iteration, Size::Large).run(&store).unwrap();
        tell(&id.to_string());
    }
    tell("third");
    save(3, Size::Large).run(&store).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_disk_that_others_fill_refuses_saves_until_there_is_room() {
    run_mounted("filler", ROOM);
}

#[test]
fn a_disk_that_the_store_fills_keeps_every_acknowledged_save_readable() {
    run_mounted("full", ROOM);
}

#[test]
fn an_unclean_store_on_a_full_disk_can_be_read_and_saves_again_once_there_is_room() {
    run_mounted("unclean-full", ROOM);
}

#[test]
fn on_a_full_disk_delete_and_reclaim_make_room_for_the_next_save() {
    run_mounted("room-from-inside", ROOM);
}

#[test]
fn an_unclean_store_on_a_read_only_disk_can_be_read_and_stays_as_it_is() {
    run_mounted("read-only", ROOM);
}

#[test]
fn a_disk_that_has_no_file_left_is_saved_to_and_every_new_file_is_refused() {
    run_mounted("inodes", FEW_FILES);
}
