//! `[STORE:]JOB@SELECTOR[~N]`, `id:N`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::name;

/// Which checkpoint of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// The head of the job's line.
    Latest,
    /// The best by this metric, or by the job's main one.
    Best(Option<String>),
    /// The one of this iteration on the current line, if need be with this event.
    Iteration(u64, Option<String>),
    /// The newest with this event, a whole one or a family.
    Event(String),
    /// The one with this tag.
    Tag(String),
    /// The newest that is at least so many milliseconds old.
    Older(u64),
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The checkpoint with this id.
    Id(u64),
    /// A checkpoint of a job; without a name, of the only job.
    Job {
        /// The job.
        job: Option<String>,
        /// Which of its checkpoints.
        selector: Selector,
    },
}

/// The name of a checkpoint: `job@latest`, `job@best:sharpe~1`, `job@25000:interrupt`,
/// `job@tag:good`, `job@-2h`, `id:1234`; `job` alone is `job@latest`, `job@~2` is `job@latest~2`,
/// and with one job in the store the selector alone will do.
///
/// ```
/// use ckptdb::reference::{Reference, Selector, Target};
/// let reference: Reference = "phase1/NQ@best:sharpe~2".parse()?;
/// assert_eq!(reference.back, 2);
/// assert_eq!(
///     reference.target,
///     Target::Job {
///         job: Some("phase1/NQ".into()),
///         selector: Selector::Best(Some("sharpe".into())),
///     }
/// );
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The store, where one was named.
    pub store: Option<String>,
    /// The checkpoint that is counted from.
    pub target: Target,
    /// How many checkpoints back along its line.
    pub back: u64,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| refused(text, why);
        if text.len() > 4 * name::MAX_LABEL_BYTES {
            return Err(bad("it is too long"));
        }
        let (rest, back) = match text.rsplit_once('~') {
            Some((rest, count)) => (
                rest,
                count.parse().map_err(|_| bad("after `~` comes a number"))?,
            ),
            None => (text, 0),
        };
        // A file's name tells that it is one, whatever follows it.
        let (file, rest) = match rest.split_once(FILE_END) {
            Some((stem, rest)) if !stem.contains(':') => (Some(format!("{stem}.ckptdb")), rest),
            _ => (None, rest),
        };
        let (store, target) = match rest.split_once('@') {
            Some((line, selector)) => {
                let (store, job) = match line.rsplit_once(':') {
                    Some((store, job)) if file.is_none() => (Some(store.to_owned()), job),
                    _ => (file, line),
                };
                // `@-2h` is of the only job: a shell's command would take `-2h` for an option.
                let job = if line.is_empty() && !selector.is_empty() {
                    None
                } else {
                    name::check_job(job)?;
                    Some(job.to_owned())
                };
                let selector = match selector_of(selector) {
                    // `NQ@~2` counts from the latest, as `NQ~2` does.
                    None if selector.is_empty() && back > 0 => Selector::Latest,
                    // Somebody's variable was empty.
                    None if selector.is_empty() => {
                        return Err(refused(text, "nothing follows `@`"));
                    }
                    found => found.ok_or_else(|| no_selector(text, selector))??,
                };
                (store, Target::Job { job, selector })
            }
            None if rest.is_empty() && back > 0 => {
                let (job, selector) = (None, Selector::Latest);
                (file, Target::Job { job, selector })
            }
            None => (file, bare(text, rest)?),
        };
        Ok(Self {
            store,
            target,
            back,
        })
    }
}

/// What parts a store's file from what is in it.
const FILE_END: &str = ".ckptdb:";

const SELECTORS: &str = "the selectors are latest, best[:METRIC], ITERATION[:EVENT], event:NAME, \
                         tag:NAME, -2h";

/// The words that selectors begin with.
const WORDS: [&str; 4] = ["latest", "best", "event", "tag"];

/// Why a reference is none, with the grammar.
fn refused(text: &str, why: &str) -> Error {
    let what = format!("reference `{}`", name::printable(text));
    let form = "write JOB@SELECTOR or id:N, as in NQ@best:sharpe~1";
    Error::invalid(what, format!("{why}; {form}"))
}

