//! What a shell is told while somebody types a command: the jobs, metrics, checkpoints and entries
//! of the store that the command is about. Whatever is in the way of that, there are none.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use ckptdb::{Checkpoint, Filter, JobInfo, Monitor, Store};
use clap_complete::CompleteEnv;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};

use crate::global::{ColorWhen, Global};
use crate::store_path;

/// The variable by which a shell says that it asks, and which shell it is.
pub(crate) const VARIABLE: &str = "_CKPTDB_COMPLETE";
/// Of a job's checkpoints, the newest so many are offered.
const OFFERED: usize = 50;

/// Answers a shell that asks, and ends with that; does nothing otherwise.
pub(crate) fn answer(cli: fn() -> clap::Command) {
    CompleteEnv::with_factory(cli).var(VARIABLE).complete();
}

/// Jobs.
pub(crate) fn jobs(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, |store, _, _| Some(names_of(&store.jobs().ok()?)))
}

/// References. Of a job that is typed, all selectors and what they name.
pub(crate) fn references(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, |store, _, typed| {
        let jobs = store.jobs().ok()?;
        let mut all = Vec::new();
        for job in &jobs {
            let name = &job.name;
            if typed
                .strip_prefix(&**name)
                .is_some_and(|rest| rest.starts_with('@'))
            {
                all.extend(
                    selectors(store, job)
                        .into_iter()
                        .map(|selector| format!("{name}@{selector}")),
                );
            } else {
                all.extend(job.head.map(|_| format!("{name}@latest")));
                all.extend(job.main_metric.iter().map(|_| format!("{name}@best")));
            }
        }
        if let [job] = &jobs[..]
            && !typed.contains('@')
        {
            all.extend(selectors(store, job));
        }
        Some(all)
    })
}

/// Jobs and references.
pub(crate) fn jobs_and_references(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = jobs(typed);
    all.extend(references(typed));
    all
}

/// What can be undeleted.
pub(crate) fn deleted(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, |store, _, _| {
        let filter = Filter {
            deleted: true,
            ..Filter::default()
        };
        let found = store.list(&filter).ok()?.filter_map(Result::ok);
        Some(
            found
                .take(OFFERED)
                .map(|one| format!("id:{}", one.id.get()))
                .collect(),
        )
    })
}

/// Metrics of the jobs that the command names, or of all.
pub(crate) fn metrics(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, |store, words, _| {
        let jobs = store.jobs().ok()?;
        let is_named = |job: &&JobInfo| {
            let is_it = |word: &String| {
                let rest = word.strip_prefix(&*job.name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
            };
            words.iter().any(is_it)
        };
        let named: Vec<&JobInfo> = jobs.iter().filter(is_named).collect();
        let jobs = if named.is_empty() {
            jobs.iter().collect()
        } else {
            named
        };
        let mut all = Vec::new();
        for job in jobs {
            all.extend(job.metric_names().map(str::to_owned));
            let telemetry = store.job(&job.name).and_then(|job| job.telemetry());
            let summaries = telemetry.and_then(|telemetry| telemetry.summaries());
            all.extend(summaries.into_iter().flatten().map(|(name, _)| name));
        }
        Some(all)
    })
}

/// Entries of the checkpoint that the command names first.
pub(crate) fn entries(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, |store, words, _| {
        let checkpoint = words.iter().find_map(|word| store.resolve(word).ok())?;
        let entries = checkpoint.entries().ok()?;
        Some(entries.into_iter().map(|entry| entry.name).collect())
    })
}

fn names_of(jobs: &[JobInfo]) -> Vec<String> {
    jobs.iter().map(|job| job.name.clone()).collect()
}

