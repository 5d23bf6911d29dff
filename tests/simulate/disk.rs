//! A disk in memory that remembers, in one list, all that was done to it, and that can fail.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ckptdb::{Backend, Medium};

use crate::fault::{Call, Faults};
use crate::image::{Image, place};

/// Something that happened to the disk, or that the harness noted between.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(usize, Arc<[u8]>),
    /// Length is metadata of its own: it reaches the disk apart from the bytes.
    SetLen(usize),
    /// Everything before is durable.
    Sync,
    /// A sync that failed: what was pending may be on the disk or not, for good.
    SyncFailed,
    /// The operation of this number returned.
    Ack(usize),
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    log: Vec<Step>,
    is_logging: bool,
    locked: bool,
    faults: Faults,
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn new(image: Image) -> Self {
        let disk = Self::default();
        disk.state().image = image;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn image(&self) -> Image {
        self.state().image.clone()
    }

    pub(crate) fn start_log(&self) {
        self.state().is_logging = true;
    }

    /// What was logged, from the beginning of the log.
    pub(crate) fn log(&self) -> Vec<Step> {
        self.state().log.clone()
    }

    pub(crate) fn acknowledge(&self, operation: usize) {
        self.state().push(Step::Ack(operation));
    }

    /// Leaves room for so many blocks more.
    pub(crate) fn fill_up(&self, quota: usize) {
        let taken = self.state().image.taken();
        self.faults(|faults| faults.fill_up(taken, quota));
    }

    /// Changes or looks at the faults.
    pub(crate) fn faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut self.state().faults)
    }
}

impl State {
    fn push(&mut self, step: Step) {
        if self.is_logging {
            self.log.push(step);
        }
    }

    fn set_len(&mut self, len: usize) {
        self.image.set_len(len);
        self.push(Step::SetLen(len));
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        if at + data.len() > self.image.len() {
            self.set_len(at + data.len());
        }
        self.image.write(at, data);
        if self.is_logging {
            self.log.push(Step::Write(at, data.into()));
        }
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(DiskBackend {
            disk: self.clone(),
            holds: Mutex::new(false),
        }))
    }

    fn path(&self) -> &Path {
        Path::new("(simulated disk)")
    }
}

/// One open file on a disk.
#[derive(Debug)]
pub(crate) struct DiskBackend {
    disk: Disk,
    holds: Mutex<bool>,
}

impl Backend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.meet(Call::Read).map_err(|hit| hit.error)?;
        state.image.read(place(offset), out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let at = place(offset);
        let room = state.faults.room_for(at, data.len());
        match state.faults.meet(Call::Write).and(room) {
            Ok(()) => {
                state.write(at, data);
                Ok(())
            }
            Err(hit) => {
                state.write(at, &data[..hit.landed(data.len())]);
                Err(hit.error)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.meet(Call::SetLen).map_err(|hit| hit.error)?;
        if place(len) < state.image.len() {
            state.faults.cut(place(len));
        }
        state.set_len(place(len));
        Ok(())
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        let faults = &mut self.disk.state().faults;
        let met = faults.meet(Call::Reserve);
        let reserved = met.and_then(|()| faults.reserve(place(from), place(to)));
        reserved.map_err(|hit| hit.error)
    }

    fn release(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.release(place(from), place(to));
        // A hole reads as zeros, in the file too.
        let end = place(to).min(state.image.len());
        if place(from) < end {
            state.write(place(from), &vec![0; end - place(from)]);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(hit) = state.faults.meet(Call::Sync) {
            state.push(Step::SyncFailed);
            return Err(hit.error);
        }
        state.push(Step::Sync);
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        let is_free = !state.locked;
        if is_free {
            state.locked = true;
            *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        Ok(is_free)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *holds) {
            self.disk.state().locked = false;
        }
        Ok(())
    }

    fn allocated(&self) -> io::Result<u64> {
        self.len()
    }
}

impl Drop for DiskBackend {
    fn drop(&mut self) {
        // Unlocking memory can't fail.
        let _ = self.unlock();
    }
}
