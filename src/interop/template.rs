//! Names of files with fields in them, read and written.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::name::printable;

/// The name of the field that is a checkpoint's iteration.
pub(super) const ITERATION: &str = "iteration";
/// The name of the field that is a reason to save.
pub(super) const EVENT: &str = "event";
/// Digits that a number may be written with.
const MOST_DIGITS: usize = 100;

/// What stands in a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Any text.
    Text(String),
}

/// What a field takes, as a format specification of Python's: `07d`, `+.3f`, or nothing for text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spec {
    kind: Kind,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Text,
    Integer,
    Float,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Field(String, Spec),
}

/// A name with fields: `{market}_ts-{iteration:07d}_val-{val_reward:+.3f}.zip`.
///
/// Between braces stand a name and, after a colon, a format as Python has it (`d` and `f`, a sign,
/// zeros, a width, a precision); without one the field is text, but for `iteration`, which is a
/// whole number. Braces themselves are written twice.
///
/// ```
/// use ckptdb::interop::{Field, NameTemplate};
///
/// let template: NameTemplate = "{market}_ts-{iteration:07d}_val-{reward:+.3f}.zip".parse()?;
/// let fields = template.read("NQ_mini_ts-0025000_val-+0.291.zip").unwrap();
/// assert_eq!(fields["market"], Field::Text("NQ_mini".to_owned()));
/// assert_eq!(fields["iteration"], Field::Integer(25_000));
/// assert_eq!(fields["reward"], Field::Float(0.291));
/// let written = template.write(&|name| fields.get(name).cloned())?;
/// assert_eq!(written, "NQ_mini_ts-0025000_val-+0.291.zip");
/// assert!(template.read("NQ_ts-x_val-+0.291.zip").is_none());
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    segments: Vec<Segment>,
}

impl NameTemplate {
    /// The fields of a name that was written by it; none if it was not. Where several readings are
    /// possible, text is as short as can be, the first field first.
    pub fn read(&self, name: &str) -> Option<BTreeMap<String, Field>> {
        let mut read = Reading {
            name,
            fields: BTreeMap::new(),
            hopeless: HashSet::new(),
        };
        read.from(&self.segments, 0).then_some(read.fields)
    }

