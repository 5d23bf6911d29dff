//! Source text as a tree of tokens with line numbers: enough to read paths, attributes, functions
//! and constants from, inside macros too, where a syntax tree sees nothing.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One token, or a bracketed group of them.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// An identifier or a keyword.
    Word { text: String, line: usize },
    /// A punctuation character; `joint` if the next one belongs to it.
    Mark {
        mark: char,
        joint: bool,
        line: usize,
    },
    /// A literal, perhaps over several lines.
    Literal {
        text: String,
        line: usize,
        last: usize,
    },
    /// What is between brackets.
    Group {
        open: char,
        inside: Vec<Tree>,
        line: usize,
        last: usize,
    },
}

impl Tree {
    /// The line that it begins on.
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::Word { line, .. }
            | Self::Mark { line, .. }
            | Self::Literal { line, .. }
            | Self::Group { line, .. } => *line,
        }
    }

    /// The line that it ends on.
    pub(crate) fn last_line(&self) -> usize {
        match self {
            Self::Word { line, .. } | Self::Mark { line, .. } => *line,
            Self::Literal { last, .. } | Self::Group { last, .. } => *last,
        }
    }

    /// The word, if it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is this punctuation.
    pub(crate) fn is_mark(&self, wanted: char) -> bool {
        matches!(self, Self::Mark { mark, .. } if *mark == wanted)
    }

    /// What is inside, if it is a group with this opening bracket.
    pub(crate) fn group(&self, wanted: char) -> Option<&[Tree]> {
        match self {
            Self::Group { open, inside, .. } if *open == wanted => Some(inside),
            _ => None,
        }
    }
}

/// Whether `trees` has `::` at `at`.
pub(crate) fn has_colons(trees: &[Tree], at: usize) -> bool {
    trees.get(at).is_some_and(|t| t.is_mark(':'))
        && trees.get(at + 1).is_some_and(|t| t.is_mark(':'))
}

/// Reads source text. Comments are gone, those of documentation too.
pub(crate) fn parse(text: &str) -> Result<Vec<Tree>, String> {
    let stream: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
    Ok(convert(stream, text))
}

fn convert(stream: TokenStream, text: &str) -> Vec<Tree> {
    stream
        .into_iter()
        .filter(|token| !is_comment(token, text))
        .map(|t| tree(t, text))
        .collect()
}

/// Documentation reaches us as `#[doc = ".."]` whose every token has the comment's span.
fn is_comment(token: &TokenTree, text: &str) -> bool {
    let source = text.get(token.span().byte_range()).unwrap_or_default();
    source.starts_with("//") || source.starts_with("/*")
}

fn tree(token: TokenTree, text: &str) -> Tree {
    let line = token.span().start().line;
    let last = token.span().end().line;
    match token {
        TokenTree::Ident(word) => Tree::Word {
            text: word.to_string(),
            line,
        },
        TokenTree::Punct(mark) => {
            let joint = mark.spacing() == Spacing::Joint;
            Tree::Mark {
                mark: mark.as_char(),
                joint,
                line,
            }
        }
        TokenTree::Literal(literal) => Tree::Literal {
            text: literal.to_string(),
            line,
            last,
        },
        TokenTree::Group(group) => {
            let open = match group.delimiter() {
                Delimiter::Brace => '{',
                Delimiter::Bracket => '[',
                Delimiter::Parenthesis => '(',
                Delimiter::None => ' ',
            };
            Tree::Group {
                open,
                inside: convert(group.stream(), text),
                line,
                last,
            }
        }
    }
}

/// The trees as text again, for a parser that wants text.
pub(crate) fn text_of(trees: &[Tree]) -> String {
    let mut out = String::new();
    for tree in trees {
        match tree {
            Tree::Word { text, .. } | Tree::Literal { text, .. } => {
                out.push_str(text);
                out.push(' ');
            }
            Tree::Mark { mark, joint, .. } => {
                out.push(*mark);
                if !joint {
                    out.push(' ');
                }
            }
            Tree::Group { open, inside, .. } => {
                let close = match open {
                    '{' => '}',
                    '[' => ']',
                    '(' => ')',
                    other => *other,
                };
                out.push(*open);
                out.push_str(&text_of(inside));
                out.push(close);
            }
        }
    }
    out
}

/// Calls `see` on every run of sibling trees, outermost first.
pub(crate) fn each_level<'a>(trees: &'a [Tree], see: &mut dyn FnMut(&'a [Tree])) {
    see(trees);
    for tree in trees {
        if let Tree::Group { inside, .. } = tree {
            each_level(inside, see);
        }
    }
}

/// The attribute at `at`: what is in its brackets, and where it ends.
pub(crate) fn attribute(trees: &[Tree], at: usize) -> Option<(&[Tree], usize)> {
    if !trees.get(at)?.is_mark('#') {
        return None;
    }
    let at = if trees.get(at + 1)?.is_mark('!') {
        at + 1
    } else {
        at
    };
    Some((trees.get(at + 1)?.group('[')?, at + 2))
}

