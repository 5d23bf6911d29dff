//! What a dry run says is what the command then says, and nothing is changed by it.

use ckptdb::Store;

use super::Stored;

/// A store with something for each command to do.
fn filled() -> (Stored, String) {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let gone = store.resolve("vit@1").unwrap();
    gone.set_tag("first", false).unwrap();
    gone.delete(false).unwrap();
    (stored, gone.id.to_string())
}

/// Stands for the id of what is deleted.
const GONE: &str = "id";

const RUNS: &[&[&str]] = &[
    &["tag", "vit@2", "good"],
    &["tag", "vit@2", "good", "--remove"],
    &["pin", "vit@2"],
    &["unpin", "vit@2"],
    &["annotate", "vit@3", "seed=7"],
    &["fork", "vit@2", "other"],
    &["undelete", GONE],
    &["metric", "declare", "vit", "loss", "min", "--main"],
    &["compact", "--recompress"],
    &["salvage", "runs.ckptdb", "new.ckptdb"],
    &["repair"],
];

#[test]
fn a_dry_run_says_what_the_command_then_does_and_changes_nothing() {
    let (stored, gone) = filled();
    let state = || {
        let shown = ["vit@2", "vit@3"].map(|one| stored.run(&["show", one, "--json"]).text());
        let listed = ["ls", "jobs", "stats"].map(|verb| stored.run(&[verb, "--json"]).text());
        let deleted = stored.run(&["ls", "--deleted", "--json"]).text();
        (
            shown,
            listed,
            deleted,
            stored.folder.path().join("new.ckptdb").exists(),
        )
    };
    for run in RUNS {
        let words = run
            .iter()
            .map(|word| if *word == GONE { &gone } else { *word });
        let run = &*words.collect::<Vec<_>>();
        let before = state();
        let dry = [run, &["-n"][..]].concat();
        let said = stored.run(&dry);
        assert_eq!(said.code(), 0, "{run:?}: {}", said.text());
        let stderr = String::from_utf8_lossy(&said.0.stderr).into_owned();
        assert!(stderr.contains("(dry run)"), "{run:?}: {stderr}");
        let json = stored.run(&[&dry[..], &["--json"]].concat()).json();
        assert_eq!(json["dry_run"], true, "{run:?}");
        assert_eq!(state(), before, "{run:?}");
        let done = stored.run(run);
        assert_eq!(done.code(), 0, "{run:?}: {}", done.text());
        // What the file takes on the disk is said roughly, and changes by itself.
        if run[0] != "compact" {
            let would = String::from_utf8(said.0.stdout).unwrap();
            let would = would
                .strip_prefix("dry run: ")
                .unwrap_or_else(|| panic!("{run:?}"));
            assert_eq!(would.as_bytes(), done.0.stdout, "{run:?}");
            assert_eq!(state() != before, run[0] != "repair", "{run:?}");
        }
    }
}

#[test]
fn a_dry_run_of_a_repair_says_what_would_stay_damaged_and_mends_nothing() {
    let stored = Stored::new();
    stored.spoil(2);
    let bytes = std::fs::read(stored.path()).unwrap();
    let dry = stored.run(&["repair", "--dry-run"]);
    assert_eq!(dry.code(), 3, "{}", dry.text());
    assert!(dry.text().contains("(dry run)"), "{}", dry.text());
    assert!(std::fs::read(stored.path()).unwrap() == bytes);
    let done = stored.run(&["repair"]);
    let would = String::from_utf8(dry.0.stdout)
        .unwrap()
        .replace("dry run: repaired", "repaired");
    assert_eq!((done.code(), &done.0.stdout[..]), (3, would.as_bytes()));
    assert!(std::fs::read(stored.path()).unwrap() != bytes);
}

#[test]
fn what_a_command_refuses_its_dry_run_refuses_too() {
    let stored = Stored::new();
    let refused = [
        &["tag", "vit@9", "good"][..],
        &["undelete", "id:2"],
        &["fork", "vit@1", "vit"],
    ];
    for run in refused {
        let (dry, done) = (stored.run(&[run, &["-n"][..]].concat()), stored.run(run));
        assert!(
            done.code() != 0 && dry.code() == done.code(),
            "{run:?}: {}",
            dry.text()
        );
    }
}
