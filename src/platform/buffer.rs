//! Memory for large states.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use memmap2::MmapMut;

/// From here on the system is asked for huge pages: of a page of 4 KiB the first touch costs more
/// than the copy that fills it.
const LARGE: usize = 8 << 20;

/// Bytes to be filled, zero until then.
pub(crate) enum Buffer {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Buffer {
    /// So many bytes, if they fit in memory. Their pages are taken as they are written to.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        if len < LARGE {
            let mut probe: Vec<u8> = Vec::new();
            // Whoever asks for too much is told; a vector of zeros would end the process.
            probe.try_reserve_exact(len).map_err(io::Error::other)?;
            drop(probe);
            return Ok(Self::Heap(vec![0; len]));
        }
        let mapped = MmapMut::map_anon(len)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = mapped.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "there are no huge pages");
        }
        Ok(Self::Mapped(mapped))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        match buffer {
            Buffer::Heap(bytes) => bytes.into(),
            mapped @ Buffer::Mapped(_) => Self::from_owner(mapped),
        }
    }
}

impl fmt::Debug for Buffer {
    /// Without the bytes: there may be gigabytes of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_at_first_and_what_was_written_when_it_is_handed_on() {
        for len in [0, 1, LARGE - 1, LARGE, LARGE + 5] {
            let mut buffer = Buffer::new(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|byte| *byte == 0));
            if let Some(last) = buffer.last_mut() {
                *last = 7;
            }
            let bytes = Bytes::from(buffer);
            assert_eq!(
                (bytes.len(), bytes.last().copied()),
                (len, (len > 0).then_some(7))
            );
        }
    }

    #[test]
    fn what_does_not_fit_in_memory_is_refused() {
        Buffer::new(usize::MAX).unwrap_err();
        Buffer::new(1 << 60).unwrap_err();
    }
}
