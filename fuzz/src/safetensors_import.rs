//! A safetensors file is imported as another reader understands it, or refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ckptdb::interop::{SafetensorsFile, write_safetensors};
use ckptdb::{Checkpoint, MemoryMedium, Options, Store};
use safetensors::SafeTensors;

use crate::watch::within;

/// Type, shape and bytes of tensors by name.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

pub(crate) fn safetensors_import(data: &[u8]) {
    let folder = folder();
    let path = folder.path().join("in.safetensors");
    std::fs::write(&path, data).expect("there is room");
    let Ok(file) = within("opening", || SafetensorsFile::open(&path)) else {
        return;
    };
    let wanted = as_others_read(data).expect("another reader refuses it");
    assert_eq!(file.tensors(), wanted.len(), "the number of tensors");
    assert!(!says_a_name_twice(data), "a name stands in it twice");
    let store = small_store();
    let Ok(found) = within("importing", || import(&store, &file)) else {
        return;
    };
    for (name, (_, shape, bytes)) in &wanted {
        let tensor = found.tensor(name).expect("it was imported");
        let its: Vec<usize> = tensor.shape.iter().map(|&n| to_usize(n)).collect();
        assert_eq!(its, *shape, "the shape of {name:?}");
        assert_eq!(&tensor.data[..], &bytes[..], "the bytes of {name:?}");
    }
    let out = folder.path().join("out.safetensors");
    let exported = within("exporting", || write_safetensors(&found, &|_| true, &out));
    exported.expect("what was imported is exported");
    let written = std::fs::read(&out).expect("it was written");
    let again = as_others_read(&written).expect("another reader takes it");
    assert_eq!(again, wanted, "what was exported");
    let members = std::fs::read_dir(folder.path()).expect("it is there");
    assert_eq!(members.count(), 2, "something else was written");
}

fn import(store: &Store, file: &SafetensorsFile) -> ckptdb::Result<Checkpoint> {
    let job = store.job("imported")?;
    let saved = file.add_to(job.save(1), "").commit()?;
    Ok(saved.checkpoint)
}

fn as_others_read(data: &[u8]) -> Option<Tensors> {
    let read = SafeTensors::deserialize(data).ok()?;
    let tensors = read.tensors().into_iter();
    let described = tensors.map(|(name, view)| {
        let dtype = view.dtype().to_string();
        (name, (dtype, view.shape().to_vec(), view.data().to_vec()))
    });
    Some(described.collect())
}

/// Whether the header has a key twice: readers differ in which of the two they take.
fn says_a_name_twice(data: &[u8]) -> bool {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut seen = std::collections::BTreeSet::new();
            let mut is_twice = false;
            while let Some(key) = map.next_key::<String>()? {
                map.next_value::<serde::de::IgnoredAny>()?;
                is_twice |= !seen.insert(key);
            }
            Ok(is_twice)
        }
    }
    let Some((length, rest)) = data.split_first_chunk::<8>() else {
        return false;
    };
    let header = &rest[..to_usize(u64::from_le_bytes(*length)).min(rest.len())];
    let mut json = serde_json::Deserializer::from_slice(header);
    serde::Deserializer::deserialize_map(&mut json, Keys).unwrap_or(false)
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A folder in memory where there is such a thing: a sync of it costs nothing.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("there is room for a folder")
}

/// A store that takes little memory.
pub(crate) fn small_store() -> Store {
    let options = Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        ..Options::default()
    };
    Store::create_in(Arc::new(MemoryMedium::default()), options).expect("memory is sound")
}