/// Why a reference is none whose selector is none, with what may have been meant.
fn no_selector(text: &str, selector: &str) -> Error {
    let (word, rest) = selector.split_at(selector.find(':').unwrap_or(selector.len()));
    let Some(near) = nearest_word(word) else {
        return refused(text, SELECTORS);
    };
    let (selector, rest) = (name::printable(selector), name::printable(rest));
    Error::invalid(
        format!("reference `{}`", name::printable(text)),
        format!("`{selector}` is no selector; did you mean `{near}{rest}`?"),
    )
}

/// The selector's word that is near to one that is none.
pub(crate) fn nearest_word(word: &str) -> Option<&'static str> {
    name::nearest(word, WORDS).filter(|near| *near != word)
}

/// A reference without `@`, what follows `~` taken off: an id, a selector, or a job's name.
fn bare(whole: &str, text: &str) -> Result<Target> {
    if let Some(number) = text.strip_prefix("id:") {
        return number
            .parse()
            .map(Target::Id)
            .map_err(|_| refused(whole, "after `id:` comes a number"));
    }
    if let Some(selector) = selector_of(text) {
        return selector.map(|selector| Target::Job {
            job: None,
            selector,
        });
    }
    if text.contains(':') || text.starts_with('-') {
        return Err(no_selector(whole, text));
    }
    name::check_job(text)?;
    Ok(Target::Job {
        job: Some(text.to_owned()),
        selector: Selector::Latest,
    })
}

/// The selector, if the text is one at all.
fn selector_of(text: &str) -> Option<Result<Selector>> {
    let word = |kind: &str, word: &str, make: fn(String) -> Selector| {
        Some(name::check_word(kind, word).map(|()| make(word.to_owned())))
    };
    match text.split_once(':') {
        None if text == "latest" => Some(Ok(Selector::Latest)),
        None if text == "best" => Some(Ok(Selector::Best(None))),
        None if text.starts_with('-') => age_millis(text).map(|age| Ok(Selector::Older(age))),
        None => text
            .parse()
            .ok()
            .map(|iteration| Ok(Selector::Iteration(iteration, None))),
        Some(("best", metric)) => word("metric", metric, |m| Selector::Best(Some(m))),
        Some(("tag", tag)) => word("tag", tag, Selector::Tag),
        Some(("event", event)) => Some(event_text(event).map(Selector::Event)),
        Some((iteration, event)) => {
            let iteration = iteration.parse().ok()?;
            Some(event_text(event).map(|event| Selector::Iteration(iteration, Some(event))))
        }
    }
}

/// An event as references write it, in the form in which the index has it: a family, or
/// `family:parameter` for `family(parameter)`.
fn event_text(text: &str) -> Result<String> {
    use crate::event::Event;
    if Event::WORDS.contains(&text) {
        return Ok(text.to_owned());
    }
    text.parse::<Event>().map(|event| event.to_string())
}

