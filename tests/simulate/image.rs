//! What a disk holds: pages that copies share until one of them is written.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, LazyLock, OnceLock};

/// Bytes of a page of the image, and of a block of the disk.
pub(crate) const PAGE: usize = 4096;

/// A page, and its hash once somebody asked for it.
#[derive(Debug)]
struct Page {
    bytes: [u8; PAGE],
    hash: OnceLock<[u8; 32]>,
}

impl Clone for Page {
    /// The copy is about to be changed, so that the hash does not go with it.
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes,
            hash: OnceLock::new(),
        }
    }
}

static ZERO: LazyLock<Arc<Page>> = LazyLock::new(|| {
    Arc::new(Page {
        bytes: [0; PAGE],
        hash: OnceLock::new(),
    })
});

/// Names an image: equal ids, equal bytes and length.
pub(crate) type ImageId = [u8; 16];

/// A file's bytes. A copy costs a pointer a page; bytes beyond the length in the last page are
/// zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pages: Vec<Arc<Page>>,
    len: usize,
}

/// An offset as an index; simulated disks are small.
pub(crate) fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated disk is small")
}

impl Image {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.set_len(bytes.len());
        image.write(0, bytes);
        image
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.pages.iter().flat_map(|page| page.bytes).collect();
        bytes.truncate(self.len);
        bytes
    }

    /// What added bytes are is zero, whatever was there before the file was cut.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.pages
            .resize_with(len.div_ceil(PAGE), || Arc::clone(&ZERO));
        if len < self.len && !len.is_multiple_of(PAGE) {
            let last = self.pages.last_mut().expect("the length is not zero");
            let last = Arc::make_mut(last);
            last.bytes[len % PAGE..].fill(0);
            last.hash = OnceLock::new();
        }
        self.len = len;
    }

    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len());
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let at = offset + done;
            let count = (PAGE - at % PAGE).min(out.len() - done);
            let page = &self.pages[at / PAGE].bytes;
            out[done..done + count].copy_from_slice(&page[at % PAGE..at % PAGE + count]);
            done += count;
        }
        Ok(())
    }

    /// Writes what lies within the length; the rest is lost.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        let data = &data[..data.len().min(self.len.saturating_sub(offset))];
        let mut done = 0;
        while done < data.len() {
            let at = offset + done;
            let count = (PAGE - at % PAGE).min(data.len() - done);
            let page = &mut self.pages[at / PAGE];
            let (range, new) = (at % PAGE..at % PAGE + count, &data[done..done + count]);
            if page.bytes[range.clone()] != *new {
                let page = Arc::make_mut(page);
                page.bytes[range].copy_from_slice(new);
                page.hash = OnceLock::new();
            }
            done += count;
        }
    }

    /// Pages that hold anything: on a disk with holes, the blocks that are taken.
    pub(crate) fn taken(&self) -> BTreeSet<usize> {
        let pages = self.pages.iter().enumerate();
        pages
            .filter(|(_, page)| !Arc::ptr_eq(page, &ZERO))
            .map(|(number, _)| number)
            .collect()
    }

    /// The hash over the pages' hashes and the length.
    pub(crate) fn id(&self) -> ImageId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.len.to_le_bytes());
        for page in &self.pages {
            let hash = page.hash.get_or_init(|| blake3::hash(&page.bytes).into());
            hasher.update(hash);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        id
    }
}

#[test]
fn an_image_is_what_a_list_of_bytes_would_be() {
    let mut random = crate::random::Random::new(1);
    let (mut image, mut bytes) = (Image::default(), Vec::new());
    for _ in 0..2_000 {
        if random.one_in(4) {
            let len = random.below(30_000);
            image.set_len(len);
            bytes.resize(len, 0);
        } else if !bytes.is_empty() {
            let at = random.below(bytes.len());
            let len = random.below(9_000).min(bytes.len() - at);
            let data = random.bytes(len);
            image.write(at, &data);
            bytes[at..at + len].copy_from_slice(&data);
        }
        assert_eq!(image.to_vec(), bytes);
        assert_eq!(image.id(), Image::of(&bytes).id());
    }
}
