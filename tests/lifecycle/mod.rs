//! Creating and opening: nothing is made by opening, nothing overwritten by creating, nothing
//! touched that is not a store.

mod paths;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ckptdb::{
    Error, FileMedium, Filter, Medium, MemoryMedium, Options, Sharing, Store, VerifyDepth,
};
use redb::ReadableTable;

use crate::support::noise;

#[test]
fn creating_never_overwrites_and_opening_never_creates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ckptdb");
    assert!(matches!(Store::open(&path), Err(Error::NoStore { .. })));
    assert!(!path.exists());
    fs::write(&path, b"precious").unwrap();
    assert!(matches!(Store::create(&path), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let dangling = folder.path().join("link.ckptdb");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(
        Store::create(&dangling),
        Err(Error::Exists { .. })
    ));
}

#[test]
fn a_created_store_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("a.ckptdb")).unwrap();
    store
        .job("x")
        .unwrap()
        .save(1)
        .bytes("b", b"1")
        .commit()
        .unwrap();
    drop(store);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a.ckptdb"]);
}

#[cfg(unix)]
#[test]
fn what_the_file_takes_and_what_the_disk_has_is_told_as_the_system_has_it() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("x").unwrap();
    job.save(1).bytes("b", &noise(1, 3 << 20)).commit().unwrap();
    let stats = store.stats().unwrap();
    let open = fs::metadata(&path).unwrap();
    assert_eq!(stats.file_bytes, open.len());
    assert!(stats.allocated_bytes > 3 << 20);
    // Beside it there is the ballast.
    let ballast = open.blocks() * 512 - stats.allocated_bytes;
    assert!((1 << 20..2 << 20).contains(&ballast), "{ballast}");
    // Opened again, and then written to: what the ballast takes is counted neither time.
    drop((job, store));
    let store = Store::open(&path).unwrap();
    let compacted = store.compact().unwrap();
    assert!(compacted.after <= compacted.before, "{compacted:?}");
    assert!(compacted.after > 3 << 20);
    let (free, total) = FileMedium::new(&path).free().unwrap().unwrap();
    let system = rustix::fs::statvfs(&path).unwrap();
    assert_eq!(total, system.f_blocks * system.f_frsize);
    assert!(free > 1 << 20 && free <= total, "{free} of {total}");
}

#[cfg(unix)]
#[test]
fn a_compacted_file_is_as_long_as_what_it_holds_until_the_next_change() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("j").unwrap();
    for iteration in 0..20 {
        let state = noise(iteration, 60 << 10);
        job.save(iteration).bytes("b", &state).commit().unwrap();
    }
    let content = 20 * (60 << 10);
    let open = store.compact().unwrap();
    let is_tight = |bytes: u64| content < bytes && bytes < content + content / 5;
    assert!(is_tight(open.after), "{open:?}");
    drop((job, store));
    let closed = fs::metadata(&path).unwrap();
    assert!(is_tight(closed.len()), "{} bytes long", closed.len());
    assert!(
        is_tight(closed.blocks() * 512),
        "{} blocks",
        closed.blocks()
    );
    // Reading changes nothing of that, and a change brings the ballast back.
    let store = Store::open(&path).unwrap();
    assert_eq!(store.resolve("j@3").unwrap().load().unwrap().len(), 1);
    drop(store);
    assert_eq!(fs::metadata(&path).unwrap().len(), closed.len());
    let store = Store::open(&path).unwrap();
    let job = store.job("j").unwrap();
    job.save(20).bytes("b", b"more").commit().unwrap();
    let blocks = fs::metadata(&path).unwrap().blocks();
    assert!(blocks * 512 > closed.len() + (1 << 20), "{blocks} blocks");
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

fn refused_untouched(path: &Path, content: &[u8]) -> Error {
    fs::write(path, content).unwrap();
    let error = Store::open(path).unwrap_err();
    assert_eq!(fs::read(path).unwrap(), content, "the file was changed");
    error
}

#[test]
fn what_is_not_a_store_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let text = b"a text file that is longer than a header and tells nothing";
    let files: [(&[u8], &str); 4] = [
        (b"", "it is empty"),
        (b"re", "it is too short"),
        (&[b'x'; 10_000], "it does not begin like one"),
        (text, "it does not begin like one"),
    ];
    for (content, reason) in files {
        match refused_untouched(&path, content) {
            Error::NotAStore { why, .. } => assert_eq!(why, reason),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        Store::open(folder.path()),
        Err(Error::NotAStore { .. })
    ));
}

/// Puts a row of another program's into a table of this name.
fn put_theirs(path: &Path, table: &str) {
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new(table);
    let database = redb::Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut open = transaction.open_table(table).unwrap();
    open.insert("key", 1).unwrap();
    drop(open);
    transaction.commit().unwrap();
}

#[test]
fn another_programs_redb_file_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    // The second is a table of our name, of other types.
    for table in ["theirs", "settings"] {
        put_theirs(&path, table);
        let content = fs::read(&path).unwrap();
        assert!(matches!(
            refused_untouched(&path, &content),
            Error::NotAStore { .. }
        ));
    }
}

