//! Stamps: which of several versions of a record is the record.

use serde::{Deserialize, Serialize};

/// Which state of the store a record was written in: the last log record by then, and the first
/// bytes of its hash. Of several versions of a record that are found outside their table, the one
/// with the latest stamp that the log knows is the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) log: u64,
    pub(crate) hash: [u8; 8],
}

impl Stamp {
    /// The stamp of a store whose last log record is this.
    pub(crate) fn new(log: u64, chain: &[u8; 32]) -> Self {
        let mut hash = [0; 8];
        for (to, from) in hash.iter_mut().zip(chain) {
            *to = *from;
        }
        Self { log, hash }
    }
}
