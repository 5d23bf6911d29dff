//! Numbers, sizes and times as people read them.

use ckptdb::name::printable;
use ckptdb::{CheckpointInfo, Timestamp};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size in IEC units, to three or four digits: `7.79 GiB`, `443.1 MiB`, `300 B`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for (index, unit) in UNITS.iter().enumerate() {
        let one = 1_u128 << (10 * (index + 1));
        let hundredths = rounded(u128::from(bytes) * 100, one);
        if hundredths < 1000 {
            return format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100);
        }
        let tenths = rounded(u128::from(bytes) * 10, one);
        // Compared after rounding, so that nothing prints as 1024.0 of a unit.
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A share in per cent with one decimal: `86.8 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let per_mille = rounded(u128::from(part) * 1000, u128::from(whole).max(1));
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

/// How many times `small` goes into `large`: `7.3x`.
pub(crate) fn ratio(large: u64, small: u64) -> Option<String> {
    let tenths = rounded(u128::from(large) * 10, u128::from(small));
    (small > 0).then(|| format!("{}.{}x", tenths / 10, tenths % 10))
}

fn rounded(numerator: u128, denominator: u128) -> u128 {
    (numerator + denominator / 2)
        .checked_div(denominator)
        .unwrap_or(0)
}

/// A number of things with its noun: `1 entry`, `1,204 entries`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{} {noun}", thousands(number))
}

/// `1 checkpoint`, `2 checkpoints`.
pub(crate) fn checkpoints(number: u64) -> String {
    count(number, "checkpoint", "checkpoints")
}

/// A number with a comma between its thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in its two largest units: `2d 6h`, `3h 5m`, `17m`, `45s`.
pub(crate) fn duration(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => pair(hours, 'h', minutes % 60, 'm'),
        _ => pair(days, 'd', hours % 24, 'h'),
    }
}

/// A short time: `3.1 ms`, `240 ms`, `1.4 s`.
pub(crate) fn brief(seconds: f64) -> String {
    let millis = seconds * 1000.0;
    match millis {
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        _ => format!("{seconds:.1} s"),
    }
}

/// RFC 3339 in UTC to the millisecond, for programs.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let millis = time.as_millis();
    // A time that no calendar has is shown as the number that it is.
    jiff::Timestamp::from_millisecond(millis).map_or(millis.to_string(), |t| format!("{t:.3}"))
}

/// RFC 3339 in UTC to the second, for tables.
pub(crate) fn rfc3339_seconds(time: Timestamp) -> String {
    let millis = time.as_millis();
    let seconds = jiff::Timestamp::from_second(millis.div_euclid(1000));
    seconds.map_or(millis.to_string(), |t| t.to_string())
}

/// A metric's value with all its digits.
pub(crate) fn metric(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() || (1e-5..1e15).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// A metric's value to about five digits.
pub(crate) fn metric_short(value: f64) -> String {
    metric_column(&[Some(value)]).concat()
}

/// `val_loss=0.291 lr=0.001`.
pub(crate) fn metrics<'m>(metrics: impl Iterator<Item = (&'m String, &'m f64)>) -> String {
    let metric =
        |(name, value): (&String, &f64)| format!("{}={}", printable(name), metric_short(*value));
    metrics.map(metric).collect::<Vec<_>>().join(" ")
}

/// A column of metric values with one number of decimals, so that they compare by eye: about
/// five significant digits of the largest. Values that this would show as zero turn the column
/// to exponents.
pub(crate) fn metric_column(values: &[Option<f64>]) -> Vec<String> {
    let finite: Vec<f64> = values
        .iter()
        .flatten()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    let largest = finite
        .iter()
        .fold(0.0_f64, |most, value| most.max(value.abs()));
    let decimals = usize::try_from(4 - exponent_of(largest))
        .unwrap_or(0)
        .min(7);
    let fixed = |value: f64| format!("{value:.decimals$}");
    let vanishes = |v: &f64| *v != 0.0 && fixed(v.abs()) == fixed(0.0);
    let out_of_range = largest >= 1e9 || (largest > 0.0 && largest < 1e-5);
    if out_of_range || finite.iter().any(vanishes) {
        let exponent = |value: &Option<f64>| value.map_or(String::new(), |v| format!("{v:.3e}"));
        return values.iter().map(exponent).collect();
    }
    let needed = finite
        .iter()
        .map(|&v| used_decimals(&fixed(v)))
        .max()
        .unwrap_or(0);
    let shown = |value: &Option<f64>| value.map_or(String::new(), |v| format!("{v:.needed$}"));
    values.iter().map(shown).collect()
}

/// The power of ten of a number's first digit.
fn exponent_of(value: f64) -> i32 {
    let text = format!("{value:e}");
    text.rsplit_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0)
}

/// Decimals up to the last one that is not zero.
fn used_decimals(text: &str) -> usize {
    text.split_once('.')
        .map_or(0, |(_, decimals)| decimals.trim_end_matches('0').len())
}

/// How to name the checkpoint in a command: by iteration where that means it, else by id.
pub(crate) fn reference(info: &CheckpointInfo) -> String {
    if info.abandoned || info.deleted_at.is_some() {
        info.id.to_string()
    } else {
        format!("{}@{}", printable(&info.job), info.iteration)
    }
}

/// The checkpoint within a sentence: `vit@100 (id:3)`.
pub(crate) fn labelled(info: &CheckpointInfo) -> String {
    format!("{}@{} ({})", printable(&info.job), info.iteration, info.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_never_reach_1024_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (464_624_026, "443.1 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let hour = 3_600_000;
        let cases = [
            (-5, "0s"),
            (45_000, "45s"),
            (hour / 2, "30m"),
            (54 * hour, "2d 6h"),
        ];
        for (millis, text) in cases {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn a_column_of_metrics_has_one_number_of_decimals() {
        let column =
            |values: &[f64]| metric_column(&values.iter().map(|&v| Some(v)).collect::<Vec<_>>());
        assert_eq!(column(&[0.3, 0.291]), ["0.300", "0.291"]);
        assert_eq!(column(&[12.0, 3.0]), ["12", "3"]);
        assert_eq!(column(&[2.0, 1e-9]), ["2.000e0", "1.000e-9"]);
        assert_eq!(column(&[f64::NAN, 0.5]), ["NaN", "0.5"]);
        assert_eq!(column(&[0.00026, 0.0001]), ["0.00026", "0.00010"]);
        assert_eq!(column(&[0.0, 0.0]), ["0", "0"]);
        assert_eq!(metric_column(&[None, Some(1.0 / 3.0)]), ["", "0.33333"]);
    }

    #[test]
    fn shares_and_ratios_are_rounded() {
        assert_eq!(percent(868, 1000), "86.8 %");
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(ratio(73, 10).as_deref(), Some("7.3x"));
        assert_eq!(ratio(1, 0), None);
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
