//! A session's options from the settings of its job.

use std::num::NonZeroU64;
use std::time::Duration;

use super::options::{MinFree, OnLowDisk, Overlap, SessionOptions, SpikeGuard};
use crate::config::{MinFreeValue, Settings, Value};
use crate::error::Result;
use crate::policy::{Adaptive, Improvement, Keep, Retention, Threshold, Trigger, Triggers};

impl SessionOptions {
    /// What a job's settings ask for. Hooks are the code's own.
    ///
    /// ```
    /// use ckptdb::config::Config;
    /// use ckptdb::session::SessionOptions;
    /// let config = Config::parse("[triggers]\niterations = 500", "ckptdb.toml")?;
    /// let options = SessionOptions::from_settings(&config.settings("NQ"))?;
    /// assert_eq!(options.prune_every, 10);
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for values that don't go together.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let of = |key: &str| settings.value(key);
        let defaults = Self::default();
        Ok(Self {
            triggers: triggers(settings)?,
            retention: retention(settings)?,
            prune_every: count(of("keep.prune_every")).unwrap_or(defaults.prune_every),
            metrics: match of("metrics") {
                Value::Directions(directions) => directions.clone(),
                _ => defaults.metrics,
            },
            compression: match of("compression") {
                Value::Text(word) => Some(word.parse()?),
                _ => defaults.compression,
            },
            chain_depth: count(of("chain_depth")).and_then(|depth| u8::try_from(depth).ok()),
            background: match of("session.background") {
                Value::Text(word) => match word.as_str() {
                    "wait" => Some(Overlap::Wait),
                    "skip" => Some(Overlap::Skip),
                    "replace" => Some(Overlap::Replace),
                    _ => None,
                },
                _ => None,
            },
            telemetry: is_on(of("session.telemetry")),
            telemetry_batch: count(of("session.telemetry_batch"))
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(defaults.telemetry_batch),
            min_free: min_free(of("disk.min_free")),
            on_low_disk: match of("disk.when_low") {
                Value::Text(word) if word == "refuse" => OnLowDisk::Refuse,
                _ => OnLowDisk::Prune,
            },
            hooks: Vec::new(),
            hook_limit: duration(of("session.hook_limit")).unwrap_or(defaults.hook_limit),
            signals: is_on(of("session.signals")) && cfg!(feature = "signals"),
            spike: spike(settings),
        })
    }
}

/// What a job's settings keep; none if no rule and no size is given.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for a rule that makes no sense.
pub fn retention(settings: &Settings) -> Result<Option<Retention>> {
    let of = |key: &str| settings.value(key);
    let some = |key: &str| count(of(key)).and_then(NonZeroU64::new);
    let mut rules = Vec::new();
    rules.extend(count(of("keep.latest")).map(Keep::Latest));
    rules.extend(count(of("keep.latest_periodic")).map(Keep::LatestPeriodic));
    if let Value::BestCounts(best) = of("keep.best") {
        rules.extend(best.iter().map(|(metric, count)| Keep::Best {
            metric: metric.clone(),
            count: *count,
            direction: None,
        }));
    }
    rules.extend(some("keep.every").map(Keep::Every));
    rules.extend(some("keep.nearest").map(Keep::Nearest));
    rules.extend(duration(of("keep.within")).map(Keep::Within));
    rules.extend(texts(of("keep.events")).map(Keep::Event));
    rules.extend(texts(of("keep.tags")).map(Keep::Tag));
    rules.extend(is_on(of("keep.tagged")).then_some(Keep::Tagged));
    let budget = match of("keep.max_size") {
        Value::Size(bytes) => Some(*bytes),
        _ => None,
    };
    if rules.is_empty() && budget.is_none() {
        return Ok(None);
    }
    rules.extend(is_on(of("keep.interrupts")).then_some(Keep::Interrupts));
    let retention = Retention::new(rules)?;
    Ok(Some(match budget {
        Some(bytes) => retention.max_bytes(bytes),
        None => retention,
    }))
}

fn triggers(settings: &Settings) -> Result<Triggers> {
    let of = |key: &str| settings.value(key);
    let mut triggers = Vec::new();
    let every = count(of("triggers.iterations")).and_then(NonZeroU64::new);
    triggers.extend(every.map(Trigger::Iterations));
    triggers.extend(duration(of("triggers.interval")).map(Trigger::Interval));
    triggers.extend(number(of("triggers.overhead")).map(Trigger::Overhead));
    if is_on(of("triggers.adaptive.enabled")) {
        let defaults = Adaptive::default();
        triggers.push(Trigger::Adaptive(Adaptive {
            base: count(of("triggers.adaptive.base")).unwrap_or(defaults.base),
            max_multiplier: number(of("triggers.adaptive.max_multiplier"))
                .unwrap_or(defaults.max_multiplier),
            target: count(of("triggers.adaptive.target")).unwrap_or(defaults.target),
        }));
    }
    if let Value::Thresholds(thresholds) = of("triggers.improvement") {
        triggers.extend(thresholds.iter().map(|(metric, (by, is_part))| {
            Trigger::Improvement(Improvement {
                metric: metric.clone(),
                threshold: if *is_part {
                    Threshold::Relative(*by)
                } else {
                    Threshold::Absolute(*by)
                },
            })
        }));
    }
    if let Value::Counts(at) = of("triggers.at")
        && !at.is_empty()
    {
        triggers.push(Trigger::At(at.iter().copied().collect()));
    }
    let calls = [
        ("triggers.first", Trigger::First),
        ("triggers.phase_end", Trigger::PhaseEnd),
        ("triggers.phase_boundary", Trigger::PhaseBoundary),
        ("triggers.final", Trigger::Final),
        ("triggers.interrupt", Trigger::Interrupt),
    ];
    let asked = calls.into_iter().filter(|(key, _)| is_on(of(key)));
    triggers.extend(asked.map(|(_, trigger)| trigger));
    Triggers::new(triggers)
}

