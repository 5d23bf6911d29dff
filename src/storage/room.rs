//! Room on the disk, taken before it is needed.

use std::collections::HashSet;
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

/// Blocks are taken for so many bytes around a write: a file grows in pieces that lie together, and
/// a full disk is noticed before a write, never by a sync, where it could not be told from a broken
/// disk.
const WINDOW: u64 = 64 << 10;

/// Of more windows than this no note is kept: those of 64 GiB.
const MOST_WINDOWS: usize = 1 << 20;

/// What a handle has taken of the disk: blocks for what it writes, and beyond the end of the file
/// the ballast, which is given back to the disk for the writes of a change that makes room.
#[derive(Debug)]
pub(super) struct Reserve {
    /// The ballast that is asked for; 0 for none.
    wanted: u64,
    /// The bytes beyond the end of the file that are taken.
    ballast: Option<(u64, u64)>,
    /// Windows whose blocks are taken.
    taken: HashSet<u64>,
    room: Room,
    /// The file system can't reserve: its own answers must do.
    is_unsupported: bool,
}

impl Reserve {
    pub(super) fn new(wanted: u64) -> Self {
        Self {
            wanted,
            ballast: None,
            taken: HashSet::new(),
            room: Room::Ordinary,
            is_unsupported: false,
        }
    }

    /// Called before a change. An ordinary one needs the ballast to be in its place.
    pub(super) fn begin(&mut self, backend: &dyn Backend, room: Room) -> io::Result<()> {
        self.room = room;
        let len = backend.len()?;
        // What is no longer beyond the end is part of the file, and nothing to give back.
        self.ballast = self.ballast.filter(|(from, _)| *from == len);
        match self.hold(backend, len) {
            Err(_) if room == Room::Ballast => Ok(()),
            held => held,
        }
    }

    /// Called before the handle is closed, which may use the ballast, and takes none.
    pub(super) fn begin_closing(&mut self) {
        self.room = Room::Ballast;
        self.wanted = 0;
    }

    /// Bytes of the ballast, as long as it is in its place.
    pub(super) fn held(&self) -> u64 {
        self.ballast.map_or(0, |(from, to)| to - from)
    }

