//! Whether two files are the same checkpoint.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::platform::{self, InputFile};

/// Whether two files have the same bytes, or are archives of the same members: programs that save a
/// model twice write other dates. Most files that differ do so early.
pub(super) fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let (first, second) = (InputFile::open(one)?, InputFile::open(other)?);
    if first.len() != second.len() {
        return Ok(false);
    }
    Ok(has_same_bytes((&first, one), (&second, other))? || has_same_members(&first, &second))
}

fn has_same_bytes((first, one): (&InputFile, &Path), second: (&InputFile, &Path)) -> Result<bool> {
    const BLOCK: u64 = 1 << 16;
    let read = |file: &InputFile, path: &Path, at: u64| {
        let mut bytes = Vec::new();
        let read = file.section(at, BLOCK).read_to_end(&mut bytes);
        read.map_err(|error| platform::io_error("reading", path, error))?;
        Ok::<_, Error>(bytes)
    };
    let mut at = 0;
    while at < first.len() {
        if read(first, one, at)? != read(second.0, second.1, at)? {
            return Ok(false);
        }
        at += BLOCK;
    }
    Ok(true)
}

/// Whether two zip files have the same members in the same order: names, how they are compressed,
/// and bytes. What is no zip file that can be read has none.
#[cfg(feature = "npz")]
fn has_same_members(one: &InputFile, other: &InputFile) -> bool {
    let compare = || {
        let mut one = zip::ZipArchive::new(std::io::BufReader::new(one.seekable())).ok()?;
        let mut other = zip::ZipArchive::new(std::io::BufReader::new(other.seekable())).ok()?;
        if one.len() != other.len() {
            return None;
        }
        for number in 0..one.len() {
            let mut one = one.by_index_raw(number).ok()?;
            let mut other = other.by_index_raw(number).ok()?;
            let is_near = one.name_raw() == other.name_raw()
                && one.compression() == other.compression()
                && one.crc32() == other.crc32()
                && (one.size(), one.compressed_size()) == (other.size(), other.compressed_size());
            if !is_near || !reads_the_same(&mut one, &mut other)? {
                return None;
            }
        }
        Some(())
    };
    compare().is_some()
}

#[cfg(not(feature = "npz"))]
fn has_same_members(_: &InputFile, _: &InputFile) -> bool {
    false
}

/// Whether two readers have the same bytes; none if one can't be read.
#[cfg(feature = "npz")]
fn reads_the_same(one: &mut dyn Read, other: &mut dyn Read) -> Option<bool> {
    const BLOCK: u64 = 1 << 16;
    loop {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        (&mut *one).take(BLOCK).read_to_end(&mut first).ok()?;
        (&mut *other).take(BLOCK).read_to_end(&mut second).ok()?;
        if first != second || first.is_empty() {
            return Some(first == second);
        }
    }
}
