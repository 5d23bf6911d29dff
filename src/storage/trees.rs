//! The trees that the engine's header leads to, checked against the checksums that lead to them.
//!
//! redb 4 checks them only after a crash without quick repair. Three things can't wait for that:
//! the page that names all tables, since a stale one in its place is an earlier state of the store
//! with nothing to contradict it; before the first write, the engine's own tables, since it may
//! panic in them while it unwinds, which ends the process; and what a commit has written whose sync
//! may not have returned.
//!
//! Layout: `design.md` of redb 4.4.0 (file format 3). Numbers are little-endian.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use twox_hash::XxHash3_128;

use super::header::{HEADER_BYTES, Root};

const PAGE_SIZE: usize = 12;
const REGION_HEADER_PAGES: usize = 16;
const REGION_PAGES: usize = 20;
/// Where a slot says whether a tree has a root, and what that is.
const DATA_ROOT: (usize, usize) = (1, 8);
const SYSTEM_ROOT: (usize, usize) = (2, 40);

const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Deeper trees, and longer pages, are not written for a file that fits on a disk.
const MOST_DEPTH: usize = 24;
const MOST_ORDER: u64 = 12;
/// Nor are longer regions, or regions of longer pages.
const MOST_PAGE_SIZE: u64 = 1 << 16;
const MOST_REGION_PAGES: u64 = 1 << 20;

/// Why the trees are not as they should be.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Checked<T> = Result<T, Fault>;

const DAMAGED: Fault = Fault::Damaged("a page is not the one that is referred to");

/// Reads bytes at a place.
pub(super) type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// A page with the checksum that it must have.
#[derive(Clone, Copy, Debug)]
struct Link {
    page: u64,
    checksum: u128,
}

/// The fixed lengths of a tree's keys and values, if they are fixed.
type Widths = (Option<usize>, Option<usize>);

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// The tree that names the store's tables; the tables themselves have hashes of ours.
    Names,
    /// The engine's own tables.
    System,
}

/// The trees of one file.
pub(super) struct Trees<'a> {
    read: Read<'a>,
    len: u64,
    page_size: u64,
    region_header: u64,
    region_len: u64,
    slot: Vec<u8>,
    /// So many pages are still to be looked at: a file has each once, and one in which pages lead
    /// to each other over and over would keep us for ever.
    left: Cell<u64>,
    /// The only places that are looked at, if not all are, and the pages there.
    only: Option<BTreeSet<u64>>,
    seen: RefCell<BTreeMap<u64, Vec<u8>>>,
}

impl<'a> Trees<'a> {
    /// Reads the header of a file of this length.
    pub(super) fn of(read: Read<'a>, len: u64) -> Checked<Self> {
        let mut header = [0; HEADER_BYTES];
        read(0, &mut header)?;
        let word = |at| number(&header, at, 4);
        let root = Root::of(&header).ok_or(DAMAGED)?;
        if !root.is_sound() {
            return Err(Fault::Damaged("the header's commit slot does not match"));
        }
        let page_size = word(PAGE_SIZE).ok_or(DAMAGED)?;
        let [header_pages, pages] = [REGION_HEADER_PAGES, REGION_PAGES].map(word);
        let (header_pages, pages) = header_pages.zip(pages).ok_or(DAMAGED)?;
        if page_size > MOST_PAGE_SIZE || header_pages.max(pages) > MOST_REGION_PAGES {
            return Err(Fault::Damaged("the header's lengths are out of range"));
        }
        let region_header = header_pages * page_size;
        let region_pages = pages * page_size;
        Ok(Self {
            read,
            len,
            page_size,
            region_header,
            region_len: region_header + region_pages,
            slot: root.slot().to_vec(),
            left: Cell::new(len.checked_div(page_size).unwrap_or(0)),
            only: None,
            seen: RefCell::default(),
        })
    }

    /// Checks every page of them.
    pub(super) fn check(&self, which: Which) -> Checked<()> {
        match which {
            Which::Names => self.each_table(DATA_ROOT, &mut |_, _| Ok(())),
            Which::System => self.each_table(SYSTEM_ROOT, &mut |root, widths| {
                self.walk(root, widths, 0, &mut |_| Ok(()))
            }),
        }
    }

