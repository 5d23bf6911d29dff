//! Every key: where it stands, what it takes, and what it is without being set.

use super::value::Kind;

/// A key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its table and name, joined by a dot; a table of the user's own names stands by itself.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The default, as it is written in a file.
    pub default: &'static str,
    /// What it says.
    pub about: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        about,
    }
}

/// All keys, by table.
pub const KEYS: &[Key] = &[
    key(
        "metrics",
        Kind::Directions,
        "{}",
        "which way metrics are better",
    ),
    key(
        "compression",
        Kind::Choice(&["none", "fast", "default", "max"]),
        "\"default\"",
        "how much the encoding of what is new may cost",
    ),
    key(
        "chain_depth",
        Kind::UpTo(8),
        "3",
        "deltas that a load may take where all words change: more are smaller and slower",
    ),
    key(
        "triggers.iterations",
        Kind::CountOrOff,
        "10",
        "save every so many iterations",
    ),
    key(
        "triggers.interval",
        Kind::DurationOrOff,
        "false",
        "save after so much time",
    ),
    key(
        "triggers.overhead",
        Kind::PartOrOff,
        "false",
        "save as often as it costs less than this part of the time",
    ),
    key(
        "triggers.improvement",
        Kind::Thresholds,
        "{}",
        "save when a metric is better by this much",
    ),
    key(
        "triggers.at",
        Kind::Counts,
        "[]",
        "save at these iterations",
    ),
    key(
        "triggers.first",
        Kind::Bool,
        "false",
        "save at a job's first iteration",
    ),
    key(
        "triggers.final",
        Kind::Bool,
        "true",
        "save when training ends",
    ),
    key(
        "triggers.phase_end",
        Kind::Bool,
        "true",
        "save when a phase ends",
    ),
    key(
        "triggers.phase_boundary",
        Kind::Bool,
        "true",
        "save at boundaries between phases",
    ),
    key(
        "triggers.interrupt",
        Kind::Bool,
        "true",
        "save when interrupted",
    ),
    key(
        "triggers.adaptive.enabled",
        Kind::Bool,
        "false",
        "save at an interval that grows with progress",
    ),
    key(
        "triggers.adaptive.base",
        Kind::Count,
        "25000",
        "its iterations at the start",
    ),
    key(
        "triggers.adaptive.max_multiplier",
        Kind::Number,
        "5",
        "how many times as long it is at the target",
    ),
    key(
        "triggers.adaptive.target",
        Kind::Count,
        "2000000",
        "the iteration at which training is expected to end",
    ),
    key(
        "keep.latest",
        Kind::CountOrOff,
        "false",
        "keep the newest so many",
    ),
    key(
        "keep.latest_periodic",
        Kind::CountOrOff,
        "false",
        "keep so many periodic ones by iteration",
    ),
    key(
        "keep.best",
        Kind::BestCounts,
        "{}",
        "keep so many best by a metric",
    ),
    key(
        "keep.every",
        Kind::CountOrOff,
        "false",
        "keep multiples of so many iterations",
    ),
    key(
        "keep.nearest",
        Kind::CountOrOff,
        "false",
        "keep the nearest to each multiple",
    ),
    key(
        "keep.within",
        Kind::DurationOrOff,
        "false",
        "keep what is younger than this",
    ),
    key(
        "keep.events",
        Kind::Texts,
        "[]",
        "keep those with these events, or of these families",
    ),
    key(
        "keep.interrupts",
        Kind::Bool,
        "true",
        "keep interrupts until a later session completes, if anything is dropped",
    ),
    key("keep.tags", Kind::Texts, "[]", "keep those with these tags"),
    key(
        "keep.tagged",
        Kind::Bool,
        "false",
        "keep those with any tag",
    ),
    key(
        "keep.max_size",
        Kind::SizeOrOff,
        "false",
        "keep of the others what fits in this",
    ),
    key(
        "keep.prune_every",
        Kind::Count,
        "10",
        "drop the others after so many saves",
    ),
    key(
        "disk.min_free",
        Kind::MinFree,
        "\"5GiB\"",
        "leave this much of the disk alone; of a small disk at most 5%",
    ),
    key(
        "disk.when_low",
        Kind::Choice(&["prune", "refuse"]),
        "\"prune\"",
        "what to do when a save would need of it",
    ),
    key(
        "session.background",
        Kind::Choice(&["off", "wait", "skip", "replace"]),
        "\"off\"",
        "save beside the training, and what becomes of a save when another runs",
    ),
    key(
        "session.signals",
        Kind::Bool,
        "true",
        "SIGINT, SIGTERM and SIGUSR1 save and stop",
    ),
    key(
        "session.telemetry",
        Kind::Bool,
        "true",
        "record the metrics of every step",
    ),
    key(
        "session.telemetry_batch",
        Kind::Count,
        "4096",
        "values that are appended in one go between saves",
    ),
    key(
        "session.hook_limit",
        Kind::Duration,
        "\"10s\"",
        "how long a hook is waited for",
    ),
    key(
        "spike.metric",
        Kind::TextOrOff,
        "false",
        "go back when this metric is NaN or far off",
    ),
    key(
        "spike.sigma",
        Kind::Number,
        "8",
        "how many standard deviations are far",
    ),
    key(
        "spike.window",
        Kind::Count,
        "100",
        "how many recent values count",
    ),
    key(
        "spike.max_rollbacks",
        Kind::Count,
        "3",
        "how often in a session",
    ),
];

/// The key with this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
