//! Ranks: who is among the best, and where the others stand.

use super::candidate::Candidate;
use crate::metric::Direction;

/// The candidates that have a finite value of this metric and are on the job's line, the best one
/// first; of equal values the earlier.
pub(super) fn ranked(
    candidates: &[Candidate<'_>],
    metric: &str,
    direction: Direction,
) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| !candidate.abandoned)
        .filter_map(|(at, candidate)| {
            let value = candidate.metrics.get(metric).copied()?;
            // -0 and 0 are the same value.
            value.is_finite().then_some((value + 0.0, at))
        })
        .collect();
    ranked.sort_unstable_by(|(a, first), (b, second)| {
        let order = match direction {
            Direction::Min => a.total_cmp(b),
            Direction::Max => b.total_cmp(a),
        };
        order.then_with(|| candidates[*first].id.cmp(&candidates[*second].id))
    });
    ranked.into_iter().map(|(_, at)| at).collect()
}

/// `1st`, `2nd`, `3rd`, `4th`.
pub(super) fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_as_people_say_them() {
        let said = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1003].map(ordinal);
        let expected = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1003rd",
        ];
        assert_eq!(said, expected);
    }
}
