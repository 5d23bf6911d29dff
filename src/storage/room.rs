//! Room on the disk, taken before it is needed.

use std::io;

use super::backend::Backend;

/// What a change may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// What the disk still has.
    Ordinary,
    /// The ballast as well: for what makes room, which must work when there is none.
    Ballast,
}

/// Blocks that are reserved at once, at least and at most.
const STEP: (u64, u64) = (64 << 10, 8 << 20);

/// How far the medium's blocks are taken. Everything below `end` is; an ordinary write keeps
/// [`Reserve::ballast`] bytes free between itself and `end`. The engine uses the lowest free page
/// first, so that what it needs once the disk is full lies in these bytes.
///
/// A write into reserved blocks can't fail for lack of room, nor can a sync after it, where a
/// failure could not be told from a broken disk.
#[derive(Debug)]
pub(super) struct Reserve {
    end: Option<u64>,
    ballast: u64,
    room: Room,
}

impl Reserve {
    pub(super) const fn new(ballast: u64) -> Self {
        Self {
            end: None,
            ballast,
            room: Room::Ordinary,
        }
    }

    pub(super) const fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Called before bytes up to `to` are written.
    pub(super) fn before_write(&mut self, backend: &dyn Backend, to: u64) -> io::Result<()> {
        let (end, to) = match self.end {
            Some(end) => (end, to),
            // What was written before this handle is known by the file's holes.
            None => {
                let written = backend.written_end()?;
                self.end = Some(written);
                (written, to.max(written))
            }
        };
        // The engine's own tables of free pages grow with the file, and every commit writes some
        // of them anew.
        let least = to.saturating_add(self.ballast + if self.ballast > 0 { to / 1024 } else { 0 });
        if least <= end {
            return Ok(());
        }
        let step = (to / 64).clamp(STEP.0, STEP.1);
        let reserved = backend
            .reserve(end, least + step)
            .map(|()| least + step)
            .or_else(|_| backend.reserve(end, least).map(|()| least));
        match reserved {
            Ok(end) => self.end = Some(end),
            // A file system that can't reserve: its own answers must do.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.end = Some(u64::MAX),
            Err(_) if self.room == Room::Ballast => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Called after the length was changed: what lay beyond it is not reserved any more.
    pub(super) fn cut(&mut self, len: u64) {
        self.end = self.end.map(|end| end.min(len));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes note of what is reserved, until there is no more.
    #[derive(Debug)]
    struct Disk {
        written: u64,
        left: u64,
        asked: Mutex<Vec<(u64, u64)>>,
    }

    impl Backend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.written)
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn try_lock(&self) -> io::Result<bool> {
            Ok(true)
        }
        fn unlock(&self) -> io::Result<()> {
            Ok(())
        }
        fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
            if to > self.left {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.asked.lock().unwrap().push((from, to));
            Ok(())
        }
    }

    fn disk(written: u64, left: u64) -> Disk {
        Disk {
            written,
            left,
            asked: Mutex::default(),
        }
    }

    #[test]
    fn an_ordinary_write_leaves_the_ballast_and_one_that_makes_room_uses_it() {
        let disk = disk(1 << 20, 4 << 20);
        let mut reserve = Reserve::new(1 << 20);
        reserve.before_write(&disk, 4096).unwrap();
        let (from, to) = disk.asked.lock().unwrap()[0];
        assert_eq!(from, 1 << 20, "what is written is not reserved again");
        assert!(to > 2 << 20);
        assert!(reserve.before_write(&disk, 3 << 20).is_err());
        reserve
            .before_write(&disk, (2 << 20) + (900 << 10))
            .unwrap();
        reserve.set_room(Room::Ballast);
        reserve.before_write(&disk, 3 << 20).unwrap();
        reserve.set_room(Room::Ordinary);
        assert!(reserve.before_write(&disk, 3 << 20).is_err());
    }

    #[test]
    fn a_shortened_file_is_reserved_anew() {
        let disk = disk(1 << 20, u64::MAX);
        let mut reserve = Reserve::new(0);
        reserve.before_write(&disk, 2 << 20).unwrap();
        reserve.cut(1 << 20);
        reserve.before_write(&disk, 2 << 20).unwrap();
        let asked = disk.asked.lock().unwrap();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].0, 1 << 20);
    }
}
