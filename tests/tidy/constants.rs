//! Numbers that stand both in `docs/format.md` and in the code are the same.

use std::collections::BTreeMap;
use std::fmt;

use syn::{BinOp, Expr, Lit, UnOp};

use crate::source::{Checkout, Fault, Page, Source};
use crate::tree::{self, Tree};

const RULE: &str = "format page";

/// Where constants of the format may stand.
const HOMES: &[&str] = &["format", "name", "tensor", "chunking", "codec"];

/// The value of a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i128),
    Bytes(Vec<u8>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

/// A constant as it is declared.
struct Constant<'a> {
    source: &'a Source,
    line: usize,
    is_visible: bool,
    expression: String,
}

type Constants<'a> = BTreeMap<String, Vec<Constant<'a>>>;

/// The constants that stand outside of functions in these sources.
fn constants<'a>(sources: impl Iterator<Item = &'a Source>) -> Constants<'a> {
    let mut out = Constants::new();
    for source in sources {
        tree::each_level(&source.code, &mut |level| {
            for at in 0..level.len() {
                if let Some((name, constant)) = constant(source, level, at) {
                    out.entry(name).or_default().push(constant);
                }
            }
        });
    }
    out
}

fn constant<'a>(source: &'a Source, level: &[Tree], at: usize) -> Option<(String, Constant<'a>)> {
    let [keyword, name, colon, ..] = &level[at..] else {
        return None;
    };
    if keyword.word() != Some("const") || !colon.is_mark(':') {
        return None;
    }
    let end = at + level[at..].iter().position(|tree| tree.is_mark(';'))?;
    let equals = at + level[at..end].iter().position(|tree| tree.is_mark('='))?;
    let before = |steps: usize| at.checked_sub(steps).and_then(|place| level[place].word());
    let is_visible = before(1) == Some("pub") || before(2) == Some("pub");
    let expression = tree::text_of(&level[equals + 1..end]);
    Some((
        name.word()?.to_owned(),
        Constant {
            source,
            line: keyword.line(),
            is_visible,
            expression,
        },
    ))
}

/// The value of an expression over literals and other constants; none if it is neither a number
/// nor bytes.
fn evaluate(expression: &Expr, known: &Constants<'_>, depth: u8) -> Option<Value> {
    let number = |side: &Expr| match evaluate(side, known, depth)? {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    };
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok().map(Value::Number),
            Lit::Byte(byte) => Some(Value::Number(byte.value().into())),
            Lit::ByteStr(bytes) => Some(Value::Bytes(bytes.value())),
            _ => None,
        },
        Expr::Paren(inner) => evaluate(&inner.expr, known, depth),
        Expr::Group(inner) => evaluate(&inner.expr, known, depth),
        Expr::Cast(inner) => evaluate(&inner.expr, known, depth),
        Expr::Reference(inner) => evaluate(&inner.expr, known, depth),
        Expr::Unary(inner) => match inner.op {
            UnOp::Deref(_) => evaluate(&inner.expr, known, depth),
            UnOp::Neg(_) => number(&inner.expr).map(|value| Value::Number(-value)),
            _ => None,
        },
        Expr::Binary(both) => {
            let (left, right) = (number(&both.left)?, number(&both.right)?);
            binary(&both.op, left, right).map(Value::Number)
        }
        Expr::Path(path) => {
            let name = path.path.segments.last()?.ident.to_string();
            let [only] = known.get(&name)?.as_slice() else {
                return None;
            };
            let inner: Expr = syn::parse_str(&only.expression).ok()?;
            evaluate(&inner, known, depth.checked_sub(1)?)
        }
        _ => None,
    }
}

fn binary(operator: &BinOp, left: i128, right: i128) -> Option<i128> {
    match operator {
        BinOp::Add(_) => left.checked_add(right),
        BinOp::Sub(_) => left.checked_sub(right),
        BinOp::Mul(_) => left.checked_mul(right),
        BinOp::Div(_) => left.checked_div(right),
        BinOp::Rem(_) => left.checked_rem(right),
        BinOp::Shl(_) => left.checked_mul(1_i128.checked_shl(u32::try_from(right).ok()?)?),
        BinOp::BitOr(_) => Some(left | right),
        _ => None,
    }
}

fn value_of(text: &str, known: &Constants<'_>) -> Option<Value> {
    evaluate(&syn::parse_str(text).ok()?, known, 8)
}

/// The name in a cell that holds nothing else than a constant's name in back quotes.
fn name_in(cell: &str) -> Option<&str> {
    let name = cell.strip_prefix('`')?.strip_suffix('`')?;
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(fits)).then_some(name)
}

/// Element types as `src/tensor/dtype.rs` declares them: name, code, bits.
fn element_types(sources: &[&Source]) -> BTreeMap<String, (i128, i128)> {
    let mut out = BTreeMap::new();
    for source in sources {
        tree::each_level(&source.code, &mut |level| {
            for row in level.split(|tree| tree.is_mark(';')) {
                let text = tree::text_of(row);
                let cells: Vec<&str> = text.split(',').map(str::trim).collect();
                if let [_, _, code, bits, name] = cells.as_slice()
                    && let (Ok(code), Ok(bits)) = (code.parse(), bits.parse())
                {
                    out.insert(name.trim_matches('"').to_owned(), (code, bits));
                }
            }
        });
    }
    out
}