/// What ages are printed in, in seconds; weeks are read too.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// `-2h`, `-30m`, `-1d`, `-45s`, `-2w` in milliseconds.
fn age_millis(text: &str) -> Option<u64> {
    let text = text.strip_prefix('-')?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "w" => 604_800,
        _ => UNITS.iter().find(|(letter, _)| *letter == unit)?.1,
    };
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)?
        .checked_mul(1_000)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Best(None) => f.write_str("best"),
            Self::Best(Some(metric)) => write!(f, "best:{metric}"),
            Self::Iteration(iteration, None) => write!(f, "{iteration}"),
            Self::Iteration(iteration, Some(event)) => write!(f, "{iteration}:{event}"),
            Self::Event(event) => write!(f, "event:{event}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Older(millis) => {
                let seconds = millis / 1_000;
                let whole = UNITS
                    .iter()
                    .rev()
                    .find(|(_, unit)| seconds.is_multiple_of(*unit));
                let (letter, unit) = whole.filter(|_| seconds > 0).unwrap_or(&UNITS[0]);
                write!(f, "-{}{letter}", seconds / unit)
            }
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(store) = &self.store {
            write!(f, "{store}:")?;
        }
        match &self.target {
            Target::Id(id) => write!(f, "id:{id}")?,
            Target::Job {
                job: Some(job),
                selector,
            } => write!(f, "{job}@{selector}")?,
            Target::Job {
                job: None,
                selector,
            } => write!(f, "{selector}")?,
        }
        if self.back > 0 {
            write!(f, "~{}", self.back)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(job: Option<&str>, selector: Selector, back: u64) -> Reference {
        let target = Target::Job {
            job: job.map(str::to_owned),
            selector,
        };
        Reference {
            store: None,
            target,
            back,
        }
    }

    #[test]
    fn the_grammar_by_example() {
        let cases = [
            ("NQ", job(Some("NQ"), Selector::Latest, 0)),
            ("NQ@latest~2", job(Some("NQ"), Selector::Latest, 2)),
            ("NQ~1", job(Some("NQ"), Selector::Latest, 1)),
            ("NQ@~3", job(Some("NQ"), Selector::Latest, 3)),
            ("~3", job(None, Selector::Latest, 3)),
            ("a/b@best", job(Some("a/b"), Selector::Best(None), 0)),
            (
                "NQ@best:val/loss",
                job(Some("NQ"), Selector::Best(Some("val/loss".into())), 0),
            ),
            (
                "NQ@25000",
                job(Some("NQ"), Selector::Iteration(25_000, None), 0),
            ),
            (
                "NQ@25000:interrupt",
                job(
                    Some("NQ"),
                    Selector::Iteration(25_000, Some("interrupt".into())),
                    0,
                ),
            ),
            (
                "NQ@event:phase_boundary:warm",
                job(
                    Some("NQ"),
                    Selector::Event("phase_boundary(warm)".into()),
                    0,
                ),
            ),
            ("tag:good", job(None, Selector::Tag("good".into()), 0)),
            ("25000", job(None, Selector::Iteration(25_000, None), 0)),
            ("NQ@-2h", job(Some("NQ"), Selector::Older(7_200_000), 0)),
            ("@-2h", job(None, Selector::Older(7_200_000), 0)),
            ("@best~1", job(None, Selector::Best(None), 1)),
            (
                "id:1234",
                Reference {
                    store: None,
                    target: Target::Id(1234),
                    back: 0,
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Reference>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_ends_like_a_store_is_one_whatever_follows() {
        for (store, rest) in [
            ("runs.ckptdb", "NQ@latest"),
            ("runs.ckptdb", "NQ"),
            ("runs.ckptdb", "NQ~2"),
            ("runs.ckptdb", "~2"),
            ("runs.ckptdb", "best:loss"),
            ("/data/me@home/runs.ckptdb", "id:7"),
            ("/data/me@home/runs.ckptdb", "a/b@tag:good"),
        ] {
            let found: Reference = format!("{store}:{rest}").parse().unwrap();
            let alone: Reference = rest.parse().unwrap();
            let store = Some(store.to_owned());
            assert_eq!(found, Reference { store, ..alone }, "{rest}");
        }
        // Others are one if a job and a selector follow.
        let other: Reference = "runs:NQ@best".parse().unwrap();
        assert_eq!(other.store.as_deref(), Some("runs"));
        for bad in [
            "runs.ckptdb:",
            "runs.ckptdb:@",
            "runs.ckptdb:x:y",
            "a.ckptdb:b:NQ@best",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_grammar() {
        for bad in [
            "",
            "@",
            "NQ@",
            "NQ@x",
            "~",
            "~0",
            "NQ@~0",
            "NQ@latest~",
            "NQ@latest~x",
            "id:",
            "id:-1",
            "NQ@best:",
            "NQ@tag:",
            "NQ@event:nothing",
            "NQ@2:nothing",
            "a b",
            "NQ@-2y",
            "x:y",
            "-2x",
            "99999999999999999999999@",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_mistyped_selector_is_recognised() {
        for (text, meant) in [
            ("NQ@lates", "latest"),
            ("NQ@Best", "best"),
            ("NQ@bset:loss", "best:loss"),
            ("NQ@tags:good~2", "tag:good"),
            ("evnet:final", "event:final"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("did you mean `{meant}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn an_age_prints_in_the_unit_that_one_would_write() {
        for (text, prints) in [
            ("@-2h", "-2h"),
            ("@-90m", "-90m"),
            ("@-1w", "-7d"),
            ("@-61s", "-61s"),
            ("@-0d", "-0s"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), prints);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_prints_as_what_it_parses_to(
            text in "(r[.]ckptdb:)?\\PC{0,40}"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(&again, &reference);
            }
        }
    }
}
