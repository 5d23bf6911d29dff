//! docs/cli.md and the program say the same: every command, its options, the fields of its JSON.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::telemetry::Batch;
use ckptdb::{Direction, Store};
use serde_json::Value;

use super::Stored;

const MANUAL: &str = include_str!("../../docs/cli.md");

/// Each command's section, by its name: `jobs delete` is one of its own.
fn sections() -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for line in MANUAL.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            // Between backticks, up to the first argument.
            let commands = heading.split('`').skip(1).step_by(2);
            let name = |command: &str| {
                let is_word = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase());
                command
                    .split(' ')
                    .take_while(is_word)
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            names = commands.map(name).filter(|name| !name.is_empty()).collect();
        } else if line.starts_with("## ") {
            names.clear();
        }
        for name in &names {
            let section = found.entry(name.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    // A command's actions are told in the section of their own.
    found.retain(|name, _| !matches!(name.as_str(), "" | "min" | "max"));
    found
}

/// The words of a help text that stand where a command does.
fn commands_of(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The long options of a help text, but for those that all commands have.
fn options_of(help: &str) -> BTreeSet<String> {
    let own = help.split("Global options:").next().unwrap();
    let lines = own
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('-'));
    let long = |line: &str| {
        let word = line
            .split([' ', ',', '=', '['])
            .find(|word| word.starts_with("--"))?;
        Some(word.to_owned())
    };
    let mut found: BTreeSet<String> = lines.filter_map(long).collect();
    found.remove("--help");
    found
}

#[test]
fn every_command_and_option_is_in_the_manual_and_none_besides() {
    let stored = Stored::new();
    let sections = sections();
    let mut known = BTreeSet::new();
    for command in commands_of(&stored.run(&["--help"]).text()) {
        let help = stored.run(&[&command, "--help"]).text();
        let actions = commands_of(&help);
        let alone = actions.is_empty() || sections.contains_key(&command);
        let mut own: Vec<Vec<&str>> = if alone {
            vec![vec![&command]]
        } else {
            Vec::new()
        };
        own.extend(
            actions
                .iter()
                .map(|action| vec![command.as_str(), action.as_str()]),
        );
        for words in own {
            let name = words.join(" ");
            let section = sections
                .get(&name)
                .unwrap_or_else(|| panic!("`{name}` is not told of"));
            let help = stored.run(&[&words[..], &["--help"]].concat()).text();
            for option in options_of(&help) {
                assert!(
                    section.contains(&option),
                    "{option} of `{name}` is not told of"
                );
            }
            let told = section.lines().filter(|line| line.starts_with("| `-"));
            for line in told {
                // The first cell, which may name several.
                let cell = line.split(" | ").next().unwrap();
                let words = cell.split(['`', ' ', ',', '|', '=']);
                for option in words.filter(|word| word.starts_with("--")) {
                    assert!(help.contains(option), "`{name}` has no {option}");
                }
            }
            known.insert(name);
        }
    }
    let told: BTreeSet<String> = sections.into_keys().collect();
    assert_eq!(told, known);
}

/// A store with something for each command, a file, and a folder of old checkpoints.
fn filled() -> Stored {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("vit").unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    job.set_main_metric("loss").unwrap();
    let mut batch = Batch::default();
    batch.log(3, [("loss", 0.5)]).unwrap();
    job.append(&batch).unwrap();
    store
        .job("gone")
        .unwrap()
        .save(1)
        .bytes("x", b"x")
        .commit()
        .unwrap();
    let folder = stored.folder.path();
    std::fs::write(folder.join("state.bin"), b"bytes").unwrap();
    std::fs::create_dir_all(folder.join("man")).unwrap();
    std::fs::create_dir_all(folder.join("old")).unwrap();
    std::fs::write(folder.join("old/phase1_100_steps.zip"), b"zip").unwrap();
    stored
}

/// Each command once, in an order in which each can succeed.
const RUNS: &[&[&str]] = &[
    &["init", "new.ckptdb"],
    &[
        "save",
        "state.bin",
        "--job",
        "vit",
        "--iteration",
        "4",
        "--metric",
        "loss=0.25",
    ],
    &["import", "old"],
    &["export", "vit@1", "-o", "out"],
    &["ls"],
    &["log"],
    &["jobs"],
    &["show", "vit@1"],
    &["diff", "vit@1", "vit@2"],
    &["latest", "vit"],
    &["best", "vit"],
    &["tag", "vit@1", "first"],
    &["pin", "vit@1"],
    &["unpin", "vit@1"],
    &["annotate", "vit@1", "a=1"],
    &["metric", "declare", "vit", "acc", "max"],
    &["telemetry", "vit"],
    &["config", "show"],
    &["doctor"],
    &["watch", "--times", "1"],
    &["report"],
    &["fork", "vit@2", "copy"],
    &["rollback", "vit@3", "--reason", "it diverged"],
    &["delete", "vit@1", "--yes"],
    &["undelete", "id:1"],
    &["jobs", "delete", "gone", "--yes"],
    &["jobs", "rename", "copy", "renamed"],
    &["prune", "vit", "--keep-latest", "1"],
    &["reclaim"],
    &["compact"],
    &["resume", "vit"],
    &["verify"],
    &["repair"],
    &["salvage", "runs.ckptdb", "salvaged.ckptdb"],
    &["stats"],
    &["demo", "--iterations", "40", "--every", "10"],
    &["completions", "bash"],
    &["man", "man"],
    &["version"],
];

#[test]
fn every_command_prints_the_json_that_the_manual_says() {
    let stored = filled();
    let sections = sections();
    let first = {
        let listed = stored.run(&["show", "vit@1", "--json"]).json();
        format!("id:{}", listed["checkpoint"]["id"])
    };
    let mut run = BTreeSet::new();
    for arguments in RUNS {
        let mut arguments: Vec<&str> = arguments.to_vec();
        if let Some(id) = arguments.iter_mut().find(|word| **word == "id:1") {
            *id = &first;
        }
        let name = match arguments.as_slice() {
            [verb @ ("metric" | "config"), action, ..] => format!("{verb} {action}"),
            ["jobs", action, ..] => format!("jobs {action}"),
            [verb, ..] => (*verb).to_owned(),
            [] => unreachable!(),
        };
        let said = stored.run(&[&arguments[..], &["--json"]].concat());
        assert_eq!(said.code(), 0, "{name}: {}", said.text());
        let section = &sections[&name];
        for line in documents(&said.0.stdout) {
            let schema = line["schema"]
                .as_str()
                .unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(section.contains(&format!("`{schema}`")), "{name}: {schema}");
            let mut body = line.clone();
            body.as_object_mut().unwrap().remove("schema");
            check_fields(&name, section, &body);
        }
        run.insert(name);
    }
    let told: BTreeSet<String> = sections.into_keys().collect();
    assert_eq!(run, told, "every command was run");
}

/// Fields whose own fields are names that users gave.
const BY_NAME: [&str; 8] = [
    "metrics",
    "attributes",
    "documents",
    "files",
    "settings",
    "encodings",
    "kinds",
    "stored_by_job",
];

/// Every field, however deep, is told of in the command's section; a checkpoint and a job have the
/// fields that the manual gives them, all of these.
fn check_fields(command: &str, section: &str, value: &Value) {
    match value {
        Value::Array(values) => {
            for value in values {
                check_fields(command, section, value);
            }
        }
        Value::Object(fields) => {
            let has = |names: &[&str]| names.iter().all(|name| fields.contains_key(*name));
            let own: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
            let shared = if has(&["reference", "logical_bytes"]) {
                Some("**checkpoint**")
            } else if has(&["name", "head_iteration"]) {
                Some("**job**")
            } else {
                None
            };
            let told = shared.map(told_of).unwrap_or_default();
            assert!(told.is_subset(&own), "`{command}`: {own:?}, not {told:?}");
            for (field, value) in fields {
                let is_told = told.contains(field.as_str());
                let is_told = is_told || section.contains(&format!("`{field}`"));
                assert!(
                    is_told,
                    "`{command}` prints `{field}`, which is not told of"
                );
                match value {
                    Value::Object(named) if BY_NAME.contains(&field.as_str()) => {
                        for value in named.values() {
                            check_fields(command, section, value);
                        }
                    }
                    other => check_fields(command, section, other),
                }
            }
        }
        _ => {}
    }
}

/// The fields that the manual gives an object which several commands print: what stands between
/// backticks, that in parentheses apart.
fn told_of(object: &str) -> BTreeSet<&'static str> {
    let paragraph = MANUAL.split("\n\n").find(|text| text.starts_with(object));
    let outer = paragraph.unwrap().split('(');
    let outer = outer.map(|part| part.rsplit(')').next().unwrap());
    outer
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

/// The documents that a command printed: one, or a line each.
fn documents(bytes: &[u8]) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    stream.map(Result::unwrap).collect()
}
