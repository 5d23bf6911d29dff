//! What a session is asked to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hook::Hook;
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::metric::Direction;
use crate::name::check_word;
use crate::policy::{Retention, Triggers};

/// Values that wait in memory at most, while the store can't be written to: 16 to 32 MiB.
pub(super) const MOST_PENDING: usize = 1 << 20;

/// What a session is asked to do. `Default` saves every 10 iterations, at phases, at the end and
/// when interrupted, in the foreground, and drops nothing.
pub struct SessionOptions {
    /// When to save.
    pub triggers: Triggers,
    /// What to keep; everything, without.
    pub retention: Option<Retention>,
    /// After how many saves retention is applied: only ever after a newer checkpoint is durable.
    pub prune_every: u64,
    /// Directions of metrics, declared when the session starts.
    pub metrics: BTreeMap<String, Direction>,
    /// How its saves are encoded; as the store's options say, without.
    pub compression: Option<Compression>,
    /// How many deltas a load of its checkpoints may take
    /// ([`Options::chain_depth`](crate::Options::chain_depth)); as the store's options say,
    /// without.
    pub chain_depth: Option<u8>,
    /// Whether saves run on a thread of their own, and what becomes of one that is due while
    /// another runs.
    pub background: Option<Overlap>,
    /// Whether metrics that a step is told are appended to the job's telemetry.
    pub telemetry: bool,
    /// Values of telemetry that are appended in one go where no save takes them along.
    pub telemetry_batch: usize,
    /// How much of the disk is left alone.
    pub min_free: MinFree,
    /// What to do when a save would need of that.
    pub on_low_disk: OnLowDisk,
    /// What is done around saves, in this order.
    pub hooks: Vec<Box<dyn Hook>>,
    /// How long a hook is waited for. The save goes on without a slower one.
    pub hook_limit: Duration,
    /// Whether SIGINT, SIGTERM and SIGUSR1 save and stop. Needs the feature `signals`.
    pub signals: bool,
    /// Goes back to the last good checkpoint when a metric shows that training broke.
    pub spike: Option<SpikeGuard>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            triggers: Triggers::default(),
            retention: None,
            prune_every: 10,
            metrics: BTreeMap::new(),
            compression: None,
            chain_depth: None,
            background: None,
            telemetry: true,
            telemetry_batch: 4096,
            min_free: MinFree::default(),
            on_low_disk: OnLowDisk::default(),
            hooks: Vec::new(),
            hook_limit: Duration::from_secs(10),
            signals: cfg!(feature = "signals"),
            spike: None,
        }
    }
}

/// What becomes of a save that only its turn asks for (its one event is `periodic`) while another
/// one runs. Training always waits to save anything else. What is lent is copied before it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Training waits for the running one: two copies are in memory.
    Wait,
    /// It is left out.
    Skip,
    /// It waits in the place of one that waits already: the newest state is the one that is saved.
    /// Up to three copies are in memory: the running one's, that of what waits, and the one that is
    /// made.
    Replace,
}

/// How much of the disk is left alone: the smaller of both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinFree {
    /// Bytes.
    pub bytes: u64,
    /// A part of the disk, from 0 to 1.
    pub part: f64,
}

impl Default for MinFree {
    /// 5 GiB, or 5 % of a disk that is smaller than 100 GiB.
    fn default() -> Self {
        Self {
            bytes: 5 << 30,
            part: 0.05,
        }
    }
}

impl MinFree {
    /// Nothing is left alone; a full disk is noticed when it is.
    pub const NONE: Self = Self {
        bytes: 0,
        part: 0.0,
    };

    /// The bytes, of a disk that has so many.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a disk need not be exact"
    )]
    pub fn of(self, total: u64) -> u64 {
        self.bytes.min((total as f64 * self.part.max(0.0)) as u64)
    }
}

/// What to do when there is too little room for a save.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLowDisk {
    /// Leave the save out.
    Refuse,
    /// Apply retention now and end the undo windows; leave the save out if that is not enough.
    #[default]
    Prune,
}

/// Goes back to the last good checkpoint when a metric is NaN, infinite, or far off its recent
/// values.
#[derive(Clone, Debug, PartialEq)]
pub struct SpikeGuard {
    /// The metric.
    pub metric: String,
    /// How many standard deviations off the mean of recent values is a spike.
    pub sigma: f64,
    /// How many recent values count.
    pub window: usize,
    /// How often in a session.
    pub max_rollbacks: u32,
}

impl SpikeGuard {
    /// Watches this metric: 8 standard deviations of the last 100 values, at most 3 times.
    pub fn new(metric: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            sigma: 8.0,
            window: 100,
            max_rollbacks: 3,
        }
    }
}

impl SessionOptions {
    pub(super) fn check(&self) -> Result<()> {
        if self.prune_every == 0 {
            let why = "it is at least 1";
            return Err(Error::invalid("prune_every", why));
        }
        if !(self.min_free.part.is_finite() && (0.0..=1.0).contains(&self.min_free.part)) {
            return Err(Error::invalid("min_free", "its part is from 0 to 1"));
        }
        if self.signals && !cfg!(feature = "signals") {
            let why = "this build has not the feature `signals`";
            return Err(Error::invalid("signals", why));
        }
        if let Some(spike) = &self.spike {
            check_word("metric", &spike.metric)?;
            if !(spike.sigma.is_finite() && spike.sigma > 0.0) || spike.window < 2 {
                let why = "its sigma is above 0, its window at least 2";
                return Err(Error::invalid("the spike guard", why));
            }
        }
        Ok(())
    }
}