    /// Takes the ballast beyond this length: all of it, or what there is room for.
    fn hold(&mut self, backend: &dyn Backend, len: u64) -> io::Result<()> {
        let is_held = self.ballast.is_some_and(|(from, _)| from == len);
        if self.wanted == 0 || self.is_unsupported || is_held {
            return Ok(());
        }
        // The engine's own tables of free pages grow with the file, and every commit writes some
        // of them anew.
        let all = self.wanted + len / 1024;
        let mut failed = Ok(());
        for part in [all, all / 2, all / 4] {
            match backend.reserve(len, len + part) {
                Ok(()) => {
                    self.ballast = Some((len, len + part));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.is_unsupported = true;
                    return Ok(());
                }
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// Called before the length is changed. What lies beyond a shorter one is not taken any more;
    /// what lay beyond the old one becomes part of a longer file.
    pub(super) fn before_set_len(&mut self, backend: &dyn Backend, len: u64) -> io::Result<()> {
        if len < backend.len()? {
            self.ballast = None;
            self.taken.retain(|window| (window + 1) * WINDOW <= len);
            return Ok(());
        }
        // Of the window in which the file ended, only what was in the file has its blocks.
        self.taken.remove(&(backend.len()? / WINDOW));
        self.ballast = self.ballast.filter(|(from, _)| *from == len);
        match self.hold(backend, len) {
            Err(_) if self.room == Room::Ballast => Ok(()),
            held => held,
        }
    }

    /// Called before bytes are written.
    pub(super) fn before_write(
        &mut self,
        backend: &dyn Backend,
        offset: u64,
        len: usize,
    ) -> io::Result<()> {
        let to = offset.saturating_add(len as u64);
        let windows = offset / WINDOW..to.div_ceil(WINDOW);
        if self.is_unsupported || windows.clone().all(|window| self.taken.contains(&window)) {
            return Ok(());
        }
        let end = backend.len()?.max(to);
        let around = (windows.start * WINDOW, (windows.end * WINDOW).min(end));
        let mut reserved = backend.reserve(around.0, around.1);
        if reserved.is_ok() {
            // Forgetting them costs calls that do nothing, never room.
            if self.taken.len() > MOST_WINDOWS {
                self.taken.clear();
            }
            self.taken.extend(windows);
            return Ok(());
        }
        // The bytes themselves may have their blocks, and only those around them not.
        reserved = reserved.or_else(|_| backend.reserve(offset, to));
        if let (Err(_), Room::Ballast) = (&reserved, self.room) {
            if let Some((from, to)) = self.ballast.take()
                && from >= backend.len()?
            {
                backend.release(from, to)?;
            }
            reserved = backend.reserve(offset, to);
        }
        match reserved {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.is_unsupported = true;
                Ok(())
            }
            reserved => reserved,
        }
    }

    /// Whether what makes room can do so once more: the ballast is in its place, or there is room
    /// to take it anew, after it was used up or the file became shorter.
    pub(super) fn has_ballast(&mut self, backend: &dyn Backend) -> bool {
        let Ok(len) = backend.len() else {
            return false;
        };
        self.ballast = self.ballast.filter(|(from, _)| *from == len);
        self.hold(backend, len).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    const BLOCK: u64 = 4096;

    /// A disk with so many blocks.
    #[derive(Debug)]
    struct Disk {
        blocks: usize,
        len: u64,
        taken: Mutex<BTreeSet<u64>>,
        reserves: bool,
        calls: std::sync::atomic::AtomicUsize,
    }

    impl Disk {
        fn new(blocks: usize, len: u64) -> Self {
            Self {
                blocks,
                len,
                taken: Mutex::default(),
                reserves: true,
                calls: 0.into(),
            }
        }

        fn has(&self, from: u64, to: u64) -> bool {
            let taken = self.taken.lock().unwrap();
            (from / BLOCK..to.div_ceil(BLOCK)).all(|block| taken.contains(&block))
        }
    }

    impl Backend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.len)
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
            self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if !self.reserves {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let mut taken = self.taken.lock().unwrap();
            let mut more = taken.clone();
            more.extend(from / BLOCK..to.div_ceil(BLOCK));
            if more.len() > self.blocks {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *taken = more;
            Ok(())
        }
        fn release(&self, from: u64, to: u64) -> io::Result<()> {
            assert!(from >= self.len, "the file has bytes there");
            let mut taken = self.taken.lock().unwrap();
            for block in from / BLOCK..to.div_ceil(BLOCK) {
                taken.remove(&block);
            }
            Ok(())
        }
    }

    #[test]
    fn an_ordinary_write_leaves_the_ballast_and_one_that_makes_room_uses_it() {
        let disk = Disk::new(16, 1 << 20);
        let mut reserve = Reserve::new(8 * BLOCK - 1024);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        assert!(disk.has(1 << 20, (1 << 20) + 8 * BLOCK));
        // Eight blocks are left: less than a window.
        reserve.before_write(&disk, 0, 8 * 4096).unwrap();
        assert!(reserve.before_write(&disk, 100 * BLOCK, 4096).is_err());
        reserve.before_write(&disk, 4096, 4096).unwrap();
        reserve.begin(&disk, Room::Ballast).unwrap();
        reserve.before_write(&disk, 100 * BLOCK, 4096).unwrap();
        assert!(!disk.has(1 << 20, (1 << 20) + 8 * BLOCK));
        // With what is left of it, ordinary changes go on; without any, they do not.
        assert!(reserve.has_ballast(&disk));
        reserve.begin(&disk, Room::Ordinary).unwrap();
        reserve.begin(&disk, Room::Ballast).unwrap();
        reserve.before_write(&disk, 100 * BLOCK, 8 * 4096).unwrap();
        assert!(!reserve.has_ballast(&disk));
        assert!(reserve.begin(&disk, Room::Ordinary).is_err());
        assert!(reserve.begin(&disk, Room::Ballast).is_ok());
    }

    #[test]
    fn a_longer_file_has_its_ballast_beyond_its_new_end() {
        let mut disk = Disk::new(1000, 1 << 20);
        let mut reserve = Reserve::new(8 * BLOCK - 1024);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        reserve.before_set_len(&disk, 2 << 20).unwrap();
        assert!(disk.has(2 << 20, (2 << 20) + 8 * BLOCK));
        disk.len = 2 << 20;
        disk.blocks = 0;
        assert!(reserve.before_set_len(&disk, 4 << 20).is_err());
    }

    #[test]
    fn a_ballast_that_a_growing_file_took_in_is_never_given_back() {
        let mut disk = Disk::new(16, 1 << 20);
        let mut reserve = Reserve::new(8 * BLOCK - 1024);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        reserve.begin(&disk, Room::Ballast).unwrap();
        disk.blocks = 8;
        reserve.before_set_len(&disk, 2 << 20).unwrap();
        disk.len = 2 << 20;
        assert!(reserve.before_write(&disk, 0, 4096).is_err());
        assert!(disk.has(1 << 20, (1 << 20) + 8 * BLOCK));
        // The same, of a file that somebody else made longer.
        disk.blocks = 16;
        reserve.begin(&disk, Room::Ordinary).unwrap();
        disk.len = 4 << 20;
        disk.blocks = 0;
        reserve.begin(&disk, Room::Ballast).unwrap();
        assert!(reserve.before_write(&disk, 0, 4096).is_err());
    }

    #[test]
    fn what_a_shorter_file_loses_is_taken_anew() {
        let mut disk = Disk::new(1000, 1 << 20);
        let mut reserve = Reserve::new(8 * BLOCK - 1024);
        reserve.before_write(&disk, 900 << 10, 4096).unwrap();
        reserve.before_set_len(&disk, 512 << 10).unwrap();
        disk.len = 512 << 10;
        disk.taken.lock().unwrap().clear();
        assert!(reserve.has_ballast(&disk));
        assert_eq!(reserve.held(), 8 * BLOCK - 1024 + 512);
        assert!(disk.has(512 << 10, (512 << 10) + 8 * BLOCK));
        reserve.before_write(&disk, 900 << 10, 4096).unwrap();
        assert!(disk.has(900 << 10, 904 << 10));
    }

    #[test]
    fn what_lies_beyond_a_growing_file_s_old_end_is_taken_before_it_is_written() {
        let end = (1 << 20) + BLOCK;
        let mut disk = Disk::new(1000, end);
        let mut reserve = Reserve::new(0);
        reserve.before_write(&disk, 1 << 20, 4096).unwrap();
        assert!(!disk.has(end, end + BLOCK));
        reserve.before_set_len(&disk, 2 << 20).unwrap();
        disk.len = 2 << 20;
        reserve.before_write(&disk, end, 4096).unwrap();
        assert!(disk.has(end, end + BLOCK));
    }

    #[test]
    fn of_a_ballast_that_does_not_fit_a_half_or_a_quarter_is_taken() {
        for (blocks, held) in [(8, 8), (7, 4), (4, 4), (3, 2), (2, 2)] {
            let disk = Disk::new(blocks, 1 << 20);
            let mut reserve = Reserve::new(8 * BLOCK - 1024);
            reserve.begin(&disk, Room::Ordinary).unwrap();
            assert!(disk.has(1 << 20, (1 << 20) + held * BLOCK), "{blocks}");
            assert_eq!(disk.taken.lock().unwrap().len() as u64, held);
        }
        let disk = Disk::new(1, 1 << 20);
        assert!(
            Reserve::new(8 * BLOCK - 1024)
                .begin(&disk, Room::Ordinary)
                .is_err()
        );
    }

    #[test]
    fn what_is_taken_already_costs_no_call() {
        let mut disk = Disk::new(1000, 1 << 20);
        let mut reserve = Reserve::new(8 * BLOCK);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        reserve.before_write(&disk, 0, 4096).unwrap();
        let calls = |disk: &Disk| disk.calls.load(std::sync::atomic::Ordering::SeqCst);
        let before = calls(&disk);
        reserve.before_write(&disk, 8192, 4096).unwrap();
        reserve.begin(&disk, Room::Ordinary).unwrap();
        assert_eq!(calls(&disk), before);
        reserve.before_write(&disk, WINDOW - 1, 2).unwrap();
        assert_eq!(calls(&disk), before + 1);
        // Nor does a disk that can reserve nothing, once it is known.
        disk.reserves = false;
        let mut reserve = Reserve::new(0);
        reserve.before_write(&disk, 0, 4096).unwrap();
        let before = calls(&disk);
        reserve.before_write(&disk, 4 * WINDOW, 4096).unwrap();
        assert_eq!(calls(&disk), before);
    }

    #[test]
    fn where_nothing_can_be_reserved_writes_go_on_without() {
        let mut disk = Disk::new(0, 1 << 20);
        disk.reserves = false;
        let mut reserve = Reserve::new(8 * BLOCK);
        reserve.before_write(&disk, 0, 4096).unwrap();
        assert!(reserve.has_ballast(&disk));
        let mut reserve = Reserve::new(8 * BLOCK);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        reserve.before_set_len(&disk, 2 << 20).unwrap();
        reserve.before_write(&disk, 0, 4096).unwrap();
    }

    #[test]
    fn a_ballast_is_what_was_asked_for_and_a_thousandth_of_the_file() {
        let disk = Disk::new(1000, 4 << 20);
        let mut reserve = Reserve::new(8 * BLOCK);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        assert_eq!(reserve.held(), 8 * BLOCK + 4096);
        // A length that stays the same changes nothing.
        let calls = |disk: &Disk| disk.calls.load(std::sync::atomic::Ordering::SeqCst);
        let before = calls(&disk);
        reserve.before_set_len(&disk, 4 << 20).unwrap();
        assert_eq!((reserve.held(), calls(&disk)), (8 * BLOCK + 4096, before));
        // None is asked for: none is taken.
        let mut reserve = Reserve::new(0);
        reserve.begin(&disk, Room::Ordinary).unwrap();
        assert_eq!((reserve.held(), calls(&disk)), (0, before));
    }

    #[test]
    fn of_a_window_that_the_file_s_end_cuts_nothing_is_taken_for_granted() {
        let mut disk = Disk::new(1000, 1 << 20);
        let mut reserve = Reserve::new(0);
        reserve.before_write(&disk, 4 * WINDOW, 4096).unwrap();
        reserve.before_write(&disk, 5 * WINDOW, 4096).unwrap();
        let calls = |disk: &Disk| disk.calls.load(std::sync::atomic::Ordering::SeqCst);
        let before = calls(&disk);
        reserve.before_write(&disk, 4 * WINDOW, 4096).unwrap();
        assert_eq!(calls(&disk), before, "both are remembered");
        reserve.before_set_len(&disk, 5 * WINDOW + 4096).unwrap();
        disk.len = 5 * WINDOW + 4096;
        reserve.before_write(&disk, 4 * WINDOW, 4096).unwrap();
        assert_eq!(calls(&disk), before, "the whole one still is");
        reserve
            .before_write(&disk, 5 * WINDOW + 4096, 4096)
            .unwrap();
        assert_eq!(calls(&disk), before + 1);
    }
}
