//! NumPy's archives of arrays: a zip of stored `.npy` members.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::collections::BTreeSet;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Exported;
use super::copying::copy_entry;
use crate::checkpoint::{EntryInfo, EntryKind};
use crate::error::{Error, Result};
use crate::name::printable;
use crate::platform::{self, AtomicFile};
use crate::store::Checkpoint;
use crate::tensor::DType;

/// What a `.npy` file begins with, and its version: a header of at most 65,535 bytes.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The data of an array begins at a multiple of this.
const ALIGNMENT: usize = 64;
/// From so many bytes on, a member's lengths take 64 bits.
const LARGE: u64 = 0xFFFF_0000;

/// Writes a checkpoint's tensors, those that `only` selects by name, as NumPy's `.npz`,
/// uncompressed: `numpy.load` finds each by its name. It appears complete or not at all, in place
/// of what had its name; memory does not grow with its size.
///
/// # Errors
/// [`Error::Invalid`] for a tensor whose elements NumPy has no type for, as `BF16`;
/// [`Error::Conflict`] for `x` beside `x.npy`; as the reads of [`Checkpoint`]; [`Error::Io`] and
/// [`Error::Full`] from the disk.
pub fn write_npz(
    checkpoint: &Checkpoint,
    only: &dyn Fn(&str) -> bool,
    path: &Path,
) -> Result<Exported> {
    let mut done = Exported::default();
    let mut arrays = Vec::new();
    for entry in checkpoint.entries()? {
        match &entry.kind {
            _ if !only(&entry.name) => {}
            EntryKind::Tensor { dtype, shape } => {
                let header = header(&entry, *dtype, shape)?;
                arrays.push((entry, header));
            }
            EntryKind::Document | EntryKind::File => done.skipped.push(entry.name),
        }
    }
    check_distinct(&arrays)?;
    let failed = |error| platform::io_error("writing", path, error);
    let mut archive = ZipWriter::new(Sink::new(AtomicFile::create(path)?));
    for (entry, header) in &arrays {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(entry.bytes >= LARGE);
        archive
            .start_file(format!("{}.npy", entry.name), options)
            .map_err(|error| failed(io_of(error)))?;
        archive.write_all(header).map_err(failed)?;
        copy_entry(checkpoint, &entry.name, &mut archive, path)?;
        done.tensors += 1;
        done.bytes += entry.bytes;
    }
    archive
        .finish()
        .map_err(|error| failed(io_of(error)))?
        .file
        .finish()?;
    Ok(done)
}

/// NumPy finds an array by its name and by its member's, which is that and `.npy`.
fn check_distinct(arrays: &[(EntryInfo, Vec<u8>)]) -> Result<()> {
    let names: BTreeSet<&str> = arrays
        .iter()
        .map(|(entry, _)| entry.name.as_str())
        .collect();
    let both = names.iter().find(|name| {
        name.strip_suffix(".npy")
            .is_some_and(|own| names.contains(own))
    });
    both.map_or(Ok(()), |name| {
        let what = format!(
            "entry `{}` has the name of another's array",
            printable(name)
        );
        Err(Error::conflict(
            what,
            "export one of them without the other",
        ))
    })
}

/// A file that nothing is written to any more once a write failed: the archive's writer tries to
/// end it even then, and complains where nobody reads it.
struct Sink {
    file: AtomicFile,
    at: u64,
    failed: bool,
}

