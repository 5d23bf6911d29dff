//! What the tests share: data, stores in memory, counting and damaged media.

mod data;
mod media;

pub(crate) use data::{noise, tensor_bytes};
pub(crate) use media::{Counters, CountingMedium, DamagedMedium};
