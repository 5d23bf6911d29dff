//! Completions, as shells ask for them.

use std::process::Command;

use ckptdb::{Direction, Store};

use super::Stored;

/// Two jobs, one of them with a metric, a tag and an event.
fn filled() -> Stored {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("vit").unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    job.set_main_metric("loss").unwrap();
    let second = job.at(2).unwrap().unwrap();
    second.set_tag("golden", false).unwrap();
    store
        .job("nq")
        .unwrap()
        .save(7)
        .bytes("odd name", b"x")
        .commit()
        .unwrap();
    stored
}

/// What bash offers where this line ends: with its own function, as it calls it.
fn bash(stored: &Stored, line: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_ckptdb");
    // Bash parts words at these too.
    let last = line.rsplit([' ', '@', ':', '=']).next().unwrap();
    let script = format!(
        "source <({program} completions bash); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; \
         _ckptdb {program} '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(stored.folder.path())
        .env("CKPTDB_STORE", stored.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn jobs_checkpoints_metrics_and_entries_of_the_store_are_offered() {
    let stored = filled();
    assert_eq!(bash(&stored, "ckptdb ls v"), ["vit"]);
    // What a shell would have to quote is not offered.
    let odd = bash(&stored, "ckptdb export nq@7 --entry o");
    assert_eq!(odd, [""; 0]);
    assert_eq!(bash(&stored, "ckptdb show vit@lat"), ["latest"]);
    assert_eq!(bash(&stored, "ckptdb show v"), ["vit@latest", "vit@best"]);
    assert_eq!(bash(&stored, "ckptdb show vit@best:"), ["loss"]);
    assert_eq!(bash(&stored, "ckptdb export vit@tag:"), ["golden"]);
    let all = bash(&stored, "ckptdb show vit@");
    for one in [
        "latest",
        "best",
        "best:loss",
        "3",
        "2",
        "1",
        "tag:golden",
        "event:manual",
    ] {
        assert!(all.iter().any(|offered| offered == one), "{one} in {all:?}");
    }
    assert_eq!(bash(&stored, "ckptdb best vit l"), ["loss"]);
    assert_eq!(bash(&stored, "ckptdb export vit@3 --entry w"), ["weights"]);
    // Nor is what a shell would run.
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("nq").unwrap();
    let mut save = job.save(8);
    for name in ["e$(id)", "e;id", "e'", "e*", "e~", "e`id`", "e.weight"] {
        save = save.bytes(name, b"x");
    }
    save.commit()
        .unwrap()
        .checkpoint
        .set_tag("a;b", false)
        .unwrap();
    drop((job, store));
    assert_eq!(bash(&stored, "ckptdb export nq@8 --entry e"), ["e.weight"]);
    assert_eq!(bash(&stored, "ckptdb show nq@tag:"), [""; 0]);
    // Files to be saved, of which a shell is given the name with its quotes.
    for name in ["state one.bin", "state.bin"] {
        std::fs::write(stored.folder.path().join(name), "x").unwrap();
    }
    let files = bash(&stored, "ckptdb save sta");
    assert_eq!(files, ["state\\ one.bin", "state.bin"]);
    assert_eq!(bash(&stored, "ckptdb save model=state.b"), ["state.bin"]);
    // What is common to all shells.
    assert_eq!(bash(&stored, "ckptdb undel"), ["undelete"]);
    assert_eq!(bash(&stored, "ckptdb ls --aband"), ["--abandoned"]);
}

#[test]
fn the_store_that_is_typed_is_the_one_that_is_asked() {
    let stored = filled();
    let other = stored.folder.path().join("other.ckptdb");
    let store = Store::create(&other).unwrap();
    store
        .job("rl")
        .unwrap()
        .save(1)
        .bytes("x", b"x")
        .commit()
        .unwrap();
    drop(store);
    assert_eq!(bash(&stored, "ckptdb ls -s other.ckptdb r"), ["rl"]);
    assert_eq!(bash(&stored, "ckptdb ls -s nowhere.ckptdb v"), [""; 0]);
    std::fs::write(&other, "no store").unwrap();
    assert_eq!(bash(&stored, "ckptdb ls -s other.ckptdb r"), [""; 0]);
}

#[test]
fn every_shell_gets_a_script_that_asks_the_program() {
    let stored = filled();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = stored.run(&["completions", shell]);
        assert_eq!(said.code(), 0, "{shell}: {}", said.text());
        assert!(said.text().contains("_CKPTDB_COMPLETE"), "{shell}");
        let program = env!("CARGO_BIN_EXE_ckptdb");
        let asked = Command::new(program)
            .args(["--", "ckptdb", "show", "vit@gold"])
            .env("_CKPTDB_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "2")
            .env("CKPTDB_STORE", stored.path())
            .output()
            .unwrap();
        assert!(asked.status.success(), "{shell}");
    }
}
