//! Sizes: lines of code in a file, lines of a function, columns.

use std::collections::BTreeSet;

use crate::source::{Checkout, Fault, Source};
use crate::tree::{self, Tree};

const RULE: &str = "sizes";

/// What a source file should stay under; only said when something is over a limit.
const AIM: usize = 300;
const COLUMNS: usize = 100;
const FUNCTION_LINES: usize = 70;

/// The most lines of code for a file at this path.
fn limit(path: &str) -> usize {
    let is_command = path.starts_with("src/bin/") && path.contains("/commands/");
    match path {
        "src/lib.rs" => 200,
        _ if is_command => 300,
        _ if path.starts_with("tests/") => 800,
        _ => 600,
    }
}

/// Lines with a token on them: no blank lines, no comments.
fn code_lines(trees: &[Tree]) -> usize {
    let mut lines = BTreeSet::new();
    tree::each_level(trees, &mut |level| {
        for tree in level {
            match tree {
                Tree::Group { line, last, .. } => lines.extend([*line, *last]),
                other => lines.extend(other.line()..=other.last_line()),
            }
        }
    });
    lines.len()
}

/// Functions: name, first line, and number of lines down to the closing brace.
fn functions(trees: &[Tree]) -> Vec<(String, usize, usize)> {
    let mut out = Vec::new();
    tree::each_level(trees, &mut |level| {
        for (at, pair) in level.windows(2).enumerate() {
            let (Some("fn"), Some(name)) = (pair[0].word(), pair[1].word()) else {
                continue;
            };
            let is_end = |tree: &&Tree| tree.is_mark(';') || tree.group('{').is_some();
            if let Some(Tree::Group { last, .. }) = level[at..].iter().find(is_end) {
                let first = pair[0].line();
                out.push((name.to_owned(), first, last - first + 1));
            }
        }
    });
    out
}

/// Files, functions and lines are within the limits.
pub(crate) fn check(checkout: &Checkout) -> Vec<Fault> {
    let mut out: Vec<Fault> = checkout.sources.iter().flat_map(check_source).collect();
    if !out.is_empty() {
        for source in checkout
            .sources
            .iter()
            .filter(|source| source.path.starts_with("src/"))
        {
            let lines = code_lines(&source.code);
            if lines > AIM {
                let what = format!("for information: {lines} lines of code; the aim is {AIM}");
                out.push(source.fault(1, RULE, what));
            }
        }
    }
    out
}

fn check_source(source: &Source) -> Vec<Fault> {
    let mut out = Vec::new();
    let counted = if source.path.starts_with("tests/") {
        &source.all
    } else {
        &source.code
    };
    let (lines, most) = (code_lines(counted), limit(&source.path));
    if lines > most {
        out.push(source.fault(
            1,
            RULE,
            format!("{lines} lines of code; the limit is {most}"),
        ));
    }
    for (name, line, lines) in functions(&source.all) {
        if lines > FUNCTION_LINES {
            let what = format!("`{name}` has {lines} lines; the limit is {FUNCTION_LINES}");
            out.push(source.fault(line, RULE, what));
        }
    }
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS {
            let what = format!("{columns} columns; the limit is {COLUMNS}");
            out.push(source.fault(index + 1, RULE, what));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(&Checkout::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn file_of(lines: usize) -> String {
        "static A: u8 = 1;\n".repeat(lines)
    }

    #[test]
    fn a_long_file_is_found_and_its_limit_depends_on_what_it_is() {
        assert_eq!(faults("src/a.rs", &file_of(600)), Vec::<String>::new());
        let found = faults("src/a.rs", &file_of(601));
        assert!(
            found[0].contains("601 lines of code; the limit is 600"),
            "{found:?}"
        );
        assert!(found[1].contains("the aim is 300"), "{found:?}");
        assert!(!faults("src/lib.rs", &file_of(201)).is_empty());
        assert!(!faults("src/bin/k/commands/ls.rs", &file_of(301)).is_empty());
        assert!(!faults("tests/a.rs", &file_of(801)).is_empty());
    }

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        let text = format!("{}{}", "/// Two.\n// x\n\n".repeat(700), file_of(10));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", file_of(700));
        let source = Source::parse("src/a.rs", &format!("{text}{tests}")).unwrap();
        assert_eq!(code_lines(&source.code), 10);
    }

    #[test]
    fn a_text_over_several_lines_counts_as_these() {
        let source = Source::parse("src/a.rs", "const A: &str = \"one\n\ntwo\";\n").unwrap();
        assert_eq!(code_lines(&source.code), 3);
    }

    #[test]
    fn a_long_function_is_found_inside_of_anything() {
        let body = "    g();\n".repeat(69);
        let text = format!("impl A {{ mod_macro! {{ fn long(&self) {{\n{body}}}\n}} }}");
        assert_eq!(faults("src/a.rs", &text).len(), 1);
        let body = "    g();\n".repeat(68);
        assert_eq!(
            faults("src/a.rs", &format!("fn fits() {{\n{body}}}\n")).len(),
            0
        );
        assert_eq!(
            functions(&tree::parse("trait T { fn f(); } type F = fn(u8);").unwrap()),
            []
        );
    }

    #[test]
    fn a_wide_line_is_found() {
        assert_eq!(
            faults("src/a.rs", &format!("//! {}", "x".repeat(97))).len(),
            1
        );
        assert_eq!(
            faults("src/a.rs", &format!("//! {}", "x".repeat(96))).len(),
            0
        );
    }
}
