//! What only one module may name: the engine, the encoding, files, the clock, the terminal.

use std::collections::BTreeSet;

use crate::modules::{self, Path};
use crate::source::{Checkout, Fault, Source};
use crate::tree;

const RULE: &str = "boundaries";

/// A name, who may say it, and why nobody else. An empty list leaves it to the faces.
struct Boundary {
    path: &'static str,
    only: &'static [&'static str],
    why: &'static str,
}

const BOUNDARIES: &[Boundary] = &[
    Boundary {
        path: "redb",
        only: &["storage"],
        why: "one module talks to the engine",
    },
    Boundary {
        path: "bincode",
        only: &["format"],
        why: "stored forms are private to `format`",
    },
    Boundary {
        path: "std::fs",
        only: FILES,
        why: "one place opens, syncs and locks files",
    },
    Boundary {
        path: "std::os",
        only: FILES,
        why: "one place knows the operating system",
    },
    Boundary {
        path: "rustix",
        only: FILES,
        why: "one place knows the operating system",
    },
    Boundary {
        path: "std::time::SystemTime",
        only: &["platform"],
        why: "the clock is injected",
    },
    Boundary {
        path: "std::env",
        only: &[],
        why: "only the faces read the environment",
    },
    Boundary {
        path: "std::process",
        only: &["platform"],
        why: "only the faces exit",
    },
    Boundary {
        path: "std::io::stdout",
        only: &[],
        why: "only the faces print",
    },
    Boundary {
        path: "std::io::stderr",
        only: &[],
        why: "only the faces print",
    },
    Boundary {
        path: "std::io::stdin",
        only: &[],
        why: "only the faces read what is typed",
    },
];

const FILES: &[&str] = &["platform", "storage"];

/// Macros that print.
const PRINTING: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// Methods of paths that ask the file system without naming `std::fs`.
const ASKING: &[&str] = &[
    "canonicalize",
    "is_dir",
    "is_file",
    "is_symlink",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "try_exists",
];

/// The library's modules name only what they are in charge of.
pub(crate) fn check(checkout: &Checkout) -> Vec<Fault> {
    checkout.library().flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<Fault> {
    let all = modules::paths(&source.code);
    let top = source.top().unwrap_or_default();
    let mut out = Vec::new();
    for path in &all {
        if let Some(boundary) = crossed(path, &all, top) {
            let what = format!("`{}` names `{}`: {}", top, boundary.path, boundary.why);
            out.push(source.fault(path.line, RULE, what));
        }
    }
    tree::each_level(&source.code, &mut |level| {
        for pair in level.windows(2) {
            if let (Some(word), true) = (pair[0].word(), pair[1].is_mark('!'))
                && PRINTING.contains(&word)
            {
                let what = format!("`{word}!`: only the faces print");
                out.push(source.fault(pair[0].line(), RULE, what));
            }
            if let (true, Some(word)) = (pair[0].is_mark('.'), pair[1].word())
                && ASKING.contains(&word)
                && !FILES.contains(&top)
            {
                let what = format!("`.{word}` asks the file system: `platform` does that");
                out.push(source.fault(pair[1].line(), RULE, what));
            }
        }
    });
    out
}

fn crossed(path: &Path, all: &[Path], top: &str) -> Option<&'static Boundary> {
    let full = modules::expanded(path, all);
    let is_below = |prefix: &str| {
        prefix
            .split("::")
            .eq(full.iter().take(prefix.split("::").count()))
    };
    BOUNDARIES
        .iter()
        .find(|boundary| is_below(boundary.path) && !boundary.only.contains(&top))
}

/// Who may catch panics, each at one place: storage the engine's, sessions those of the user's own
/// code.
const CATCHERS: [&str; 2] = ["storage", "session"];

/// There is one `catch_unwind` around the engine and one around users' code, and nothing else hides
/// in them.
pub(crate) fn check_one_catch(checkout: &Checkout) -> Vec<Fault> {
    let mut found = Vec::new();
    for source in checkout
        .sources
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        tree::each_level(&source.code, &mut |level| {
            let calls = level.windows(2).filter(|pair| {
                pair[0].word() == Some("catch_unwind") && pair[1].group('(').is_some()
            });
            found.extend(calls.map(|pair| (source, pair[0].line())));
        });
    }
    let mut out = Vec::new();
    if found.is_empty() {
        let what = "no `catch_unwind` stands around the engine";
        out.push(Fault::new("src", 0, RULE, what));
    }
    let mut caught = BTreeSet::new();
    for (source, line) in found {
        let top = source.top().unwrap_or_default().to_owned();
        if !CATCHERS.contains(&top.as_str()) {
            let what = format!("`{top}` may not catch panics: only {CATCHERS:?} may");
            out.push(source.fault(line, RULE, what));
        } else if !caught.insert(top) {
            let what = "a second `catch_unwind` of this module: there is exactly one";
            out.push(source.fault(line, RULE, what));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        check(&Checkout::of(&[(path, text)])).len()
    }

    #[test]
    fn a_name_outside_of_its_module_is_found() {
        for bad in [
            "use redb::Database;",
            "use redb;",
            "fn f() { redb::Builder::new(); }",
            "#[derive(bincode::Encode)] struct S;",
            "use std::fs;",
            "use std::{io, fs::File};",
            "fn f() { std::fs::read(\"x\"); }",
            "use std::process; fn f() { process::exit(1) }",
            "use std::time::SystemTime;",
            "use std::time; fn f() { time::SystemTime::now() }",
            "fn f() { std::env::var(\"X\") }",
            "fn f() { println!(\"x\") }",
            "fn f(p: &Path) { p.is_dir(); }",
            "use std::io; fn f() { io::stdout() }",
        ] {
            assert!(faults("src/store/a.rs", bad) > 0, "{bad} was accepted");
        }
    }

    #[test]
    fn the_modules_in_charge_and_the_faces_may() {
        assert_eq!(
            faults("src/storage/a.rs", "use redb::Database; use std::fs::File;"),
            0
        );
        assert_eq!(faults("src/format/a.rs", "use bincode::config;"), 0);
        assert_eq!(faults("src/platform/a.rs", "use std::time::SystemTime;"), 0);
        assert_eq!(
            faults(
                "src/bin/k/main.rs",
                "fn main() { println!(); std::env::args(); }"
            ),
            0
        );
    }

    #[test]
    fn words_in_text_and_in_tests_are_no_names() {
        let text = "/// redb::x\nfn f() { g(\"std::fs\"); env!(\"X\"); EntryKind::File; }
                    #[cfg(test)] mod tests { use redb::Database; }";
        assert_eq!(faults("src/store/a.rs", text), 0);
    }

    #[test]
    fn no_catch_and_a_second_catch_are_found() {
        let call = "use std::panic::catch_unwind; fn f() { catch_unwind(|| ()); }";
        let count = |files: &[(&str, &str)]| check_one_catch(&Checkout::of(files)).len();
        assert_eq!(count(&[("src/a.rs", "fn f() {}")]), 1);
        let engine = ("src/storage/a.rs", call);
        assert_eq!(count(&[engine]), 0);
        assert_eq!(count(&[engine, ("src/storage/b.rs", call)]), 1);
        assert_eq!(count(&[engine, ("src/session/b.rs", call)]), 0);
        assert_eq!(count(&[engine, ("src/store/b.rs", call)]), 1);
    }
}
