//! Triggers: whether a moment of training is worth a checkpoint, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU64;
use std::ops::BitOr;
use std::time::Duration;

use super::adaptive::Adaptive;
use super::improvement::{Baseline, Improvement};
use crate::error::{Error, Result};
use crate::event::Event;

/// Decides when to save. Periodic ones count from the last periodic save, whichever of them caused
/// it.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// Whenever a multiple of so many iterations is reached or passed.
    Iterations(NonZeroU64),
    /// Whenever so much time has passed.
    Interval(Duration),
    /// After an interval that grows with progress.
    Adaptive(Adaptive),
    /// As often as what saving costs the trainer stays below this part of its time: 0.01 is 1 %.
    Overhead(f64),
    /// When a metric becomes better by enough.
    Improvement(Improvement),
    /// At these iterations, or the first one after each that is seen.
    At(BTreeSet<u64>),
    /// At the first iteration of a job.
    First,
    /// When the loop ends as it should.
    Final,
    /// When the loop says that a phase ends.
    PhaseEnd,
    /// When the loop says that it passes a boundary between phases.
    PhaseBoundary,
    /// When the loop is interrupted: by a signal, a panic or an error.
    Interrupt,
}

impl From<Improvement> for Trigger {
    fn from(improvement: Improvement) -> Self {
        Self::Improvement(improvement)
    }
}

impl From<Adaptive> for Trigger {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

/// What the loop says of a moment, besides its iteration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// The first iteration of the job.
    First,
    /// The last one.
    Final,
    /// A phase ends.
    PhaseEnd,
    /// A boundary between phases, by name.
    PhaseBoundary(String),
    /// The loop is being left before its end.
    Interrupt,
}

/// A moment of training.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// The trainer's counter.
    pub iteration: u64,
    /// Since the last periodic save, or since the session began: by a clock that nobody sets.
    pub elapsed: Duration,
    /// Metrics that are known now.
    pub metrics: &'a BTreeMap<String, f64>,
    /// What the loop says.
    pub calls: &'a [Call],
}

/// What came before.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The iteration of the last periodic save of the line. None before the first: counted from 0.
    pub anchor: Option<u64>,
    /// The iteration that was asked about before this one, for what lies between.
    pub previous: Option<u64>,
    /// Metrics with a direction, and the best of each.
    pub baselines: BTreeMap<String, Baseline>,
    /// Whether a periodic save was asked for since the session began, and has not failed.
    pub is_asked: bool,
    /// What a save costs the trainer, blocked and in the background, as measured. None before the
    /// first.
    pub cost: Option<Duration>,
}

/// Why to save: one trigger's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// A multiple of this is reached.
    Iterations(u64),
    /// So much time has passed, of so much.
    Interval(Duration, Duration),
    /// So many iterations have passed, of so many.
    Adaptive(u64, u64),
    /// So much time has passed, and saving may cost its part of so much.
    Overhead(Duration, Duration),
    /// A metric's value, and the one that it improves on.
    Improvement(String, f64, Option<f64>),
    /// An iteration that was asked for.
    At(u64),
    /// What the loop said.
    Call(Call),
}

/// Whether to save, as what, and why.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The events of the checkpoint; none if nothing is to be saved.
    pub events: BTreeSet<Event>,
    /// Every trigger that asks for it.
    pub causes: Vec<Cause>,
}

impl Decision {
    /// Whether to save.
    pub const fn is_due(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Whether periodic triggers count from this save.
    pub fn is_periodic(&self) -> bool {
        self.events.contains(&Event::Periodic)
    }
}

/// Triggers, any of which is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Triggers(Vec<Trigger>);

impl Default for Triggers {
    /// Every 10 iterations, at phases and their ends, at the end, and when interrupted.
    fn default() -> Self {
        const TEN: NonZeroU64 = NonZeroU64::new(10).unwrap();
        Self(vec![
            Trigger::Iterations(TEN),
            Trigger::PhaseEnd,
            Trigger::PhaseBoundary,
            Trigger::Final,
            Trigger::Interrupt,
        ])
    }
}

impl Triggers {
    /// These triggers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that makes no sense.
    pub fn new(triggers: impl IntoIterator<Item = Trigger>) -> Result<Self> {
        let triggers: Vec<Trigger> = triggers.into_iter().collect();
        triggers.iter().try_for_each(Trigger::check)?;
        Ok(Self(triggers))
    }

    /// The triggers, in the order in which their causes are told.
    pub fn as_slice(&self) -> &[Trigger] {
        &self.0
    }

    /// Whether to save now, and why.
    pub fn decide(&self, moment: &Moment<'_>, past: &Past) -> Decision {
        let mut decision = Decision::default();
        for trigger in &self.0 {
            for (event, cause) in trigger.causes(moment, past) {
                decision.events.insert(event);
                decision.causes.push(cause);
            }
        }
        decision
    }
}

impl<T: Into<Self>> BitOr<T> for Triggers {
    type Output = Self;

    fn bitor(mut self, other: T) -> Self {
        self.0.extend(other.into().0);
        self
    }
}

impl From<Trigger> for Triggers {
    fn from(trigger: Trigger) -> Self {
        Self(vec![trigger])
    }
}

impl Trigger {
    fn check(&self) -> Result<()> {
        match self {
            Self::Adaptive(adaptive) => adaptive.check(),
            Self::Improvement(improvement) => improvement.check(),
            Self::Interval(interval) if interval.is_zero() => {
                Err(Error::invalid("the interval trigger", "its interval is 0"))
            }
            Self::Overhead(part) if !(part.is_finite() && *part > 0.0 && *part <= 1.0) => {
                let why = "it is a part of the time, above 0 and at most 1 (0.01 is 1 %)";
                Err(Error::invalid("the overhead trigger", why))
            }
            _ => Ok(()),
        }
    }