/// Whether this is `cfg(test)` or a condition that asks for it.
fn is_test_condition(attribute: &[Tree]) -> bool {
    let Some(condition) = attribute.get(1).and_then(|t| t.group('(')) else {
        return false;
    };
    let mut found = false;
    let mut negated = false;
    each_level(condition, &mut |level| {
        found |= level.iter().any(|t| t.word() == Some("test"));
        negated |= level.iter().any(|t| t.word() == Some("not"));
    });
    attribute.first().and_then(Tree::word) == Some("cfg") && found && !negated
}

/// The trees without test code: what `cfg(test)` stands before, or all where it heads the file.
pub(crate) fn without_tests(trees: &[Tree]) -> Vec<Tree> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < trees.len() {
        if let Some((inside, after)) = attribute(trees, at)
            && is_test_condition(inside)
        {
            if trees[at + 1].is_mark('!') {
                return Vec::new();
            }
            at = end_of_item(trees, after);
            continue;
        }
        out.push(match &trees[at] {
            Tree::Group {
                open,
                inside,
                line,
                last,
            } => {
                let (inside, line, last) = (without_tests(inside), *line, *last);
                Tree::Group {
                    open: *open,
                    inside,
                    line,
                    last,
                }
            }
            other => other.clone(),
        });
        at += 1;
    }
    out
}

/// Modules in files of their own that are test code: `#[cfg(test)] mod name;`.
pub(crate) fn test_modules(trees: &[Tree]) -> Vec<String> {
    let mut out = Vec::new();
    for at in 0..trees.len() {
        let Some((inside, after)) = attribute(trees, at) else {
            continue;
        };
        if !is_test_condition(inside) {
            continue;
        }
        let item = &trees[after..end_of_item(trees, after)];
        if let [.., keyword, name, end] = item
            && keyword.word() == Some("mod")
            && end.is_mark(';')
        {
            out.extend(name.word().map(str::to_owned));
        }
    }
    out
}

/// Where the item that begins at `at` ends: after its braces, its `;`, or a field's comma.
fn end_of_item(trees: &[Tree], mut at: usize) -> usize {
    while let Some((_, after)) = attribute(trees, at) {
        at = after;
    }
    let mut keyword = None;
    while let Some(tree) = trees.get(at) {
        at += 1;
        let names_function =
            tree.word() == Some("fn") && trees.get(at).is_some_and(|t| t.word().is_some());
        let begins = keyword.is_none() && tree.word().is_some_and(|word| ITEMS.contains(&word));
        if begins || names_function {
            keyword = tree.word();
        }
        let is_value = keyword.is_some_and(|word| VALUES.contains(&word));
        let ends = tree.is_mark(';')
            || (tree.group('{').is_some() && !is_value)
            || (tree.is_mark(',') && keyword.is_none());
        if ends {
            break;
        }
    }
    at
}

/// Words that begin an item; before anything else, a comma ends what a condition stands before.
const ITEMS: &[&str] = &[
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// Items that may have braces before their end, which is a `;`.
const VALUES: &[&str] = &["const", "let", "static", "type", "use"];

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        text_of(&without_tests(&parse(text).unwrap()))
            .split_whitespace()
            .collect()
    }

    #[test]
    fn test_code_is_left_out_and_nothing_else_is() {
        let text = "fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}";
        assert_eq!(left(text), "fna(){}fnc(){}");
        assert_eq!(left("#[cfg(test)] use x::{y, z}; fn c() {}"), "fnc(){}");
        assert_eq!(
            left("#[cfg(test)] #[derive(A)] struct B<C, D>; fn c() {}"),
            "fnc(){}"
        );
        assert_eq!(
            left("struct S { #[cfg(test)] a: u8, b: u8 }"),
            "structS{b:u8}"
        );
        assert_eq!(
            left("#[cfg(any(test, fuzzing))] fn a() {} fn b() {}"),
            "fnb(){}"
        );
        assert_eq!(
            left("#[cfg(test)] const A: u8 = { 1 }; fn b() {}"),
            "fnb(){}"
        );
        assert_eq!(left("#[cfg(test)] const fn a() { 1 } fn b() {}"), "fnb(){}");
        assert_eq!(
            left("#[cfg(not(test))] fn a() {}"),
            "#[cfg(not(test))]fna(){}"
        );
        assert_eq!(left("#![cfg(test)] fn a() {}"), "");
    }

    #[test]
    fn comments_are_no_tokens() {
        assert_eq!(
            left("//! One.\n/// Two.\nfn a() {} // three\n/* four */"),
            "fna(){}"
        );
    }

    #[test]
    fn test_modules_in_their_own_files_are_known() {
        let trees = parse("#[cfg(test)]\nmod tests;\nmod other;\n#[cfg(test)] mod b {}").unwrap();
        assert_eq!(test_modules(&trees), ["tests"]);
    }
}
