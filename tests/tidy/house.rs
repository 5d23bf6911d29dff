//! How sources read: their first line, their characters, their words, their attributes.

use std::collections::BTreeSet;

use crate::source::{Checkout, Fault, Page, Source, has_extension, quoted};
use crate::tree::{self, Tree};

const RULE: &str = "house";

/// Words that `docs/glossary.md` sets aside, because another word means the thing here.
const SET_ASIDE: &[&str] = &[
    "artifact",
    "blob",
    "experiment",
    "fsck",
    "repository",
    "savepoint",
    "snapshot",
    "vacuum",
    "vault",
];

/// Marks of work that was left undone, put together here so that this file has none.
const UNDONE: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// All sources keep the rules of style that neither the compiler nor the linter knows.
pub(crate) fn check(checkout: &Checkout) -> Vec<Fault> {
    let mut out: Vec<Fault> = checkout.sources.iter().flat_map(check_source).collect();
    let is_script = |page: &&Page| page.path.starts_with(".ci/") || has_extension(&page.path, "py");
    for page in checkout.pages().filter(is_script) {
        out.extend(check_text(&page.path, &page.text));
    }
    out
}

fn check_source(source: &Source) -> Vec<Fault> {
    let mut out = check_text(&source.path, &source.text);
    let opens = source.text.starts_with("//!")
        || (source.path == "src/lib.rs" && source.text.starts_with("#![doc = include_str!"));
    if !opens {
        out.push(source.fault(1, RULE, "a source file opens with `//!` and what it is for"));
    }
    let mut seen = BTreeSet::new();
    tree::each_level(&source.all, &mut |level| {
        for (at, tree) in level.iter().enumerate() {
            if let Some(what) = objection(source, level, at)
                && seen.insert((tree.line(), what.clone()))
            {
                out.push(source.fault(tree.line(), RULE, what));
            }
        }
    });
    out
}

/// What is wrong with any text of ours.
fn check_text(path: &str, text: &str) -> Vec<Fault> {
    let mut out = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(bad) = line.chars().find(|c| !c.is_ascii()) {
            let what = format!(
                "`{}` is not ASCII: write it as an escape",
                bad.escape_unicode()
            );
            out.push(Fault::new(path, index + 1, RULE, what));
        }
        if let Some(mark) = UNDONE.iter().find(|mark| line.contains(**mark)) {
            let what = format!("`{mark}`: do it, or say in docs/ why not");
            out.push(Fault::new(path, index + 1, RULE, what));
        }
    }
    out
}

/// What is wrong with the tree at this place.
fn objection(source: &Source, level: &[Tree], at: usize) -> Option<String> {
    if let Some((inside, _)) = tree::attribute(level, at) {
        return objection_to_attribute(inside);
    }
    let word = level[at].word()?;
    if level.get(at + 1).is_some_and(|next| next.is_mark('!'))
        && matches!(word, "todo" | "unimplemented")
    {
        return Some(format!("`{word}!` is unfinished work"));
    }
    // The engine has savepoints of its own, and one module may talk to it about them.
    let is_engines = |part: &str| part == "savepoint" && source.top() == Some("storage");
    let aside = parts(word)
        .into_iter()
        .find(|part| SET_ASIDE.contains(&part.as_str()) && !is_engines(part))?;
    Some(format!(
        "`{word}`: `{aside}` is set aside, see docs/glossary.md"
    ))
}

fn objection_to_attribute(inside: &[Tree]) -> Option<String> {
    let arguments = || {
        inside
            .get(1)
            .and_then(|tree| tree.group('('))
            .unwrap_or_default()
    };
    let has = |word: &str| arguments().iter().any(|tree| tree.word() == Some(word));
    match inside.first().and_then(Tree::word)? {
        "ignore" => Some("`ignore`: a test that does not run proves nothing".to_owned()),
        "allow" => Some("`allow`: write `expect` with a reason".to_owned()),
        "expect" if !has("reason") => Some("`expect` without a reason".to_owned()),
        "doc" if has("hidden") => Some("`doc(hidden)`: no back doors in the API".to_owned()),
        _ => None,
    }
}