    /// The name with these fields.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a field that is missing, or of another kind.
    pub fn write(&self, field: &dyn Fn(&str) -> Option<Field>) -> Result<String> {
        let mut out = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.push_str(text),
                Segment::Field(name, spec) => {
                    let written = field(name).and_then(|value| spec.write(&value));
                    out.push_str(&written.ok_or_else(|| {
                        let why = format!("there is no fitting `{}`", printable(name));
                        Error::invalid(format!("template `{}`", printable(&self.text)), why)
                    })?);
                }
            }
        }
        Ok(out)
    }

    /// The names of its fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Field(name, _) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// How many folders a name of it has, itself included.
    pub(super) fn components(&self) -> usize {
        self.text.trim_end_matches('/').matches('/').count() + 1
    }

    /// Whether it names folders.
    pub(super) fn is_folder(&self) -> bool {
        self.text.ends_with('/')
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for NameTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::invalid(format!("template `{}`", printable(text)), why);
        let mut segments = Vec::new();
        let (mut literal, mut seen) = (String::new(), HashSet::new());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            let is_double = after.starts_with(letter);
            match letter {
                '{' | '}' if is_double => {
                    literal.push(letter);
                    rest = &after[1..];
                }
                '{' => {
                    let (field, after) = after
                        .split_once('}')
                        .ok_or_else(|| bad("a field has no end".to_owned()))?;
                    let (name, spec) = field.split_once(':').unwrap_or((field, ""));
                    if name.is_empty() || name.contains(['{', '/']) {
                        return Err(bad("a field has no name".to_owned()));
                    }
                    if !seen.insert(name.to_owned()) {
                        return Err(bad(format!("`{}` stands in it twice", printable(name))));
                    }
                    let mut spec = Spec::parse(spec)
                        .ok_or_else(|| bad(format!("`{}` is no format", printable(spec))))?;
                    if name == ITERATION && spec.kind == Kind::Text {
                        spec.kind = Kind::Integer;
                    }
                    if !literal.is_empty() {
                        segments.push(Segment::Literal(std::mem::take(&mut literal)));
                    }
                    segments.push(Segment::Field(name.to_owned(), spec));
                    rest = after;
                }
                '}' => return Err(bad("a `}` begins nowhere; write it twice".to_owned())),
                _ => {
                    literal.push(letter);
                    rest = after;
                }
            }
        }
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = match text.chars().last() {
            None => return Some(Self::default()),
            Some('d') => (Kind::Integer, text.strip_suffix('d')?),
            Some('f') => (Kind::Float, text.strip_suffix('f')?),
            Some('s') => (Kind::Text, text.strip_suffix('s')?),
            Some(_) => return None,
        };
        let (plus, rest) = match rest.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (width, precision) = match rest.split_once('.') {
            Some((width, precision)) => (width, Some(precision)),
            None => (rest, None),
        };
        let number = |digits: &str| match digits {
            "" => Some(0),
            digits => digits.parse().ok().filter(|number| *number <= MOST_DIGITS),
        };
        let spec = Self {
            kind,
            plus,
            zero: width.starts_with('0'),
            width: number(width)?,
            precision: match precision {
                Some(digits) if kind == Kind::Float && !digits.is_empty() => Some(number(digits)?),
                Some(_) => return None,
                None => None,
            },
        };
        let is_plain = !spec.plus && spec.width == 0;
        (kind != Kind::Text || is_plain).then_some(spec)
    }

    fn write(&self, value: &Field) -> Option<String> {
        match (self.kind, value) {
            (Kind::Text, Field::Text(text)) => Some(text.clone()),
            (Kind::Text, Field::Integer(number)) => Some(number.to_string()),
            (Kind::Text, Field::Float(number)) => Some(number.to_string()),
            (Kind::Integer, Field::Integer(number)) => {
                Some(self.padded(*number < 0, &number.unsigned_abs().to_string()))
            }
            (Kind::Float, Field::Float(number)) => Some(self.float(*number)),
            #[expect(clippy::cast_precision_loss, reason = "as Python does")]
            (Kind::Float, Field::Integer(number)) => Some(self.float(*number as f64)),
            _ => None,
        }
    }

    fn float(&self, number: f64) -> String {
        let digits = if number.is_nan() {
            "nan".to_owned()
        } else if number.is_infinite() {
            "inf".to_owned()
        } else {
            format!("{:.*}", self.precision.unwrap_or(6), number.abs())
        };
        let is_negative = number.is_sign_negative() && !number.is_nan();
        self.padded(is_negative, &digits)
    }

    /// With its sign, as wide as it is to be.
    fn padded(&self, is_negative: bool, digits: &str) -> String {
        let sign = match is_negative {
            true => "-",
            false if self.plus => "+",
            false => "",
        };
        let missing = self.width.saturating_sub(sign.len() + digits.len());
        if self.zero {
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            format!("{}{sign}{digits}", " ".repeat(missing))
        }
    }

    /// The lengths that a field at the beginning of this text may have, likely ones first.
    fn lengths(&self, text: &str) -> Vec<usize> {
        if self.kind == Kind::Text {
            let ends = text
                .char_indices()
                .map(|(at, letter)| (at + letter.len_utf8(), letter));
            return ends
                .take_while(|(_, letter)| *letter != '/')
                .map(|(end, _)| end)
                .collect();
        }
        let digits = text.trim_start_matches(' ');
        let from = text.len() - digits.len();
        let is_of_number = |letter: char| letter.is_ascii_digit() || "+-.naif".contains(letter);
        let end = digits
            .find(|letter| !is_of_number(letter))
            .unwrap_or(digits.len());
        let all = (1..=end).rev().filter(|len| {
            let number = digits.get(..*len);
            number.is_some_and(|number| self.parse_number(number).is_some())
        });
        all.map(|len| from + len).collect()
    }

    fn parse_number(&self, text: &str) -> Option<Field> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let is_number = digits.starts_with(|letter: char| letter.is_ascii_digit());
        match self.kind {
            Kind::Integer if is_number => text.parse().ok().map(Field::Integer),
            Kind::Float if is_number && !digits.ends_with('.') => {
                text.parse().ok().map(Field::Float)
            }
            Kind::Float if digits == "nan" => Some(Field::Float(f64::NAN)),
            Kind::Float if digits == "inf" => text.parse().ok().map(Field::Float),
            _ => None,
        }
    }

    fn parse_field(&self, text: &str) -> Option<Field> {
        match self.kind {
            Kind::Text => Some(Field::Text(text.to_owned())),
            _ => self.parse_number(text.trim_start_matches(' ')),
        }
    }
}

/// A name that is read.
struct Reading<'n> {
    name: &'n str,
    fields: BTreeMap<String, Field>,
    /// Segments, by how many are left, and places from which there is no way to the end: each is
    /// tried once.
    hopeless: HashSet<(usize, usize)>,
}

