//! The checkout as the rules see it: sources with their tokens, pages, scripts, and faults.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::tree::{self, Tree};

/// A broken rule, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl Fault {
    pub(crate) fn new(
        path: impl Into<String>,
        line: usize,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            line,
            rule,
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.what
        )
    }
}

/// One Rust source file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path from the root of the checkout, with `/`.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
    /// All tokens.
    pub(crate) all: Vec<Tree>,
    /// The tokens that are no test code.
    pub(crate) code: Vec<Tree>,
}

impl Source {
    /// Reads the text; what is no Rust is a fault.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, Fault> {
        if let Err(error) = syn::parse_file(text) {
            return Err(Fault::new(
                path,
                error.span().start().line,
                "syntax",
                error.to_string(),
            ));
        }
        let all = tree::parse(text).map_err(|error| Fault::new(path, 1, "syntax", error))?;
        let code = tree::without_tests(&all);
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            all,
            code,
        })
    }

    /// A fault at a line of this file.
    pub(crate) fn fault(&self, line: usize, rule: &'static str, what: impl Into<String>) -> Fault {
        Fault::new(&*self.path, line, rule, what)
    }

    /// Whether it belongs to the library.
    pub(crate) fn is_library(&self) -> bool {
        self.path.starts_with("src/") && !self.path.starts_with("src/bin/")
    }

    /// The top-level module of the library that it belongs to; none for `lib.rs` and other crates.
    pub(crate) fn top(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let top = inside.split('/').next()?;
        let top = top.strip_suffix(".rs").unwrap_or(top);
        (top != "lib" && top != "bin").then_some(top)
    }
}

/// A file that is not Rust.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Path from the root of the checkout, with `/`.
    pub(crate) path: String,
    /// The text; empty if there is no such file.
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn new(path: &str, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            text: text.into(),
        }
    }

    /// A fault at a line of this page.
    pub(crate) fn fault(&self, line: usize, rule: &'static str, what: impl Into<String>) -> Fault {
        Fault::new(&*self.path, line, rule, what)
    }

    /// The rows of its tables: line number, and cells without their padding. The header counts as
    /// a row; the rule under it does not.
    pub(crate) fn rows(&self) -> Vec<(usize, Vec<String>)> {
        let lines = self.text.lines().enumerate();
        lines
            .filter_map(|(index, line)| Some((index + 1, cells(line)?)))
            .collect()
    }
}

/// The cells of a table's row. A bar in back quotes or after a backslash belongs to its cell.
fn cells(line: &str) -> Option<Vec<String>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    if inside.chars().all(|c| matches!(c, '-' | ':' | '|' | ' ')) {
        return None;
    }
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut escaped = false;
    for c in inside.chars() {
        quoted ^= c == '`' && !escaped;
        match c {
            '|' if !quoted && !escaped => out.push(String::new()),
            _ => out.last_mut()?.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    Some(out.iter().map(|cell| cell.trim().to_owned()).collect())
}

/// Whether a file's name ends like this.
pub(crate) fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

/// What is between back quotes in a text.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Everything that the rules read.
#[derive(Debug, Default)]
pub(crate) struct Checkout {
    /// Rust sources, sorted by path.
    pub(crate) sources: Vec<Source>,
    /// Files that are no valid Rust.
    pub(crate) unreadable: Vec<Fault>,
    /// Everything else that is text: pages, manifests, scripts.
    pages: Vec<Page>,
}

impl Checkout {
    /// A checkout of these files, for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut out = Self::default();
        for (path, text) in files {
            out.add(path, text);
        }
        out.mark_test_files();
        assert_eq!(out.unreadable, [], "the example is no valid Rust");
        out
    }

    fn add(&mut self, path: &str, text: &str) {
        let is_rust = has_extension(path, "rs");
        match is_rust.then(|| Source::parse(path, text)) {
            None => self.pages.push(Page::new(path, text)),
            Some(Ok(source)) => self.sources.push(source),
            Some(Err(fault)) => self.unreadable.push(fault),
        }
    }

    /// Files that `#[cfg(test)] mod name;` brings in are test code from their first line.
    fn mark_test_files(&mut self) {
        let mut marked = Vec::new();
        for source in &self.sources {
            let folder = module_folder(&source.path);
            for name in tree::test_modules(&source.all) {
                marked.push((format!("{folder}/{name}.rs"), format!("{folder}/{name}/")));
            }
        }
        for source in &mut self.sources {
            if marked
                .iter()
                .any(|(file, dir)| source.path == *file || source.path.starts_with(dir))
            {
                source.code.clear();
            }
        }
    }

    /// The library's sources.
    pub(crate) fn library(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.is_library())
    }

    /// The file at this path, which may be missing.
    pub(crate) fn script(&self, path: &str) -> Option<&Page> {
        self.pages.iter().find(|page| page.path == path)
    }

    /// The page at this path; an empty one if it is missing, which no rule accepts.
    pub(crate) fn page(&self, path: &str) -> Page {
        self.script(path)
            .cloned()
            .unwrap_or_else(|| Page::new(path, ""))
    }

    /// All files that are no Rust.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter()
    }
}

