//! Why a checkpoint was saved.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::name;

/// Why a checkpoint was saved. A checkpoint has a set of these.
///
/// ```
/// use ckptdb::Event;
/// let event: Event = "phase_boundary(warmup)".parse()?;
/// assert_eq!(event, Event::PhaseBoundary("warmup".into()));
/// assert_eq!(event.family(), "phase_boundary");
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Its turn by count or by time.
    Periodic,
    /// The best so far by this metric.
    Best(String),
    /// A phase of training ended.
    PhaseEnd,
    /// The named phase began or ended here.
    PhaseBoundary(String),
    /// The process was told to stop.
    Interrupt,
    /// Somebody asked for it.
    Manual,
    /// Training ended.
    Final,
    /// A reason of the caller's own.
    Custom(String),
}

impl Event {
    /// The words that stand alone, and the families that take a name in parentheses.
    pub const WORDS: [&'static str; 8] = [
        "periodic",
        "best",
        "phase_end",
        "phase_boundary",
        "interrupt",
        "manual",
        "final",
        "custom",
    ];

    /// The word without its parameter.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Periodic => "periodic",
            Self::Best(_) => "best",
            Self::PhaseEnd => "phase_end",
            Self::PhaseBoundary(_) => "phase_boundary",
            Self::Interrupt => "interrupt",
            Self::Manual => "manual",
            Self::Final => "final",
            Self::Custom(_) => "custom",
        }
    }

    /// The parameter, if the family has one.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Best(name) | Self::PhaseBoundary(name) | Self::Custom(name) => Some(name),
            _ => None,
        }
    }

    /// Checks the parameter's characters and length.
    pub(crate) fn check(&self) -> Result<()> {
        self.parameter()
            .map_or(Ok(()), |name| name::check_word("event", name))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter() {
            Some(name) => write!(f, "{}({name})", self.family()),
            None => f.write_str(self.family()),
        }
    }
}

impl FromStr for Event {
    type Err = Error;

    /// Reads `word`, `word(name)` or `word:name`.
    fn from_str(text: &str) -> Result<Self> {
        let (word, parameter) = match text.split_once(['(', ':']) {
            Some((word, rest)) => (word, Some(rest.strip_suffix(')').unwrap_or(rest))),
            None => (text, None),
        };
        let event = match (word, parameter.map(str::to_owned)) {
            ("periodic", None) => Self::Periodic,
            ("best", Some(metric)) => Self::Best(metric),
            ("phase_end", None) => Self::PhaseEnd,
            ("phase_boundary", Some(name)) => Self::PhaseBoundary(name),
            ("interrupt", None) => Self::Interrupt,
            ("manual", None) => Self::Manual,
            ("final", None) => Self::Final,
            ("custom", Some(name)) => Self::Custom(name),
            _ => {
                let mut why = "events are periodic, best(METRIC), phase_end, \
                               phase_boundary(NAME), interrupt, manual, final, custom(NAME)"
                    .to_owned();
                if let Some(near) = name::nearest(word, Self::WORDS).filter(|near| *near != word) {
                    why = format!("did you mean `{near}`? {why}");
                }
                return Err(Error::invalid(
                    format!("event `{}`", name::printable(text)),
                    why,
                ));
            }
        };
        event.check()?;
        Ok(event)
    }
}

/// Whether an event is of the family that is wanted: `best(loss)` of `best`.
pub(crate) fn is_family(wanted: &str, event: &str) -> bool {
    Event::WORDS.contains(&wanted)
        && event
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_reads_back_from_what_it_prints() {
        let events = [
            Event::Periodic,
            Event::Best("sharpe".into()),
            Event::PhaseEnd,
            Event::PhaseBoundary("a/b".into()),
            Event::Interrupt,
            Event::Manual,
            Event::Final,
            Event::Custom("before-lr-drop".into()),
        ];
        for event in events {
            assert_eq!(event.to_string().parse::<Event>().unwrap(), event);
            assert!(Event::WORDS.contains(&event.family()));
        }
    }

    #[test]
    fn a_mistyped_event_is_refused_rather_than_invented() {
        for bad in ["preiodic", "best", "best()", "periodic(x)", "custom", ""] {
            assert!(bad.parse::<Event>().is_err(), "{bad:?} was accepted");
        }
    }
}
