//! Times, sizes and parts as people write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// A time: `2d`, `12h`, `1d 6h`, `90s`.
///
/// # Errors
/// Why it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: Span = text
        .parse()
        .map_err(|error: jiff::Error| format!("a time is written 90s, 12h or 1d 6h: {error}"))?;
    let days = SpanRelativeTo::days_are_24_hours();
    let time = span.to_duration(days).map_err(|error| error.to_string())?;
    Duration::try_from(time).map_err(|_| "it is negative".to_owned())
}

/// Bytes: `500MB`, `20GiB`, `4096`.
///
/// # Errors
/// Why it is none.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "it is a whole number and a unit: 20GiB".to_owned())?;
    let unit = unit.trim_start();
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| "the units are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB".to_owned())?;
    number
        .checked_mul(*bytes)
        .ok_or_else(|| "it is too large".to_owned())
}

/// A part of a whole: `5%`, from 0 to 1 in the end.
pub(super) fn part(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(str::trim_end);
    let part: f64 = number
        .and_then(|number| number.parse().ok())
        .ok_or("a part is written 5%")?;
    if (0.0..=100.0).contains(&part) {
        Ok(part / 100.0)
    } else {
        Err("a part is from 0% to 100%".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_parts_are_read_as_they_are_written() {
        assert_eq!(size("20GiB").unwrap(), 20 << 30);
        assert_eq!(size("500 mb").unwrap(), 500_000_000);
        assert_eq!(size("4096").unwrap(), 4096);
        for bad in ["", "GiB", "1.5GiB", "20XB", "99999999999TiB", "-1"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("1d 6h").unwrap(), Duration::from_hours(30));
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        for bad in ["", "x", "-2h", "2"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!((part("2 %").unwrap() - 0.02).abs() < 1e-12);
        for bad in ["2", "%", "101%", "-1%", "x%", "NaN%"] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }
}