impl Reading<'_> {
    /// Whether these segments fit the name from `at` on.
    fn from(&mut self, segments: &[Segment], at: usize) -> bool {
        let rest = self.name.get(at..).unwrap_or_default();
        let Some((segment, after)) = segments.split_first() else {
            return rest.is_empty();
        };
        if self.hopeless.contains(&(segments.len(), at)) {
            return false;
        }
        let fits = match segment {
            Segment::Literal(text) => {
                rest.starts_with(text.as_str()) && self.from(after, at + text.len())
            }
            Segment::Field(name, spec) => spec.lengths(rest).into_iter().any(|len| {
                let Some(value) = rest.get(..len).and_then(|text| spec.parse_field(text)) else {
                    return false;
                };
                let fits = self.from(after, at + len);
                if fits {
                    self.fields.insert(name.clone(), value);
                }
                fits
            }),
        };
        if !fits {
            self.hopeless.insert((segments.len(), at));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> NameTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_of_an_old_folder_is_read_and_written() {
        let text = "{market}_ts-{iteration:07d}_evt-{event}_val-{val_reward:+.3f}_\
                    sharpe-{sharpe_ratio:+.2f}_seed-{seed}.zip";
        let name = "ES_mini_ts-0120000_evt-phase_end_val--0.125_sharpe-+2.10_seed-7.zip";
        let fields = template(text).read(name).unwrap();
        assert_eq!(fields["market"], Field::Text("ES_mini".to_owned()));
        assert_eq!(fields["iteration"], Field::Integer(120_000));
        assert_eq!(fields["event"], Field::Text("phase_end".to_owned()));
        assert_eq!(fields["val_reward"], Field::Float(-0.125));
        assert_eq!(fields["seed"], Field::Text("7".to_owned()));
        let written = template(text).write(&|field| fields.get(field).cloned());
        assert_eq!(written.unwrap(), name);
    }

    #[test]
    fn what_was_not_written_by_it_is_not_read() {
        let steps = template("{prefix}_{iteration:d}_steps.zip");
        for name in [
            "rl_model_steps.zip",
            "rl_model_x_steps.zip",
            "_1_steps.zip",
            "a_1_steps.zip2",
            "",
        ] {
            assert_eq!(steps.read(name), None, "{name}");
        }
        assert_eq!(steps.read("a/b_1_steps.zip"), None, "a field is no folder");
        assert!(steps.read("a_1_2_steps.zip").is_some());
    }

    #[test]
    fn a_template_that_can_not_be_is_refused_with_the_reason() {
        for (text, why) in [
            ("{iteration", "no end"),
            ("a}b", "write it twice"),
            ("{}", "no name"),
            ("{a}{a}", "twice"),
            ("{a:x}", "no format"),
            ("{a:+s}", "no format"),
            ("{a:.f}", "no format"),
            ("{a:999999d}", "no format"),
        ] {
            let told = text.parse::<NameTemplate>().unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert_eq!(
            template("{{{a}}}").read("{x}").unwrap()["a"],
            Field::Text("x".to_owned())
        );
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        // By '{:07d}'.format(-12) and so on.
        let written = |spec: &str, value: Field| {
            template(&format!("{{x:{spec}}}"))
                .write(&|_| Some(value.clone()))
                .unwrap()
        };
        assert_eq!(written("07d", Field::Integer(-12)), "-000012");
        assert_eq!(written("5d", Field::Integer(12)), "   12");
        assert_eq!(written("+d", Field::Integer(0)), "+0");
        assert_eq!(written("+.3f", Field::Float(-0.0)), "-0.000");
        assert_eq!(written("+.2f", Field::Float(2.675)), "+2.67");
        assert_eq!(written("f", Field::Float(1.5)), "1.500000");
        assert_eq!(written("+08.2f", Field::Float(2.625)), "+0002.62");
        assert_eq!(written("+.1f", Field::Float(f64::NAN)), "+nan");
        assert_eq!(written(".1f", Field::Float(f64::NEG_INFINITY)), "-inf");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            market in "[A-Za-z_]{1,8}",
            iteration in 0..10_000_000_i64,
            value in -1000..1000_i64,
        ) {
            let template = template("{market}_ts-{iteration:07d}_v-{value:+.2f}.zip");
            let cents = f64::from(i32::try_from(value).unwrap()) / 100.0;
            let name = template.write(&|field| Some(match field {
                "market" => Field::Text(market.clone()),
                "iteration" => Field::Integer(iteration),
                _ => Field::Float(cents),
            })).unwrap();
            let fields = template.read(&name).unwrap();
            prop_assert_eq!(&fields["iteration"], &Field::Integer(iteration));
            prop_assert_eq!(&fields["value"], &Field::Float(cents));
            let again = template.write(&|field| fields.get(field).cloned()).unwrap();
            prop_assert_eq!(again, name);
        }

        #[test]
        fn no_text_makes_it_stumble(text in "\\PC{0,40}", name in "\\PC{0,200}") {
            if let Ok(template) = text.parse::<NameTemplate>() {
                let _ = template.read(&name);
            }
            let _ = template("{a}{b}_{c}{d:d}-{e}").read(&name);
        }
    }
}
