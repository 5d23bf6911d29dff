//! What a Stable-Baselines3 archive says of itself.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::metadata::as_json;
use crate::error::Result;
use crate::platform::{InputFile, io_error};

/// What a member of a zip file begins with, up to its name (APPNOTE.TXT, 4.3.7).
const HEADER: usize = 30;
const SIGNATURE: &[u8] = b"PK\x03\x04";
/// The member with the settings, which is written first.
const MEMBER: &[u8] = b"data";
/// Largest such member that is read.
const MOST_BYTES: u32 = 16 << 20;

/// Whether a file begins as a zip archive does.
pub(super) fn is_zip(path: &Path) -> Result<bool> {
    let mut begin = Vec::new();
    let file = InputFile::open(path)?;
    let read = file
        .section(0, SIGNATURE.len() as u64)
        .read_to_end(&mut begin);
    read.map_err(|error| io_error("reading", path, error))?;
    Ok(begin == SIGNATURE)
}

/// The time steps after which an archive of Stable-Baselines3 was written: `num_timesteps` in the
/// JSON that is its first member, which is not compressed. None if the file is another one.
pub(super) fn steps_of(path: &Path) -> Result<Option<i64>> {
    let failed = |error| io_error("reading", path, error);
    let file = InputFile::open(path)?;
    let mut header = Vec::new();
    let begin = (HEADER + MEMBER.len()) as u64;
    file.section(0, begin)
        .read_to_end(&mut header)
        .map_err(failed)?;
    let word = |at: usize| {
        header
            .get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    let long = |at: usize| {
        let bytes = header
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes)
    };
    let is_stored = word(8) == Some(0) && long(18) == long(22);
    let is_it = header.starts_with(SIGNATURE) && header.get(HEADER..) == Some(MEMBER);
    let (Some(bytes), Some(extra), Some(name)) = (long(22), word(28), word(26)) else {
        return Ok(None);
    };
    if !is_it || !is_stored || usize::from(name) != MEMBER.len() || bytes > MOST_BYTES {
        return Ok(None);
    }
    let mut json = Vec::new();
    let at = begin + u64::from(extra);
    file.section(at, bytes.into())
        .read_to_end(&mut json)
        .map_err(failed)?;
    let settings: Option<Value> = serde_json::from_slice(&as_json(&json)).ok();
    let steps = settings.and_then(|settings| settings.get("num_timesteps")?.as_i64());
    Ok(steps.filter(|steps| *steps >= 0))
}
