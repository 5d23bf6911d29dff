//! Who uses whom: paths in sources, resolved to modules, and cycles among these.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Checkout, Fault, Source};
use crate::tree::{Tree, has_colons};

/// A path as it is written somewhere, `use` declarations taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The name that a `use` gives it; `*` for all that is below it; none outside of `use`.
    binds: Option<String>,
    /// Whether that name is passed on to other modules.
    is_exported: bool,
    /// The modules in braces around it, outermost first.
    nest: Vec<String>,
}

/// All paths of two segments and more, and all that `use` declares.
pub(crate) fn paths(trees: &[Tree]) -> Vec<Path> {
    let mut out = Vec::new();
    walk(trees, &mut Vec::new(), &mut out);
    out
}

fn walk(trees: &[Tree], nest: &mut Vec<String>, out: &mut Vec<Path>) {
    let mut at = 0;
    while at < trees.len() {
        let after = trees.get(at + 1);
        match &trees[at] {
            Tree::Word { text, .. } if text == "use" && !after.is_some_and(|t| t.is_mark('<')) => {
                let end = trees[at..].iter().position(|t| t.is_mark(';'));
                let end = end.map_or(trees.len(), |length| at + length);
                let is_exported = at > 0
                    && (trees[at - 1].word() == Some("pub")
                        || (at > 1 && trees[at - 2].word() == Some("pub")));
                let mut found = Vec::new();
                use_tree(&trees[at + 1..end], &[], &mut found);
                out.extend(found.into_iter().map(|path| Path {
                    is_exported,
                    nest: nest.clone(),
                    ..path
                }));
                at = end;
                continue;
            }
            Tree::Word { text, .. } if text == "mod" => {
                if let (Some(Tree::Word { text: name, .. }), Some(body)) =
                    (after, trees.get(at + 2).and_then(|t| t.group('{')))
                {
                    nest.push(name.clone());
                    walk(body, nest, out);
                    nest.pop();
                    at += 3;
                    continue;
                }
            }
            Tree::Word { line, .. } if has_colons(trees, at + 1) => {
                let (segments, after) = segments(trees, at);
                if segments.len() > 1 {
                    let nest = nest.clone();
                    let line = *line;
                    out.push(Path {
                        segments,
                        line,
                        binds: None,
                        is_exported: false,
                        nest,
                    });
                }
                at = after;
                continue;
            }
            // Who may see an item is no need of its own: `pub(in crate::store)`.
            Tree::Group { open: '(', .. } if at > 0 && trees[at - 1].word() == Some("pub") => {}
            Tree::Group { inside, .. } => walk(inside, nest, out),
            _ => {}
        }
        at += 1;
    }
}

/// The words joined by `::` from `at` on, and where they end.
fn segments(trees: &[Tree], mut at: usize) -> (Vec<String>, usize) {
    let mut out = Vec::new();
    while let Some(word) = trees.get(at).and_then(Tree::word) {
        out.push(word.to_owned());
        at += 1;
        if !has_colons(trees, at) || trees.get(at + 2).is_none_or(|t| t.word().is_none()) {
            break;
        }
        at += 2;
    }
    (out, at)
}

fn use_tree(trees: &[Tree], prefix: &[String], out: &mut Vec<Path>) {
    for branch in trees.split(|tree| tree.is_mark(',')) {
        let start = if has_colons(branch, 0) { 2 } else { 0 };
        let (words, after) = segments(branch, start);
        let mut full = prefix.to_vec();
        full.extend(words);
        let last = branch.last();
        let line = branch.first().map_or(0, Tree::line);
        let mut add = |segments: Vec<String>, binds: Option<String>| {
            out.push(Path {
                segments,
                line,
                binds,
                is_exported: false,
                nest: Vec::new(),
            });
        };
        if let Some(inside) = last.and_then(|t| t.group('{')) {
            use_tree(inside, &full, out);
        } else if last.is_some_and(|t| t.is_mark('*')) {
            add(full, Some("*".to_owned()));
        } else if !full.is_empty() {
            if full.len() > 1 && full.last().is_some_and(|word| word == "self") {
                full.pop();
            }
            let renamed = (branch.get(after).and_then(Tree::word) == Some("as"))
                .then(|| branch.get(after + 1).and_then(Tree::word))
                .flatten();
            let binds = renamed.map(str::to_owned).or_else(|| full.last().cloned());
            add(full, binds);
        }
    }
}

