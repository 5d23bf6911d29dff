//! Keep rules, and the reasons that they give.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::rank::ordinal;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::metric::Direction;
use crate::name::{check_tag, check_word, printable};

/// A rule that protects checkpoints. Rules are joined by or.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Keep {
    /// The newest so many of the job's line.
    Latest(u64),
    /// Of those with event `periodic`, the so many with the highest iterations.
    LatestPeriodic(u64),
    /// The so many best by a metric, of the job's line. NaN and infinities never rank; of equal
    /// values the earlier is the better one.
    Best {
        /// The metric.
        metric: String,
        /// How many.
        count: u64,
        /// Which way it is better, where that is not declared for the job.
        direction: Option<Direction>,
    },
    /// Those whose iteration is a multiple of this, of the job's line.
    Every(NonZeroU64),
    /// For every multiple of this but 0, the one of the job's line that is nearest to it, within
    /// half the way to the next multiple; of two the earlier: for trainers whose iterations come
    /// in strides of their own.
    Nearest(NonZeroU64),
    /// Those that were saved within this time before now. A clock that was set changes what that
    /// is: one that was saved in what is now the future is kept.
    Within(Duration),
    /// Those with this event: `phase_end`, `best(sharpe)`, or all of a family: `phase_boundary`.
    Event(String),
    /// Those with event `interrupt`, until a session of the job that came after them completed.
    Interrupts,
    /// The one with this tag.
    Tag(String),
    /// All with any tag.
    Tagged,
}

/// Why a checkpoint is kept, or dropped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Kept: training goes on from it.
    Head,
    /// Kept: the last one that is known to be good.
    Good,
    /// Kept: it is pinned.
    Pinned,
    /// Kept by [`Keep::Latest`]: its place, and of how many.
    Latest(u64, u64),
    /// Kept by [`Keep::LatestPeriodic`]: its place, and of how many.
    LatestPeriodic(u64, u64),
    /// Kept by [`Keep::Best`]: the metric, its rank, and of how many.
    Best(std::sync::Arc<str>, u64, u64),
    /// Kept by [`Keep::Every`].
    Every(u64),
    /// Kept by [`Keep::Nearest`]: the multiple that it is nearest to.
    Nearest(u64),
    /// Kept by [`Keep::Within`].
    Within(Duration),
    /// Kept by [`Keep::Event`].
    Event(std::sync::Arc<str>),
    /// Kept by [`Keep::Interrupts`].
    Interrupt,
    /// Kept by [`Keep::Tag`] or [`Keep::Tagged`].
    Tag(String),
    /// Kept: nothing protects it, and there is room for it in the byte budget.
    Room,
    /// Dropped: it is on a line that a rollback left behind.
    Abandoned,
    /// Dropped: so many are newer.
    NotLatest(u64),
    /// Dropped: its rank by a metric, or that it has none.
    NotBest(std::sync::Arc<str>, Option<u64>),
    /// Dropped: no rule protects it.
    Unprotected,
    /// Dropped: the byte budget has no room for it.
    OverBudget,
}

impl Keep {
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Latest(0) | Self::LatestPeriodic(0) | Self::Best { count: 0, .. } => {
                let why = "it keeps 0; leave the rule out to keep none by it";
                Err(Error::invalid("a keep rule", why))
            }
            Self::Best { metric, .. } => check_word("metric", metric),
            Self::Event(event) => check_event(event),
            Self::Tag(tag) => check_tag(tag),
            _ => Ok(()),
        }
    }
}

/// An event, or a family of events.
fn check_event(text: &str) -> Result<()> {
    if Event::WORDS.contains(&text) {
        return Ok(());
    }
    text.parse::<Event>().map(drop)
}

/// Whether an event is the one that a rule means, or of the family.
pub(super) fn is_meant(rule: &str, event: &Event) -> bool {
    rule == event.family()
        || match (rule.strip_suffix(')'), event.parameter()) {
            (Some(rule), Some(name)) => {
                rule.strip_prefix(event.family())
                    .and_then(|rest| rest.strip_prefix('('))
                    == Some(name)
            }
            _ => false,
        }
}

