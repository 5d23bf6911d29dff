//! An entry on its way into a file that is being made.

use std::io::{self, Write};
use std::path::Path;

use crate::error::Result;
use crate::platform;
use crate::store::Checkpoint;

/// Copies an entry's bytes. What the file at `path` refuses is told of that file, and not of the
/// store, which may be on another disk.
pub(super) fn copy_entry(
    checkpoint: &Checkpoint,
    entry: &str,
    out: &mut dyn Write,
    path: &Path,
) -> Result<u64> {
    let mut out = Target { out, refused: None };
    let copied = checkpoint.copy_to(entry, &mut out);
    copied.map_err(|error| match out.refused {
        Some(refused) => platform::io_error("writing", path, refused),
        None => error,
    })
}

/// Remembers why a write failed.
struct Target<'o> {
    out: &'o mut dyn Write,
    refused: Option<io::Error>,
}

impl Target<'_> {
    fn note<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.inspect_err(|error| self.refused = Some(platform::error_again(error)))
    }
}

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::store::Store;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_is_that_of_the_file_that_is_written() {
        let store = Store::in_memory().unwrap();
        let save = store.job("x").unwrap().save(1).bytes("a", b"bytes");
        let checkpoint = save.commit().unwrap().checkpoint;
        let path = Path::new("out.bin");
        let refused = copy_entry(&checkpoint, "a", &mut Full, path).unwrap_err();
        assert!(matches!(&refused, Error::Full { path: told, .. } if told == path));
        let unknown = copy_entry(&checkpoint, "b", &mut Full, path).unwrap_err();
        assert!(matches!(unknown, Error::NotFound { .. }), "{unknown}");
    }
}