    /// Checks the pages at these places, as far as pages at these places lead to them, and gives
    /// them, if they have no more bytes than that: of the last state, if these are the places that
    /// were written since the one before. What was there before leads to none of them.
    pub(super) fn written(
        mut self,
        places: BTreeSet<u64>,
        most_bytes: usize,
    ) -> Checked<BTreeMap<u64, Vec<u8>>> {
        self.only = Some(places);
        self.left.set(
            self.left
                .get()
                .min(most_bytes as u64 / self.page_size.max(1)),
        );
        for root in [DATA_ROOT, SYSTEM_ROOT] {
            self.each_table(root, &mut |root, widths| {
                self.walk(root, widths, 0, &mut |_| Ok(()))
            })?;
        }
        Ok(self.seen.into_inner())
    }

    /// Walks the tree of names at this place of the slot, and shows the root of every table in it.
    fn each_table(
        &self,
        (present, at): (usize, usize),
        visit: &mut dyn FnMut(Link, Widths) -> Checked<()>,
    ) -> Checked<()> {
        if self.slot.get(present) == Some(&0) {
            return Ok(());
        }
        let root = link(&self.slot, at).ok_or(DAMAGED)?;
        self.walk(root, (None, None), 0, &mut |value| match definition(value)
            .ok_or(Fault::Damaged("a table's definition is cut short"))?
        {
            (Some(root), widths) => visit(root, widths),
            (None, _) => Ok(()),
        })
    }

    /// Checks a page and all below it, and shows the values of its leaves, where their lengths are
    /// not fixed.
    fn walk(
        &self,
        link: Link,
        widths: Widths,
        depth: usize,
        visit: &mut dyn FnMut(&[u8]) -> Checked<()>,
    ) -> Checked<()> {
        if depth > MOST_DEPTH {
            return Err(DAMAGED);
        }
        let (at, len) = self.place(link.page)?;
        if self.only.as_ref().is_some_and(|only| !only.contains(&at)) {
            return Ok(());
        }
        let page = self.page(at, len)?;
        match page.first() {
            Some(&LEAF) => {
                let leaf = Leaf::of(&page, widths).ok_or(DAMAGED)?;
                matches(&page, leaf.end, link)?;
                (0..leaf.pairs).try_for_each(|pair| visit(leaf.value(pair).ok_or(DAMAGED)?))?;
            }
            Some(&BRANCH) => {
                let (children, end) = branch(&page, widths.0).ok_or(DAMAGED)?;
                matches(&page, end, link)?;
                children
                    .into_iter()
                    .try_for_each(|child| self.walk(child, widths, depth + 1, visit))?;
            }
            _ => return Err(DAMAGED),
        }
        if self.only.is_some() {
            self.seen.borrow_mut().insert(at, page);
        }
        Ok(())
    }

    /// Where a page lies, and its length. Its number is an index, a region and an order: the page
    /// is two to that power times as long as the smallest.
    fn place(&self, number: u64) -> Checked<(u64, u64)> {
        let order = number >> 59;
        if order > MOST_ORDER {
            return Err(DAMAGED);
        }
        let index = number & (0xF_FFFF >> order);
        let region = (number >> 20) & 0xF_FFFF;
        let len = self.page_size << order;
        let at = self.page_size + region * self.region_len + self.region_header + index * len;
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(DAMAGED);
        }
        Ok((at, len))
    }

    /// A page's bytes.
    fn page(&self, at: u64, len: u64) -> Checked<Vec<u8>> {
        let pages = len.checked_div(self.page_size).unwrap_or(1);
        let left = self.left.get().checked_sub(pages);
        self.left
            .set(left.ok_or(Fault::Damaged("its pages lead to each other"))?);
        let mut page = vec![0; usize::try_from(len).map_err(|_| DAMAGED)?];
        (self.read)(at, &mut page)?;
        Ok(page)
    }
}

