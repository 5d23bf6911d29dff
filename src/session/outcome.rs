//! What steps answer.

use super::problem::Problem;
use crate::policy::Decision;
use crate::store::{Resumed, Saved};

/// What a step did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Step {
    /// Whether it was to save, and every reason.
    pub decision: Decision,
    /// What became of that.
    pub save: SaveState,
    /// Training is to stop, and why. The state is saved.
    pub stop: Option<Stop>,
    /// A metric showed that training broke: load this checkpoint and go on from there. Nothing was
    /// saved. None of its newer ones is on the job's line any more.
    pub rolled_back: Option<Resumed>,
    /// What saves in the background have done since the last step, with what each took. That of
    /// this step, if it was waited for, is in `save`.
    pub saved: Vec<Saved>,
    /// What went wrong since the last step, in the background included. Nothing of it stops the
    /// training.
    pub problems: Vec<Problem>,
}

/// What became of a step's save.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SaveState {
    /// Nothing was to be saved.
    NotDue,
    /// It is durable.
    Saved(Box<Saved>),
    /// It is copied, and saved in the background.
    Queued,
    /// It was left out: the problems say why, of this step or, while a save that failed waits to be
    /// tried again, of an earlier one.
    LeftOut,
    /// A hook vetoed it: its name, and the reason.
    Vetoed(String, String),
    /// It failed; the problems say why. It is tried again.
    Failed,
}

/// Why training is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// A signal, by its name.
    Signal(&'static str),
    /// [`Session::stop`](super::Session::stop) asked for it.
    Asked,
}
