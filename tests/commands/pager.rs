//! Listings on a terminal, which `script` makes.

use std::process::Command;

use super::Stored;

const MARKS: &str = "sed 's/^/P|/'";

/// What a terminal of so many rows shows of a command, and its exit code.
fn shown(stored: &Stored, command: &str, rows: usize, env: &[(&str, &str)]) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_ckptdb");
    let line = format!("stty rows {rows} cols 80; {program} {command}");
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("CKPTDB_STORE", stored.path())
        .env_remove("NO_COLOR")
        .env_remove("CKPTDB_PAGER")
        .env("PAGER", "sed s/^/other:/")
        .env("TERM", "xterm");
    script.envs(env.iter().copied());
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (output.status.code().unwrap(), text)
}

#[test]
fn what_is_longer_than_the_screen_goes_through_the_pager_that_is_wanted() {
    let stored = Stored::new();
    let list = "ls 2>/dev/null";
    let wanted = ("CKPTDB_PAGER", MARKS);
    let (code, text) = shown(&stored, list, 5, &[wanted]);
    assert_eq!(code, 0, "{text}");
    let is_all = text.lines().all(|line| line.starts_with("P|"));
    assert!(text.lines().count() == 5 && is_all, "{text}");
    assert!(text.contains("3 checkpoints"), "{text}");
    let (_, other) = shown(&stored, list, 5, &[]);
    assert!(
        other.lines().all(|line| line.starts_with("other:")),
        "{other}"
    );
    // Colours are those of the terminal that the pager has.
    let (_, direct) = shown(&stored, list, 50, &[wanted]);
    assert!(direct.contains('\u{1b}') && text.contains('\u{1b}'));
    // It fits; none is wanted, or is there, or has the terminal for it; or it is a document.
    for (rows, env) in [
        (6, wanted),
        (5, ("CKPTDB_PAGER", "")),
        (5, ("CKPTDB_PAGER", "cat")),
        (5, ("CKPTDB_PAGER", "no-such-program-as-this")),
        (5, ("TERM", "dumb")),
        (5, ("TERM", "")),
    ] {
        let (code, text) = shown(&stored, list, rows, &[env]);
        assert!(code == 0 && text.contains("ITERATION"), "{env:?}: {text}");
        assert!(
            !text.contains("P|") && !text.contains("other:"),
            "{env:?}: {text}"
        );
    }
    let (_, text) = shown(&stored, "ls --json", 5, &[wanted]);
    assert!(text.starts_with('{'), "{text}");
}

#[test]
fn neither_a_pager_that_ends_early_nor_an_interrupt_ends_what_is_shown() {
    let stored = Stored::new();
    let first = [("CKPTDB_PAGER", "head -1")];
    let (code, text) = shown(&stored, "ls 2>/dev/null", 5, &first);
    assert_eq!((code, text.lines().count()), (0, 1), "{text}");
    let (code, text) = shown(&stored, "show vit@9", 5, &[("CKPTDB_PAGER", MARKS)]);
    assert!(code == 4 && text.contains("error:"), "{code}: {text}");
    // Whoever reads on is not left alone.
    let impatient = "cat; kill -INT $PPID; kill -INT $PPID; sleep 0.2; echo read";
    let (code, text) = shown(&stored, "ls", 5, &[("CKPTDB_PAGER", impatient)]);
    assert!(code == 0 && text.ends_with("read\n"), "{code}: {text}");
}

#[test]
fn what_is_piped_goes_through_no_pager() {
    let stored = Stored::new();
    let said = stored.run(&["ls"]).text();
    assert!(said.trim_start().starts_with("ITERATION"), "{said}");
}