/// The words that an identifier is made of, in small letters and in the singular.
fn parts(identifier: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut was_small = false;
    for c in identifier.chars() {
        if (c.is_uppercase() && was_small) || !c.is_alphanumeric() {
            out.push(String::new());
        }
        was_small = c.is_lowercase();
        if let (true, Some(part)) = (c.is_alphanumeric(), out.last_mut()) {
            part.extend(c.to_lowercase());
        }
    }
    out.iter()
        .map(|part| part.strip_suffix('s').unwrap_or(part).to_owned())
        .collect()
}

/// The glossary sets aside the same words as this file.
pub(crate) fn check_page(page: &Page) -> Vec<Fault> {
    let Some((before, after)) = page.text.split_once("## Words set aside") else {
        return vec![page.fault(1, RULE, "no section `Words set aside`")];
    };
    let section = after.split("\n## ").next().unwrap_or_default();
    let first = before.lines().count() + 1;
    let section = Page::new(&page.path, section);
    let rows = section.rows();
    let shown: BTreeSet<&str> = rows
        .iter()
        .filter_map(|(_, cells)| cells.first().map(|cell| quoted(cell)))
        .flatten()
        .collect();
    let expected: BTreeSet<&str> = SET_ASIDE.iter().copied().collect();
    let differ: Vec<&str> = shown.symmetric_difference(&expected).copied().collect();
    if differ.is_empty() {
        return Vec::new();
    }
    let what = format!(
        "only here or only in tests/tidy/house.rs: {}",
        differ.join(", ")
    );
    vec![page.fault(first, RULE, what)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        check(&Checkout::of(&[("src/a.rs", text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_bad_habit_is_found() {
        let undone = format!("//! A.\n// {} later", UNDONE[0]);
        for bad in [
            "fn f() {}",
            "// A comment is no documentation.",
            "//! Caf\u{e9}.",
            "//! A.\nfn take_snapshot() {}",
            "//! A.\nstruct BlobStore;",
            "//! A.\nconst VAULTS: u8 = 1;",
            "//! A.\n#[test] #[ignore] fn f() {}",
            "//! A.\n#[test] #[ignore = \"slow\"] fn f() {}",
            "//! A.\nfn f() { todo!() }",
            "//! A.\n#[allow(dead_code)] fn f() {}",
            "//! A.\n#![allow(dead_code)]",
            "//! A.\n#[expect(dead_code)] fn f() {}",
            "//! A.\n#[doc(hidden)] pub fn f() {}",
            &undone,
        ] {
            assert_eq!(faults(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_script_with_a_bad_character_is_found() {
        let checkout = Checkout::of(&[(".ci/run", "#!/bin/sh\necho \u{2713}")]);
        assert_eq!(check(&checkout).len(), 1);
    }

    #[test]
    fn good_sources_pass() {
        let text = "//! A.\n#[expect(dead_code, reason = \"x\")] fn f() { g(\"a snapshot\") }";
        assert_eq!(faults(text), Vec::<String>::new());
        let checkout = Checkout::of(&[("src/lib.rs", "#![doc = include_str!(\"../README.md\")]")]);
        assert_eq!(check(&checkout), []);
    }

    #[test]
    fn identifiers_are_taken_apart() {
        assert_eq!(parts("take_SnapShots2"), ["take", "snap", "shots2"]);
        assert_eq!(parts("BlobStore"), ["blob", "store"]);
        assert_eq!(parts("MAX_BLOBS"), ["max", "blob"]);
    }

    #[test]
    fn a_glossary_with_other_words_is_found() {
        let rows: Vec<String> = SET_ASIDE
            .iter()
            .map(|word| format!("| `{word}` | x |"))
            .collect();
        let page = |rows: &[String]| {
            let text = format!(
                "# G\n\n## Words set aside\n\n{}\n\n## More\n",
                rows.join("\n")
            );
            Page::new("docs/glossary.md", text)
        };
        assert_eq!(check_page(&page(&rows)), []);
        assert_eq!(check_page(&page(&rows[1..])).len(), 1);
        assert_eq!(check_page(&Page::new("docs/glossary.md", "")).len(), 1);
    }
}