fn matches(page: &[u8], end: usize, link: Link) -> Checked<()> {
    match page.get(..end) {
        Some(used) if XxHash3_128::oneshot(used) == link.checksum => Ok(()),
        _ => Err(DAMAGED),
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

fn size(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, width)?).ok()
}

fn wide(bytes: &[u8], at: usize) -> Option<u128> {
    let bytes = bytes.get(at..at.checked_add(16)?)?;
    Some(u128::from_le_bytes(bytes.try_into().ok()?))
}

/// A root: the number of its page, then its checksum.
fn link(bytes: &[u8], at: usize) -> Option<Link> {
    Some(Link {
        page: number(bytes, at, 8)?,
        checksum: wide(bytes, at + 8)?,
    })
}

/// A table's root and widths, out of its definition: a type, the number of rows, the root, and for
/// keys and values whether they are of a fixed length, and of which.
fn definition(bytes: &[u8]) -> Option<(Option<Link>, Widths)> {
    let root = match bytes.get(9)? {
        0 => None,
        _ => Some(link(bytes, 10)?),
    };
    let width = |at: usize| match bytes.get(at) {
        Some(0) => Some(None),
        Some(_) => size(bytes, at + 1, 4).map(Some),
        None => None,
    };
    Some((root, (width(42)?, width(47)?)))
}

/// A leaf: a type, a byte of padding, the number of pairs; where lengths are not fixed, the ends
/// of the keys and of the values; the keys, the values.
struct Leaf<'p> {
    page: &'p [u8],
    pairs: usize,
    /// Where the ends of the values stand, or how long each of them is.
    values: Result<usize, usize>,
    /// Where the values begin.
    begin: usize,
    end: usize,
}

impl<'p> Leaf<'p> {
    fn of(page: &'p [u8], (key, value): Widths) -> Option<Self> {
        let pairs = size(page, 2, 2)?;
        let last = pairs.checked_sub(1)?;
        let key_ends = 4;
        let value_ends = key_ends + key.map_or(4 * pairs, |_| 0);
        let keys = value_ends + value.map_or(4 * pairs, |_| 0);
        let begin = match key {
            Some(width) => keys.checked_add(width.checked_mul(pairs)?)?,
            None => size(page, key_ends + 4 * last, 4)?,
        };
        let end = match value {
            Some(width) => begin.checked_add(width.checked_mul(pairs)?)?,
            None => size(page, value_ends + 4 * last, 4)?,
        };
        Some(Self {
            page,
            pairs,
            values: value.map_or(Ok(value_ends), Err),
            begin,
            end,
        })
    }

    fn value(&self, pair: usize) -> Option<&'p [u8]> {
        let end = |pair: usize| match self.values {
            Ok(ends) => size(self.page, ends + 4 * pair, 4),
            Err(width) => Some(self.begin + width * (pair + 1)),
        };
        let begin = pair.checked_sub(1).map_or(Some(self.begin), end)?;
        self.page.get(begin..end(pair)?)
    }
}

/// The children of a branch, and where it ends: a type, a byte of padding, the number of keys, four
/// bytes of padding; the children's checksums, their pages; the ends of the keys unless these are
/// of a fixed length; the keys.
fn branch(page: &[u8], key: Option<usize>) -> Option<(Vec<Link>, usize)> {
    let keys = size(page, 2, 2)?;
    let last = keys.checked_sub(1)?;
    let pages = 8 + 16 * (keys + 1);
    let ends = pages + 8 * (keys + 1);
    let end = match key {
        Some(width) => ends.checked_add(width.checked_mul(keys)?)?,
        None => size(page, ends + 4 * last, 4)?,
    };
    let children = (0..=keys).map(|child| {
        Some(Link {
            page: number(page, pages + 8 * child, 8)?,
            checksum: wide(page, 8 + 16 * child)?,
        })
    });
    Some((children.collect::<Option<_>>()?, end))
}

#[cfg(test)]
mod tests {
    use super::super::header::{SLOT_BYTES, SLOTS};
    use super::*;

