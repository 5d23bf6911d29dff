//! Edits of a store's bytes, as an input describes them: a whole store is too large to be one.

use ckptdb::fuzzing;

use crate::envelope;
use crate::random::Random;

const SECTOR: usize = 512;
/// More edits than that only slow the fuzzer down.
const MOST: usize = 24;
/// A longer file adds nothing but zeros to read.
const LONGEST: usize = 3 << 20;

/// Where there is something in an image.
#[derive(Debug)]
pub(crate) struct Map {
    sectors: Vec<usize>,
    /// Place and length.
    records: Vec<(usize, usize)>,
    extents: Vec<usize>,
}

/// Edited bytes.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) bytes: Vec<u8>,
    /// Whether a record was given the hash of other content than was ever written: then what the
    /// store holds is what somebody made up, and only has to be harmless.
    pub(crate) is_forged: bool,
}

impl Map {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let sectors = bytes.chunks(SECTOR).enumerate();
        let taken = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
        let places = |magic: &[u8]| {
            let windows = bytes.windows(4).enumerate();
            let found = windows.filter(|(_, window)| *window == magic);
            found.map(|(at, _)| at).collect::<Vec<usize>>()
        };
        let records = places(b"CKR1").into_iter();
        Self {
            sectors: taken.map(|(number, _)| number * SECTOR).collect(),
            records: records
                .filter_map(|at| Some((at, fuzzing::loose_record(&bytes[at..])?)))
                .collect(),
            extents: places(b"CKX1"),
        }
    }

    fn place(&self, random: &mut Random) -> usize {
        let sector = self.sectors[random.below(self.sectors.len().max(0x101)) % self.sectors.len()];
        sector + random.below(SECTOR)
    }

    fn sector(&self, random: &mut Random) -> usize {
        self.place(random) / SECTOR * SECTOR
    }

    /// Does the edits that an input asks for.
    pub(crate) fn edit(&self, bytes: &[u8], random: &mut Random) -> Edited {
        let mut edited = Edited {
            bytes: bytes.to_vec(),
            is_forged: false,
        };
        for _ in 0..MOST {
            if random.is_spent() {
                break;
            }
            self.edit_once(&mut edited, random);
        }
        edited
    }

    fn edit_once(&self, edited: &mut Edited, random: &mut Random) {
        let bytes = &mut edited.bytes;
        match random.below(9) {
            0 => {
                let (at, len) = (self.place(random), 1 + random.below(16));
                let new = random.bytes(len);
                write(bytes, at, &new);
            }
            1 => {
                let (at, bit) = (self.place(random), random.below(8));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            2 => {
                let len = random.below(bytes.len().max(1));
                bytes.truncate(len);
            }
            3 => {
                let (len, byte) = (random.below(0x1_0000) * 16, random.byte());
                bytes.resize((bytes.len() + len).min(LONGEST), byte);
            }
            4 => {
                let (one, other) = (self.sector(random), self.sector(random));
                swap(bytes, one, other, SECTOR);
            }
            5 => {
                let (one, other) = (self.sector(random), self.sector(random));
                swap(bytes, one / 4096 * 4096, other / 4096 * 4096, 4096);
            }
            6 => {
                let (at, byte) = (self.sector(random), random.byte());
                write(bytes, at, &[byte; SECTOR]);
            }
            7 => edited.is_forged |= self.forge_record(bytes, random),
            _ => self.forge_extent(bytes, random),
        }
    }

    /// Changes a byte of a record's body and gives it the hash that it then must have.
    fn forge_record(&self, bytes: &mut [u8], random: &mut Random) -> bool {
        let (at, len) = self.records[random.below(self.records.len())];
        let Some(record) = bytes.get_mut(at..at + len) else {
            return false;
        };
        let (covered, check) = record.split_at_mut(len - 16);
        let place = random.below(covered.len());
        covered[place] ^= random.byte();
        check.copy_from_slice(&envelope::record_check(covered));
        true
    }

    /// The same of an extent's header. The chunk's id still vouches for its bytes.
    fn forge_extent(&self, bytes: &mut [u8], random: &mut Random) {
        let at = self.extents[random.below(self.extents.len())];
        let Some(header) = bytes.get_mut(at..at + 64) else {
            return;
        };
        header[random.below(60)] ^= random.byte();
        let covered = *header.first_chunk::<60>().expect("it is longer");
        header.copy_from_slice(&envelope::extent(&covered, &[])[..64]);
    }
}

fn write(bytes: &mut [u8], at: usize, new: &[u8]) {
    let len = new.len().min(bytes.len().saturating_sub(at));
    if let Some(place) = bytes.get_mut(at..at + len) {
        place.copy_from_slice(&new[..len]);
    }
}

fn swap(bytes: &mut [u8], one: usize, other: usize, len: usize) {
    if one.max(other) + len <= bytes.len() {
        for at in 0..len {
            bytes.swap(one + at, other + at);
        }
    }
}
