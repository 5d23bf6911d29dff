//! Configuration in layers: what counts, what is written back, and what is told of mistakes.

use std::time::Duration;

use super::*;
use crate::config::MinFreeValue;
use crate::metric::Direction;

const FILE: &str = r#"
[metrics]
sharpe = "max"
[triggers]
iterations = false
interval = "1h 30m"
overhead = "1%"
improvement = { sharpe = "2%", loss = 0.05 }
at = [1000, 5_000]
final = false
[triggers.adaptive]
enabled = true
base = 0x10
[keep]
best = { sharpe = 3 }
events = ["phase_end", "phase_boundary"]
max_size = "20GiB"
[disk]
min_free = "5%"
[job."phase3/*"]
keep.latest = 3
[job."phase3/NQ".keep]
latest = 5
"#;

fn value(settings: &Settings, key: &str) -> Value {
    settings.get(key).unwrap().value.clone()
}

#[test]
fn every_kind_of_value_is_read_and_written_as_it_is_read() {
    let config = Config::parse(FILE, "ckptdb.toml").unwrap();
    let settings = config.settings("NQ");
    let of = |key: &str| value(&settings, key);
    assert_eq!(
        of("metrics"),
        Value::Directions([("sharpe".to_owned(), Direction::Max)].into())
    );
    assert_eq!(of("triggers.iterations"), Value::Off);
    assert_eq!(
        of("triggers.interval"),
        Value::Duration(Duration::from_mins(90))
    );
    assert_eq!(of("triggers.overhead"), Value::Number(0.01));
    let thresholds = [
        ("loss".to_owned(), (0.05, false)),
        ("sharpe".to_owned(), (0.02, true)),
    ];
    assert_eq!(
        of("triggers.improvement"),
        Value::Thresholds(thresholds.into())
    );
    assert_eq!(of("triggers.at"), Value::Counts(vec![1000, 5000]));
    assert_eq!(of("triggers.final"), Value::Bool(false));
    assert_eq!(of("triggers.adaptive.base"), Value::Count(16));
    assert_eq!(of("keep.max_size"), Value::Size(20 << 30));
    assert_eq!(
        of("disk.min_free"),
        Value::MinFree(MinFreeValue::Part(0.05))
    );
    for (key, setting) in settings.iter() {
        let text = setting.value.to_string();
        let again = parse_value(key, &text);
        assert_eq!(again.as_ref(), Ok(&setting.value), "{}: {text}", key.name);
    }
}

#[test]
fn every_default_is_of_its_kind() {
    for key in KEYS {
        let read = parse_value(key, key.default);
        assert!(read.is_ok(), "{}: {read:?}", key.name);
    }
}

