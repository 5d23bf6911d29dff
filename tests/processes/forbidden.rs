//! Files and folders that may not be read, or not be written to. Root may do all of that, so that
//! the tests' roles run in a user name space without its rights.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ckptdb::{Error, Store, VerifyDepth};
use tempfile::TempDir;

use crate::child::{self, argument, finish, tell};

fn save(store: &Store, iteration: u64) -> ckptdb::Result<()> {
    let job = store.job("job")?;
    job.save(iteration).bytes("own", &[7; 5_000]).commit()?;
    Ok(())
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_denied(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    source.kind() == std::io::ErrorKind::PermissionDenied
}

/// The role: a store in `CKPTDB_TEST_FOLDER`, and less and less that is allowed.
pub(crate) fn run() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let path = folder.join("store.ckptdb");
    let store = Store::create(&path).unwrap();
    save(&store, 1).unwrap();
    drop(store);

    // Where no file can be made, a store that is there is saved to, and no other is made.
    allow(&folder, 0o555);
    if std::fs::write(folder.join("probe"), b"").is_ok() {
        tell("everything is allowed here");
        return;
    }
    let store = Store::open(&path).unwrap();
    save(&store, 2).unwrap();
    let refused = Store::create(folder.join("other.ckptdb")).unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    drop(store);

    // A file that can only be read is read, and says so when it is written to.
    allow(&path, 0o444);
    let before = std::fs::read(&path).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(matches!(save(&store, 3), Err(Error::ReadOnly { .. })));
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    let latest = store.job("job").unwrap().latest().unwrap().unwrap();
    assert_eq!(
        (latest.iteration, latest.read("own").unwrap().len()),
        (2, 5_000)
    );
    drop(store);
    assert!(std::fs::read(&path).unwrap() == before);

    // One that can't be read is named, and is not taken for none.
    allow(&path, 0o000);
    let refused = Store::open(&path).unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    assert!(refused.to_string().contains("store.ckptdb"), "{refused}");
    allow(&folder, 0o755);
    let new = folder.join("new.ckptdb");
    let refused = Store::salvage(&path, &new, &mut |_, _| {}).unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing is left behind"
    );
    tell("done");
}

#[test]
fn what_is_not_allowed_is_told_and_a_store_that_can_be_read_is_read() {
    let folder = TempDir::new().unwrap();
    let inner = child::command("forbidden");
    // A user name space without a mapping: its processes own their files and have no more rights.
    let mut command = Command::new("unshare");
    command
        .arg("--user")
        .arg(inner.get_program())
        .args(inner.get_args());
    let works = Command::new("unshare").args(["--user", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        command = child::command("forbidden");
    }
    let variables = inner
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    command
        .envs(variables)
        .env("CKPTDB_TEST_FOLDER", folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    assert_eq!(finish(&mut command), ["done"]);
}
