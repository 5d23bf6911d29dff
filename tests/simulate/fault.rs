//! Faults of a disk: calls that fail, and room that is gone.

use std::collections::BTreeSet;
use std::io;

use crate::image::PAGE;

/// What may be asked of a disk and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Read,
    Write,
    SetLen,
    Sync,
    Reserve,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `StorageFull`.
    NoSpace,
    /// `EIO`.
    Broken,
    /// Part of the bytes land, then `StorageFull`.
    Short,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    Once,
    UntilFreed,
}

/// A failure of the `at`th call of a kind from now on, the first being 0. One that lasts is of the
/// whole side of the disk: of all reads, or of everything that changes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) call: Call,
    pub(crate) at: usize,
    pub(crate) kind: Kind,
    pub(crate) lasting: Lasting,
}

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) error: io::Error,
    kind: Kind,
}

impl Hit {
    fn of(kind: Kind) -> Self {
        let error = match kind {
            Kind::NoSpace | Kind::Short => io::ErrorKind::StorageFull.into(),
            Kind::Broken => io::Error::from_raw_os_error(5),
        };
        Self { error, kind }
    }

    /// How many of so many bytes were written all the same.
    pub(crate) const fn landed(&self, len: usize) -> usize {
        match self.kind {
            Kind::NoSpace | Kind::Broken => 0,
            Kind::Short => len / 2,
        }
    }
}

/// The faults of one disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Option<Plan>,
    /// Calls of the plan's kind so far.
    met: usize,
    pub(crate) hits: usize,
    pub(crate) sync_hit: bool,
    /// How many calls of each kind there were since the last plan.
    pub(crate) calls: std::collections::BTreeMap<Call, usize>,
    /// Blocks that have room on the disk, and how many there may be; none while all may.
    room: Option<Room>,
    /// Blocks that were reserved.
    reserved: BTreeSet<usize>,
}

#[derive(Debug)]
struct Room {
    taken: BTreeSet<usize>,
    quota: usize,
}

impl Faults {
    pub(crate) fn set(&mut self, plan: Option<Plan>) {
        self.plan = plan;
        (self.met, self.hits, self.sync_hit) = (0, 0, false);
        self.calls.clear();
        self.room = None;
    }

    /// Whether this call fails.
    pub(crate) fn meet(&mut self, call: Call) -> Result<(), Hit> {
        *self.calls.entry(call).or_default() += 1;
        let Some(plan) = self.plan else {
            return Ok(());
        };
        let turn = self.met;
        if call == plan.call {
            self.met += 1;
        }
        let is_of_side = (call == Call::Read) == (plan.call == Call::Read);
        let fails = match plan.lasting {
            Lasting::Once => call == plan.call && turn == plan.at,
            Lasting::UntilFreed => is_of_side && self.met > plan.at,
        };
        if !fails {
            return Ok(());
        }
        self.hits += 1;
        self.sync_hit |= call == Call::Sync;
        Err(Hit::of(plan.kind))
    }

    /// Makes the disk full but for `quota` blocks beyond those that are taken.
    pub(crate) fn fill_up(&mut self, mut taken: BTreeSet<usize>, quota: usize) {
        taken.extend(&self.reserved);
        let quota = taken.len() + quota;
        self.room = Some(Room { taken, quota });
    }

    /// Takes all of these blocks, or none.
    pub(crate) fn reserve(&mut self, from: usize, to: usize) -> Result<(), Hit> {
        let blocks = from / PAGE..to.div_ceil(PAGE);
        if let Some(room) = &mut self.room {
            let missing = blocks.clone().filter(|b| !room.taken.contains(b)).count();
            if room.taken.len() + missing > room.quota {
                self.hits += 1;
                return Err(Hit::of(Kind::NoSpace));
            }
            room.taken.extend(blocks.clone());
        }
        self.reserved.extend(blocks);
        Ok(())
    }

    /// Gives these blocks back.
    pub(crate) fn release(&mut self, from: usize, to: usize) {
        for block in from / PAGE..to.div_ceil(PAGE) {
            self.reserved.remove(&block);
            if let Some(room) = &mut self.room {
                room.taken.remove(&block);
            }
        }
    }

    /// Takes the blocks that a write needs.
    pub(crate) fn room_for(&mut self, at: usize, len: usize) -> Result<(), Hit> {
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        for block in at / PAGE..(at + len).div_ceil(PAGE) {
            if !room.taken.contains(&block) {
                if room.taken.len() >= room.quota {
                    self.hits += 1;
                    return Err(Hit::of(Kind::NoSpace));
                }
                room.taken.insert(block);
            }
        }
        Ok(())
    }

    /// The file ends at `len`: the blocks beyond are free.
    pub(crate) fn cut(&mut self, len: usize) {
        self.reserved.split_off(&len.div_ceil(PAGE));
        if let Some(room) = &mut self.room {
            room.taken.split_off(&len.div_ceil(PAGE));
        }
    }
}
