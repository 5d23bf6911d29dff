//! Layers of a model, by the names of their tensors.

/// The layer that an entry is of: `policy/blocks.11` of `policy/blocks.11.mlp.fc2`, `policy/head`
/// of `policy/head.weight`.
pub(crate) fn layer_of(name: &str) -> String {
    let is_end = |letter: char| letter == '.' || letter == '/';
    let mut from = 0;
    let mut last = None;
    for part in name.split_inclusive(is_end) {
        let end = from + part.trim_end_matches(is_end).len();
        let is_number = !part.is_empty() && part.trim_end_matches(is_end).parse::<u64>().is_ok();
        if is_number {
            return name.get(..end).unwrap_or(name).to_owned();
        }
        if from + part.len() < name.len() {
            last = Some(end);
        }
        from += part.len();
    }
    last.and_then(|end| name.get(..end))
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_ends_with_its_first_number_or_before_the_last_part() {
        for (name, layer) in [
            ("policy/blocks.11.mlp.fc2", "policy/blocks.11"),
            ("policy/head.weight", "policy/head"),
            ("weights", "weights"),
            ("0.weight", "0"),
            ("model.safetensors", "model"),
            ("a/b/", "a"),
        ] {
            assert_eq!(layer_of(name), layer);
        }
    }
}
