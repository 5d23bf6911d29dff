//! Listings on a terminal, which `script` makes.

use std::process::Command;

use super::Stored;

/// What a terminal shows of a command, and its exit code.
fn shown(stored: &Stored, command: &str, pager: Option<&str>) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_ckptdb");
    let mut script = Command::new("script");
    script
        .args(["-qec", &format!("{program} {command}"), "/dev/null"])
        .env("CKPTDB_STORE", stored.path())
        .env("PAGER", "sed s/^/other:/")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm");
    match pager {
        Some(pager) => script.env("CKPTDB_PAGER", pager),
        None => script.env_remove("CKPTDB_PAGER"),
    };
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (output.status.code().unwrap(), text)
}

#[test]
fn a_listing_on_a_terminal_goes_through_the_pager_that_is_wanted() {
    let stored = Stored::new();
    let (code, text) = shown(&stored, "ls 2>/dev/null", Some("sed 's/^/P|/'"));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.lines().count() > 4 && text.lines().all(|line| line.starts_with("P|")),
        "{text}"
    );
    assert!(text.contains("3 checkpoints"), "{text}");
    let (_, other) = shown(&stored, "ls 2>/dev/null", None);
    assert!(
        other.lines().all(|line| line.starts_with("other:")),
        "{other}"
    );
    // Colours are those of the terminal that the pager has.
    let (_, coloured) = shown(&stored, "show vit@2 2>/dev/null", Some("cat -"));
    let (_, direct) = shown(&stored, "show vit@2 2>/dev/null", Some(""));
    assert_eq!(coloured.contains('\u{1b}'), direct.contains('\u{1b}'));
    // None is wanted, none is there, or what is printed is a document.
    for pager in ["", "cat", "no-such-program-as-this"] {
        let (code, text) = shown(&stored, "ls 2>/dev/null", Some(pager));
        assert!(
            code == 0 && text.contains("ITERATION") && !text.contains("P|"),
            "{pager}: {text}"
        );
    }
    let (_, text) = shown(&stored, "ls --json", Some("sed 's/^/P|/'"));
    assert!(text.starts_with('{'), "{text}");
    // A pager that has seen enough is no error, and one does not hide any.
    let (code, text) = shown(&stored, "ls 2>/dev/null", Some("head -1"));
    assert_eq!((code, text.lines().count()), (0, 1), "{text}");
    let (code, text) = shown(&stored, "show vit@9", Some("sed 's/^/P|/'"));
    assert!(code == 4 && text.contains("error:"), "{code}: {text}");
}

#[test]
fn what_is_piped_goes_through_no_pager() {
    let stored = Stored::new();
    let said = stored.run(&["ls"]).text();
    assert!(said.trim_start().starts_with("ITERATION"), "{said}");
}
