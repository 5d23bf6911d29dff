//! safetensors files, streamed: <https://github.com/huggingface/safetensors#format>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::copying::copy_entry;
use super::{Exported, METADATA_ENTRY};
use crate::checkpoint::{EntryInfo, EntryKind};
use crate::error::{Error, Result};
use crate::name::printable;
use crate::platform::{self, AtomicFile, InputFile};
use crate::store::{Checkpoint, Save};
use crate::tensor::DType;

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Length of the header's length.
const LENGTH_BYTES: u64 = 8;

/// An open safetensors file: its header, checked; its tensors, on the disk.
#[derive(Debug)]
pub struct SafetensorsFile {
    file: InputFile,
    path: PathBuf,
    metadata: Metadata,
    data_at: u64,
}

impl SafetensorsFile {
    /// Opens a file and checks its header: every tensor inside the file, no hole, no overlap,
    /// lengths as dtype and shape say.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with the header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = InputFile::open(path)?;
        let failed = |e| platform::io_error("reading", path, e);
        let bad = |why: String| Error::invalid(format!("`{}`", path.display()), why);
        let file_bytes = file.len();
        if file_bytes < LENGTH_BYTES {
            return Err(bad(format!("{file_bytes} bytes are no safetensors file")));
        }
        let mut length = [0; 8];
        file.section(0, LENGTH_BYTES)
            .read_exact(&mut length)
            .map_err(failed)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > file_bytes - LENGTH_BYTES {
            let why = format!("its header claims {header_bytes} bytes of a file of {file_bytes}");
            return Err(bad(why));
        }
        let mut header = Vec::new();
        file.section(LENGTH_BYTES, header_bytes)
            .read_to_end(&mut header)
            .map_err(failed)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| bad(format!("its header is not valid: {error}")))?;
        let _: DistinctKeys = serde_json::from_slice(&header)
            .map_err(|error| bad(format!("its header is not valid: {error}")))?;
        let data_at = LENGTH_BYTES + header_bytes;
        let data_bytes = metadata.data_len() as u64;
        if data_at.checked_add(data_bytes) != Some(file_bytes) {
            let why = format!(
                "its tensors take {data_bytes} bytes, {} follow its header",
                file_bytes - data_at
            );
            return Err(bad(why));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            metadata,
            data_at,
        })
    }

    /// Number of its tensors.
    pub fn tensors(&self) -> usize {
        self.metadata.offset_keys().len()
    }

    /// Adds its tensors to a save, as `prefix` and their names, and its free-form map, if it has
    /// one, as the document `prefix` and [`METADATA_ENTRY`]. The bytes are read when the save is
    /// committed.
    pub fn add_to<'a>(&self, mut save: Save<'a>, prefix: &str) -> Save<'a> {
        if let Some(map) = self.metadata.metadata() {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            save = save.document(&format!("{prefix}{METADATA_ENTRY}"), &json!(sorted));
        }
        for (name, info) in self.metadata.tensors() {
            let shape: Vec<u64> = info
                .shape
                .iter()
                .map(|&dimension| dimension as u64)
                .collect();
            let (start, end) = info.data_offsets;
            let offset = self.data_at + start as u64;
            let section = self.file.section(offset, (end - start) as u64);
            let name = format!("{prefix}{name}");
            match DType::try_from(info.dtype) {
                Ok(dtype) => save = save.tensor_in(&name, dtype, &shape, section),
                Err(error) => save.fail(error),
            }
        }
        save
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A map of which no key stands twice. Of two tensors of one name readers take either; the format
/// forbids it.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = DistinctKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctKeys, A::Error> {
                let mut seen = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    if let Some(again) = seen.replace(key) {
                        let why = format!("`{}` stands in it twice", printable(&again));
                        return Err(A::Error::custom(why));
                    }
                }
                Ok(DistinctKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Writes a checkpoint's tensors, those that `only` selects by name, as a safetensors file with
/// their names, dtypes, shapes and the free-form map. It appears complete or not at all, in place
/// of what had its name; memory does not grow with its size.
///
/// # Errors
/// As the reads of [`Checkpoint`]; [`Error::Io`] and [`Error::Full`] from the disk.
pub fn write_safetensors(
    checkpoint: &Checkpoint,
    only: &dyn Fn(&str) -> bool,
    path: &Path,
) -> Result<Exported> {
    let selected: Vec<EntryInfo> = checkpoint
        .entries()?
        .into_iter()
        .filter(|entry| only(&entry.name))
        .collect();
    write_tensors(checkpoint, &selected, "", path)
}

/// Writes the tensors among these entries, `prefix` taken off their names.
pub(super) fn write_tensors(
    checkpoint: &Checkpoint,
    entries: &[EntryInfo],
    prefix: &str,
    path: &Path,
) -> Result<Exported> {
    let mut done = Exported::default();
    let mut header = Map::new();
    let mut tensors = Vec::new();
    for entry in entries {
        let name = entry.name.strip_prefix(prefix).unwrap_or(&entry.name);
        match &entry.kind {
            // In a file this name is not a tensor's.
            EntryKind::Tensor { .. } if name == METADATA_ENTRY => {
                done.skipped.push(entry.name.clone());
            }
            EntryKind::Tensor { dtype, shape } => tensors.push((*dtype, name, shape, entry)),
            EntryKind::Document if name == METADATA_ENTRY => {
                let map = checkpoint.document(&entry.name)?;
                if is_text_map(&map) {
                    header.insert(METADATA_ENTRY.to_owned(), map);
                } else {
                    done.skipped.push(entry.name.clone());
                }
            }
            _ => done.skipped.push(entry.name.clone()),
        }
    }
    // Wider elements first, as the reference writer does it: every tensor is aligned.
    tensors.sort_by(|a, b| b.0.bits().cmp(&a.0.bits()).then(a.1.cmp(b.1)));
    for (dtype, name, shape, entry) in &tensors {
        let end = done
            .bytes
            .checked_add(entry.bytes)
            .ok_or_else(|| Error::invalid("the tensors", "they are too long for one file"))?;
        let info = json!({
            "dtype": dtype.name(),
            "shape": shape,
            "data_offsets": [done.bytes, end],
        });
        header.insert((*name).to_owned(), info);
        done.bytes = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = AtomicFile::create(path)?;
    let length = (text.len() as u64).to_le_bytes();
    file.write_all(&length)
        .and_then(|()| file.write_all(&text))
        .map_err(|e| file.failed(e))?;
    for (.., entry) in &tensors {
        copy_entry(checkpoint, &entry.name, &mut file, path)?;
        done.tensors += 1;
    }
    file.finish()?;
    Ok(done)
}

fn is_text_map(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.values().all(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_that_has_the_name_of_the_map_is_skipped() {
        let store = crate::store::Store::in_memory().unwrap();
        let job = store.job("x").unwrap();
        let mut save = job.save(1);
        for name in [METADATA_ENTRY, "a"] {
            save = save.tensor_from(name, DType::U8, &[4], &[1, 2, 3, 4][..]);
        }
        let checkpoint = save.commit().unwrap().checkpoint;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.safetensors");
        let exported = write_safetensors(&checkpoint, &|_| true, &path).unwrap();
        assert_eq!((exported.tensors, exported.bytes), (1, 4));
        assert_eq!(exported.skipped, [METADATA_ENTRY]);
        assert_eq!(SafetensorsFile::open(&path).unwrap().tensors(), 1);
    }

    #[test]
    fn a_name_that_stands_twice_in_the_header_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.safetensors");
        let tensor = r#""a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;
        for (header, is_good) in [
            (format!("{{{tensor}}}"), true),
            (format!("{{{tensor},{tensor}}}"), false),
            (
                format!("{{{tensor},{}}}", tensor.replacen('a', "\\u0061", 1)),
                false,
            ),
        ] {
            let length = (header.len() as u64).to_le_bytes();
            let bytes = [&length[..], header.as_bytes(), &[0; 4]].concat();
            let mut file = AtomicFile::create(&path).unwrap();
            file.write_all(&bytes).unwrap();
            file.finish().unwrap();
            assert_eq!(SafetensorsFile::open(&path).is_ok(), is_good, "{header}");
        }
    }
}