impl Sink {
    const fn new(file: AtomicFile) -> Self {
        Self {
            file,
            at: 0,
            failed: false,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if self.failed {
            bytes.len()
        } else {
            self.file.write(bytes).inspect_err(|_| self.failed = true)?
        };
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed {
            return Ok(());
        }
        self.file.flush().inspect_err(|_| self.failed = true)
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = if self.failed {
            match to {
                SeekFrom::Start(at) => at,
                SeekFrom::Current(by) => self.at.saturating_add_signed(by),
                SeekFrom::End(_) => self.at,
            }
        } else {
            self.file.seek(to).inspect_err(|_| self.failed = true)?
        };
        Ok(self.at)
    }
}

/// What stands before an array's bytes: how its elements are called, and its shape.
fn header(entry: &EntryInfo, dtype: DType, shape: &[u64]) -> Result<Vec<u8>> {
    let Some(descr) = descr(dtype) else {
        let why = format!("NumPy has no element type `{}`", dtype.name());
        let what = format!("entry `{}`", printable(&entry.name));
        return Err(Error::invalid(what, why));
    };
    let lengths: Vec<String> = shape.iter().map(u64::to_string).collect();
    // One dimension is a tuple by its comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = lengths.join(", ") + comma;
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let begins = MAGIC.len() + 2;
    let ends = (begins + text.len() + 1).next_multiple_of(ALIGNMENT);
    let length = u16::try_from(ends - begins)
        .map_err(|_| Error::invalid("a tensor", "it has too many dimensions for NumPy"))?;
    let mut header = [MAGIC, &length.to_le_bytes(), text.as_bytes()].concat();
    header.resize(ends - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// NumPy's name of an element type.
const fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::U16 => "<u2",
        DType::I16 => "<i2",
        DType::U32 => "<u4",
        DType::I32 => "<i4",
        DType::U64 => "<u8",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::C64 => "<c8",
        _ => return None,
    })
}

fn io_of(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn headed(shape: &[u64]) -> String {
        let store = Store::in_memory().unwrap();
        let save = store.job("x").unwrap().save(1);
        let save = save.tensor_from("a", DType::F32, &[1], &[0; 4][..]);
        let checkpoint = save.commit().unwrap().checkpoint;
        let entry = checkpoint.entries().unwrap().remove(0);
        let header = header(&entry, DType::F32, shape).unwrap();
        assert_eq!(header.len() % ALIGNMENT, 0);
        let length = u16::from_le_bytes([header[8], header[9]]);
        assert_eq!(usize::from(length) + 10, header.len());
        String::from_utf8(header[10..].to_vec()).unwrap()
    }

    #[test]
    fn shapes_are_written_as_tuples_and_the_data_is_aligned() {
        for (shape, tuple) in [
            (&[][..], "()"),
            (&[5], "(5,)"),
            (&[3, 0, 2], "(3, 0, 2)"),
            (&[1; 32], &format!("({}1)", "1, ".repeat(31))),
        ] {
            let header = headed(shape);
            let told = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple}, }}");
            assert_eq!(header.trim_end(), told);
            assert!(header.ends_with('\n'));
        }
    }

    #[test]
    fn what_numpy_has_no_type_for_is_refused_and_nothing_is_written() {
        let store = Store::in_memory().unwrap();
        let save = store.job("x").unwrap().save(1);
        let save = save.tensor_from("a", DType::F32, &[1], &[0; 4][..]);
        let save = save.tensor_from("half", DType::Bf16, &[2], &[0; 4][..]);
        let checkpoint = save.bytes("file", b"x").commit().unwrap().checkpoint;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npz");
        let refused = write_npz(&checkpoint, &|_| true, &path).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("half") && text.contains("BF16"), "{text}");
        assert!(folder.path().read_dir().unwrap().next().is_none());
        let done = write_npz(&checkpoint, &|name| name != "half", &path).unwrap();
        assert_eq!((done.tensors, done.bytes), (1, 4));
        assert_eq!(done.skipped, ["file"]);
        let save = store.job("x").unwrap().save(2);
        let save = save.tensor_from("a", DType::F32, &[1], &[0; 4][..]);
        let save = save.tensor_from("a.npy", DType::F32, &[1], &[1; 4][..]);
        let both = save.commit().unwrap().checkpoint;
        let refused = write_npz(&both, &|_| true, &path).unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
        write_npz(&both, &|name| name == "a.npy", &path).unwrap();
    }
}
