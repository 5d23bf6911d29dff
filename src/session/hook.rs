//! Hooks: what is done around saves. None of them fails, loses or holds up a save.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use super::caught::caught;
use super::draft::Draft;
use super::problem::{Problem, ProblemKind};
use crate::checkpoint::CheckpointInfo;
use crate::store::{Checkpoint, SaveTimes};

/// What a hook returns. An error is reported.
pub type HookResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// When hooks are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// [`Hook::before_save`].
    BeforeSave,
    /// [`Hook::after_save`].
    AfterSave,
    /// [`Hook::on_best`].
    Best,
    /// [`Hook::on_failure`].
    Failure,
    /// [`Hook::on_low_disk`].
    LowDisk,
}

impl When {
    const ALL: [Self; 5] = [
        Self::BeforeSave,
        Self::AfterSave,
        Self::Best,
        Self::Failure,
        Self::LowDisk,
    ];
}

/// Does something around saves. Every call runs on a thread of its own and is waited for up to a
/// limit ([`hook_limit`](super::SessionOptions::hook_limit)); an error, a panic or a slow call is
/// reported, and the save goes on. While a call still runs, later ones are left out.
pub trait Hook: Send {
    /// What reports call it.
    fn name(&self) -> &str;

    /// Whether it has something to do then: it is called for nothing else. Asked once.
    fn wants(&self, when: When) -> bool {
        let _ = when;
        true
    }

    /// Before a save: may add or replace entries, metrics and attributes, or veto it.
    ///
    /// # Errors
    /// Is reported; what was asked for is not done.
    fn before_save(&mut self, draft: &mut Draft) -> HookResult {
        let _ = draft;
        Ok(())
    }

    /// After a save that is durable, and after what retention did.
    ///
    /// # Errors
    /// Is reported.
    fn after_save(&mut self, done: &Done) -> HookResult {
        let _ = done;
        Ok(())
    }

    /// After a save with an event `best`, before [`Hook::after_save`].
    ///
    /// # Errors
    /// Is reported.
    fn on_best(&mut self, done: &Done) -> HookResult {
        let _ = done;
        Ok(())
    }

    /// When something went wrong with a save.
    ///
    /// # Errors
    /// Is reported.
    fn on_failure(&mut self, problem: &Problem) -> HookResult {
        let _ = problem;
        Ok(())
    }

    /// When there is too little room for a save.
    ///
    /// # Errors
    /// Is reported.
    fn on_low_disk(&mut self, low: &LowDisk) -> HookResult {
        let _ = low;
        Ok(())
    }
}

/// A save that was done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Done {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Bytes of all entries.
    pub logical_bytes: u64,
    /// Bytes that it added to the store, encoded.
    pub stored_bytes: u64,
    /// Where its time went.
    pub times: SaveTimes,
    /// Checkpoints that retention deleted after it.
    pub pruned: u64,
}

/// Too little room for a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LowDisk {
    /// The iteration that was to be saved.
    pub iteration: u64,
    /// Bytes that are free on the disk; none where that is not known and the disk said it is full.
    pub free: Option<u64>,
    /// Bytes that are left alone.
    pub min_free: u64,
    /// What the save was expected to need.
    pub predicted: u64,
}

struct OneOf<F> {
    name: String,
    call: F,
}

/// A hook before saves.
pub fn before_save(
    name: &str,
    call: impl FnMut(&mut Draft) -> HookResult + Send + 'static,
) -> Box<dyn Hook> {
    struct Before<F>(OneOf<F>);
    impl<F: FnMut(&mut Draft) -> HookResult + Send> Hook for Before<F> {
        fn name(&self) -> &str {
            &self.0.name
        }
        fn wants(&self, when: When) -> bool {
            when == When::BeforeSave
        }
        fn before_save(&mut self, draft: &mut Draft) -> HookResult {
            (self.0.call)(draft)
        }
    }
    let name = name.to_owned();
    Box::new(Before(OneOf { name, call }))
}

/// A hook after saves.
pub fn after_save(
    name: &str,
    call: impl FnMut(&Done) -> HookResult + Send + 'static,
) -> Box<dyn Hook> {
    struct After<F>(OneOf<F>);
    impl<F: FnMut(&Done) -> HookResult + Send> Hook for After<F> {
        fn name(&self) -> &str {
            &self.0.name
        }
        fn wants(&self, when: When) -> bool {
            when == When::AfterSave
        }
        fn after_save(&mut self, done: &Done) -> HookResult {
            (self.0.call)(done)
        }
    }
    let name = name.to_owned();
    Box::new(After(OneOf { name, call }))
}

/// A hook on what goes wrong.
pub fn on_failure(
    name: &str,
    call: impl FnMut(&Problem) -> HookResult + Send + 'static,
) -> Box<dyn Hook> {
    struct Failure<F>(OneOf<F>);
    impl<F: FnMut(&Problem) -> HookResult + Send> Hook for Failure<F> {
        fn name(&self) -> &str {
            &self.0.name
        }
        fn wants(&self, when: When) -> bool {
            when == When::Failure
        }
        fn on_failure(&mut self, problem: &Problem) -> HookResult {
            (self.0.call)(problem)
        }
    }
    let name = name.to_owned();
    Box::new(Failure(OneOf { name, call }))
}