#[test]
fn the_code_goes_before_the_environment_before_sections_before_the_file_before_the_default() {
    let of = |config: &Config, job: &str| {
        let setting = config.settings(job).get("keep.latest").unwrap().clone();
        (setting.value, setting.origin.to_string())
    };
    let mut config = Config::parse(FILE, "ckptdb.toml").unwrap();
    assert_eq!(of(&config, "NQ"), (Value::Off, "default".to_owned()));
    let (latest, origin) = of(&config, "phase3/ES");
    assert_eq!(latest, Value::Count(3));
    assert_eq!(origin, "ckptdb.toml:21:15, for jobs \"phase3/*\"");
    assert_eq!(
        of(&config, "phase3/NQ").0,
        Value::Count(5),
        "the last that matches"
    );
    let variables = [
        ("CKPTDB_KEEP_LATEST", "7"),
        ("CKPTDB_STORE", "runs.ckptdb"),
        ("CKPTDB_SESSION_BACKGROUND", "wait"),
        ("HOME", "/"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config = config.with_environment(variables).unwrap();
    let origin = "environment CKPTDB_KEEP_LATEST".to_owned();
    assert_eq!(of(&config, "phase3/NQ"), (Value::Count(7), origin));
    let background = value(&config.settings("NQ"), "session.background");
    assert_eq!(
        background,
        Value::Text("wait".to_owned()),
        "quotes may be left out"
    );
    config.set("keep.latest", "9").unwrap();
    assert_eq!(
        of(&config, "phase3/NQ"),
        (Value::Count(9), "code".to_owned())
    );
}

/// Files with a mistake, where the message must say that it is, and what else it must say.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "[keep]\nlastest = 8",
        "ckptdb.toml:2:1: unknown key `keep.lastest`",
        "did you mean `keep.latest`?",
    ),
    (
        "[kepe]\nlatest = 8",
        "ckptdb.toml:1:2: unknown key `kepe`",
        "did you mean `keep`?",
    ),
    (
        "latest = 8",
        "ckptdb.toml:1:1: unknown key `latest`",
        "did you mean `keep.latest`?",
    ),
    (
        "[keep]\nlatest = \"8\"",
        "ckptdb.toml:2:10: the value of `keep.latest`",
        "a whole number of at least 1, or false",
    ),
    ("[keep]\nlatest = 0", "ckptdb.toml:2:10", "at least 1"),
    ("[keep]\nlatest = -1", "ckptdb.toml:2:10", "at least 1"),
    (
        "[keep]\n\n  within = \"2 moons\"",
        "ckptdb.toml:3:12",
        "a time is written",
    ),
    (
        "[disk]\nmin_free = \"105%\"",
        "ckptdb.toml:2:12",
        "0% to 100%",
    ),
    (
        "[disk]\nwhen_low = \"panic\"",
        "ckptdb.toml:2:12",
        "\"prune\" or \"refuse\"",
    ),
    (
        "[metrics]\nloss = \"down\"",
        "ckptdb.toml:1:1: the value of `metrics`",
        "\"min\" or \"max\"",
    ),
    ("job = 3", "ckptdb.toml:1:7: `job`", "[job.\"phase3/*\"]"),
    (
        "[job.\"a\".keep]\nlastest = 1",
        "ckptdb.toml:2:1: unknown key `keep.lastest`",
        "`keep.latest`",
    ),
    ("[job.\"a\".job.\"b\"]", "unknown key `job`", ""),
    ("[keep\nlatest = 1", "ckptdb.toml:1:", "TOML"),
    ("[keep]\nlatest = 1\nlatest = 2", "ckptdb.toml:3:1", ""),
    (
        "[triggers]\noverhead = nan",
        "ckptdb.toml:2:12",
        "a part like",
    ),
    (
        "[triggers]\n# \u{fc}\u{fc}\n\"\u{fc}\" = 1",
        "ckptdb.toml:3:1",
        "there are",
    ),
];

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_may_be_meant() {
    for (text, place, hint) in WRONG {
        let error = Config::parse(text, "ckptdb.toml").unwrap_err().to_string();
        assert!(error.contains(place), "{text:?}: {error}");
        assert!(error.contains(hint), "{text:?}: {error}");
    }
    let variable = |name: &str, value: &str| {
        let variables = [(name.to_owned(), value.to_owned())];
        let config = Config::default().with_environment(variables);
        config.unwrap_err().to_string()
    };
    assert!(variable("CKPTDB_KEEP_LASTEST", "1").contains("CKPTDB_KEEP_LATEST"));
    assert!(variable("CKPTDB_KEEP_LATEST", "many").contains("at least 1"));
    let mut config = Config::default();
    assert!(
        config
            .set("keep.lastest", "1")
            .unwrap_err()
            .to_string()
            .contains("keep.latest")
    );
    assert!(config.set("keep.latest", "0").is_err());
}

#[test]
fn a_pyproject_may_have_our_table_or_not() {
    let with = "[project]\nname = \"x\"\n[tool.ckptdb.keep]\nlatest = 4";
    let config = Config::parse_pyproject(with, "pyproject.toml").unwrap();
    let latest = config.settings("NQ").get("keep.latest").unwrap().clone();
    assert_eq!(latest.value, Value::Count(4));
    assert_eq!(latest.origin.to_string(), "pyproject.toml:4:10");
    let without = Config::parse_pyproject("[project]\nname = \"x\"", "pyproject.toml").unwrap();
    assert_eq!(without.settings("NQ"), Config::default().settings("NQ"));
}