/// The page and the code have the same constants, and the page has all of `limits.rs`.
pub(crate) fn check(checkout: &Checkout, page: &Page) -> Vec<Fault> {
    let homes: Vec<&Source> = checkout
        .library()
        .filter(|s| s.top().is_some_and(|top| HOMES.contains(&top)))
        .collect();
    let known = constants(homes.iter().copied());
    let element_types = element_types(&homes);
    let rows = page.rows();
    let mut out = Vec::new();
    for (line, cells) in &rows {
        let (Some(name), Some(cell)) = (name_in(&cells[0]), cells.get(1)) else {
            continue;
        };
        let text = cell.trim_matches('`');
        let objection = match (known.get(name).map(Vec::as_slice), element_types.get(name)) {
            (Some([]) | None, None) => Some(format!("no constant `{name}` in {HOMES:?}")),
            (None, Some((code, bits))) => {
                let shown: Vec<&str> = cells[1..].iter().map(String::as_str).take(2).collect();
                let expected = [code.to_string(), bits.to_string()];
                (shown != expected)
                    .then(|| format!("`{name}` is {shown:?}, in the code {expected:?}"))
            }
            (Some([constant]), _) => compare(name, text, constant, &known),
            (Some(several), _) => Some(format!("`{name}` is declared in {} places", several.len())),
        };
        out.extend(objection.map(|what| page.fault(*line, RULE, what)));
    }
    let is_shown = |name: &str| {
        rows.iter()
            .any(|(_, cells)| name_in(&cells[0]) == Some(name))
    };
    for (name, places) in &known {
        for constant in places
            .iter()
            .filter(|c| c.source.path == "src/format/limits.rs")
        {
            if constant.is_visible && !is_shown(name) {
                let what = format!("`{name}` has no row in a table of {}", page.path);
                out.push(constant.source.fault(constant.line, RULE, what));
            }
        }
    }
    for name in element_types.keys().filter(|name| !is_shown(name)) {
        let what = format!("element type `{name}` has no row (name, code, bits) in a table");
        out.push(page.fault(1, RULE, what));
    }
    out
}

/// Why the page's text is not the constant's value.
fn compare(
    name: &str,
    text: &str,
    constant: &Constant<'_>,
    known: &Constants<'_>,
) -> Option<String> {
    let place = format!("{}:{}", constant.source.path, constant.line);
    let here = value_of(text, &Constants::new());
    let there = value_of(&constant.expression, known);
    match (here, there) {
        (Some(here), Some(there)) if here == there => None,
        (Some(here), Some(there)) => {
            Some(format!("`{name}` is {here} here and {there} in {place}"))
        }
        (None, _) => Some(format!("`{text}` can't be read as the value of `{name}`")),
        (_, None) => {
            let expression = &constant.expression;
            Some(format!(
                "`{name}` in {place} can't be worked out from `{expression}`"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "pub(crate) const MAX_BYTES: usize = 1 << 20;
        pub(crate) const MAX_PARTS: u8 = 4 * (1 + 1_0) - 2;
        pub(crate) const MAGIC: &[u8; 4] = b\"CK\\x01R\";
        pub(crate) const DERIVED: usize = MAX_BYTES - 16;
        const OWN: u8 = 7;
        #[cfg(test)] const ONLY_IN_TESTS: u8 = 1;";

    const PAGE: &str = "| name | value | meaning |\n|---|---|---|
        | `MAX_BYTES` | 1048576 | a |\n| `MAX_PARTS` | 42 | b |
        | `MAGIC` | b\"CK\\x01R\" | c |\n| `DERIVED` | `1_048_560` | d |";

    fn faults(code: &str, page: &str) -> Vec<String> {
        let checkout = Checkout::of(&[("src/format/limits.rs", code)]);
        let page = Page::new("docs/format.md", page);
        check(&checkout, &page)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn equal_numbers_pass() {
        assert_eq!(faults(LIMITS, PAGE), Vec::<String>::new());
    }

    #[test]
    fn a_differing_number_or_text_is_found_with_both_places() {
        let found = faults(LIMITS, &PAGE.replace("1048576", "1048577"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("docs/format.md:3: "), "{}", found[0]);
        assert!(
            found[0].contains("1048576 in src/format/limits.rs:1"),
            "{}",
            found[0]
        );
        assert_eq!(faults(LIMITS, &PAGE.replace("b\"CK", "b\"DK")).len(), 1);
        assert_eq!(faults(&LIMITS.replace("- 16", "- 17"), PAGE).len(), 1);
    }

    #[test]
    fn a_row_without_constant_and_a_constant_without_row_are_found() {
        assert_eq!(
            faults(LIMITS, &format!("{PAGE}\n| `GONE` | 1 | x |")).len(),
            1
        );
        assert_eq!(
            faults(LIMITS, &PAGE.replace("| `MAX_PARTS` | 42 | b |", "")).len(),
            1
        );
        assert_eq!(faults(LIMITS, &PAGE.replace("42", "about 42")).len(), 1);
    }

    #[test]
    fn element_types_have_a_row_with_code_and_bits() {
        let code = "dtypes! { Bool, BOOL, 1, 8, \"BOOL\"; F4, F4, 2, 4, \"F4\"; }";
        let checkout = Checkout::of(&[("src/tensor/dtype.rs", code)]);
        let count = |text: &str| check(&checkout, &Page::new("docs/format.md", text)).len();
        assert_eq!(count("| `BOOL` | 1 | 8 |\n| `F4` | 2 | 4 |"), 0);
        assert_eq!(count("| `BOOL` | 1 | 8 |\n| `F4` | 2 | 8 |"), 1);
        assert_eq!(count("| `BOOL` | 1 | 8 |"), 1);
    }
}
