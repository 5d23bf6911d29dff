//! Where files are cut: at what they hold, so that bytes that come in or go move no cut but those
//! beside them.
//!
//! Inside an archive (`.pt`, `.npz`, the `.zip` of Stable Baselines, archives in these) a cut lies
//! where the data of a stored member begins: a tensor's words are then aligned in its chunk, and at
//! the same place as in the archive before. Elsewhere the cut is where a rolling hash of the bytes
//! says so (`FastCDC`, Xia et al., USENIX ATC 2016).

use std::sync::LazyLock;

use memchr::memmem;

/// No chunk is shorter, but the last, and what lies between the long members of an archive.
const SHORTEST: usize = 64 << 10;
/// What most chunks are about as long as.
const USUAL: usize = 256 << 10;
/// Bits of the hash that must be zero: more before the usual length, fewer after, so that lengths
/// lie closer together (normalized chunking, level 2).
const BEFORE: u64 = u64::MAX << (64 - 20);
const AFTER: u64 = u64::MAX << (64 - 16);

/// The header before a member of a zip archive (PKWARE APPNOTE 4.3.7), without its name and extra
/// field.
const MEMBER: &[u8; 4] = b"PK\x03\x04";
const MEMBER_BYTES: usize = 30;

/// Random words for bytes, the same everywhere.
static GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut words = [0; 256];
    let mut random = blake3::Hasher::new_derive_key("ckptdb: cuts of files, 1").finalize_xof();
    for word in &mut words {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        *word = u64::from_le_bytes(bytes);
    }
    words
});

/// Cuts one file, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct FileCutter {
    longest: usize,
    /// Whether the next chunk begins with a stored member's data.
    in_member: bool,
    /// So many bytes from the beginning of the next chunk on begin no member.
    searched: usize,
}

impl FileCutter {
    /// No chunk is to be longer than this.
    pub(crate) const fn new(longest: usize) -> Self {
        Self {
            longest,
            in_member: false,
            searched: 0,
        }
    }

    /// Length of the next chunk. `rest` is all that is left of the file, or so much of it as a
    /// chunk may have.
    pub(crate) fn next(&mut self, rest: &[u8]) -> usize {
        let rest = &rest[..rest.len().min(self.longest)];
        let mut in_member = self.in_member;
        let from = std::mem::take(&mut self.searched).min(rest.len());
        let mut members = memmem::find_iter(&rest[from..], MEMBER)
            .filter_map(|at| Some((from + at, member(&rest[from + at..])?)))
            .peekable();
        let is_plain = members.peek().is_none();
        while let Some((at, (data, is_stored))) = members.next() {
            in_member |= is_stored;
            let cut = at + data;
            let end = members.peek().map_or(rest.len(), |(next, _)| *next);
            let is_long = end >= cut + SHORTEST;
            if cut < rest.len() && (cut >= SHORTEST || is_long) {
                self.in_member = is_stored;
                return cut;
            }
        }
        self.in_member = in_member;
        let cut = if in_member { rest.len() } else { by_hash(rest) };
        if is_plain {
            // A header may begin in the last bytes, which are too few to tell.
            self.searched = rest.len().saturating_sub(cut + MEMBER_BYTES);
        }
        cut
    }
}

/// Where a member's data begins, counted from its header, and whether it is stored as it is. None
/// if these bytes are no such header: their lengths and method then make no sense.
fn member(bytes: &[u8]) -> Option<(usize, bool)> {
    let header = bytes.get(..MEMBER_BYTES)?;
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (needs, method) = (number(4), number(8));
    let (name, extra) = (usize::from(number(26)), usize::from(number(28)));
    let is_sound = needs <= 63 && matches!(method, 0 | 8 | 12 | 14 | 93 | 95) && name > 0;
    is_sound.then_some((MEMBER_BYTES + name + extra, method == 0))
}

fn by_hash(rest: &[u8]) -> usize {
    if rest.len() <= SHORTEST {
        return rest.len();
    }
    // 64 bytes are in the hash at a time; what is before the first possible cut fills it.
    let mut hash = 0;
    roll_over(&rest[SHORTEST - 64..SHORTEST], &mut hash, 0);
    let usual = USUAL.min(rest.len());
    let before = roll_over(&rest[SHORTEST..usual], &mut hash, !BEFORE);
    if let Some(at) = before {
        return SHORTEST + at + 1;
    }
    let after = roll_over(&rest[usual..], &mut hash, !AFTER);
    after.map_or(rest.len(), |at| usual + at + 1)
}

