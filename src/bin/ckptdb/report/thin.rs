//! Fewer of many, so that a picture stays small.

/// Figures up to which each is drawn in full.
const FULL: usize = 24;
/// What is left of anything, however many figures there are.
const LEAST: usize = 6;

/// How much each figure shows: less where there are many, so that the page stays small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail {
    figures: usize,
}

impl Detail {
    /// That of a page with so many figures.
    pub(super) const fn of(figures: usize) -> Self {
        Self { figures }
    }

    /// How many there may be of what a figure has at most `ordinary` of.
    pub(super) fn most(self, ordinary: usize) -> usize {
        (ordinary * FULL / self.figures.max(FULL)).max(LEAST)
    }
}

/// What a page has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) detail: Detail,
    /// Metrics of each job.
    pub(super) metrics: usize,
    /// Bytes of tensors that are read for each.
    pub(super) drift: u64,
}

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
    fn many_figures_share_what_few_have_each() {
        assert_eq!(Detail::of(2).most(400), 400);
        assert_eq!(Detail::of(FULL * 4).most(400), 100);
        assert_eq!(Detail::of(1_000_000).most(400), LEAST);
    }

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