fn spike(settings: &Settings) -> Option<SpikeGuard> {
    let Value::Text(metric) = settings.value("spike.metric") else {
        return None;
    };
    let mut guard = SpikeGuard::new(metric);
    let whole = |key: &str| count(settings.value(key));
    guard.sigma = number(settings.value("spike.sigma")).unwrap_or(guard.sigma);
    let window = whole("spike.window").and_then(|count| usize::try_from(count).ok());
    guard.window = window.unwrap_or(guard.window);
    let most = whole("spike.max_rollbacks").and_then(|count| u32::try_from(count).ok());
    guard.max_rollbacks = most.unwrap_or(guard.max_rollbacks);
    Some(guard)
}

fn min_free(value: &Value) -> MinFree {
    let defaults = MinFree::default();
    match value {
        Value::MinFree(MinFreeValue::Bytes(bytes)) if *bytes == defaults.bytes => defaults,
        Value::MinFree(MinFreeValue::Bytes(bytes)) => MinFree {
            bytes: *bytes,
            part: 1.0,
        },
        Value::MinFree(MinFreeValue::Part(part)) => MinFree {
            bytes: u64::MAX,
            part: *part,
        },
        _ => MinFree::NONE,
    }
}

const fn is_on(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

const fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Count(count) => Some(*count),
        _ => None,
    }
}

const fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

const fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Duration(time) => Some(*time),
        _ => None,
    }
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    let texts = match value {
        Value::Texts(texts) => texts.as_slice(),
        _ => &[],
    };
    texts.iter().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Compression;
    use crate::config::Config;

    fn options(text: &str) -> SessionOptions {
        let config = Config::parse(text, "ckptdb.toml").unwrap();
        SessionOptions::from_settings(&config.settings("NQ")).unwrap()
    }

    #[test]
    fn without_a_file_the_options_are_the_defaults() {
        let (found, wanted) = (options(""), SessionOptions::default());
        assert_eq!(found.triggers, wanted.triggers);
        assert_eq!(found.retention, None);
        assert_eq!(found.prune_every, wanted.prune_every);
        assert_eq!(found.background, wanted.background);
        assert_eq!(found.compression, Some(Compression::Default));
        let depth = crate::store::Options::default().chain_depth;
        assert_eq!(found.chain_depth, Some(depth));
        assert_eq!(found.min_free, wanted.min_free);
        assert_eq!(found.on_low_disk, wanted.on_low_disk);
        assert_eq!(found.hook_limit, wanted.hook_limit);
        assert_eq!(found.telemetry_batch, wanted.telemetry_batch);
        assert_eq!(
            (found.telemetry, found.signals),
            (wanted.telemetry, wanted.signals)
        );
        assert_eq!(found.spike, None);
    }

    #[test]
    fn every_key_reaches_the_option_that_it_is_about() {
        let found = options(
            r#"
            metrics = { sharpe = "max" }
            compression = "fast"
            chain_depth = 0
            [triggers]
            iterations = 500
            interval = "10m"
            overhead = 0.01
            improvement = { sharpe = "2%", loss = 0.5 }
            at = [7]
            first = true
            phase_end = false
            [triggers.adaptive]
            enabled = true
            max_multiplier = 3
            [keep]
            latest = 8
            latest_periodic = 4
            best = { sharpe = 3 }
            every = 1000
            nearest = 500
            within = "2d"
            events = ["phase_end"]
            tags = ["golden"]
            tagged = true
            max_size = "1GiB"
            prune_every = 5
            [disk]
            min_free = "3%"
            when_low = "refuse"
            [session]
            background = "replace"
            signals = false
            telemetry = false
            telemetry_batch = 7
            hook_limit = "1s"
            [spike]
            metric = "loss"
            sigma = 6
            window = 50
            max_rollbacks = 1
            "#,
        );
        let triggers = found.triggers.as_slice();
        assert_eq!(triggers.len(), 11, "{triggers:?}");
        assert!(triggers.contains(&Trigger::Overhead(0.01)));
        assert!(triggers.contains(&Trigger::First) && !triggers.contains(&Trigger::PhaseEnd));
        let adaptive = Adaptive {
            max_multiplier: 3.0,
            ..Adaptive::default()
        };
        assert!(triggers.contains(&Trigger::Adaptive(adaptive)));
        let retention = found.retention.unwrap();
        assert_eq!(retention.rules().len(), 10);
        assert!(retention.rules().contains(&Keep::Interrupts));
        assert!(retention.has_budget());
        assert_eq!(found.prune_every, 5);
        assert_eq!(found.compression, Some(Compression::Fast));
        assert_eq!(found.chain_depth, Some(0));
        assert_eq!(found.min_free.of(1_000_000), 30_000);
        assert_eq!(found.on_low_disk, OnLowDisk::Refuse);
        assert_eq!(found.background, Some(Overlap::Replace));
        assert!(!found.signals && !found.telemetry);
        assert_eq!(found.telemetry_batch, 7);
        assert_eq!(found.hook_limit, Duration::from_secs(1));
        let spike = found.spike.unwrap();
        assert_eq!((spike.window, spike.max_rollbacks), (50, 1));
    }
}
