//! Index keys: fixed width, sorted as the queries read them.

use crate::id::CheckpointId;

/// Bit that marks the rows of abandoned lines.
const ABANDONED: u8 = 0x40;

/// What an index row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum IndexKind {
    /// The job's checkpoints, in commit order.
    Commit = 1,
    /// By iteration.
    Iteration = 2,
    /// By event, then iteration.
    Event = 3,
    /// By metric, then value.
    Metric = 4,
    /// By tag.
    Tag = 5,
    /// A parent's children.
    Child = 6,
    /// A job by its name.
    JobName = 7,
    /// Deleted checkpoints that can still come back.
    Deleted = 8,
    /// [`IndexKind::Commit`] of abandoned lines.
    AbandonedCommit = 1 | ABANDONED,
    /// [`IndexKind::Iteration`] of abandoned lines.
    AbandonedIteration = 2 | ABANDONED,
    /// [`IndexKind::Event`] of abandoned lines.
    AbandonedEvent = 3 | ABANDONED,
    /// [`IndexKind::Metric`] of abandoned lines.
    AbandonedMetric = 4 | ABANDONED,
}

impl IndexKind {
    pub(super) const ALL: [Self; 12] = [
        Self::Commit,
        Self::Iteration,
        Self::Event,
        Self::Metric,
        Self::Tag,
        Self::Child,
        Self::JobName,
        Self::Deleted,
        Self::AbandonedCommit,
        Self::AbandonedIteration,
        Self::AbandonedEvent,
        Self::AbandonedMetric,
    ];

    /// The kinds of the rows that a live checkpoint has.
    pub(crate) fn of_live() -> impl Iterator<Item = Self> {
        let kinds = Self::ALL.into_iter();
        kinds.filter(|kind| !matches!(kind, Self::JobName | Self::Deleted))
    }

    /// The kind for a checkpoint on the current line, or on an abandoned one.
    pub(crate) fn on_line(self, abandoned: bool) -> Self {
        match (self, abandoned) {
            (Self::Commit, true) => Self::AbandonedCommit,
            (Self::Iteration, true) => Self::AbandonedIteration,
            (Self::Event, true) => Self::AbandonedEvent,
            (Self::Metric, true) => Self::AbandonedMetric,
            (kind, _) => kind,
        }
    }
}

/// A row of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IndexKey {
    pub(crate) kind: IndexKind,
    pub(crate) job: u32,
    pub(crate) name: u32,
    pub(crate) order: u64,
    pub(crate) id: u64,
}

impl IndexKey {
    /// The row for a checkpoint.
    pub(crate) fn new(kind: IndexKind, job: u32, name: u32, order: u64, id: CheckpointId) -> Self {
        Self {
            kind,
            job,
            name,
            order,
            id: id.get(),
        }
    }

    /// The key's bytes.
    pub(crate) fn to_bytes(self) -> [u8; 25] {
        let mut out = [0; 25];
        let fields = [self.kind as u8]
            .into_iter()
            .chain(self.job.to_be_bytes())
            .chain(self.name.to_be_bytes())
            .chain(self.order.to_be_bytes())
            .chain(self.id.to_be_bytes());
        for (to, from) in out.iter_mut().zip(fields) {
            *to = from;
        }
        out
    }

    /// The row with this key, if its kind is known.
    pub(crate) fn from_bytes(bytes: &[u8; 25]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (job, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (order, rest) = rest.split_first_chunk()?;
        let (id, _) = rest.split_first_chunk()?;
        Some(Self {
            kind: IndexKind::ALL
                .into_iter()
                .find(|known| *known as u8 == *kind)?,
            job: u32::from_be_bytes(*job),
            name: u32::from_be_bytes(*name),
            order: u64::from_be_bytes(*order),
            id: u64::from_be_bytes(*id),
        })
    }
}

/// A finite value's bits so that they sort as the values do.
pub(crate) fn ordered_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | (1 << 63)
    }
}

/// The value whose ordered bits these are.
pub(crate) fn value_of(ordered: u64) -> f64 {
    f64::from_bits(if ordered >> 63 == 1 {
        ordered & !(1 << 63)
    } else {
        !ordered
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ordered_bits_sort_as_the_values(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let (a, b) = (a + 0.0, b + 0.0);
            prop_assert_eq!(a.partial_cmp(&b), Some(ordered_bits(a).cmp(&ordered_bits(b))));
            prop_assert_eq!(value_of(ordered_bits(a)).to_bits(), a.to_bits());
        }

        #[test]
        fn keys_sort_as_their_fields(
            a in (0..12usize, 0..3u32, 0..3u32, 0..4u64, 0..4u64),
            b in (0..12usize, 0..3u32, 0..3u32, 0..4u64, 0..4u64),
        ) {
            let key = |(kind, job, name, order, id): (usize, u32, u32, u64, u64)| IndexKey {
                kind: IndexKind::ALL[kind], job, name, order, id,
            };
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(IndexKey::from_bytes(&a.to_bytes()), Some(a));
            let by_fields = (a.kind as u8, a.job, a.name, a.order, a.id)
                .cmp(&(b.kind as u8, b.job, b.name, b.order, b.id));
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), by_fields);
        }
    }
}
