//! What somebody may have meant who named what is not there.

use super::printable;

/// How many names a message lists.
const LISTED: usize = 8;

/// The candidate that a slip of the finger or two would make of the name, or another case of its
/// letters; none if nothing is near.
///
/// ```
/// use ckptdb::name::nearest;
/// assert_eq!(nearest("lates", ["latest", "best"]), Some("latest"));
/// assert_eq!(nearest("nq", ["NQ", "ES"]), Some("NQ"));
/// assert_eq!(nearest("loss", ["sharpe"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let letters = name.chars().count();
    let slips = 1 + letters / 4;
    let scored = candidates.into_iter().map(|other| {
        let slips = distance(&folded, &other.to_lowercase());
        ((slips, other != name), other)
    });
    let ((distance, _), nearest) = scored.min_by_key(|(score, _)| *score)?;
    (distance <= slips && distance < letters).then_some(nearest)
}

/// The first names of a list, fit for a message: `a, b, c, and 4 more`.
///
/// ```
/// assert_eq!(ckptdb::name::some_of(["loss", "acc"]), "loss, acc");
/// ```
pub fn some_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let listed: Vec<String> = names.by_ref().take(LISTED).map(printable).collect();
    match names.count() {
        0 => listed.join(", "),
        more => format!("{}, and {more} more", listed.join(", ")),
    }
}

/// What to say to somebody who named what is not among these, of a kind: what is near, else what
/// there is.
///
/// ```
/// use ckptdb::name::instead;
/// assert_eq!(instead("los", &["loss", "acc"], "metric"), "did you mean `loss`?");
/// assert_eq!(instead("reward", &["loss", "acc"], "metric"), "there are: loss, acc");
/// ```
pub fn instead<S: AsRef<str>>(name: &str, names: &[S], of: &str) -> String {
    let all = || names.iter().map(AsRef::as_ref);
    match nearest(name, all()) {
        Some(near) => format!("did you mean `{}`?", printable(near)),
        None if names.is_empty() => format!("there is no {of} yet"),
        None => format!("there are: {}", some_of(all())),
    }
}

/// So many of a kind, in words.
pub(crate) fn counted(count: u64, of: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {of}{ending}")
}

/// How many letters must be changed, added, removed, or swapped with their neighbour, to make one
/// text of the other, none twice: the optimal string alignment distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (count, letter) in from.chars().enumerate() {
        let mut next = vec![count + 1];
        for (at, other) in to.iter().enumerate() {
            let change = row[at] + usize::from(letter != *other);
            let mut least = change.min(row[at + 1] + 1).min(next[at] + 1);
            let swapped = at > 0 && last == Some(*other) && to[at - 1] == letter;
            if let Some(before) = older.get(at.wrapping_sub(1)).filter(|_| swapped) {
                least = least.min(before + 1);
            }
            next.push(least);
        }
        older = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changes_and_swaps() {
        for (from, to, expected) in [
            ("NQ", "NQ", 0),
            ("NQ", "ND", 1),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("vti", "vit", 1),
            ("ca", "abc", 3),
            ("preiodic", "periodic", 1),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let words = ["periodic", "best", "final"];
        assert_eq!(nearest("preiodic", words), Some("periodic"));
        assert_eq!(nearest("FINAL", words), Some("final"));
        assert_eq!(nearest("zzz", words), None);
        assert_eq!(nearest("vti", ["nq", "vit"]), Some("vit"));
        // One slip of a name of one letter is another name.
        assert_eq!(nearest("a", ["b"]), None);
        // What differs in case alone is not nearer than the name itself.
        assert_eq!(nearest("nq", ["NQ", "nq"]), Some("nq"));
    }

    #[test]
    fn a_long_list_is_cut() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(some_of(names), "a, b, c, d, e, f, g, h, and 2 more");
        assert_eq!(instead::<&str>("x", &[], "tag"), "there is no tag yet");
        assert_eq!(instead("xyz", &["loss"], "metric"), "there are: loss");
        assert_eq!(instead("los", &["loss"], "metric"), "did you mean `loss`?");
    }
}