impl Reason {
    /// Whether it keeps.
    pub const fn keeps(&self) -> bool {
        !matches!(
            self,
            Self::Abandoned
                | Self::NotLatest(_)
                | Self::NotBest(..)
                | Self::Unprotected
                | Self::OverBudget
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Good => f.write_str("last known good"),
            Self::Pinned => f.write_str("pinned"),
            Self::Latest(place, of) => write!(f, "latest ({place}/{of})"),
            Self::LatestPeriodic(place, of) => write!(f, "latest periodic ({place}/{of})"),
            Self::Best(metric, rank, of) => write!(f, "best {metric} ({rank}/{of})"),
            Self::Every(every) => write!(f, "every {every}"),
            Self::Nearest(multiple) => write!(f, "nearest to {multiple}"),
            Self::Within(time) => {
                f.write_str("within ")?;
                write_time(f, *time)
            }
            Self::Event(event) => write!(f, "event {event}"),
            Self::Interrupt => f.write_str("interrupt, and no session has completed since"),
            Self::Tag(tag) => write!(f, "tag {}", printable(tag)),
            Self::Room => f.write_str("within the byte budget"),
            Self::Abandoned => f.write_str("on an abandoned line"),
            Self::NotLatest(count) => write!(f, "older than the latest {count}"),
            Self::NotBest(metric, Some(rank)) => write!(f, "{} by {metric}", ordinal(*rank)),
            Self::NotBest(metric, None) => write!(f, "no {metric}"),
            Self::Unprotected => f.write_str("no rule keeps it"),
            Self::OverBudget => f.write_str("over the byte budget"),
        }
    }
}

/// In the largest unit that it is whole in, as it is written in ckptdb.toml.
fn write_time(f: &mut fmt::Formatter<'_>, time: Duration) -> fmt::Result {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let whole = units
        .into_iter()
        .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    match whole {
        Some((unit, of)) => write!(f, "{}{unit}", seconds / of),
        None => write!(f, "{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_largest_unit_that_they_are_whole_in() {
        let shown = |seconds| Reason::Within(Duration::from_secs(seconds)).to_string();
        assert_eq!(shown(0), "within 0s");
        assert_eq!(shown(90), "within 90s");
        assert_eq!(shown(120), "within 2m");
        assert_eq!(shown(43_200), "within 12h");
        assert_eq!(shown(7 * 86_400), "within 7d");
    }

    #[test]
    fn a_family_means_all_of_its_events_and_an_event_only_itself() {
        let boundary = Event::PhaseBoundary("p2".to_owned());
        let best = Event::Best("sharpe".to_owned());
        let table = [
            ("phase_boundary", &boundary, true),
            ("phase_boundary(p2)", &boundary, true),
            ("phase_boundary(p3)", &boundary, false),
            ("phase_end", &boundary, false),
            ("best(sharpe)", &best, true),
            ("best(p2)", &boundary, false),
            ("interrupt", &Event::Interrupt, true),
            ("interrupt()", &Event::Interrupt, false),
        ];
        for (rule, event, expected) in table {
            assert_eq!(is_meant(rule, event), expected, "{rule}, {event}");
        }
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        let best = |metric: &str, count| Keep::Best {
            metric: metric.to_owned(),
            count,
            direction: None,
        };
        for bad in [
            Keep::Latest(0),
            Keep::LatestPeriodic(0),
            best("sharpe", 0),
            best("", 1),
            Keep::Event("phase_ned".to_owned()),
            Keep::Event("best()".to_owned()),
            Keep::Tag("latest".to_owned()),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        for good in [
            best("sharpe", 1),
            Keep::Event("custom(x)".to_owned()),
            Keep::Tagged,
        ] {
            good.check().unwrap();
        }
    }
}