    const LEAST_PAGE: usize = 4096;
    const SLOT_CHECKSUM: usize = SLOT_BYTES - 16;

    fn sum(page: &[u8]) -> [u8; 16] {
        XxHash3_128::oneshot(page).to_le_bytes()
    }

    /// A leaf of a tree of names: the definition of a table with nothing in it. No two are alike.
    fn leaf(number: u8) -> Vec<u8> {
        let mut leaf = vec![LEAF, 0, 1, 0];
        for end in [13_u32, 65] {
            leaf.extend_from_slice(&end.to_le_bytes());
        }
        leaf.push(number);
        leaf.resize(65, 0);
        leaf
    }

    /// A branch over two of these pages.
    fn over(pages: &[Vec<u8>], children: [usize; 2]) -> Vec<u8> {
        let mut page = vec![BRANCH, 0, 1, 0, 0, 0, 0, 0];
        page.extend(children.map(|child| sum(&pages[child])).concat());
        page.extend(children.map(|child| (child as u64).to_le_bytes()).concat());
        page.extend_from_slice(&60_u32.to_le_bytes());
        page
    }

    /// What a look at the names says in a file of these pages of 4 KiB, the last of them the root,
    /// in a region without a header.
    fn checked(pages: &[Vec<u8>]) -> Checked<()> {
        let root = pages.len() - 1;
        let mut file = vec![0; LEAST_PAGE * (pages.len() + 1)];
        file[PAGE_SIZE..][..4].copy_from_slice(&4096_u32.to_le_bytes());
        file[REGION_PAGES..][..4].copy_from_slice(&1000_u32.to_le_bytes());
        let mut slot = vec![0; SLOT_BYTES];
        slot[DATA_ROOT.0] = 1;
        slot[DATA_ROOT.1..][..8].copy_from_slice(&(root as u64).to_le_bytes());
        slot[DATA_ROOT.1 + 8..][..16].copy_from_slice(&sum(&pages[root]));
        let check = sum(&slot[..SLOT_CHECKSUM]);
        slot[SLOT_CHECKSUM..].copy_from_slice(&check);
        file[SLOTS..][..SLOT_BYTES].copy_from_slice(&slot);
        for (number, page) in pages.iter().enumerate() {
            file[LEAST_PAGE * (number + 1)..][..page.len()].copy_from_slice(page);
        }
        let read = |at: u64, out: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            out.copy_from_slice(&file[at..at + out.len()]);
            Ok(())
        };
        Trees::of(&read, file.len() as u64)?.check(Which::Names)
    }

    #[test]
    fn pages_that_lead_to_each_other_over_and_over_are_not_followed_for_ever() {
        let mut pages = vec![leaf(0)];
        for below in 0..20 {
            pages.push(over(&pages, [below, below]));
        }
        let found = checked(&pages);
        let told = matches!(found, Err(Fault::Damaged("its pages lead to each other")));
        assert!(told, "{found:?}");
    }

    #[test]
    fn a_tree_is_followed_to_the_depth_that_one_can_have_and_no_deeper() {
        for (levels, is_sound) in [(1, true), (MOST_DEPTH, true), (MOST_DEPTH + 1, false)] {
            let mut pages = vec![leaf(0)];
            for level in 0..levels {
                pages.push(leaf(u8::try_from(level).unwrap() + 1));
                let leaf = pages.len() - 1;
                let below = if level == 0 { 0 } else { leaf - 1 };
                pages.push(over(&pages, [below, leaf]));
            }
            let found = checked(&pages);
            assert_eq!(found.is_ok(), is_sound, "{levels} levels: {found:?}");
        }
    }

    #[test]
    fn a_page_of_which_a_byte_has_changed_is_found_wherever_it_is() {
        let mut pages = vec![leaf(1), leaf(2)];
        pages.push(over(&pages, [0, 1]));
        checked(&pages).unwrap();
        for page in 0..pages.len() {
            for at in 0..pages[page].len() {
                // The byte beside a page's type is not used, and summed up all the same.
                pages[page][at] ^= 4;
                assert!(
                    checked(&pages).is_err() || page == 2,
                    "byte {at} of page {page}"
                );
                pages[page][at] ^= 4;
            }
        }
    }

    #[test]
    fn a_branch_with_keys_of_any_length_ends_where_its_last_key_does() {
        let mut page = vec![BRANCH, 0, 3, 0, 0, 0, 0, 0];
        for child in 1..=4_u128 {
            page.extend_from_slice(&(child * 11).to_le_bytes());
        }
        for child in 1..=4_u64 {
            page.extend_from_slice(&(child * 7).to_le_bytes());
        }
        let keys = u32::try_from(page.len()).unwrap() + 12;
        for end in [keys + 1, keys + 5, keys + 6] {
            page.extend_from_slice(&end.to_le_bytes());
        }
        page.resize(200, 0);
        let (children, end) = branch(&page, None).unwrap();
        assert_eq!(end, keys as usize + 6);
        let found: Vec<_> = children.iter().map(|c| (c.page, c.checksum)).collect();
        assert_eq!(found, [(7, 11), (14, 22), (21, 33), (28, 44)]);
        let (_, end) = branch(&page, Some(10)).unwrap();
        assert_eq!(end, keys as usize - 12 + 30);
        assert!(branch(&page[..keys as usize - 4], None).is_none());
    }

    /// A file of these pages by number, in regions of a header of two and three pages more, of 128
    /// bytes each.
    fn regions(pages: &[(u64, Vec<u8>)], root: (usize, usize), of: u64) -> Vec<u8> {
        const PAGE: usize = 128;
        const REGIONS: usize = 2000;
        let mut file = vec![0; PAGE + REGIONS * 5 * PAGE];
        let place = |number: u64| {
            let order = usize::try_from(number >> 59).unwrap();
            let region = usize::try_from(number >> 20 & 0xF_FFFF).unwrap();
            let index = usize::try_from(number & 0xFFF).unwrap();
            PAGE + region * 5 * PAGE + 2 * PAGE + index * (PAGE << order)
        };
        let link = pages.iter().find(|(number, _)| *number == of).unwrap();
        let end = match link.1[0] {
            LEAF => Leaf::of(&link.1, (None, None)).unwrap().end,
            _ => link.1.len(),
        };
        let mut slot = vec![0; SLOT_BYTES];
        slot[root.0] = 1;
        slot[root.1..][..8].copy_from_slice(&of.to_le_bytes());
        slot[root.1 + 8..][..16].copy_from_slice(&sum(&link.1[..end]));
        let check = sum(&slot[..SLOT_CHECKSUM]);
        slot[SLOT_CHECKSUM..].copy_from_slice(&check);
        for (number, page) in pages {
            let at = place(*number);
            file[at..][..page.len()].copy_from_slice(page);
        }
        // The header lies over the first pages of a file as small as this, and nothing else does.
        file[PAGE_SIZE..][..4].copy_from_slice(&128_u32.to_le_bytes());
        file[REGION_HEADER_PAGES..][..4].copy_from_slice(&2_u32.to_le_bytes());
        file[REGION_PAGES..][..4].copy_from_slice(&3_u32.to_le_bytes());
        file[SLOTS..][..SLOT_BYTES].copy_from_slice(&slot);
        file
    }

    fn check_file(file: &[u8], which: Which) -> Checked<()> {
        let read = |at: u64, out: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            out.copy_from_slice(&file[at..at + out.len()]);
            Ok(())
        };
        Trees::of(&read, file.len() as u64)?.check(which)
    }

    const fn at(region: u64, index: u64, order: u64) -> u64 {
        order << 59 | region << 20 | index
    }

    #[test]
    fn a_page_lies_where_its_region_its_index_and_its_order_say() {
        for number in [
            at(1, 0, 0),
            at(1, 2, 0),
            at(3, 0, 1),
            at(4, 1, 0),
            at(7, 0, MOST_ORDER),
        ] {
            let file = regions(&[(number, leaf(3))], DATA_ROOT, number);
            check_file(&file, Which::Names).unwrap();
        }
        // One that would end beyond the file, and one that is longer than any.
        let number = at(1999, 2, 0);
        let file = regions(&[(number, leaf(3))], DATA_ROOT, number);
        check_file(&file, Which::Names).unwrap();
        check_file(&file[..file.len() - 1], Which::Names).unwrap_err();
        let number = at(7, 0, MOST_ORDER + 1);
        let file = regions(&[(number, leaf(3))], DATA_ROOT, number);
        check_file(&file, Which::Names).unwrap_err();
    }

    #[test]
    fn the_engine_s_own_tables_are_followed_to_their_leaves() {
        // A table of keys of four bytes and values of two, three of them.
        let mut table = vec![LEAF, 0, 3, 0];
        table.extend((1..=18).collect::<Vec<u8>>());
        let end = table.len();
        let mut names = vec![LEAF, 0, 1, 0];
        for end in [13_u32, 65] {
            names.extend_from_slice(&end.to_le_bytes());
        }
        names.push(b't');
        let mut definition = vec![0; 52];
        definition[9] = 1;
        definition[10..18].copy_from_slice(&at(2, 1, 0).to_le_bytes());
        definition[18..34].copy_from_slice(&sum(&table[..end]));
        definition[42] = 1;
        definition[43] = 4;
        definition[47] = 1;
        definition[48] = 2;
        names.extend(definition);
        let pages = [(at(1, 1, 0), names), (at(2, 1, 0), table)];
        let file = regions(&pages, SYSTEM_ROOT, at(1, 1, 0));
        check_file(&file, Which::System).unwrap();
        check_file(&file, Which::Names).unwrap();
        let place = 128 + 2 * 5 * 128 + 2 * 128 + 128;
        for byte in 0..end {
            let mut other = file.clone();
            other[place + byte] ^= 4;
            let found = check_file(&other, Which::System);
            assert!(found.is_err(), "byte {byte} went unnoticed");
            check_file(&other, Which::Names).unwrap();
        }
    }

    #[test]
    fn a_leaf_has_its_values_where_their_lengths_say() {
        let values = |page: &[u8], widths| {
            let leaf = Leaf::of(page, widths).unwrap();
            let values = (0..leaf.pairs).map(|pair| leaf.value(pair).map(<[u8]>::to_vec));
            (values.collect::<Option<Vec<_>>>(), leaf.begin, leaf.end)
        };
        let page: Vec<u8> = [LEAF, 0, 2, 0].into_iter().chain(1..=60).collect();
        // Two keys of three bytes and two values of four.
        let found = values(&page, (Some(3), Some(4)));
        let expected = vec![vec![7, 8, 9, 10], vec![11, 12, 13, 14]];
        assert_eq!(found, (Some(expected), 10, 18));
        // Values of any length: their ends, the keys, and they.
        let mut page = vec![LEAF, 0, 2, 0];
        for end in [19_u32, 25] {
            page.extend_from_slice(&end.to_le_bytes());
        }
        page.extend(1..=13);
        let found = values(&page, (Some(3), None));
        let expected = vec![vec![7], vec![8, 9, 10, 11, 12, 13]];
        assert_eq!(found, (Some(expected), 18, 25));
        // Keys of any length.
        let mut page = vec![LEAF, 0, 2, 0];
        for end in [13_u32, 17] {
            page.extend_from_slice(&end.to_le_bytes());
        }
        page.extend(1..=9);
        let found = values(&page, (None, Some(2)));
        assert_eq!(found, (Some(vec![vec![6, 7], vec![8, 9]]), 17, 21));
        // Both.
        let mut page = vec![LEAF, 0, 2, 0];
        for end in [21_u32, 22, 25, 26] {
            page.extend_from_slice(&end.to_le_bytes());
        }
        page.extend(1..=6);
        let found = values(&page, (None, None));
        assert_eq!(found, (Some(vec![vec![3, 4, 5], vec![6]]), 22, 26));
        assert!(Leaf::of(&[LEAF, 0, 0, 0], (None, None)).is_none());
    }
}
