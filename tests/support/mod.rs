//! What the tests share: data, stores in memory, counting and damaged media.

mod data;
mod media;

pub(crate) use data::{noise, rounded, vector, walk};
pub(crate) use media::{CountingMedium, DamagedMedium, LimitedMedium, Limits, UnreadableMedium};
