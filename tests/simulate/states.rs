//! What may be on the disk after the power failed: everything before the last sync, and of what
//! came after it any part, torn or not, under any of the lengths that the file had.

use std::fmt;
use std::sync::Arc;

use crate::disk::Step;
use crate::image::Image;
use crate::random::Random;

/// Smallest pieces of a write that reach a disk apart from each other.
const GRAINS: [usize; 4] = [1, 8, 512, 4096];
const SECTOR: usize = 512;
/// All subsets of so many pending writes, random ones of more.
const ALL_SUBSETS: usize = 8;

/// Whether the length is a thing of its own, as on a real disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lengths {
    Modelled,
    /// It is where it was set to last. Only a control believes that.
    LeftOut,
}

/// A moment at which the power may fail.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Its place in the log.
    pub(crate) at: usize,
    /// What is on the disk for certain.
    pub(crate) durable: Image,
    pub(crate) writes: Vec<(usize, Arc<[u8]>)>,
    /// Lengths that were set since, each with the number of writes before it.
    pub(crate) lengths: Vec<(usize, usize)>,
    /// Writes since a sync that failed: those before its number may be lost for good, those after
    /// it up to the second are durable by a later sync.
    failed: Option<(usize, usize)>,
    /// Operations that had returned.
    pub(crate) acked: usize,
}

/// One of the states that the disk may be in at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    kept: Vec<bool>,
    /// How many of the lengths took effect.
    lengths: usize,
    torn: Option<Tear>,
    /// A sector of a write that holds neither what was nor what should be.
    pub(crate) garbage: Option<(usize, usize)>,
}

/// A write of which only some pieces are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tear {
    write: usize,
    grain: usize,
    seed: u64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: String = self
            .kept
            .iter()
            .map(|kept| if *kept { '1' } else { '0' })
            .collect();
        write!(f, "kept {kept}, {} lengths", self.lengths)?;
        if let Some(Tear { write, grain, seed }) = self.torn {
            write!(f, ", write {write} torn at {grain} B (seed {seed})")?;
        }
        if let Some((write, sector)) = self.garbage {
            write!(f, ", garbage in sector {sector} of write {write}")?;
        }
        Ok(())
    }
}

/// The moments before each sync, each return of an operation and the end: what may be on the disk
/// at any other moment may be there at one of these, too.
pub(crate) fn points(start: Image, log: &[Step], lengths: Lengths) -> Vec<Point> {
    let mut out = Vec::new();
    let mut now = Point {
        at: 0,
        durable: start,
        writes: Vec::new(),
        lengths: Vec::new(),
        failed: None,
        acked: 0,
    };
    for (at, step) in log.iter().enumerate() {
        now.at = at;
        match step {
            Step::Write(place, data) => now.writes.push((*place, Arc::clone(data))),
            Step::SetLen(len) if lengths == Lengths::LeftOut => now.durable.set_len(*len),
            Step::SetLen(len) => now.lengths.push((now.writes.len(), *len)),
            Step::Sync => {
                out.push(now.clone());
                now.flush();
            }
            Step::SyncFailed => {
                out.push(now.clone());
                let count = now.writes.len();
                now.failed = Some((count, count));
            }
            Step::Ack(operation) => {
                if !now.is_settled() {
                    out.push(now.clone());
                }
                now.acked = *operation;
            }
        }
    }
    now.at = log.len();
    out.push(now);
    out
}

impl Point {
    fn is_settled(&self) -> bool {
        self.writes.is_empty() && self.lengths.is_empty()
    }

    /// Everything is on the disk now, but for what a failed sync may have lost: the kernel forgets
    /// that it ever had it.
    fn flush(&mut self) {
        if let Some((_, durable)) = &mut self.failed {
            *durable = self.writes.len();
            return;
        }
        let mut lengths = std::mem::take(&mut self.lengths).into_iter().peekable();
        for (number, (place, data)) in std::mem::take(&mut self.writes).iter().enumerate() {
            while let Some((_, len)) = lengths.next_if(|(before, _)| *before <= number) {
                self.durable.set_len(len);
            }
            self.durable.write(*place, data);
        }
        for (_, len) in lengths {
            self.durable.set_len(len);
        }
    }

    /// The bytes of a state.
    pub(crate) fn image(&self, choice: &Choice) -> Image {
        let mut image = self.durable.clone();
        for (_, len) in &self.lengths[..choice.lengths] {
            image.set_len(*len);
        }
        for (number, (place, data)) in self.writes.iter().enumerate() {
            if !choice.kept[number] {
                continue;
            }
            match choice.torn.filter(|tear| tear.write == number) {
                Some(tear) => tear.write_to(&mut image, *place, data),
                None => image.write(*place, data),
            }
            if let Some((_, sector)) = choice.garbage.filter(|(write, _)| *write == number) {
                let at = place + sector * SECTOR;
                let mut garbage = Random::new((number * 1_000 + sector) as u64);
                let len = SECTOR.min(place + data.len() - at);
                image.write(at, &garbage.bytes(len));
            }
        }
        image
    }