/// The path with its first word replaced by what a `use` in the same file says it is.
pub(crate) fn expanded(path: &Path, all: &[Path]) -> Vec<String> {
    let bound = |word: &String| {
        all.iter()
            .find(|other| path.binds.is_none() && other.binds.as_ref() == Some(word))
    };
    match path.segments.split_first() {
        Some((first, rest)) => match bound(first) {
            Some(other) => other.segments.iter().chain(rest).cloned().collect(),
            None => path.segments.clone(),
        },
        None => Vec::new(),
    }
}

/// A module's place below its crate's root.
pub(crate) type Place = Vec<String>;

/// One module's need of another.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// What a module declares and names.
#[derive(Debug, Default)]
struct Contents {
    items: BTreeSet<String>,
    paths: Vec<Path>,
}

/// The modules of one crate, and who uses whom.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    modules: BTreeMap<Place, Contents>,
    pub(crate) edges: Vec<Edge>,
}

impl Graph {
    /// The graph of the crate whose root file is in the folder `root`.
    pub(crate) fn of<'a>(root: &str, sources: impl Iterator<Item = &'a Source> + Clone) -> Self {
        let mut graph = Self::default();
        for source in sources.clone() {
            let contents = Contents {
                items: items(&source.code),
                paths: paths(&source.code),
            };
            graph.modules.insert(place(root, &source.path), contents);
        }
        for source in sources {
            let from = place(root, &source.path);
            for path in &graph.modules[&from].paths {
                graph.edges.extend(graph.needs(&from, source, path));
            }
        }
        graph
    }

    fn needs(&self, from: &Place, source: &Source, path: &Path) -> Vec<Edge> {
        let here: Place = from.iter().chain(&path.nest).cloned().collect();
        let mut found = self.resolve(&here, &path.segments, 16);
        if path.binds.as_deref() == Some("*") {
            found = found
                .iter()
                .flat_map(|place| self.all_of(place, 16))
                .collect();
        }
        // A table of contents passes its children's items on: whoever uses these is followed to
        // the child, so that listing them is no need of the table's own.
        found.retain(|to| to != from && !(path.is_exported && to.starts_with(from)));
        let edge = |to| Edge {
            from: from.clone(),
            to,
            file: source.path.clone(),
            line: path.line,
        };
        found.into_iter().map(edge).collect()
    }

    /// The modules that declare what a path written in `here` names, through what others pass on.
    fn resolve(&self, here: &Place, path: &[String], depth: u8) -> BTreeSet<Place> {
        let mut base = here.clone();
        let mut rest = path;
        while let Some((word, after)) = rest.split_first() {
            match word.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            rest = after;
        }
        let is_anchored = rest.len() < path.len();
        let mut is_ours = is_anchored;
        while let Some((word, after)) = rest.split_first() {
            let below: Place = base.iter().chain([word]).cloned().collect();
            if !self.modules.contains_key(&below) {
                break;
            }
            is_ours = true;
            base = below;
            rest = after;
        }
        while !base.is_empty() && !self.modules.contains_key(&base) {
            base.pop();
        }
        let passed_on = self.follow(&base, rest, path, depth);
        match (passed_on.is_empty(), is_ours) {
            (true, true) => BTreeSet::from([base]),
            _ => passed_on,
        }
    }

    /// Where the first word of `rest` leads if `base` has it from elsewhere.
    fn follow(
        &self,
        base: &Place,
        rest: &[String],
        whole: &[String],
        depth: u8,
    ) -> BTreeSet<Place> {
        let mut out = BTreeSet::new();
        let (Some((word, after)), Some(contents)) = (rest.split_first(), self.modules.get(base))
        else {
            return out;
        };
        if depth == 0 || contents.items.contains(word) {
            return out;
        }
        for other in contents
            .paths
            .iter()
            .filter(|p| p.nest.is_empty() && p.segments != whole)
        {
            if other.binds.as_ref() == Some(word) {
                let path: Vec<String> = other.segments.iter().chain(after).cloned().collect();
                out.extend(self.resolve(base, &path, depth - 1));
            } else if other.binds.as_deref() == Some("*") {
                let below = self.resolve(base, &other.segments, depth - 1);
                let below = below.into_iter().filter(|place| place != base);
                out.extend(below.filter(|place| self.modules[place].items.contains(word)));
            }
        }
        out
    }

    /// A module and those that it passes things on from: what `use module::*` reaches.
    fn all_of(&self, place: &Place, depth: u8) -> BTreeSet<Place> {
        let mut out = BTreeSet::from([place.clone()]);
        let Some(contents) = self.modules.get(place).filter(|_| depth > 0) else {
            return out;
        };
        for path in contents.paths.iter().filter(|path| path.is_exported) {
            let found = self.resolve(place, &path.segments, depth - 1);
            out.extend(found.iter().flat_map(|below| self.all_of(below, depth - 1)));
        }
        out
    }

    /// One cycle for each folder that has any, as the edges that close it.
    fn cycles(&self) -> Vec<Vec<&Edge>> {
        // Two modules meet in the innermost folder that has both: there, each stands for the
        // child that it is in, and `mod.rs` for itself. Every cycle shows in exactly one folder.
        let mut folders: BTreeMap<&[String], BTreeMap<(&str, &str), &Edge>> = BTreeMap::new();
        for edge in &self.edges {
            let common = edge
                .from
                .iter()
                .zip(&edge.to)
                .take_while(|(a, b)| a == b)
                .count();
            let child = |place: &'_ Place| place.get(common).cloned().unwrap_or_default();
            if child(&edge.from) != child(&edge.to) {
                let from = edge.from.get(common).map_or("", String::as_str);
                let to = edge.to.get(common).map_or("", String::as_str);
                folders
                    .entry(&edge.from[..common])
                    .or_default()
                    .entry((from, to))
                    .or_insert(edge);
            }
        }
        folders.values().filter_map(cycle).collect()
    }
}

