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
    /// Part of the bytes land, then `EIO`.
    Short,
    /// Part of the bytes land, then `StorageFull`.
    ShortNoSpace,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    Once,
    UntilFreed,
}

/// A failure at the `at`th call from now on, where only calls of `kinds` count; it lasts for calls
/// of the same kinds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) calls: &'static [Call],
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
            Kind::NoSpace | Kind::ShortNoSpace => io::ErrorKind::StorageFull.into(),
            Kind::Broken | Kind::Short => io::Error::from_raw_os_error(5),
        };
        Self { error, kind }
    }

    /// How many of so many bytes were written all the same.
    pub(crate) const fn landed(&self, len: usize) -> usize {
        match self.kind {
            Kind::NoSpace | Kind::Broken => 0,
            Kind::Short | Kind::ShortNoSpace => len / 2,
        }
    }
}

/// The faults of one disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Option<Plan>,
    /// Calls of the plan's kinds so far.
    pub(crate) met: usize,
    pub(crate) hits: usize,
    /// How many calls of each kind there were since the last plan.
    pub(crate) calls: std::collections::BTreeMap<Call, usize>,
    /// Blocks that have room on the disk, and how many there may be; none while all may.
    room: Option<Room>,
}

#[derive(Debug)]
struct Room {
    taken: BTreeSet<usize>,
    quota: usize,
}

impl Faults {
    pub(crate) fn set(&mut self, plan: Option<Plan>) {
        self.plan = plan;
        (self.met, self.hits) = (0, 0);
        self.calls.clear();
    }

    /// Whether this call fails.
    pub(crate) fn meet(&mut self, call: Call) -> Result<(), Hit> {
        *self.calls.entry(call).or_default() += 1;
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.calls.contains(&call)) else {
            return Ok(());
        };
        let turn = self.met;
        self.met += 1;
        let fails = match plan.lasting {
            Lasting::Once => turn == plan.at,
            Lasting::UntilFreed => turn >= plan.at,
        };
        if !fails {
            return Ok(());
        }
        self.hits += 1;
        Err(Hit::of(plan.kind))
    }

    /// Makes the disk full but for `quota` blocks beyond those of a file of `len` bytes.
    pub(crate) fn fill_up(&mut self, blocks: impl Iterator<Item = usize>, quota: usize) {
        let taken: BTreeSet<usize> = blocks.collect();
        let quota = taken.len() + quota;
        self.room = Some(Room { taken, quota });
    }

    /// Makes room without limit.
    pub(crate) fn free(&mut self) {
        self.room = None;
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
        if let Some(room) = &mut self.room {
            room.taken.split_off(&len.div_ceil(PAGE));
        }
    }
}
