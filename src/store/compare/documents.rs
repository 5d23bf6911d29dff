//! What differs between two JSON documents.

use std::collections::BTreeSet;

use serde_json::Value;

/// A value that is not the same in two documents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DocumentChange {
    /// Where it is: a JSON pointer (RFC 6901), which is empty for the document itself.
    pub pointer: String,
    /// What was there.
    pub before: Option<Value>,
    /// What is there.
    pub after: Option<Value>,
}

/// The differences of the smallest values, in the order of the documents.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<DocumentChange> {
    let mut found = Vec::new();
    below(&mut String::new(), Some(before), Some(after), &mut found);
    found
}

fn below(
    pointer: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<DocumentChange>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let step = name.replace('~', "~0").replace('/', "~1");
                within(pointer, &step, (before.get(name), after.get(name)), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for place in 0..before.len().max(after.len()) {
                let both = (before.get(place), after.get(place));
                within(pointer, &place.to_string(), both, found);
            }
        }
        (before, after) => found.push(DocumentChange {
            pointer: pointer.clone(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// [`below`], one step down.
fn within(
    pointer: &mut String,
    step: &str,
    (before, after): (Option<&Value>, Option<&Value>),
    found: &mut Vec<DocumentChange>,
) {
    let len = pointer.len();
    pointer.push('/');
    pointer.push_str(step);
    below(pointer, before, after, found);
    pointer.truncate(len);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_where_it_is_and_nothing_else_is() {
        let before = json!({"a": {"b/c": 1, "d~": [1, 2, 3]}, "same": [{}], "gone": null});
        let after = json!({"a": {"b/c": 2, "d~": [1, 5]}, "same": [{}], "new": {"x": 1}});
        let found = changes(&before, &after);
        let told: Vec<_> = found.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(told, ["/a/b~1c", "/a/d~0/1", "/a/d~0/2", "/gone", "/new"]);
        for change in &found {
            assert_eq!(before.pointer(&change.pointer), change.before.as_ref());
            assert_eq!(after.pointer(&change.pointer), change.after.as_ref());
        }
        assert_eq!(changes(&before, &before), []);
        assert_eq!(changes(&json!(1), &json!([1]))[0].pointer, "");
    }
}
