//! Pages that name things: tests in tables, commands, the manifest's promises.

use std::collections::BTreeSet;

use crate::source::{Checkout, Fault, Page, quoted};
use crate::tree;

/// The names of all functions that are tests, those made inside macros too.
fn tests(checkout: &Checkout) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for source in &checkout.sources {
        tree::each_level(&source.all, &mut |level| {
            for at in 0..level.len() {
                let Some((inside, after)) = tree::attribute(level, at) else {
                    continue;
                };
                if inside.last().and_then(tree::Tree::word) != Some("test") {
                    continue;
                }
                let rest = level[after..].windows(2);
                let name = rest
                    .take_while(|pair| pair[0].group('{').is_none())
                    .find(|pair| pair[0].word() == Some("fn"))
                    .and_then(|pair| pair[1].word());
                out.extend(name.map(str::to_owned));
            }
        });
    }
    out
}

/// In every table with a column `test`, each row names tests that exist.
pub(crate) fn check_test_tables(checkout: &Checkout) -> Vec<Fault> {
    const RULE: &str = "test table";
    let tests = tests(checkout);
    let mut out = Vec::new();
    for page in checkout
        .pages()
        .filter(|page| page.path.starts_with("docs/"))
    {
        let mut column = None;
        let mut last = 0;
        for (line, cells) in page.rows() {
            // A table's header is followed by its rule, then by rows without a gap.
            if line > last + 2 || last == 0 || page.text.lines().nth(line).is_some_and(is_rule) {
                column = cells
                    .iter()
                    .position(|cell| matches!(&**cell, "test" | "tests"));
                last = line;
                continue;
            }
            last = line;
            let Some(cell) = column.and_then(|column| cells.get(column)) else {
                continue;
            };
            let names = quoted(cell);
            if names.is_empty() {
                out.push(page.fault(line, RULE, "this row names no test"));
            }
            for name in names {
                let name = name.rsplit("::").next().unwrap_or(name);
                if !tests.contains(name) {
                    out.push(page.fault(line, RULE, format!("there is no test `{name}`")));
                }
            }
        }
    }
    out
}

