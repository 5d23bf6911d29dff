//! What may be called what: the limits and characters of every kind of name.

mod suggest;

pub(crate) use suggest::counted;
pub use suggest::{instead, nearest, some_of};

use crate::error::{Error, Result};

/// Longest name of a job, metric, event, attribute or tag, in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 255;
/// Longest name of an entry, in bytes of UTF-8.
pub const MAX_ENTRY_NAME_BYTES: usize = 1024;

/// Characters that shells or the reference grammar give a meaning to.
const RESERVED: &str = "@:~#\\*?[]{}()<>'\"`$&|;!=,";

/// Checks a job's name: `/`-separated segments that need no quoting in a shell and can't climb
/// out of a folder.
///
/// # Errors
/// [`Error::Invalid`] with the rule that was broken.
pub fn check_job(name: &str) -> Result<()> {
    let what = || format!("job name `{}`", printable(name));
    check_label(name, what)?;
    if let Some(bad) = name.chars().find(|c| RESERVED.contains(*c)) {
        return Err(Error::invalid(what(), format!("`{bad}` is not allowed")));
    }
    if name.starts_with('-') {
        return Err(Error::invalid(
            what(),
            "a leading `-` would read as an option",
        ));
    }
    match name
        .split('/')
        .find(|segment| matches!(*segment, "" | "." | ".."))
    {
        Some(segment) => Err(Error::invalid(
            what(),
            format!("`{segment}` is no path segment"),
        )),
        None => Ok(()),
    }
}

/// Checks the name of a metric, attribute or parameterised event.
///
/// # Errors
/// [`Error::Invalid`] with the rule that was broken.
pub fn check_word(kind: &str, name: &str) -> Result<()> {
    let what = || format!("{kind} name `{}`", printable(name));
    check_label(name, what)?;
    match name.chars().find(|c| matches!(c, '~' | '=' | '(' | ')')) {
        Some(bad) => Err(Error::invalid(what(), format!("`{bad}` is not allowed"))),
        None => Ok(()),
    }
}

/// Checks a tag: a word that no selector already means.
///
/// # Errors
/// [`Error::Invalid`] with the rule that was broken.
pub fn check_tag(name: &str) -> Result<()> {
    check_word("tag", name)?;
    if matches!(name, "latest" | "best") || name.bytes().all(|b| b.is_ascii_digit()) {
        let why = "`latest`, `best` and numbers already mean something in a reference";
        return Err(Error::invalid(format!("tag name `{name}`"), why));
    }
    Ok(())
}

/// Checks an entry's name: any text that is not empty, within the limit, without NUL. It is
/// data, as frameworks made it; whoever prints it or makes a path of it escapes it.
///
/// # Errors
/// [`Error::Invalid`] with the rule that was broken.
pub fn check_entry(name: &str) -> Result<()> {
    let what = || format!("entry name `{}`", printable(name));
    check_length(name, MAX_ENTRY_NAME_BYTES, what)?;
    if name.contains('\0') {
        return Err(Error::invalid(what(), "NUL is not allowed"));
    }
    Ok(())
}

/// The name with control, direction-changing and invisible characters escaped, and cut to 80
/// characters: fit for a terminal and for an error message.
pub fn printable(name: &str) -> String {
    let mut out = String::new();
    for (count, c) in name.chars().enumerate() {
        if count == 80 {
            out.push_str("...");
            break;
        }
        if is_unprintable(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn check_label(name: &str, what: impl Fn() -> String) -> Result<()> {
    check_length(name, MAX_LABEL_BYTES, &what)?;
    match name
        .chars()
        .find(|c| c.is_whitespace() || is_unprintable(*c))
    {
        Some(bad) => Err(Error::invalid(
            what(),
            format!("`{}` is not allowed", bad.escape_unicode()),
        )),
        None => Ok(()),
    }
}

fn check_length(name: &str, limit: usize, what: impl Fn() -> String) -> Result<()> {
    match name.len() {
        0 => Err(Error::invalid(what(), "a name can't be empty")),
        length if length > limit => Err(Error::invalid(
            what(),
            format!("{length} bytes; the limit is {limit}"),
        )),
        _ => Ok(()),
    }
}

/// Control characters, and those that change direction or have no width.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{061c}')
}

/// Whether `text` matches a pattern in which `*` stands for any characters and `?` for one.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where the last star stood, and how far the text was when it last took a character more.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(read) {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(&p), _) if p == '?' || p == c => {
                at += 1;
                read += 1;
            }
            (_, Some((star_at, taken))) => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                read = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|&p| p == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*c", "abbc"),
            ("?*", "x"),
            ("*.w", "a.w.w"),
        ] {
            assert!(
                matches_pattern(pattern, text),
                "{pattern:?} did not match {text:?}"
            );
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("a*c", "abcd"),
            ("*a?", "a"),
            ("b", "ab"),
        ] {
            assert!(
                !matches_pattern(pattern, text),
                "{pattern:?} matched {text:?}"
            );
        }
    }

    #[test]
    fn job_names_are_paths_that_need_no_quotes() {
        for good in ["NQ", "phase1/NQ", "agent/42", "a.b_c+d%", "\u{e9}t\u{e9}"] {
            check_job(good).unwrap();
        }
        let long = "x".repeat(MAX_LABEL_BYTES + 1);
        for bad in [
            "",
            "/",
            "a//b",
            "../x",
            "a/..",
            ".",
            "a b",
            "a@b",
            "-n",
            "a\u{202e}b",
            &long,
        ] {
            assert!(check_job(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn tags_never_shadow_a_selector() {
        check_tag("v1-good").unwrap();
        for bad in ["latest", "best", "25000", "a~b", ""] {
            assert!(check_tag(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn printable_escapes_what_a_terminal_would_obey() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(printable(&"x".repeat(100)).len(), 83);
    }
}