/// The shortest cycle among these edges.
fn cycle<'a>(edges: &BTreeMap<(&'a str, &'a str), &'a Edge>) -> Option<Vec<&'a Edge>> {
    let starts: BTreeSet<&str> = edges.keys().map(|(from, _)| *from).collect();
    starts
        .into_iter()
        .filter_map(|start| way_back(edges, start))
        .min_by_key(Vec::len)
}

/// The shortest way from a node to itself.
fn way_back<'a>(
    edges: &BTreeMap<(&'a str, &'a str), &'a Edge>,
    start: &'a str,
) -> Option<Vec<&'a Edge>> {
    let mut ways: Vec<(&str, Vec<&Edge>)> = vec![(start, Vec::new())];
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some((node, way)) = ways.get(next).cloned() {
        next += 1;
        for (&(_, to), &edge) in edges.iter().filter(|((from, _), _)| *from == node) {
            let longer: Vec<&Edge> = way.iter().copied().chain([edge]).collect();
            if to == start {
                return Some(longer);
            }
            if seen.insert(to) {
                ways.push((to, longer));
            }
        }
    }
    None
}

/// The names that a file declares outside of any braces.
fn items(trees: &[Tree]) -> BTreeSet<String> {
    const KEYWORDS: &[&str] = &[
        "const",
        "enum",
        "fn",
        "macro_rules",
        "static",
        "struct",
        "trait",
        "type",
        "union",
    ];
    let declares = |pair: &[Tree]| match (pair[0].word(), pair[1].word()) {
        (Some(keyword), Some(name)) if KEYWORDS.contains(&keyword) => Some(name.to_owned()),
        _ => None,
    };
    trees.windows(2).filter_map(declares).collect()
}

/// Where the module of this file is below its crate's root.
fn place(root: &str, path: &str) -> Place {
    let inside = path
        .strip_prefix(root)
        .unwrap_or(path)
        .trim_start_matches('/');
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let mut out: Place = inside.split('/').map(str::to_owned).collect();
    if out
        .last()
        .is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main"))
    {
        out.pop();
    }
    out
}

/// The graph of the library.
pub(crate) fn library(checkout: &Checkout) -> Graph {
    let sources: Vec<&Source> = checkout.library().collect();
    Graph::of("src", sources.iter().copied())
}

/// No module needs itself by way of others: in the library, and in each binary.
pub(crate) fn check_cycles(checkout: &Checkout) -> Vec<Fault> {
    let mut graphs = vec![library(checkout)];
    for source in &checkout.sources {
        if source.path.starts_with("src/bin/")
            && let Some(root) = source.path.strip_suffix("/main.rs")
        {
            let inside = |s: &&Source| s.path.starts_with(&format!("{root}/"));
            let sources: Vec<&Source> = checkout.sources.iter().filter(inside).collect();
            graphs.push(Graph::of(root, sources.iter().copied()));
        }
    }
    graphs
        .iter()
        .flat_map(Graph::cycles)
        .map(|cycle| describe(&cycle))
        .collect()
}

