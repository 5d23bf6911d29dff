//! Choices that an input makes, and seeded ones: what the simulation of the tests draws from.

use std::sync::Arc;

/// A source of choices: the bytes of an input as long as there are any, then splitmix64 (Steele,
/// Lea, Flood, "Fast splittable pseudorandom number generators", 2014). The tests' source of the
/// same name has the seeded part alone; both make the same bytes of the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    input: Option<Arc<[u8]>>,
    at: usize,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            state: seed ^ 0x5851_f42d_4c95_7f2d,
            input: None,
            at: 0,
        }
    }

    /// Choices by an input.
    pub(crate) fn of(input: &[u8]) -> Self {
        Self {
            input: Some(input.into()),
            ..Self::new(0)
        }
    }

    /// Whether the input has no choices left.
    pub(crate) fn is_spent(&self) -> bool {
        self.input
            .as_ref()
            .is_none_or(|input| self.at >= input.len())
    }

    /// The next bytes of the input as a number; none when it is spent.
    fn take(&mut self, count: usize) -> Option<u64> {
        let input = self.input.as_ref()?;
        let rest = input.get(self.at..).filter(|rest| !rest.is_empty())?;
        let taken = &rest[..count.min(rest.len())];
        self.at += taken.len();
        let number = |number, byte: &u8| number << 8 | u64::from(*byte);
        Some(taken.iter().fold(0, number))
    }

    fn seeded(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.take(8).unwrap_or_else(|| self.seeded())
    }

    /// A number below `limit`, which is not zero. It costs the input no more bytes than it needs.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let bytes = match limit {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        let word = self.take(bytes).unwrap_or_else(|| self.seeded());
        usize::try_from(word % limit as u64).expect("it is below a usize")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.take(1) {
            Some(byte) => byte.to_le_bytes()[0],
            None => self.seeded().to_le_bytes()[0],
        }
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.word().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