fn is_rule(line: &str) -> bool {
    line.starts_with('|') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

/// The commands with `cargo test` in the blocks of a page.
fn test_commands(page: &Page) -> Vec<(usize, String)> {
    let lines = page.text.lines().enumerate();
    lines
        .map(|(index, line)| (index + 1, line.trim().trim_start_matches("$ ").to_owned()))
        .filter(|(_, line)| line.starts_with("cargo test") || line.starts_with("cargo nextest"))
        .collect()
}

/// The README's command for the tests is the one that the script runs, word for word.
pub(crate) fn check_commands(readme: &Page, script: Option<&Page>) -> Vec<Fault> {
    const RULE: &str = "test command";
    let commands = test_commands(readme);
    if commands.is_empty() {
        return vec![readme.fault(1, RULE, "the README says no command that runs the tests")];
    }
    // A published package comes without the script.
    let Some(script) = script else {
        return Vec::new();
    };
    let run: BTreeSet<String> = test_commands(script)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let missing = commands
        .iter()
        .filter(|(_, command)| !run.contains(command));
    missing
        .map(|(line, command)| {
            readme.fault(
                *line,
                RULE,
                format!("{} does not run `{command}`", script.path),
            )
        })
        .collect()
}

/// What the manifest must say, and what it must not.
pub(crate) fn check_manifest(manifest: &Page) -> Vec<Fault> {
    const RULE: &str = "manifest";
    let mut out = Vec::new();
    let pins = [("redb", "="), ("bincode", "=2.0.1")];
    for (name, version) in pins {
        let line = manifest
            .text
            .lines()
            .find(|line| line.starts_with(&format!("{name} = ")));
        if !line.is_some_and(|line| line.contains(&format!("\"{version}"))) {
            let what = format!("`{name}` is pinned to `{version}..`: stored bytes depend on it");
            out.push(manifest.fault(1, RULE, what));
        }
    }
    for (index, line) in manifest.text.lines().enumerate() {
        let squeezed: String = line.split_whitespace().collect();
        if squeezed.starts_with("panic=\"abort\"") {
            let what = "the engine's panics are caught: aborting would lose the process";
            out.push(manifest.fault(index + 1, RULE, what));
        }
    }
    if !manifest.text.contains("\noverflow-checks = true") {
        out.push(manifest.fault(1, RULE, "overflow checks stay on in release"));
    }
    out
}

/// The change log has a heading for the version in the manifest.
pub(crate) fn check_changelog(manifest: &Page, changelog: &Page) -> Vec<Fault> {
    let version = manifest
        .text
        .lines()
        .find_map(|line| line.strip_prefix("version = "));
    let version = version.unwrap_or_default().trim_matches('"');
    let mut headings = changelog
        .text
        .lines()
        .filter(|line| line.starts_with("## "));
    if !version.is_empty() && headings.any(|line| line.contains(version)) {
        return Vec::new();
    }
    vec![changelog.fault(
        1,
        "change log",
        format!("no heading for version `{version}`"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(table: &str) -> Vec<String> {
        let checkout = Checkout::of(&[
            (
                "tests/a.rs",
                "#[test] fn one() {} proptest! { #[test] fn two(x in 0..1) {} }",
            ),
            (
                "src/a.rs",
                "#[cfg(test)] mod tests { #[test]\n#[should_panic] fn three() {} }",
            ),
            ("docs/durability.md", table),
        ]);
        check_test_tables(&checkout)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_row_without_an_existing_test_is_found() {
        let head = "# D\n\n| fault | test |\n|---|---|\n| a | `one`, `x::two`, `three` |\n";
        assert_eq!(rows(head), Vec::<String>::new());
        let found = rows(&format!("{head}| b | `four` |\n| c | later |\n"));
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("docs/durability.md:6: test table: there is no test `four`"));
    }

    #[test]
    fn other_tables_are_left_alone() {
        assert_eq!(
            rows("| a | b |\n|---|---|\n| c | `d` |\n"),
            Vec::<String>::new()
        );
        let two = "| a | test |\n|---|---|\n| b | `one` |\n\n| c | d |\n|---|---|\n| e | `f` |\n";
        assert_eq!(rows(two), Vec::<String>::new());
    }

    #[test]
    fn a_readme_with_another_command_is_found() {
        let readme = Page::new("README.md", "```console\n$ cargo test --workspace\n```");
        let script = |text: &str| Page::new(".ci/run", text);
        assert_eq!(
            check_commands(&readme, Some(&script("  cargo test --workspace\n"))),
            []
        );
        assert_eq!(
            check_commands(&readme, Some(&script("cargo test --lib\n"))).len(),
            1
        );
        assert_eq!(check_commands(&Page::new("README.md", ""), None).len(), 1);
    }

    #[test]
    fn a_manifest_without_its_pins_is_found() {
        let good =
            "redb = \"=4.4.0\"\nbincode = { version = \"=2.0.1\" }\noverflow-checks = true\n";
        let count = |text: &str| check_manifest(&Page::new("Cargo.toml", text)).len();
        assert_eq!(count(good), 0);
        assert_eq!(count(&good.replace("\"=4", "\"4")), 1);
        assert_eq!(count(&good.replace("=2.0.1", "2")), 1);
        assert_eq!(count(&good.replace("true", "false")), 1);
        assert_eq!(count(&format!("{good}panic = \"abort\"\n")), 1);
    }

    #[test]
    fn a_version_without_a_heading_is_found() {
        let manifest = Page::new("Cargo.toml", "version = \"1.2.3\"\n");
        let count = |text: &str| check_changelog(&manifest, &Page::new("C", text)).len();
        assert_eq!(count("## [1.2.3]\n"), 0);
        assert_eq!(count("## [1.2.2]\n"), 1);
    }
}
