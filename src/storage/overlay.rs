//! Writes held back in memory over a backend that is only read.

use std::collections::HashMap;
use std::fmt;
use std::io;

use super::backend::Backend;

const PAGE: usize = 4096;

/// An operation that was held back.
enum Held {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// What the backend would hold, had the writes reached it. They can be let through, in their
/// order and with their syncs, so that a crash in between is a crash like any other.
pub(super) struct Overlay {
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    len: u64,
    /// Bytes from here on are not the backend's any more.
    base_len: u64,
    held: Vec<Held>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("len", &self.len)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Overlay {
    pub(super) fn new(base: &dyn Backend) -> io::Result<Self> {
        let len = base.len()?;
        Ok(Self {
            pages: HashMap::new(),
            len,
            base_len: len,
            held: Vec::new(),
        })
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, base: &dyn Backend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset
            .checked_add(out.len() as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(base, offset, out)?;
        let mut at = 0;
        while at < out.len() {
            let (page, start, count) = Self::piece(offset, at, out.len());
            if let (Some(held), Some(to)) = (self.pages.get(&page), out.get_mut(at..at + count)) {
                to.copy_from_slice(held.get(start..start + count).unwrap_or_default());
            }
            at += count;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, base: &dyn Backend, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < data.len() {
            let (page, start, count) = Self::piece(offset, at, data.len());
            if !self.pages.contains_key(&page) {
                let mut fresh = Box::new([0; PAGE]);
                self.read_base(base, page * PAGE as u64, fresh.as_mut_slice())?;
                self.pages.insert(page, fresh);
            }
            let held = self
                .pages
                .get_mut(&page)
                .and_then(|p| p.get_mut(start..start + count));
            if let (Some(to), Some(from)) = (held, data.get(at..at + count)) {
                to.copy_from_slice(from);
            }
            at += count;
        }
        self.len = self.len.max(offset + data.len() as u64);
        self.held.push(Held::Write(offset, data.to_vec()));
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.base_len = self.base_len.min(len);
        self.pages.retain(|page, _| page * (PAGE as u64) < len);
        if let Some(last) = self.pages.get_mut(&(len / PAGE as u64)) {
            let keep = usize::try_from(len % PAGE as u64).unwrap_or(0);
            last.iter_mut().skip(keep).for_each(|byte| *byte = 0);
        }
        self.len = len;
        self.held.push(Held::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        self.held.push(Held::Sync);
    }

    /// What was there before is on the disk already: it need not be written and synced once more.
    pub(super) fn skip_what_is_there(&mut self, base: &dyn Backend) -> io::Result<()> {
        let is_there = |offset: u64, data: &[u8]| {
            let mut there = vec![0; data.len()];
            let is_within = offset + data.len() as u64 <= base.len()?;
            Ok::<_, io::Error>(is_within && base.read(offset, &mut there).map(|()| there == data)?)
        };
        let mut count = 0;
        for operation in &self.held {
            match operation {
                Held::Sync => {}
                Held::Write(offset, data) if is_there(*offset, data)? => {}
                Held::Write(..) | Held::SetLen(_) => break,
            }
            count += 1;
        }
        self.held.drain(..count);
        Ok(())
    }

    /// Lets everything through, and says before each write what it is. With an error comes whether
    /// it was a sync that failed.
    pub(super) fn release(
        self,
        base: &dyn Backend,
        mut writes: impl FnMut(u64, &[u8]),
    ) -> Result<(), (io::Error, bool)> {
        for operation in self.held {
            let (result, is_sync) = match operation {
                Held::Write(offset, data) => {
                    writes(offset, &data);
                    (base.write(offset, &data), false)
                }
                Held::SetLen(len) => (base.set_len(len), false),
                Held::Sync => (base.sync(), true),
            };
            result.map_err(|error| (error, is_sync))?;
        }
        Ok(())
    }

    /// The backend's bytes, and zeros beyond them.
    fn read_base(&self, base: &dyn Backend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let have = self.base_len.saturating_sub(offset).min(out.len() as u64);
        let (held, beyond) = out.split_at_mut(usize::try_from(have).unwrap_or(0));
        beyond.fill(0);
        if held.is_empty() {
            Ok(())
        } else {
            base.read(offset, held)
        }
    }

    /// Page, place in it and length of the piece of an operation at `offset + at`.
    fn piece(offset: u64, at: usize, len: usize) -> (u64, usize, usize) {
        let from = offset + at as u64;
        let start = usize::try_from(from % PAGE as u64).unwrap_or(0);
        let count = (PAGE - start).min(len - at);
        (from / PAGE as u64, start, count)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test values")]
mod tests {
    use super::super::backend::Medium;
    use super::super::memory::MemoryMedium;
    use super::super::testing::Faulty;
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..20_000u64, proptest::collection::vec(any::<u8>(), 1..6_000))
                .prop_map(|(at, data)| Op::Write(at, data)),
            1 => (0..25_000u64).prop_map(Op::SetLen),
        ]
    }

    proptest! {
        #[test]
        fn an_overlay_reads_as_if_its_writes_had_happened_and_then_they_do(
            base in proptest::collection::vec(any::<u8>(), 0..20_000),
            ops in proptest::collection::vec(op(), 0..8),
        ) {
            let medium = MemoryMedium::new(base.clone());
            let backend = medium.open().unwrap();
            let mut overlay = Overlay::new(backend.as_ref()).unwrap();
            let mut model = base.clone();
            for op in ops {
                match op {
                    Op::Write(at, data) => {
                        overlay.write(backend.as_ref(), at, &data).unwrap();
                        let end = at as usize + data.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                    }
                    Op::SetLen(len) => {
                        overlay.set_len(len);
                        model.resize(len as usize, 0);
                    }
                }
                prop_assert_eq!(overlay.len(), model.len() as u64);
                let mut seen = vec![0; model.len()];
                overlay.read(backend.as_ref(), 0, &mut seen).unwrap();
                prop_assert_eq!(&seen, &model);
                prop_assert_eq!(&medium.to_vec(), &base);
            }
            overlay.release(backend.as_ref(), |_, _| ()).unwrap();
            prop_assert_eq!(medium.to_vec(), model);
        }
    }

    #[test]
    fn what_was_held_back_goes_through_in_its_order_syncs_and_all() {
        let faulty = Faulty::new(vec![1; 4096]);
        let backend = faulty.open().unwrap();
        let mut overlay = Overlay::new(backend.as_ref()).unwrap();
        overlay.write(backend.as_ref(), 8, &[2; 3]).unwrap();
        overlay.sync();
        overlay.write(backend.as_ref(), 5000, &[3; 7]).unwrap();
        overlay.sync();
        assert_eq!(overlay.len(), 5007);
        let shown = format!("{overlay:?}");
        assert!(
            shown.contains("len: 5007") && shown.contains("held: 4"),
            "{shown}"
        );
        assert!(faulty.order().asked.is_empty());
        overlay.release(backend.as_ref(), |_, _| ()).unwrap();
        let asked = std::mem::take(&mut faulty.order().asked);
        assert_eq!(asked, [Some((8, 3)), None, Some((5000, 7)), None]);
        // Whether it was a sync that failed is told.
        for is_sync in [false, true] {
            let mut overlay = Overlay::new(backend.as_ref()).unwrap();
            overlay.write(backend.as_ref(), 0, &[9]).unwrap();
            overlay.sync();
            let kind = Some(io::ErrorKind::Other);
            faulty.order().writes = kind.filter(|_| !is_sync);
            faulty.order().syncs = kind.filter(|_| is_sync);
            let (_, of_sync) = overlay.release(backend.as_ref(), |_, _| ()).unwrap_err();
            assert_eq!(of_sync, is_sync);
        }
    }
}
