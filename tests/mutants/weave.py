"""Weaves mutants into a crate: each is compiled in, and an environment variable chooses one.

cargo-mutants says what a mutant replaces and by what. Where it stands, the source gets
`if on(ID) { the mutant } else { the original }`, so that one build has them all.
"""

import collections

import tree_sitter
import tree_sitter_rust

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
ON = "crate::mutant::on"
EITHER = "crate::mutant::Either"

# What `on` and `Either` are. A test process is one mutant, or takes note of those that it reaches.
MODULE = r"""
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const UNKNOWN: u32 = u32::MAX;
const NOTING: u32 = u32::MAX - 1;
static CHOSEN: AtomicU32 = AtomicU32::new(UNKNOWN);
static REACHED: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];
static NOTES: OnceLock<std::fs::File> = OnceLock::new();

#[cold]
#[inline(never)]
fn choose() -> u32 {
    let chosen = match std::env::var("CKPTDB_REACH") {
        Ok(path) => {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            NOTES.get_or_init(|| file.expect("notes can be taken"));
            NOTING
        }
        Err(_) => std::env::var("CKPTDB_MUTANT").map_or(0, |id| id.parse().expect("a number")),
    };
    CHOSEN.store(chosen, Ordering::Relaxed);
    chosen
}

#[inline]
pub(crate) fn on(id: u32) -> bool {
    let mut chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen == UNKNOWN {
        chosen = choose();
    }
    if chosen == NOTING {
        note(id);
    }
    chosen == id
}

#[cold]
fn note(id: u32) {
    if !REACHED[id as usize].swap(true, Ordering::Relaxed) {
        if let Some(mut file) = NOTES.get() {
            let _ = file.write_all(format!("{id}\n").as_bytes());
        }
    }
}

/// Two iterators where a function returns some iterator.
pub(crate) enum Either<A, B> {
    A(A),
    B(B),
}

impl<T, A: Iterator<Item = T>, B: Iterator<Item = T>> Iterator for Either<A, B> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        match self {
            Self::A(a) => a.next(),
            Self::B(b) => b.next(),
        }
    }
}
"""