fn describe(cycle: &[&Edge]) -> Fault {
    let step = |edge: &&Edge| {
        let (from, to) = (edge.from.join("::"), edge.to.join("::"));
        format!("`{from}` uses `{to}` ({}:{})", edge.file, edge.line)
    };
    let steps: Vec<String> = cycle.iter().map(step).collect();
    let (file, line) = cycle
        .first()
        .map_or(("", 0), |edge| (&*edge.file, edge.line));
    Fault::new(file, line, "module cycle", steps.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(files: &[(&str, &str)]) -> BTreeSet<String> {
        let name = |place: &Place| place.join("::");
        let graph = library(&Checkout::of(files));
        graph
            .edges
            .iter()
            .map(|e| format!("{} -> {}", name(&e.from), name(&e.to)))
            .collect()
    }

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        check_cycles(&Checkout::of(files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn use_declarations_are_taken_apart() {
        let trees = crate::tree::parse("use a::{b::{self, c as d}, e::*, f};").unwrap();
        let found: Vec<_> = paths(&trees)
            .into_iter()
            .map(|p| (p.segments.join("::"), p.binds.unwrap()))
            .collect();
        let expected = [
            ("a::b", "b"),
            ("a::b::c", "d"),
            ("a::e", "*"),
            ("a::f", "f"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn paths_are_found_in_expressions_types_macros_and_attributes() {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c; mod d; mod e; mod f;"),
            (
                "src/a.rs",
                "fn x() -> crate::b::T { format!(\"{}\", crate::c::x()) }",
            ),
            ("src/b.rs", "#[derive(crate::d::D)] pub struct T;"),
            ("src/c.rs", "macro_rules! m { () => { $crate::e::x() } }"),
            ("src/d.rs", "mod inner { use super::super::f; }"),
            ("src/e.rs", ""),
            ("src/f.rs", ""),
        ];
        assert_eq!(
            edges(&files),
            ["a -> b", "a -> c", "b -> d", "c -> e", "d -> f"]
                .map(String::from)
                .into()
        );
    }

    #[test]
    fn what_others_pass_on_is_followed_to_its_declaration() {
        let files = [
            ("src/lib.rs", "mod a; mod b; pub use a::T;"),
            (
                "src/a/mod.rs",
                "mod x; mod y; pub use x::*; pub use y::U as V;",
            ),
            ("src/a/x.rs", "pub struct T; pub struct Z;"),
            ("src/a/y.rs", "use super::T; pub struct U;"),
            ("src/b.rs", "use crate::T; use crate::a::V;"),
        ];
        let expected = ["a::y -> a::x", "b -> a::x", "b -> a::y"];
        assert_eq!(edges(&files), expected.map(String::from).into());
    }

    #[test]
    fn a_cycle_of_top_level_modules_is_found() {
        let found = cycles(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b;"),
            ("src/b.rs", "use crate::c;"),
            ("src/c.rs", "\nfn f() { crate::a::g() }"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("`c` uses `a` (src/c.rs:2)"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_cycle_of_files_in_a_folder_is_found() {
        let siblings = [
            ("src/a/mod.rs", "mod x; mod y;"),
            ("src/a/x.rs", "use super::y::Y;"),
            ("src/a/y.rs", "use super::x::X; pub struct Y;"),
        ];
        assert_eq!(cycles(&siblings).len(), 1);
        let with_parent = [
            ("src/a/mod.rs", "mod x; struct A; fn f() { x::g() }"),
            ("src/a/x.rs", "use super::A;"),
        ];
        assert_eq!(cycles(&with_parent).len(), 1);
        let folders = [
            ("src/a/mod.rs", "mod x; mod y;"),
            ("src/a/x/mod.rs", "mod one; mod two;"),
            ("src/a/y/mod.rs", "mod one; mod two;"),
            ("src/a/x/one.rs", "use crate::a::y::one::Y;"),
            ("src/a/x/two.rs", "pub struct X;"),
            ("src/a/y/one.rs", "pub struct Y;"),
            ("src/a/y/two.rs", "use crate::a::x::two::X;"),
        ];
        assert_eq!(cycles(&folders).len(), 1);
        let binary = [
            ("src/bin/k/main.rs", "mod a; mod b;"),
            ("src/bin/k/a.rs", "use crate::b;"),
            ("src/bin/k/b.rs", "use crate::a;"),
        ];
        assert_eq!(cycles(&binary).len(), 1);
    }

    #[test]
    fn a_table_of_contents_and_test_code_close_no_cycle() {
        let found = cycles(&[
            ("src/lib.rs", "mod a; mod b; pub use a::T;"),
            (
                "src/a/mod.rs",
                "mod x; mod y; pub use x::T; fn f() { y::g() }",
            ),
            (
                "src/a/x.rs",
                "pub(in crate::a) struct T; #[cfg(test)] mod tests { use super::super::y; }",
            ),
            ("src/a/y.rs", "use super::T; pub struct U;"),
            ("src/b.rs", "use crate::T;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