type Shared = Arc<Mutex<Box<dyn Hook>>>;

/// A hook, and when it is called.
#[derive(Clone)]
struct One {
    name: String,
    wants: Vec<When>,
    hook: Shared,
}

/// The hooks of a session, in their order.
#[derive(Clone)]
pub(super) struct Hooks {
    hooks: Vec<One>,
    limit: Duration,
}

impl Hooks {
    pub(super) fn new(hooks: Vec<Box<dyn Hook>>, limit: Duration) -> Self {
        let named = |hook: Box<dyn Hook>| {
            let wants = When::ALL.into_iter().filter(|when| hook.wants(*when));
            One {
                name: hook.name().to_owned(),
                wants: wants.collect(),
                hook: Arc::new(Mutex::new(hook)),
            }
        };
        Self {
            hooks: hooks.into_iter().map(named).collect(),
            limit,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    fn of(&self, when: When) -> impl Iterator<Item = &One> {
        self.hooks
            .iter()
            .filter(move |hook| hook.wants.contains(&when))
    }

    /// Calls every hook with a value of its own; gives back the values of those that succeeded,
    /// with the hooks' names.
    pub(super) fn call<T: Clone + Send + 'static>(
        &self,
        (iteration, when): (u64, When),
        value: &T,
        problems: &mut Vec<Problem>,
        call: fn(&mut dyn Hook, &mut T) -> HookResult,
    ) -> Vec<(String, T)> {
        let mut answers = Vec::new();
        for One { name, hook, .. } in self.of(when) {
            match one(hook, value.clone(), self.limit, call) {
                Ok(value) => answers.push((name.clone(), value)),
                Err(why) => {
                    let message = format!("hook `{name}` {why}");
                    problems.push(Problem::new(iteration, ProblemKind::Hook, message));
                }
            }
        }
        answers
    }

    /// Tells every hook of a save that failed, or was left out, and then notes that.
    pub(super) fn failed(&self, problem: Problem, problems: &mut Vec<Problem>) {
        let call = |hook: &mut dyn Hook, problem: &mut Problem| hook.on_failure(problem);
        let of = (problem.iteration, When::Failure);
        self.call(of, &problem, problems, call);
        problems.push(problem);
    }

    /// Calls every hook before a save, each with what the ones before it have left.
    pub(super) fn before<'s>(
        &self,
        mut draft: Draft,
        mut save: crate::store::Save<'s>,
        problems: &mut Vec<Problem>,
    ) -> (crate::store::Save<'s>, Option<(String, String)>) {
        let mut veto = None;
        for One { name, hook, .. } in self.of(When::BeforeSave) {
            let before = |hook: &mut dyn Hook, draft: &mut Draft| hook.before_save(draft);
            let iteration = draft.iteration;
            let mut report = |what: String| {
                problems.push(Problem::new(iteration, ProblemKind::Hook, what));
            };
            match one(hook, draft.clone(), self.limit, before) {
                Ok(mut answer) => {
                    if let Some(reason) = answer.take_veto() {
                        veto.get_or_insert((name.clone(), reason));
                    }
                    let (changed, refused) = answer.applied(save);
                    save = changed;
                    draft = answer;
                    for error in refused {
                        report(format!("what hook `{name}` asked for: {error}"));
                    }
                }
                Err(why) => report(format!("hook `{name}` {why}")),
            }
        }
        (save, veto)
    }
}

/// Calls a hook on a thread of its own, and waits for it so long.
fn one<T: Send + 'static>(
    hook: &Shared,
    mut value: T,
    limit: Duration,
    call: fn(&mut dyn Hook, &mut T) -> HookResult,
) -> Result<T, String> {
    let busy = || "still runs from before; this call is left out".to_owned();
    if matches!(hook.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(busy());
    }
    let (send, answer) = channel();
    let hook = Arc::clone(hook);
    let run = move || {
        let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
        let result = caught(|| call(hook.as_mut(), &mut value));
        drop(hook);
        // Nobody may be waiting any more.
        let _ = send.send((result, value));
    };
    thread::Builder::new()
        .name("ckptdb-hook".to_owned())
        .spawn(run)
        .map_err(|error| format!("could not be called: {error}"))?;
    match answer.recv_timeout(limit) {
        Ok((Ok(Ok(())), value)) => Ok(value),
        Ok((Ok(Err(error)), _)) => Err(format!("failed: {error}")),
        Ok((Err(panic), _)) => Err(format!("panicked: {}", panic.said())),
        Err(RecvTimeoutError::Timeout) => {
            Err(format!("took longer than {limit:?}; it is not waited for"))
        }
        Err(RecvTimeoutError::Disconnected) => Err("ended without an answer".to_owned()),
    }
}

/// Whether a checkpoint is a new best.
pub(super) fn is_best(info: &CheckpointInfo) -> bool {
    info.events.iter().any(|event| event.family() == "best")
}