class Weaver:
    """The mutants of one file, by where they stand."""

    def __init__(self, text, mutants):
        self.source = text.encode()
        self.starts = [0]
        self.starts += [i + 1 for i, byte in enumerate(self.source) if byte == 10]
        self.of_genre = collections.defaultdict(lambda: collections.defaultdict(list))
        for number, mutant in mutants:
            start = self.place(mutant["span"]["start"])
            self.of_genre[mutant["genre"]][start].append((number, mutant))
        self.woven = set()

    def place(self, position):
        # Columns count characters from 1; sources are ASCII.
        return self.starts[position["line"] - 1] + position["column"] - 1

    def weave(self):
        """The text with all mutants that have a place in it."""
        tree = PARSER.parse(self.source)
        head = self.source[: tree.root_node.start_byte].decode()
        return head + self.parts(tree.root_node, self.render)

    def raw(self, node):
        return self.source[node.start_byte : node.end_byte].decode()

    def parts(self, node, render):
        """A node's text, its children as they are rendered."""
        out, at = [], node.start_byte
        for child in node.children:
            out += [self.source[at : child.start_byte].decode(), render(child)]
            at = child.end_byte
        return "".join(out) + self.source[at : node.end_byte].decode()

    def take(self, genre, start):
        mutants = self.of_genre[genre].pop(start, [])
        self.woven |= {number for number, _ in mutants}
        return mutants

    def render(self, node):
        kinds = {
            "function_item": self.function,
            "binary_expression": self.binary,
            "compound_assignment_expr": self.binary,
            "unary_expression": self.unary,
            "match_arm": self.arm,
            "struct_expression": self.struct,
        }
        if node.type in ("token_tree", "const_item", "static_item") or not node.children:
            return self.raw(node)
        rendered = kinds.get(node.type, lambda _: None)(node)
        return self.parts(node, self.render) if rendered is None else rendered

    def function(self, node):
        body = node.child_by_field_name("body")

        def child(part):
            if part.type == "function_modifiers":
                # What looks up the chosen mutant is not constant.
                return " ".join(word for word in self.raw(part).split() if word != "const")
            return self.body(part) if body is not None and part.id == body.id else self.render(part)

        return self.parts(node, child)

    def body(self, node):
        inner = self.parts(node, self.render)
        values = self.of_genre["FnValue"]
        mutants = []
        # Functions within this one have taken theirs by now.
        for start in [s for s in values if node.start_byte < s < node.end_byte]:
            mutants += self.take("FnValue", start)
        before = ""
        for number, mutant in mutants:
            value = mutant["replacement"]
            if "impl Iterator" in (mutant["function"] or {}).get("return_type", ""):
                chosen = f"if {ON}({number}) {{ {EITHER}::A({value}) }}"
                inner = f"{{ {chosen} else {{ {EITHER}::B({inner}) }} }}"
            else:
                before += f" if {ON}({number}) {{ return {value}; }}"
        return "{" + before + inner[1:]

    def binary(self, node):
        operator = node.child_by_field_name("operator")
        mutants = self.take("BinaryOperator", operator.start_byte)
        if not mutants:
            return None
        left = self.raw(node.child_by_field_name("left"))
        right = self.raw(node.child_by_field_name("right"))
        is_value = node.type == "binary_expression"
        whole = self.parts(node, self.render)
        out = ""
        for number, mutant in mutants:
            changed = f"{left} {mutant['replacement']} {right}"
            changed = f"({changed})" if is_value else changed
            out += f"if {ON}({number}) {{ {changed} }} else "
        return f"({out}{{ ({whole}) }})" if is_value else f"{out}{{ {whole} }}"

    def unary(self, node):
        mutants = self.take("UnaryOperator", node.start_byte)
        if not mutants:
            return None
        argument = self.raw(node.children[-1])
        out = ""
        for number, mutant in mutants:
            out += f"if {ON}({number}) {{ ({mutant['replacement']}{argument}) }} else "
        return f"({out}{{ ({self.parts(node, self.render)}) }})"

    def arm(self, node):
        pattern = node.child_by_field_name("pattern")
        condition = pattern.child_by_field_name("condition")
        arms = self.take("MatchArm", node.start_byte)
        guards = []
        if condition is not None:
            guards = self.take("MatchArmGuard", condition.start_byte)
        if not arms and not guards:
            return None
        absent = " && ".join(f"!{ON}({number})" for number, _ in arms)

        def child(part):
            if part.id != pattern.id:
                return self.render(part)
            if condition is None:
                return f"{self.raw(part)} if {absent}"
            if condition.type in ("let_condition", "let_chain"):
                self.woven -= {number for number, _ in arms + guards}
                return self.raw(part)
            guard = f"({self.render(condition)})"
            for number, mutant in guards:
                value = mutant["replacement"]
                guard = f"(if {ON}({number}) {{ {value} }} else {{ {guard} }})"
            guard = f"({absent} && {guard})" if arms else guard
            return self.source[part.start_byte : condition.start_byte].decode() + guard

        return self.parts(node, child)

    def struct(self, node):
        body = node.child_by_field_name("body")
        bases = [part for part in body.children if part.type == "base_field_initializer"]
        if not bases:
            return None
        base = self.raw(bases[0])[2:].strip()
        if base == "Default::default()":
            base = f"<{self.raw(node.child_by_field_name('name'))} as Default>::default()"

        def field(part):
            if part.type not in ("field_initializer", "shorthand_field_initializer"):
                return self.render(part)
            mutants = self.take("StructField", part.start_byte)
            if not mutants:
                return self.render(part)
            if part.type == "shorthand_field_initializer":
                name = value = self.raw(part).strip()
            else:
                name = self.raw(part.child_by_field_name("field"))
                value = self.render(part.child_by_field_name("value"))
            number = mutants[0][0]
            return f"{name}: if {ON}({number}) {{ ({base}).{name} }} else {{ {value} }}"

        def child(part):
            return self.parts(part, field) if part.id == body.id else self.render(part)

        return self.parts(node, child)