    fn causes(&self, moment: &Moment<'_>, past: &Past) -> Vec<(Event, Cause)> {
        match self {
            Self::At(iterations) => at(iterations, moment, past),
            Self::Improvement(improvement) => improved(improvement, moment, past),
            Self::First => called(moment, |call| {
                matches!(call, Call::First).then(|| Event::Custom("first".to_owned()))
            }),
            Self::Final => called(moment, |call| {
                matches!(call, Call::Final).then_some(Event::Final)
            }),
            Self::PhaseEnd => called(moment, |call| {
                matches!(call, Call::PhaseEnd).then_some(Event::PhaseEnd)
            }),
            Self::PhaseBoundary => called(moment, |call| match call {
                Call::PhaseBoundary(name) => Some(Event::PhaseBoundary(name.clone())),
                _ => None,
            }),
            Self::Interrupt => called(moment, |call| {
                matches!(call, Call::Interrupt).then_some(Event::Interrupt)
            }),
            periodic => periodic
                .period(moment, past)
                .map(|cause| (Event::Periodic, cause))
                .into_iter()
                .collect(),
        }
    }

    /// The answer of a periodic trigger.
    fn period(&self, moment: &Moment<'_>, past: &Past) -> Option<Cause> {
        let anchor = past.anchor.unwrap_or(0);
        let (iteration, elapsed) = (moment.iteration, moment.elapsed);
        match self {
            Self::Iterations(every) => {
                let passed = iteration / every.get() > anchor / every.get();
                passed.then_some(Cause::Iterations(every.get()))
            }
            Self::Interval(interval) => {
                (elapsed >= *interval).then_some(Cause::Interval(elapsed, *interval))
            }
            Self::Adaptive(adaptive) => {
                let passed = iteration.saturating_sub(anchor);
                let interval = adaptive.interval(iteration);
                (passed >= interval).then_some(Cause::Adaptive(passed, interval))
            }
            Self::Overhead(part) => {
                let Some(cost) = past.cost else {
                    // Somebody has to be the first to cost something.
                    let is_first = !past.is_asked && iteration > 0;
                    return is_first.then_some(Cause::Overhead(elapsed, Duration::ZERO));
                };
                let interval = Duration::try_from_secs_f64(cost.as_secs_f64() / part);
                let interval = interval.unwrap_or(Duration::MAX);
                (elapsed >= interval).then_some(Cause::Overhead(elapsed, interval))
            }
            _ => None,
        }
    }
}

/// The largest of the asked iterations that has been reached since the moment before.
fn at(iterations: &BTreeSet<u64>, moment: &Moment<'_>, past: &Past) -> Vec<(Event, Cause)> {
    let reached = match past.previous {
        Some(previous) if previous >= moment.iteration => None,
        Some(previous) => iterations
            .range(previous + 1..=moment.iteration)
            .next_back(),
        None => iterations.get(&moment.iteration),
    };
    let milestone = |at: &u64| (Event::Custom("milestone".to_owned()), Cause::At(*at));
    reached.map(milestone).into_iter().collect()
}

fn improved(improvement: &Improvement, moment: &Moment<'_>, past: &Past) -> Vec<(Event, Cause)> {
    let name = &improvement.metric;
    let known = moment.metrics.get(name).zip(past.baselines.get(name));
    known
        .filter(|(value, baseline)| improvement.is_reached(**value, baseline))
        .map(|(value, baseline)| {
            let cause = Cause::Improvement(name.clone(), *value, baseline.best);
            (Event::Best(name.clone()), cause)
        })
        .into_iter()
        .collect()
}

fn called(moment: &Moment<'_>, event: impl Fn(&Call) -> Option<Event>) -> Vec<(Event, Cause)> {
    let calls = moment.calls.iter();
    calls
        .filter_map(|call| Some((event(call)?, Cause::Call(call.clone()))))
        .collect()
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iterations(every) => write!(f, "every {every} iterations"),
            Self::Interval(passed, interval) => {
                write!(
                    f,
                    "{:.1} s passed, of {:.1}",
                    passed.as_secs_f64(),
                    interval.as_secs_f64()
                )
            }
            Self::Adaptive(passed, interval) => {
                write!(f, "{passed} iterations passed, of {interval} now")
            }
            Self::Overhead(_, interval) if interval.is_zero() => {
                f.write_str("what a save costs is not known yet")
            }
            Self::Overhead(passed, interval) => {
                let (passed, interval) = (passed.as_secs_f64(), interval.as_secs_f64());
                write!(
                    f,
                    "{passed:.1} s passed, a save is paid for after {interval:.1}"
                )
            }
            Self::Improvement(metric, value, None) => write!(f, "first {metric}: {value}"),
            Self::Improvement(metric, value, Some(best)) => {
                write!(f, "{metric} improved from {best} to {value}")
            }
            Self::At(iteration) => write!(f, "iteration {iteration} was asked for"),
            Self::Call(call) => match call {
                Call::First => f.write_str("first iteration"),
                Call::Final => f.write_str("last iteration"),
                Call::PhaseEnd => f.write_str("a phase ends"),
                Call::PhaseBoundary(name) => write!(f, "phase boundary {name}"),
                Call::Interrupt => f.write_str("interrupted"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
