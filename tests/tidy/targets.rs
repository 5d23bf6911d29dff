//! Files that nobody would miss: sources and tests that no target reaches, fuzz targets that are
//! not registered.

use std::collections::BTreeSet;

use crate::source::{Checkout, Fault, Page, Source, has_extension, module_folder};
use crate::tree::{self, Tree};

const RULE: &str = "orphans";

/// Whether Cargo finds a target in this file by itself.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["src", "lib.rs" | "main.rs"]
        | ["src", "bin", _, "main.rs"]
        | ["tests" | "examples" | "benches", _]
        | ["tests" | "examples" | "benches", _, "main.rs"]
        | ["fuzz", "fuzz_targets" | "tests" | "examples", _]
        | ["fuzz" | "python", "src", "lib.rs"]
        | ["benches", "peers", "src", "main.rs"] => true,
        ["src", "bin", file] => has_extension(file, "rs"),
        _ => false,
    }
}

/// The files that a file's `mod name;` may mean, wherever in it they stand.
fn declared(source: &Source) -> Vec<String> {
    let mut out = Vec::new();
    let base = module_folder(&source.path);
    gather(&source.all, &source.path, &base, &mut out);
    out
}

fn gather(trees: &[Tree], path: &str, folder: &str, out: &mut Vec<String>) {
    let mut given = None;
    for (at, tree) in trees.iter().enumerate() {
        if let Some(([key, _, Tree::Literal { text, .. }], _)) = tree::attribute(trees, at)
            && key.word() == Some("path")
        {
            given = Some(text.trim_matches('"').to_owned());
        }
        if let (Some("mod"), Some(name)) = (tree.word(), trees.get(at + 1).and_then(Tree::word)) {
            let below = format!("{folder}/{name}");
            match trees.get(at + 2) {
                Some(Tree::Group { inside, .. }) => gather(inside, path, &below, out),
                _ => match given.take() {
                    Some(file) => out.push(joined(path, &file)),
                    None => out.extend([format!("{below}.rs"), format!("{below}/mod.rs")]),
                },
            }
        }
    }
}

/// A path relative to a file's folder, with its `..` resolved.
fn joined(file: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every source file belongs to a target, and every script of the tests is run.
pub(crate) fn check_orphans(checkout: &Checkout) -> Vec<Fault> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&Source> = checkout
        .sources
        .iter()
        .filter(|s| is_root(&s.path))
        .collect();
    while let Some(source) = next.pop() {
        if reached.insert(&source.path) {
            let names = declared(source);
            next.extend(
                checkout
                    .sources
                    .iter()
                    .filter(|other| names.contains(&other.path)),
            );
        }
    }
    let forgotten = checkout
        .sources
        .iter()
        .filter(|s| !reached.contains(&*s.path));
    let mut out: Vec<Fault> = forgotten
        .map(|source| source.fault(1, RULE, "no `mod` of any target reaches this file"))
        .collect();
    if checkout.page("Cargo.toml").text.contains("autotests") {
        let what = "`autotests`: these rules rest on Cargo finding the targets";
        out.push(Fault::new("Cargo.toml", 1, RULE, what));
    }
    // A published package comes without the scripts of its own checks.
    let Some(script) = checkout.script(".ci/run") else {
        return out;
    };
    out.extend(unused_scripts(checkout, &script.text));
    out
}

/// Scripts of the tests in Python that `.ci/run` does not name, and none that it names takes in.
fn unused_scripts(checkout: &Checkout, named: &str) -> Vec<Fault> {
    let scripts = checkout.pages();
    let scripts: Vec<&Page> = scripts
        .filter(|page| has_extension(&page.path, "py"))
        .collect();
    let folder = |page: &Page| {
        let parts = page.path.rsplit_once('/');
        parts.map_or(String::new(), |(folder, _)| folder.to_owned())
    };
    let is_named = |page: &&&Page| {
        let all = format!("{}/*.py", folder(page));
        named.contains(&page.path) || named.contains(&all)
    };
    let mut run: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&Page> = scripts.iter().filter(is_named).copied().collect();
    while let Some(page) = next.pop() {
        if run.insert(&page.path) {
            let imported = imported(&page.text);
            let paths: BTreeSet<String> = imported
                .map(|name| format!("{}/{name}.py", folder(page)))
                .collect();
            next.extend(scripts.iter().filter(|other| paths.contains(&other.path)));
        }
    }
    let unused = scripts
        .iter()
        .filter(|page| page.path.starts_with("tests/") && !run.contains(&*page.path));
    unused
        .map(|page| page.fault(1, RULE, ".ci/run does not run this script"))
        .collect()
}

