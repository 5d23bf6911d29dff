//! Fewer of many, so that a picture stays small.

/// Evenly chosen, the first and the last among them.
pub(super) fn thinned<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    let last = all.len() - 1;
    let steps = most.saturating_sub(1).max(1);
    (0..most)
        .filter_map(|step| all.get(step * last / steps).cloned())
        .collect()
}

/// A number of iterations or bytes, as far as `f64` has it.
#[expect(clippy::cast_precision_loss, reason = "a picture has fewer digits")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thinned_keeps_its_ends() {
        let all: Vec<u32> = (0..1000).collect();
        let few = thinned(&all, 7);
        assert_eq!((few.len(), few[0], few[6]), (7, 0, 999));
        assert!(few.is_sorted());
        assert_eq!(thinned(&all, 1000), all);
        assert_eq!(thinned(&all, 1), [0]);
    }
}
