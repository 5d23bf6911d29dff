//! References, and names of every kind: what is accepted can be found again, and an export stays
//! in its folder whatever its entries are called.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use ckptdb::interop::write_folder;
use ckptdb::name::{check_entry, check_job, check_tag, check_word, printable};
use ckptdb::reference::Reference;
use ckptdb::{Checkpoint, DType, Store};

use crate::safetensors_import::{folder, small_store};
use crate::watch::within;

/// Bytes of entries by name.
type Entries<'a> = BTreeMap<&'a str, Vec<u8>>;

/// More names than that of one input only slow the fuzzer down.
const MOST: usize = 8;

/// The first byte says whether the rest is a reference or names, which 0xFF divides.
pub(crate) fn reference_and_template(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    if choice & 1 == 0 {
        reference(&String::from_utf8_lossy(rest));
        return;
    }
    let pieces = rest.split(|byte| *byte == 0xff).take(MOST);
    let names: Vec<String> = pieces
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect();
    labels(&names);
    within("an export", || export(&names, choice));
}

/// What is parsed prints as what parses to it again.
fn reference(text: &str) {
    let Ok(reference) = within("a reference", || text.parse::<Reference>()) else {
        return;
    };
    let shown = reference.to_string();
    let again = shown.parse::<Reference>();
    let again = again.unwrap_or_else(|error| panic!("{text:?}, {shown:?}: {error}"));
    assert_eq!(again, reference, "{text:?} prints as {shown:?}");
    let store = small_store();
    // An empty store has nothing that it could lead to.
    assert!(store.resolve(text).is_err(), "{text:?} leads somewhere");
}

/// Names of jobs, tags and metrics need no quotes and no escapes, and lead back to what has them.
fn labels(names: &[String]) {
    let [job, tag, metric] = [0, 1, 2].map(|at| names.get(at).map_or("x", String::as_str));
    let store = small_store();
    let is_job = check_job(job).is_ok();
    assert_eq!(store.job(job).is_ok(), is_job, "a job called {job:?}");
    for (name, is_accepted) in [
        (job, is_job),
        (tag, check_tag(tag).is_ok()),
        (metric, check_word("metric", metric).is_ok()),
    ] {
        let is_shown = name
            .chars()
            .all(|c| printable(&c.to_string()).starts_with(c));
        assert!(!is_accepted || is_shown, "{name:?} was accepted");
        assert!(!is_accepted || name.len() <= 255, "{name:?} is too long");
    }
    if !is_job {
        return;
    }
    let is_outside = Path::new(job)
        .components()
        .any(|part| !matches!(part, Component::Normal(_)));
    assert!(!is_outside, "{job:?} leads out of a folder");
    let saved = within("a save", || save(&store, job, tag, metric));
    let is_good = check_tag(tag).is_ok() && check_word("metric", metric).is_ok();
    assert_eq!(saved.is_ok(), is_good, "{job:?} {tag:?} {metric:?}");
    let Ok(saved) = saved else { return };
    for reference in [
        format!("{job}@latest"),
        format!("{job}@tag:{tag}"),
        format!("{job}@best:{metric}"),
    ] {
        let found = store.resolve(&reference);
        let found = found.unwrap_or_else(|error| panic!("{reference:?}: {error:?}"));
        assert_eq!(found.id, saved.id, "{reference:?}");
    }
}

fn save(store: &Store, job: &str, tag: &str, metric: &str) -> ckptdb::Result<Checkpoint> {
    let job = store.job(job)?;
    let save = job.save(1).bytes("s", b"s").tag(tag).metric(metric, 1.0);
    let save = save.direction(metric, ckptdb::Direction::Max);
    Ok(save.commit()?.checkpoint)
}

/// Entries of these names are written below a folder, all of them, and nowhere else.
fn export(names: &[String], choice: u8) {
    let store = small_store();
    let job = store.job("x").expect("the name is a good one");
    let mut save = job.save(1);
    let mut is_good = true;
    let mut wanted = Entries::new();
    for (number, name) in (0_u8..).zip(names) {
        is_good &= check_entry(name).is_ok();
        let bytes = vec![number; 4];
        let is_tensor = choice >> (1 + number % 7) & 1 == 1;
        save = if is_tensor {
            save.tensor_from(name, DType::U8, &[4], std::io::Cursor::new(bytes.clone()))
        } else {
            save.file(name, std::io::Cursor::new(bytes.clone()))
        };
        is_good &= wanted.insert(name, bytes).is_none();
    }
    let saved = save.commit();
    assert_eq!(saved.is_ok(), is_good, "{names:?}");
    let Ok(saved) = saved else { return };
    let outer = folder();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).expect("there is room");
    std::fs::write(outer.path().join("beside"), b"as it was").expect("there is room");
    let exported = write_folder(&saved.checkpoint, &|_| true, &inner);
    let mut outside = below(outer.path());
    outside.retain(|path| !path.starts_with(&inner));
    assert_eq!(outside, [outer.path().join("beside")], "{names:?}");
    let beside = std::fs::read(&outside[0]).expect("it is there");
    assert_eq!(beside, b"as it was", "{names:?}");
    let written = below(&inner);
    match exported {
        Ok(exported) => {
            let skipped = exported.skipped.len();
            let count = exported.files + exported.tensors;
            assert_eq!(to_usize(count) + skipped, wanted.len(), "{names:?}");
            assert_eq!(to_usize(exported.bytes), 4 * to_usize(count), "{names:?}");
            check_files(&written, &wanted, exported.skipped.len(), names);
        }
        // Two entries that would be one file, or a name that the file system does not take: what
        // was begun is not left.
        Err(_) => {
            let is_left = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "tmp");
            let may_be = names.iter().any(|name| name.contains("tmp"));
            assert!(may_be || !written.iter().any(is_left), "{written:?}");
        }
    }
}

/// Every entry is in one of the files, as a file or as a tensor in one.
fn check_files(written: &[PathBuf], wanted: &Entries<'_>, skipped: usize, names: &[String]) {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for path in written {
        let bytes = std::fs::read(path).expect("it was listed");
        match safetensors::SafeTensors::deserialize(&bytes) {
            Ok(file) => {
                let tensors = file.tensors().into_iter();
                found.extend(tensors.map(|(_, tensor)| tensor.data().to_vec()));
            }
            Err(_) => found.push(bytes),
        }
    }
    assert_eq!(
        found.len() + skipped,
        wanted.len(),
        "{names:?}: {written:?}"
    );
    assert!(
        found
            .iter()
            .all(|bytes| wanted.values().any(|entry| entry == bytes)),
        "{names:?}: an entry has other bytes"
    );
    found.sort();
    found.dedup();
    assert_eq!(
        found.len() + skipped,
        wanted.len(),
        "{names:?}: one stands for another"
    );
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("there are few")
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for member in std::fs::read_dir(folder).expect("it is there").flatten() {
        let path = member.path();
        if path.is_symlink() || !path.is_dir() {
            out.push(path);
        } else {
            out.extend(below(&path));
        }
    }
    out.sort();
    out
}
