//! Documents in canonical form: sorted keys, no spaces, numbers as they were written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// Nesting beyond this is refused: whoever reads it recursively would overflow.
const MAX_DEPTH: usize = 100;

/// The canonical text of a JSON text. Keys are sorted by their bytes; number lexemes are kept.
///
/// # Errors
/// [`Error::Invalid`] on what is not JSON, a repeated key, or too deep nesting.
pub(crate) fn canonical(what: &str, text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    write_value(text.trim(), &mut out, 0)
        .map_err(|why| Error::invalid(what, format!("it is no JSON document: {why}")))?;
    Ok(out)
}

fn write_value(text: &str, out: &mut String, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested deeper than {MAX_DEPTH}"));
    }
    let failed = |error: serde_json::Error| error.to_string();
    match text.as_bytes().first() {
        Some(b'{') => {
            let object: Object<'_> = serde_json::from_str(text).map_err(failed)?;
            out.push('{');
            for (place, (key, value)) in object.0.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key).map_err(failed)?);
                out.push(':');
                write_value(value.get(), out, depth + 1)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let mut json = serde_json::Deserializer::from_str(text);
            let elements = Elements { out, depth };
            elements.deserialize(&mut json).map_err(failed)?;
            json.end().map_err(failed)?;
        }
        Some(b'"') => {
            let string: String = serde_json::from_str(text).map_err(failed)?;
            out.push_str(&serde_json::to_string(&string).map_err(failed)?);
        }
        _ => {
            let lexeme: &RawValue = serde_json::from_str(text).map_err(failed)?;
            out.push_str(lexeme.get());
        }
    }
    Ok(())
}

/// Writes the elements of an array as they come, so that a long one takes no memory of its own.
struct Elements<'o> {
    out: &'o mut String,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let mut open = '[';
        while let Some(element) = array.next_element::<&RawValue>()? {
            self.out.push(open);
            open = ',';
            write_value(element.get(), self.out, self.depth + 1)
                .map_err(serde::de::Error::custom)?;
        }
        self.out.push_str(if open == '[' { "[]" } else { "]" });
        Ok(())
    }
}

/// An object's members, sorted; a key that comes twice is an error.
struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&key) {
                        let why = format!("the key `{key}` comes twice");
                        return Err(serde::de::Error::custom(why));
                    }
                    members.insert(key, value);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_sorted_spaces_dropped_and_numbers_kept_to_the_letter() {
        let text = r#" { "b" : [ 1.0 , 1e400, -0, 12345678901234567890123 ],
            "a": {"y":"\u00e9/","x":null} } "#;
        let expected =
            "{\"a\":{\"x\":null,\"y\":\"\u{e9}/\"},\"b\":[1.0,1e400,-0,12345678901234567890123]}";
        assert_eq!(canonical("d", text).unwrap(), expected);
        assert_eq!(canonical("d", expected).unwrap(), expected);
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for bad in [
            "",
            "NaN",
            "{\"a\":1,\"a\":2}",
            "[1,]",
            "1 2",
            "{\"a\":NaN}",
            "\"",
            &deep,
        ] {
            assert!(canonical("d", bad).is_err(), "{bad:.20} was accepted");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_becomes_a_fixed_point(text in "[\\[\\]{},:\"a1 ]{0,24}") {
            if let Ok(once) = canonical("d", &text) {
                prop_assert_eq!(&canonical("d", &once).unwrap(), &once);
                let before: serde_json::Value = serde_json::from_str(&text).unwrap();
                let after: serde_json::Value = serde_json::from_str(&once).unwrap();
                prop_assert_eq!(before, after);
            }
        }
    }
}
