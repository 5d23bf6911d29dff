//! What the tests share: data, stores in memory, counting and damaged media, the program.

mod data;
mod media;
mod program;

pub(crate) use data::{noise, rounded, vector, walk};
pub(crate) use media::{
    Counters, CountingMedium, DamagedMedium, LimitedMedium, Limits, UnreadableMedium,
};
pub(crate) use program::ckptdb;
