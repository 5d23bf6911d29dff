//! Paths that are no text, and names that are no regular files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ckptdb::interop::{SafetensorsFile, add_path, write_folder};
use ckptdb::{Error, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{noise, vector};

fn file_of(store: &Store, path: &Path) -> ckptdb::Result<()> {
    let job = store.job("job")?;
    let iteration = job.latest()?.map_or(1, |latest| latest.iteration + 1);
    add_path(job.save(iteration), "own", path)?
        .commit()
        .map(drop)
}

/// A file system that takes names that are no text.
#[test]
fn a_path_that_is_not_utf8_is_a_path_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(OsStr::from_bytes(b"run-\xff\xfe"));
    match fs::create_dir(&odd) {
        // Some file systems refuse them.
        Err(error) if error.raw_os_error() == Some(84) => return,
        made => made.unwrap(),
    }
    let path = odd.join(OsStr::from_bytes(b"\xe9.ckptdb"));
    let input = odd.join(OsStr::from_bytes(b"\xe9.bin"));
    fs::write(&input, b"bytes").unwrap();
    let store = Store::create(&path).unwrap();
    file_of(&store, &input).unwrap();
    drop(store);
    let error = Store::create(&path).unwrap_err();
    assert!(matches!(&error, Error::Exists { path: at } if *at == path));
    assert!(error.to_string().contains("run-"), "{error}");
    let store = Store::open(&path).unwrap();
    let other = Store::open(&path).unwrap();
    assert_eq!(other.jobs().unwrap().len(), 1);
    let latest = store.job("job").unwrap().latest().unwrap().unwrap();
    let out = odd.join(OsStr::from_bytes(b"out-\xff"));
    write_folder(&latest, &|_| true, &out).unwrap();
    assert_eq!(fs::read(out.join("own")).unwrap(), b"bytes");
    drop((latest, store));
    // Names of entries are text: a file whose name is none needs one.
    let store = Store::open(&path).unwrap();
    let job = store.job("job").unwrap();
    let refused = add_path(job.save(2), "", &input).map(drop).unwrap_err();
    assert!(refused.to_string().contains("not UTF-8"), "{refused}");
    let new = odd.join(OsStr::from_bytes(b"\xe8.ckptdb"));
    let salvaged = Store::salvage(&path, &new, &mut |_, _| {}).unwrap();
    assert_eq!(salvaged.checkpoints, 1);
}

/// A pipe without a writer would be waited for, and zeros have no end.
#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = folder.path().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        path
    };
    let strange = [
        folder.path().to_owned(),
        pipe("pipe.ckptdb"),
        PathBuf::from("/dev/zero"),
    ];
    for path in strange {
        let new = folder.path().join("new.ckptdb");
        let opened = Store::open(&path).map(drop);
        let salvaged = Store::salvage(&path, &new, &mut |_, _| {}).map(drop);
        for refused in [opened, salvaged] {
            let why = refused.unwrap_err();
            assert!(matches!(why, Error::NotAStore { .. }), "{why:?}");
        }
        assert!(!new.exists());
        let created = Store::create(&path).map(drop).unwrap_err();
        assert!(matches!(created, Error::Exists { .. }), "{created:?}");
    }
    let store = Store::in_memory().unwrap();
    let strange = [
        pipe("pipe.bin"),
        pipe("pipe.json"),
        pipe("pipe.safetensors"),
        PathBuf::from("/dev/zero"),
    ];
    for path in strange {
        let refused = file_of(&store, &path).unwrap_err();
        assert!(
            refused.to_string().contains("not a regular file"),
            "{refused}"
        );
        assert!(SafetensorsFile::open(&path).is_err());
    }
    // A folder with such a thing in it is refused as a whole, and one that leads out of itself.
    let saved = file_of(&store, folder.path()).unwrap_err();
    assert!(saved.to_string().contains("not a regular file"), "{saved}");
    let outer = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.path(), outer.path().join("link")).unwrap();
    let saved = file_of(&store, outer.path()).unwrap_err();
    assert!(saved.to_string().contains("link to a folder"), "{saved}");
    assert_eq!(store.jobs().unwrap().len(), 0, "nothing was saved");
    let job = store.job("job").unwrap();
    let tensor = noise(1, 40_000);
    let save = job.save(1).tensor("w", vector(ckptdb::DType::F32, &tensor));
    save.commit().unwrap();
}