/// Rolls the hash over bytes until it is no more than this; where that is. Two bytes at a time: the
/// hash after both waits for the one before them alone.
fn roll_over(bytes: &[u8], hash: &mut u64, most: u64) -> Option<usize> {
    let gear = &*GEAR;
    let word = |byte: u8| gear[usize::from(byte)];
    let (pairs, last) = bytes.as_chunks::<2>();
    for (at, [one, two]) in pairs.iter().enumerate() {
        let (one, two) = (word(*one), word(*two));
        let first = (*hash << 1).wrapping_add(one);
        if first <= most {
            return Some(2 * at);
        }
        *hash = (*hash << 2).wrapping_add((one << 1).wrapping_add(two));
        if *hash <= most {
            return Some(2 * at + 1);
        }
    }
    for byte in last {
        *hash = (*hash << 1).wrapping_add(word(*byte));
        if *hash <= most {
            return Some(bytes.len() - 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LONGEST: usize = 1_000_000;

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut noise);
        noise
    }

    /// The places of all cuts.
    fn cuts(bytes: &[u8]) -> Vec<usize> {
        let mut cutter = FileCutter::new(LONGEST);
        let (mut at, mut cuts) = (0, Vec::new());
        while at < bytes.len() {
            let next = cutter.next(&bytes[at..]);
            assert!(next > 0 && next <= LONGEST);
            at += next;
            cuts.push(at);
        }
        cuts
    }

    /// A stored member with a name of this length.
    fn archive(members: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for (number, data) in members.iter().enumerate() {
            let name = format!("archive/data/{number}");
            bytes.extend_from_slice(MEMBER);
            bytes.extend_from_slice(&[20, 0, 8, 8, 0, 0]);
            bytes.resize(bytes.len() + 16, 0);
            let padding = (64 - (bytes.len() + 4 + name.len()) % 64) % 64;
            bytes.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&u16::try_from(padding).unwrap().to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize(bytes.len() + padding, b'Z');
            starts.push(bytes.len());
            bytes.extend_from_slice(data);
        }
        (bytes, starts)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn bytes_that_come_in_move_no_cut_before_them_nor_behind_the_first_that_stays(
            seed in any::<u64>(),
            at in 0..3_000_000_usize,
            new in 1..5_000_usize,
        ) {
            let (before, after) = beside(seed, at, new);
            let behind: Vec<&usize> = before.iter().filter(|cut| **cut > at).collect();
            let stays = behind.iter().find(|cut| after.contains(cut));
            let settled = |cuts: &BTreeSet<usize>| -> Vec<usize> {
                let is_settled = |cut: &usize| {
                    *cut <= at || stays.is_some_and(|stays| cut >= *stays)
                };
                cuts.iter().copied().filter(is_settled).collect()
            };
            prop_assert_eq!(settled(&before), settled(&after));
        }

        #[test]
        fn any_bytes_are_cut(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0..300_usize,
        ) {
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), *MEMBER);
            prop_assert_eq!(cuts(&bytes), vec![bytes.len()]);
            let long = bytes.repeat(3_000);
            prop_assert_eq!(cuts(&long).last().copied(), Some(long.len()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Headers that are whole, cut off, or no headers, anywhere between bytes of any lengths.
        #[test]
        fn what_has_been_searched_once_makes_no_difference(
            parts in proptest::collection::vec((0..700_000_usize, 0..4_usize), 1..6),
        ) {
            let mut bytes = Vec::new();
            for (seed, (len, what)) in (0..).zip(parts) {
                bytes.extend(noise(seed, len));
                let (archive, _) = archive(&[Vec::new()]);
                bytes.extend_from_slice(match what {
                    0 => &archive,
                    1 => &archive[..20],
                    2 => MEMBER,
                    _ => &[],
                });
            }
            let (mut cutter, mut at) = (FileCutter::new(LONGEST), 0);
            while at < bytes.len() {
                let mut forgetful = FileCutter { searched: 0, ..cutter };
                let next = cutter.next(&bytes[at..]);
                prop_assert_eq!(next, forgetful.next(&bytes[at..]));
                at += next;
                prop_assert_eq!(cutter.in_member, forgetful.in_member);
            }
        }
    }

    /// The cuts of bytes, and those of the same bytes when some more came in, counted without them.
    fn beside(seed: u64, at: usize, new: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let old = noise(seed, 3_000_000);
        let mut changed = old.clone();
        changed.splice(at..at, noise(!seed, new));
        let kept = |cuts: &[usize], moved: usize| -> BTreeSet<usize> {
            let far = |cut: &&usize| **cut <= at || **cut > at + moved;
            let back = |cut: &usize| if *cut <= at { *cut } else { *cut - moved };
            cuts.iter().filter(far).map(back).collect()
        };
        (kept(&cuts(&old), 0), kept(&cuts(&changed), new))
    }

    #[test]
    fn bytes_that_come_in_move_the_cuts_beside_them_and_few_more() {
        let moved = |seed: u64| {
            let at = usize::try_from(seed * 60_000).unwrap();
            let (before, after) = beside(seed, at, 1000);
            before.symmetric_difference(&after).count()
        };
        // Of some eleven cuts each; how far it goes is chance, and seldom to the end.
        let moved: usize = (0..40).map(moved).sum();
        assert!(moved < 40 * 5, "{moved}");
    }

    #[test]
    fn chunks_are_about_as_long_as_they_should_be() {
        let cuts = cuts(&noise(5, 40_000_000));
        let average = 40_000_000 / cuts.len();
        assert!((200_000..400_000).contains(&average), "{average}");
        // What never changes is cut where it must be.
        assert_eq!(FileCutter::new(LONGEST).next(&vec![7; 3_000_000]), LONGEST);
    }

    #[test]
    fn the_data_of_members_begins_chunks_even_where_an_archive_is_in_another() {
        let members = [200_000, 3_000, 1_500_000, 64, 90_000, 2_400_000].map(|len| noise(9, len));
        let (inner, starts) = archive(&members);
        let found = cuts(&inner);
        // Every cut is at the data of a long member, or far enough from the one before.
        let (mut at, mut expected) = (0, Vec::new());
        while at < inner.len() {
            let is_cut = |(start, data): &(&usize, &Vec<u8>)| {
                **start > at && (**start >= at + SHORTEST || data.len() >= SHORTEST)
            };
            let far = starts
                .iter()
                .zip(&members)
                .find(is_cut)
                .map(|(start, _)| start);
            let grid = (at + LONGEST).min(inner.len());
            at = far.map_or(grid, |start| grid.min(*start));
            expected.push(at);
        }
        assert_eq!(found, expected);
        assert!(found.contains(&starts[2]) && found.contains(&starts[5]));
        let (outer, outer_starts) = archive(&[noise(1, 70_001), inner]);
        let shifted = cuts(&outer);
        let moved: Vec<usize> = found.iter().map(|cut| cut + outer_starts[1]).collect();
        assert!(shifted.ends_with(&moved), "{shifted:?}, {moved:?}");
    }
}