#[test]
fn a_store_that_was_cut_short_is_refused_untouched_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let store = Store::create(&path).unwrap();
    store
        .job("x")
        .unwrap()
        .save(1)
        .bytes("b", &[1; 5_000])
        .commit()
        .unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let lengths = (0..whole.len())
        .step_by(whole.len() / 40)
        .chain([whole.len() - 1]);
    for length in lengths {
        let error = refused_untouched(&path, &whole[..length]);
        let typed = matches!(error, Error::NotAStore { .. } | Error::Corrupt { .. });
        assert!(typed, "cut to {length}: {error:?}");
        assert!(error.hint().is_some());
        assert!(error.to_string().contains("x.ckptdb"), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    // The format version is the first field of the identity record's body; the envelope's hash
    // must fit, so that the record is sealed anew.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    drop(Store::create(&path).unwrap());
    let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("settings");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut settings = transaction.open_table(table).unwrap();
        let mut record = settings.get(1).unwrap().unwrap().value().to_vec();
        record[36] = 2;
        let end = record.len() - 16;
        let hash = blake3::hash(&record[..end]);
        record[end..].copy_from_slice(&hash.as_bytes()[..16]);
        settings.insert(1, record.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let content = fs::read(&path).unwrap();
    let error = refused_untouched(&path, &content);
    assert!(
        matches!(
            error,
            Error::Newer {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn who_wants_a_store_alone_keeps_others_out_and_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let alone = || Options {
        sharing: Sharing::Alone,
        ..Options::default()
    };
    let store = Store::create_with(&path, alone()).unwrap();
    for second in [Store::open(&path), Store::open_with(&path, alone())] {
        assert!(matches!(second, Err(Error::Busy { .. })));
    }
    drop(store);
    let store = Store::open(&path).unwrap();
    let second = Store::open_with(&path, alone());
    assert!(matches!(second, Err(Error::Busy { .. })));
    drop(store);
    Store::open_with(&path, alone()).unwrap();
}

#[test]
fn two_handles_on_the_same_file_by_whatever_names_are_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let [symbolic, hard] = ["symbolic", "hard"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(&path, &symbolic).unwrap();
    let first = Store::create(&path).unwrap();
    fs::hard_link(&path, &hard).unwrap();
    let others = [symbolic, hard].map(|name| Store::open(name).unwrap());
    let [second, third] = &others;
    for (iteration, store) in (1..).zip([&first, second, third, &first, third]) {
        let save = store.job("NQ").unwrap().save(iteration);
        save.bytes("x", &iteration.to_le_bytes()).commit().unwrap();
        for store in [&first, second, third] {
            let found = store.resolve("NQ@latest").unwrap();
            assert_eq!(found.read("x").unwrap(), iteration.to_le_bytes().as_slice());
        }
    }
    drop(first);
    assert!(second.verify(VerifyDepth::Full).unwrap().is_clean());
    third.compact().unwrap();
    assert_eq!(second.list(&Filter::default()).unwrap().count(), 5);
}

#[test]
fn a_file_that_was_replaced_under_its_name_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["x.ckptdb", "y.ckptdb"].map(|name| folder.path().join(name));
    let (one, two) = (Store::create(&path).unwrap(), Store::open(&path).unwrap());
    let save = |store: &Store, iteration: u64| {
        let job = store.job("NQ").unwrap();
        job.save(iteration).bytes("x", b"bytes").commit().map(drop)
    };
    save(&two, 1).unwrap();
    save(&one, 2).unwrap();
    fs::rename(&path, &moved).unwrap();
    let is_replaced = |store: &Store, iteration: u64| {
        let told = save(store, iteration).unwrap_err();
        assert!(matches!(told, Error::Replaced { .. }), "{told:?}");
    };
    is_replaced(&one, 3);
    // Nor is a copy: the locks are those of the first file.
    fs::copy(&moved, &path).unwrap();
    is_replaced(&one, 3);
    save(&Store::open(&path).unwrap(), 3).unwrap();
    save(&Store::open(&moved).unwrap(), 4).unwrap();
    // Where it is what it was, everything goes on.
    fs::rename(&moved, &path).unwrap();
    save(&one, 5).unwrap();
    let iterations = two.job("NQ").unwrap().list().unwrap();
    let iterations: Vec<_> = iterations.map(|found| found.unwrap().iteration).collect();
    assert_eq!(iterations, [5, 4, 2, 1]);
    let report = two.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean());
}

#[test]
fn the_file_is_a_plain_redb_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let store = Store::create(&path).unwrap();
    store
        .job("x")
        .unwrap()
        .save(1)
        .bytes("b", &vec![1; 100_000])
        .commit()
        .unwrap();
    drop(store);
    let mut database = redb::Database::open(&path).unwrap();
    assert!(database.check_integrity().unwrap());
    drop(database);
    let store = Store::open(&path).unwrap();
    assert_eq!(
        store.resolve("x@1").unwrap().read("b").unwrap(),
        vec![1; 100_000]
    );
}

#[test]
fn a_closed_store_opens_again_beneath_its_clones() {
    let medium = Arc::new(MemoryMedium::default());
    let store = Store::create_in(medium, Options::default()).unwrap();
    let job = store.job("x").unwrap();
    let checkpoint = job
        .save(1)
        .bytes("b", &vec![3; 90_000])
        .commit()
        .unwrap()
        .checkpoint;
    store.clone().close();
    assert_eq!(checkpoint.read("b").unwrap(), vec![3; 90_000]);
    store.reopen().unwrap();
    job.save(2).bytes("b", &vec![4; 90_000]).commit().unwrap();
    assert_eq!(job.latest().unwrap().unwrap().iteration, 2);
}