/// The folder in which the modules that a file declares are.
pub(crate) fn module_folder(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let is_root = matches!(name, "lib" | "main" | "mod")
        || matches!(
            folder,
            "tests" | "examples" | "benches" | "fuzz/fuzz_targets"
        );
    if is_root {
        folder.to_owned()
    } else {
        stem.to_owned()
    }
}

/// This checkout, read once.
pub(crate) fn checkout() -> &'static Checkout {
    static CHECKOUT: LazyLock<Checkout> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for name in [
            "src", "tests", "examples", "benches", "fuzz", "python", "docs", ".ci",
        ] {
            collect(&root.join(name), &mut files);
        }
        for name in [
            "Cargo.toml",
            "README.md",
            "CHANGELOG.md",
            "clippy.toml",
            "deny.toml",
        ] {
            files.push(root.join(name));
        }
        files.sort();
        let mut out = Checkout::default();
        for file in files {
            let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy();
            if let Ok(text) = fs::read_to_string(&file) {
                out.add(&path.replace('\\', "/"), &text);
            }
        }
        out.mark_test_files();
        out
    });
    &CHECKOUT
}

/// Adds the files below a folder, if it exists. Build output and stored fixtures are left out.
fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(found) = fs::read_dir(folder) else {
        return;
    };
    for item in found.flatten() {
        let path = item.path();
        let skipped = ["target", "fixtures", "corpus", "artifacts", "__pycache__"];
        if !path.is_dir() {
            out.push(path);
        } else if !skipped.iter().any(|name| item.file_name() == *name) {
            collect(&path, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_in_quotes_is_part_of_its_cell() {
        assert_eq!(cells("| `a|b` | c \\| d |").unwrap(), ["`a|b`", "c \\| d"]);
        assert_eq!(cells("|---|:--|"), None);
        assert_eq!(cells("no table"), None);
        assert_eq!(quoted("`a` and `b`"), ["a", "b"]);
    }

    #[test]
    fn a_fault_says_where_and_which_rule() {
        let fault = Source::parse("src/a.rs", "fn a( {").unwrap_err();
        assert!(
            fault.to_string().starts_with("src/a.rs:1: syntax: "),
            "{fault}"
        );
    }

    #[test]
    fn a_file_that_only_tests_declare_has_no_code() {
        let checkout = Checkout::of(&[
            ("src/a/mod.rs", "#[cfg(test)] mod tests;"),
            ("src/a/tests.rs", "use crate::b;"),
        ]);
        assert!(checkout.sources.iter().all(|source| source.code.is_empty()));
    }

    #[test]
    fn tops_are_the_first_folder_or_file() {
        let top = |path: &str| Source::parse(path, "").unwrap().top().map(str::to_owned);
        assert_eq!(top("src/a/b.rs").as_deref(), Some("a"));
        assert_eq!(top("src/a.rs").as_deref(), Some("a"));
        assert_eq!(top("src/lib.rs"), None);
        assert_eq!(top("src/bin/x/main.rs"), None);
    }
}
