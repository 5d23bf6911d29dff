//! What the demo is going to do: how long to train, when to save, where.

use std::path::PathBuf;

use ckptdb::{Options, Store};

use crate::failure::Failure;

/// What is trained, and where it is saved. Demo and training process agree on it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Where the store is.
    pub(super) store: PathBuf,
    /// How it is opened.
    pub(super) options: Options,
    /// Whether what an earlier demo left is replaced.
    pub(super) replaces: bool,
    /// Iterations in all.
    pub(super) iterations: u64,
    /// Iterations from one save to the next.
    pub(super) every: u64,
    /// Decides points, weights, order, noise, and when the kill comes.
    pub(super) seed: u64,
}

impl Plan {
    /// Fewer saves leave no room for one that is acknowledged, and one that is killed.
    const FEWEST_SAVES: u64 = 2;

    /// Opens its store.
    pub(super) fn open(&self) -> ckptdb::Result<Store> {
        Store::open_with(&self.store, self.options.clone())
    }

    /// Whether the iteration ends with a save; the last one always does.
    pub(super) fn saves_at(&self, iteration: u64) -> bool {
        iteration == self.iterations || iteration.checked_rem(self.every) == Some(0)
    }

    /// How many saves there are in all.
    pub(super) fn saves(&self) -> u64 {
        if self.every == 0 {
            1
        } else {
            self.iterations.div_ceil(self.every)
        }
    }

    /// How many saves are to be acknowledged before the kill.
    pub(super) fn saves_before_kill(&self) -> u64 {
        self.saves() / 2
    }

    /// Refuses what would make no demo.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.saves() >= Self::FEWEST_SAVES {
            return Ok(());
        }
        let message = format!(
            "{} iterations with a save every {} are too few: one save has to be acknowledged, \
             and another one killed",
            self.iterations, self.every
        );
        Err(Failure::usage(message).hint("leave --iterations and --every out, or lower --every"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(iterations: u64, every: u64) -> Plan {
        Plan {
            store: PathBuf::new(),
            options: Options::default(),
            replaces: false,
            iterations,
            every,
            seed: 0,
        }
    }

    #[test]
    fn the_number_of_saves_is_that_of_the_iterations_that_save() {
        for (iterations, every) in [(600, 20), (601, 20), (619, 20), (2, 1), (3, 2)] {
            let plan = plan(iterations, every);
            let saves = (1..=iterations)
                .filter(|&iteration| plan.saves_at(iteration))
                .count();
            assert_eq!(saves as u64, plan.saves());
            assert!((1..plan.saves()).contains(&plan.saves_before_kill()));
        }
    }

    #[test]
    fn a_plan_without_a_save_to_kill_is_refused() {
        assert!(plan(600, 20).check().is_ok());
        assert!(plan(20, 20).check().is_err());
        assert!(plan(600, 0).check().is_err());
    }
}
