//! The layer table. Arrows point down only.

use std::collections::BTreeSet;

use crate::modules;
use crate::source::{Checkout, Fault, Page, Source, quoted};
use crate::tree::{self, Tree};

const RULE: &str = "layers";

/// Top-level modules by level, the lowest first. `docs/architecture.md` shows the same table.
const LAYERS: [(&str, &[&str]); 5] = [
    // Words: each may use those to its left.
    (
        "L0",
        &[
            "id",
            "time",
            "error",
            "name",
            "sync",
            "tensor",
            "event",
            "metric",
            "checkpoint",
        ],
    ),
    // Pure functions over bytes and words: no input or output, no clock.
    (
        "L1",
        &[
            "format",
            "chunking",
            "codec",
            "reference",
            "policy",
            "config",
        ],
    ),
    ("L2", &["platform", "storage"]),
    (
        "L3",
        &["store", "interop", "telemetry", "lineage", "fuzzing"],
    ),
    ("L4", &["session"]),
];

/// Neighbours on one level that may use each other: the left one the right one.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("codec", "format"),
    ("storage", "platform"),
    ("interop", "store"),
    ("store", "telemetry"),
];

fn level(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Why `from` may not use `to`.
fn objection(from: &str, to: &str) -> Option<String> {
    let (high, low) = (level(from)?, level(to)?);
    let allowed = match (high, low) {
        (0, 0) => {
            let place = |module| LAYERS[0].1.iter().position(|other| *other == module);
            place(to) < place(from)
        }
        _ => high > low || NEIGHBOURS.contains(&(from, to)),
    };
    let (high, low) = (LAYERS[high].0, LAYERS[low].0);
    (from != to && !allowed).then(|| format!("`{from}` ({high}) may not use `{to}` ({low})"))
}

/// Every module has a level, and uses only what its level may.
pub(crate) fn check(checkout: &Checkout) -> Vec<Fault> {
    let mut out = Vec::new();
    let mut unknown = BTreeSet::new();
    for source in checkout.library() {
        if let Some(top) = source.top()
            && level(top).is_none()
            && unknown.insert(top)
        {
            let what = format!("module `{top}` has no level in tests/tidy/layers.rs");
            out.push(source.fault(1, RULE, what));
        }
    }
    let mut seen = BTreeSet::new();
    for edge in modules::library(checkout).edges {
        if let (Some(from), Some(to)) = (edge.from.first(), edge.to.first())
            && let Some(what) = objection(from, to)
            && seen.insert((edge.file.clone(), edge.line, what.clone()))
        {
            out.push(Fault::new(edge.file, edge.line, RULE, what));
        }
    }
    let others = checkout
        .sources
        .iter()
        .filter(|source| !source.is_library());
    out.extend(others.flat_map(reaches_in));
    out
}

/// Files of the library that a face or a test takes as its own.
fn reaches_in(source: &Source) -> Vec<Fault> {
    let what = "faces and tests use the public API, not the library's files";
    let mut out = Vec::new();
    tree::each_level(&source.all, &mut |level| {
        for at in 0..level.len() {
            if let Some(([key, _, Tree::Literal { text, line, .. }], _)) =
                tree::attribute(level, at)
                && key.word() == Some("path")
                && text.contains("src/")
            {
                out.push(source.fault(*line, RULE, what));
            }
        }
    });
    out
}

/// The table of the architecture page has the same modules on the same levels.
pub(crate) fn check_page(page: &Page) -> Vec<Fault> {
    let mut out = Vec::new();
    for (name, modules) in LAYERS {
        let rows = page.rows();
        let Some((line, cells)) = rows.iter().find(|(_, cells)| cells[0].starts_with(name)) else {
            out.push(page.fault(1, RULE, format!("no row for {name} in a table of layers")));
            continue;
        };
        let shown: Vec<&str> = cells.get(1).map(|cell| quoted(cell)).unwrap_or_default();
        if shown != modules {
            let what = format!("{name} shows {shown:?}; tests/tidy/layers.rs has {modules:?}");
            out.push(page.fault(*line, RULE, what));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        check(&Checkout::of(files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let files = [
            ("src/format/mod.rs", "\nuse crate::store::Store;"),
            ("src/store/mod.rs", ""),
        ];
        let found = faults(&files);
        assert_eq!(
            found,
            ["src/format/mod.rs:2: layers: `format` (L1) may not use `store` (L3)"]
        );
    }

    #[test]
    fn a_neighbour_is_used_only_where_the_table_says_so() {
        assert!(objection("codec", "format").is_none());
        assert!(objection("format", "codec").is_some());
        assert!(objection("chunking", "format").is_some());
        assert!(objection("interop", "store").is_none());
        assert!(objection("platform", "storage").is_some());
    }

    #[test]
    fn words_use_only_the_words_to_their_left() {
        assert!(objection("checkpoint", "id").is_none());
        assert!(objection("error", "name").is_some());
    }

    #[test]
    fn a_detour_through_the_root_is_no_way_out() {
        let found = faults(&[
            ("src/lib.rs", "mod format; mod store; pub use store::Store;"),
            ("src/format/mod.rs", "use crate::Store;"),
            ("src/store/mod.rs", "pub struct Store;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_module_without_a_level_is_found() {
        assert_eq!(
            faults(&[("src/helpers/a.rs", ""), ("src/helpers/b.rs", "")]).len(),
            1
        );
    }

    #[test]
    fn a_test_that_takes_a_file_of_the_library_is_found() {
        let text = "#[path = \"../src/format/mod.rs\"]\nmod format;";
        assert_eq!(faults(&[("tests/main.rs", text)]).len(), 1);
    }

    #[test]
    fn a_page_with_another_table_is_found() {
        let rows: Vec<String> = LAYERS
            .iter()
            .map(|(name, modules)| format!("| {name} | `{}` | x |", modules.join("`, `")))
            .collect();
        let page = |text: &str| Page::new("docs/architecture.md", text);
        assert_eq!(check_page(&page(&rows.join("\n"))), []);
        assert_eq!(check_page(&page(&rows[1..].join("\n"))).len(), 1);
        assert_eq!(
            check_page(&page(&rows.join("\n").replace("`time`, ", ""))).len(),
            1
        );
    }
}