    fn choice(&self, mut kept: Vec<bool>, mut lengths: usize) -> Choice {
        debug_assert_eq!(kept.len(), self.writes.len());
        if let Some((lost, durable)) = self.failed {
            kept[lost..durable].fill(true);
            let sized = self.lengths.iter().filter(|(before, _)| *before < durable);
            lengths = lengths.max(sized.count());
        }
        Choice {
            kept,
            lengths,
            torn: None,
            garbage: None,
        }
    }

    /// Everything up to a write, and nothing after it.
    fn prefix(&self, count: usize) -> Choice {
        let kept = (0..self.writes.len())
            .map(|number| number < count)
            .collect();
        let lengths = self.lengths.iter().filter(|(before, _)| *before <= count);
        self.choice(kept, lengths.count())
    }

    fn random_subset(&self, random: &mut Random) -> Choice {
        let kept = self.writes.iter().map(|_| random.one_in(2)).collect();
        self.choice(kept, random.below(self.lengths.len() + 1))
    }

    fn tear(&self, random: &mut Random, write: usize, grain: usize) -> Choice {
        let mut choice = if random.one_in(2) {
            self.prefix(write + 1)
        } else {
            self.random_subset(random)
        };
        choice.kept[write] = true;
        if self
            .failed
            .is_some_and(|(lost, durable)| (lost..durable).contains(&write))
        {
            return choice;
        }
        let seed = random.word() % 1_000_000;
        choice.torn = Some(Tear { write, grain, seed });
        choice
    }

    fn garble(&self, random: &mut Random, write: usize) -> Choice {
        let mut choice = self.prefix(write + 1);
        let sectors = self.writes[write].1.len().div_ceil(SECTOR);
        choice.garbage = Some((write, random.below(sectors)));
        choice
    }

    /// Hands out the states at this point: each prefix, each omission, each survivor, the subsets,
    /// under each length; `torn` torn ones and `garbled` ones with garbage.
    pub(crate) fn each(
        &self,
        random: &mut Random,
        (subsets, torn, garbled): (usize, usize, usize),
        visit: &mut dyn FnMut(Choice),
    ) {
        let count = self.writes.len();
        let mut whole: Vec<Vec<bool>> = Vec::new();
        for number in 0..count {
            visit(self.prefix(number));
            whole.push((0..count).map(|other| other < number).collect());
            whole.push((0..count).map(|other| other != number).collect());
            whole.push((0..count).map(|other| other == number).collect());
        }
        whole.push(vec![true; count]);
        if count <= ALL_SUBSETS {
            whole.extend(
                (0..1_usize << count)
                    .map(|bits| (0..count).map(|number| bits >> number & 1 == 1).collect()),
            );
        } else {
            whole.extend((0..subsets).map(|_| self.random_subset(random).kept));
        }
        for kept in whole {
            for lengths in 0..=self.lengths.len() {
                visit(self.choice(kept.clone(), lengths));
            }
        }
        if count == 0 {
            return;
        }
        for number in 0..torn {
            let write = random.below(count);
            visit(self.tear(random, write, GRAINS[number % GRAINS.len()]));
        }
        for _ in 0..garbled {
            let write = random.below(count);
            visit(self.garble(random, write));
        }
    }

    /// One of the states.
    pub(crate) fn some(&self, random: &mut Random) -> Choice {
        let count = self.writes.len();
        if count == 0 {
            return self.random_subset(random);
        }
        let write = random.below(count);
        match random.below(6) {
            0 => self.prefix(write),
            1 => {
                let kept = (0..count).map(|other| other != write).collect();
                self.choice(kept, random.below(self.lengths.len() + 1))
            }
            2 => self.random_subset(random),
            _ => {
                let grain = *random.pick(&GRAINS);
                self.tear(random, write, grain)
            }
        }
    }
}

impl Tear {
    /// Of fine pieces the first or the last ones are there, of coarse ones any.
    fn write_to(self, image: &mut Image, place: usize, data: &[u8]) {
        let mut random = Random::new(self.seed);
        let pieces = data.len().div_ceil(self.grain);
        let cut = random.below(pieces + 1);
        let is_last = random.one_in(2);
        for (number, piece) in data.chunks(self.grain).enumerate() {
            let is_there = if self.grain >= SECTOR {
                random.one_in(2)
            } else {
                (number < cut) != is_last
            };
            if is_there {
                image.write(place + number * self.grain, piece);
            }
        }
    }
}