/// The modules that a script in Python takes in: `import a`, `from a import b`.
fn imported(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_import = matches!(words.next()?, "import" | "from");
        words.next().filter(|_| is_import)
    })
}

/// Every file with a fuzz target is registered, and what is registered exists.
pub(crate) fn check_fuzz(checkout: &Checkout) -> Vec<Fault> {
    let mut out = Vec::new();
    let manifest = checkout.page("fuzz/Cargo.toml");
    let mut registered = BTreeSet::new();
    for (index, line) in manifest.text.lines().enumerate() {
        let value = line.split_once('=').filter(|(key, _)| key.trim() == "path");
        let Some((_, path)) = value else { continue };
        let path = format!("fuzz/{}", path.trim().trim_matches('"'));
        let is_target = path.starts_with("fuzz/fuzz_targets/");
        if is_target && !checkout.sources.iter().any(|source| source.path == path) {
            out.push(manifest.fault(index + 1, RULE, format!("there is no {path}")));
        }
        registered.insert(path);
    }
    for source in checkout
        .sources
        .iter()
        .filter(|s| s.path.starts_with("fuzz/fuzz_targets/"))
    {
        let has_target = source.text.contains("fuzz_target!");
        if has_target && !registered.contains(&source.path) {
            out.push(source.fault(1, RULE, "fuzz/Cargo.toml does not register this target"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(files: &[(&str, &str)]) -> Vec<String> {
        check_orphans(&Checkout::of(files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_that_no_target_reaches_is_found() {
        let found = orphans(&[
            ("tests/main.rs", "mod kept; mod folder;"),
            ("tests/kept.rs", ""),
            ("tests/folder/mod.rs", "mod deep;"),
            ("tests/folder/deep.rs", "mod deeper;"),
            ("tests/folder/deep/deeper.rs", ""),
            ("tests/folder/lost.rs", ""),
            ("src/lib.rs", "mod a;"),
            ("src/a.rs", ""),
            ("src/b.rs", ""),
        ]);
        let what = "orphans: no `mod` of any target reaches this file";
        assert_eq!(
            found,
            [
                format!("tests/folder/lost.rs:1: {what}"),
                format!("src/b.rs:1: {what}")
            ]
        );
    }

    #[test]
    fn a_path_attribute_and_a_module_in_braces_are_followed() {
        let found = orphans(&[
            (
                "tests/cli/main.rs",
                "#[path = \"../support/mod.rs\"] mod support; mod a { mod b; }",
            ),
            ("tests/support/mod.rs", ""),
            ("tests/cli/a/b.rs", ""),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_script_that_nothing_runs_is_found() {
        let files = [
            ("tests/python/a.py", ""),
            (".ci/run", "python tests/python/b.py"),
        ];
        assert_eq!(orphans(&files).len(), 1);
        let files = [
            ("tests/python/a.py", ""),
            (".ci/run", "for t in tests/python/*.py"),
        ];
        assert_eq!(orphans(&files).len(), 0);
    }

    #[test]
    fn a_script_that_one_that_is_run_imports_is_run() {
        let found = orphans(&[
            ("tests/python/a.py", "import os\nimport b\n"),
            ("tests/python/b.py", "from c import d\n"),
            ("tests/python/c.py", ""),
            ("tests/python/d.py", ""),
            ("tests/other/b.py", ""),
            (".ci/run", "python tests/python/a.py"),
        ]);
        let what = "orphans: .ci/run does not run this script";
        let left = ["tests/python/d.py", "tests/other/b.py"];
        assert_eq!(found, left.map(|path| format!("{path}:1: {what}")));
    }

    #[test]
    fn targets_that_cargo_would_not_find_are_found() {
        assert_eq!(orphans(&[("Cargo.toml", "autotests = false")]).len(), 1);
    }

    #[test]
    fn an_unregistered_and_a_missing_fuzz_target_are_found() {
        let text = "fuzz_target!(|data: &[u8]| {});";
        let count = |files: &[(&str, &str)]| check_fuzz(&Checkout::of(files)).len();
        let manifest = "[[bin]]\nname = \"a\"\npath = \"fuzz_targets/a.rs\"\n";
        assert_eq!(
            count(&[
                ("fuzz/Cargo.toml", manifest),
                ("fuzz/fuzz_targets/a.rs", text)
            ]),
            0
        );
        assert_eq!(count(&[("fuzz/Cargo.toml", manifest)]), 1);
        assert_eq!(
            count(&[("fuzz/Cargo.toml", ""), ("fuzz/fuzz_targets/a.rs", text)]),
            1
        );
    }
}
