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

/// Columns of a [`spread`].
const COLUMNS: usize = 40;

/// Where a range and its mean lie between the least and the greatest of all, as a line with a dot;
/// nothing where there is no number.
pub(crate) fn spread((min, mean, max): (f64, f64, f64), (least, most): (f64, f64)) -> String {
    let span = most / 2.0 - least / 2.0;
    let column = |value: f64| {
        let part = (value / 2.0 - least / 2.0) / span;
        let part = if part.is_finite() {
            part.clamp(0.0, 1.0)
        } else {
            0.5
        };
        // The last one that is not beyond it.
        (0..COLUMNS)
            .rev()
            .find(|at| share(*at) <= part)
            .unwrap_or(0)
    };
    if !(min.is_finite() && mean.is_finite() && max.is_finite()) {
        return String::new();
    }
    let (from, dot, to) = (column(min), column(mean), column(max));
    let drawn = |at: usize| match at {
        _ if at == dot => '\u{25cf}',
        _ if (from..=to).contains(&at) => '\u{2500}',
        _ => ' ',
    };
    (0..=to.max(dot)).map(drawn).collect()
}

/// The part of all columns that lies before this one.
fn share(column: usize) -> f64 {
    let count = |columns: usize| f64::from(u32::try_from(columns).unwrap_or(u32::MAX));
    count(column) / count(COLUMNS - 1)
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, sparkline, spread};

    #[test]
    fn a_range_lies_where_it_is_among_all() {
        let columns = |text: &str| text.chars().count();
        let whole = spread((0.0, 0.5, 1.0), (0.0, 1.0));
        assert_eq!(columns(&whole), COLUMNS);
        assert_eq!(
            whole.find('\u{25cf}').map(|at| columns(&whole[..at])),
            Some(19)
        );
        assert_eq!(spread((0.0, 0.0, 0.0), (0.0, 1.0)), "\u{25cf}");
        assert_eq!(columns(&spread((1.0, 1.0, 1.0), (0.0, 1.0))), COLUMNS);
        assert_eq!(spread((f64::NAN, f64::NAN, f64::NAN), (0.0, 1.0)), "");
        // What never changes is in the middle.
        assert_eq!(columns(&spread((3.0, 3.0, 3.0), (3.0, 3.0))), COLUMNS / 2);
    }

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