/// What can stand after the `@` of a job.
fn selectors(store: &Store, job: &JobInfo) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(job.head.map(|_| "latest".to_owned()));
    let is_clear = job.main_metric.is_some() || job.metrics.len() == 1;
    all.extend(is_clear.then(|| "best".to_owned()));
    all.extend(job.metrics.keys().map(|metric| format!("best:{metric}")));
    for one in newest(store, &job.name, OFFERED) {
        all.push(one.iteration.to_string());
        all.extend(one.tags.iter().map(|tag| format!("tag:{tag}")));
        // Brackets would be the shell's.
        let events = one
            .events
            .iter()
            .map(|event| event.to_string().replace('(', ":"));
        all.extend(events.map(|event| format!("event:{}", event.trim_end_matches(')'))));
    }
    all
}

fn newest(store: &Store, job: &str, most: usize) -> Vec<Checkpoint> {
    let filter = Filter {
        job: Some(job.to_owned()),
        ..Filter::default()
    };
    let found = store.list(&filter).into_iter().flatten();
    found.filter_map(Result::ok).take(most).collect()
}

/// Files to be saved, with or without a name for the entry before them.
pub(crate) fn sources(typed: &OsStr) -> Vec<CompletionCandidate> {
    let (name, path) = match typed.to_str().and_then(|typed| typed.split_once('=')) {
        Some((name, path)) => (Some(name), OsStr::new(path)),
        None => (None, typed),
    };
    let found = PathCompleter::any().complete(path).into_iter();
    found
        .map(|found| match name {
            Some(name) => found.add_prefix(format!("{name}=")),
            None => found,
        })
        .collect()
}

/// Those of the names that begin with what is typed, each once. What a shell would take for more
/// than letters is not offered: names are whatever somebody has saved.
fn offered(
    typed: &OsStr,
    names: impl FnOnce(&Store, &[String], &str) -> Option<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let words = words(std::env::args_os().skip(1));
    let found = typed.to_str().and_then(|typed| {
        let store = store(&words)?;
        let mut names = names(&store, &words, typed)?;
        store.close();
        let is_letter = |letter: char| letter.is_alphanumeric() || "_-./:@+".contains(letter);
        let is_plain = |name: &str| name.chars().all(is_letter);
        names.retain(|name| name.starts_with(typed) && is_plain(name));
        Some(names)
    });
    let mut seen = HashSet::new();
    let names = found.into_iter().flatten();
    names
        .filter(|name| seen.insert(name.clone()))
        // In this order, which is that of use.
        .enumerate()
        .map(|(at, name)| CompletionCandidate::new(name).display_order(Some(at)))
        .collect()
}

/// The words of the command, which stand behind `--` when a shell asks.
fn words(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let words = arguments.skip_while(|word| word != "--").skip(2);
    words.filter_map(|word| word.into_string().ok()).collect()
}

/// The store that the command is about. Nobody waits for another process while he types.
fn store(words: &[String]) -> Option<Store> {
    let global = Global {
        store: named(words),
        wait: Duration::ZERO,
        force_network: words.iter().any(|word| word == "--force-network"),
        json: false,
        color: ColorWhen::Never,
        monitor: Monitor::default(),
    };
    store_path::open(&global).ok()
}

/// The path behind `-s` or `--store`, or in one word with it.
fn named(words: &[String]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let path = match word.as_str() {
            "-s" | "--store" => words.next().map(String::as_str),
            word => word
                .strip_prefix("--store=")
                .or_else(|| word.strip_prefix("-s")),
        };
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            return Some(match (path.strip_prefix("~/"), std::env::home_dir()) {
                (Some(below), Some(home)) => home.join(below),
                _ => PathBuf::from(path),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_the_one_that_is_typed() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in [
            "ls -s a.ckptdb",
            "ls -sa.ckptdb vit",
            "--store a.ckptdb ls",
            "--store=a.ckptdb",
        ] {
            assert_eq!(
                named(&words(line)),
                Some(PathBuf::from("a.ckptdb")),
                "{line}"
            );
        }
        assert_eq!(named(&words("ls vit --json -s")), None);
    }

    #[test]
    fn the_words_of_the_command_are_behind_the_dashes() {
        let typed = ["--", "ckptdb", "show", "vit@"].map(OsString::from);
        assert_eq!(words(typed.into_iter()), ["show", "vit@"]);
    }
}
