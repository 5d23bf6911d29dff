//! How fast a store grows, and when the disk is full.

use ckptdb::{Checkpoint, Store, Timestamp};

use crate::failure::Failure;
use crate::output::{Style, human};

/// The saves that a forecast looks at: the newest of each job.
pub(crate) const LOOKED_AT: usize = 100;
/// Saves of less than this time, in milliseconds, say nothing of days.
const SHORTEST: i64 = 600_000;
const DAY: f64 = 86_400_000.0;

/// Bytes that a job's last saves added to the store, and in how many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    bytes: u64,
    millis: u64,
}

impl Growth {
    /// That of a job's newest saves, if they are enough to tell. One that is damaged says nothing.
    pub(crate) fn of(newest: &[ckptdb::Result<Checkpoint>]) -> Option<Self> {
        let sound = || newest.iter().flatten();
        let times = || sound().map(|checkpoint| checkpoint.saved_at.as_millis());
        let millis = times().max()?.saturating_sub(times().min()?);
        let millis = u64::try_from(millis).ok().filter(|_| millis >= SHORTEST)?;
        let bytes = sound().map(|checkpoint| checkpoint.new_bytes).sum();
        Some(Self { bytes, millis })
    }

    /// Bytes a day.
    pub(crate) fn per_day(self) -> f64 {
        exact(self.bytes) / exact(self.millis) * DAY
    }
}

/// The disk under a store that grows like this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// Bytes that are free, and all, if the system tells.
    pub(crate) free: Option<(u64, u64)>,
    /// Bytes a day.
    pub(crate) rate: f64,
}

impl Disk {
    /// That of a store with these jobs.
    pub(crate) fn of(
        store: &Store,
        growths: impl Iterator<Item = Growth>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            free: store.free_space()?,
            rate: growths.map(Growth::per_day).sum(),
        })
    }

    /// Days until it is full, if that can be told.
    pub(crate) fn days(self) -> Option<f64> {
        let (free, _) = self.free?;
        (self.rate > 0.0).then(|| exact(free) / self.rate)
    }

    /// The same in a sentence.
    pub(crate) fn told(self, style: &Style) -> String {
        let Some((free, total)) = self.free else {
            return "the free space of the disk is not known".to_owned();
        };
        let (free, total) = (human::size(free), human::size(total));
        let Some(days) = self.days() else {
            return format!(
                "disk: {free} free of {total}; too few saves to say how fast the store grows"
            );
        };
        let grows = human::size(whole(self.rate));
        let full = when_full(days, style);
        format!("disk: {free} free of {total}; the store grows by {grows} a day: {full}")
    }
}

/// When a disk is full that lasts for so many days.
pub(crate) fn when_full(days: f64, style: &Style) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let millis = whole(days * DAY);
    let at = i64::try_from(millis)
        .ok()
        .and_then(|millis| now.checked_add(millis));
    match at {
        Some(at) if days < 3650.0 => {
            let left = human::duration(i64::try_from(millis).unwrap_or(i64::MAX));
            let at = style.when_in_full(Timestamp::from_millis(at));
            format!("full in {left} ({at}), if nothing is dropped")
        }
        _ => "it lasts for years".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a forecast is not exact")]
const fn exact(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a forecast is not exact, and never negative"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}
