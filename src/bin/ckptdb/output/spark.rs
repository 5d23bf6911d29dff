//! A series in one line of text.

const LEVELS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// A block for each value, the higher the greater it is, from the least to the greatest of them;
/// an `x` for what is no number.
pub(crate) fn sparkline(values: &[f64]) -> String {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (least, most) = finite.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    );
    // Halved, so that the difference of the largest numbers is one.
    let span = most / 2.0 - least / 2.0;
    let level = |value: &f64| {
        if !value.is_finite() {
            return 'x';
        }
        let part = (value / 2.0 - least / 2.0) / span;
        // What never changes is in the middle.
        let part = if part.is_finite() { part } else { 0.5 };
        let above = |at: &&usize| part * 7.0 >= f64::from(u8::try_from(**at).unwrap_or(0)) - 0.5;
        let places = [1, 2, 3, 4, 5, 6, 7];
        let place = places.iter().take_while(above).count();
        LEVELS.get(place).copied().unwrap_or('x')
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::sparkline;

    #[test]
    fn the_least_is_lowest_the_greatest_highest_and_no_number_is_marked() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0.0, 1.0]), "\u{2581}\u{2588}");
        let rising: Vec<f64> = (0..8).map(f64::from).collect();
        let all = "\u{2581}\u{2582}\u{2583}\u{2584}\u{2585}\u{2586}\u{2587}\u{2588}";
        assert_eq!(sparkline(&rising), all);
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        assert_eq!(sparkline(&falling), all.chars().rev().collect::<String>());
        assert_eq!(sparkline(&[3.0, f64::NAN, 3.0]), "\u{2585}x\u{2585}");
        let extremes = [f64::MIN, f64::MAX, f64::INFINITY];
        assert_eq!(sparkline(&extremes), "\u{2581}\u{2588}x");
    }
}
