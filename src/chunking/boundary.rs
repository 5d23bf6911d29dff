//! Which names may begin a group.

/// Whether a group may close before this name. A property of the name alone, so that inserting or
/// changing one entry moves no boundary but its own group's; one name in 16 is one.
pub(crate) fn is_boundary(name: &str) -> bool {
    blake3::hash(name.as_bytes())
        .as_bytes()
        .first()
        .is_some_and(|byte| byte % 16 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_name_in_sixteen_is_a_boundary() {
        let count = (0..16_000)
            .filter(|i| is_boundary(&format!("blocks.{i}.weight")))
            .count();
        assert!((800..1200).contains(&count), "{count}");
    }
}
