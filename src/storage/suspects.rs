//! What was found damaged when it was read.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use super::adapter::failed_here;
use crate::error::{Error, Result};
use crate::id::{ChunkId, NodeId};
use crate::sync::{Mutex, MutexGuard};

/// What is wrong with a chunk or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Its bytes are not what was saved, or not there.
    Spoilt,
    /// It has no row, and others are written against it.
    Missing,
    /// The disk can't read them. Nor can they be removed: the pages around them would have to be
    /// read for that.
    Unreadable,
}

impl Harm {
    /// The harm that an error speaks of, if it speaks of any.
    const fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Corrupt { .. } => Some(Self::Spoilt),
            Error::Io { .. } => Some(Self::Unreadable),
            _ => None,
        }
    }
}

/// What can't be read because the engine refuses all after another thread's failure may be sound.
fn is_own(harm: Harm) -> bool {
    harm != Harm::Unreadable || failed_here()
}

/// How often another thread's failure may come between, one after the other.
const ANOTHER_TIME: usize = 3;

/// Runs what may be run again. After another thread's transaction has failed, the engine refuses
/// everybody: of what is read then nothing is known, and on a fresh handle the same may succeed.
pub(crate) fn unless_of_another<T>(mut run: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..ANOTHER_TIME {
        match run() {
            Err(Error::Overtaken { .. }) => {}
            Err(Error::Io { .. } | Error::Engine { .. }) if !failed_here() => {}
            done => return done,
        }
    }
    run()
}

/// The chunks and nodes that reads of this process have found damaged. Those that a repair found
/// are marked in their rows.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    chunks: HashMap<ChunkId, Harm>,
    nodes: HashMap<NodeId, Harm>,
    /// The keys of bundles that could not be read.
    bundles: HashSet<u64>,
}

impl Suspects {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a chunk that could not be read.
    pub(super) fn note_chunk(&self, id: ChunkId, error: &Error) {
        if let Some(harm) = Harm::of(error).filter(|harm| is_own(*harm)) {
            self.known().chunks.insert(id, harm);
        }
    }

    /// Takes note of a chunk that deltas need and the store has not.
    pub(super) fn note_missing(&self, id: ChunkId) {
        self.known().chunks.insert(id, Harm::Missing);
    }

    /// Takes note of a node that could not be read.
    pub(super) fn note_node(&self, id: NodeId, error: &Error) {
        if let Some(harm) = Harm::of(error).filter(|harm| is_own(*harm)) {
            self.known().nodes.insert(id, harm);
        }
    }

    /// Takes note of a bundle that could not be read.
    pub(super) fn note_bundle(&self, key: u64, error: &Error) {
        if Harm::of(error).is_some_and(is_own) {
            self.known().bundles.insert(key);
        }
    }

    /// Whether a bundle is known that can't be read.
    pub(super) fn has_bundle(&self, key: u64) -> bool {
        self.known().bundles.contains(&key)
    }

    /// What is known to be wrong with a chunk.
    pub(crate) fn chunk(&self, id: &ChunkId) -> Option<Harm> {
        self.known().chunks.get(id).copied()
    }

    /// What is known to be wrong with a node.
    pub(crate) fn node(&self, id: &NodeId) -> Option<Harm> {
        self.known().nodes.get(id).copied()
    }

    /// Whether any node is known to be damaged.
    pub(crate) fn has_nodes(&self) -> bool {
        !self.known().nodes.is_empty()
    }

    /// Whether any node is known that the disk can't read.
    pub(crate) fn has_unreadable_nodes(&self) -> bool {
        let known = self.known();
        known.nodes.values().any(|harm| *harm == Harm::Unreadable)
    }

    /// Forgets all: what is damaged is marked in its row now.
    pub(crate) fn clear(&self) {
        *self.known() = Known::default();
    }

    /// Forgets chunks and nodes that are sound again.
    pub(crate) fn forget<'a>(
        &self,
        chunks: impl IntoIterator<Item = &'a ChunkId>,
        nodes: impl IntoIterator<Item = &'a NodeId>,
    ) {
        let mut known = self.known();
        for id in chunks {
            known.chunks.remove(id);
        }
        for id in nodes {
            known.nodes.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::adapter::{Adapter, Condition, watch};
    use super::super::backend::Medium;
    use super::super::share::Share;
    use super::super::testing::Faulty;
    use super::*;

    const CHUNK: ChunkId = ChunkId::new([1; 32]);
    const NODE: NodeId = NodeId::new([2; 32]);

    fn unreadable() -> Error {
        crate::platform::io_error(
            "reading",
            "x".as_ref(),
            std::io::Error::other("a bad sector"),
        )
    }

    #[test]
    fn what_was_found_is_known_until_it_is_sound_again() {
        let suspects = Suspects::default();
        assert!(!suspects.has_nodes() && !suspects.has_unreadable_nodes());
        suspects.note_missing(CHUNK);
        assert_eq!(suspects.chunk(&CHUNK), Some(Harm::Missing));
        suspects.note_chunk(CHUNK, &Error::corrupt("chunk", "spoilt"));
        suspects.note_node(NODE, &Error::corrupt("node", "spoilt"));
        assert_eq!(suspects.chunk(&CHUNK), Some(Harm::Spoilt));
        assert_eq!(suspects.node(&NODE), Some(Harm::Spoilt));
        assert!(suspects.has_nodes() && !suspects.has_unreadable_nodes());
        suspects.forget([], [&NODE]);
        assert_eq!((suspects.node(&NODE), suspects.has_nodes()), (None, false));
        assert!(suspects.chunk(&CHUNK).is_some());
        suspects.forget([&CHUNK], []);
        assert_eq!(suspects.chunk(&CHUNK), None);
        suspects.note_missing(CHUNK);
        suspects.note_node(NODE, &Error::corrupt("node", "spoilt"));
        suspects.clear();
        assert!(suspects.chunk(&CHUNK).is_none() && !suspects.has_nodes());
        // What is no damage is none.
        suspects.note_chunk(CHUNK, &Error::invalid("x", "y"));
        assert_eq!(suspects.chunk(&CHUNK), None);
    }

    #[test]
    fn what_can_not_be_read_is_noted_by_whose_own_call_failed() {
        let suspects = Suspects::default();
        watch();
        suspects.note_chunk(CHUNK, &unreadable());
        suspects.note_node(NODE, &unreadable());
        assert_eq!((suspects.chunk(&CHUNK), suspects.node(&NODE)), (None, None));
        let faulty = Faulty::new(vec![0; 8192]);
        faulty.order().reads = Some(std::io::ErrorKind::Other);
        let condition = Condition::new(faulty.open().unwrap(), 0, Share::alone()).unwrap();
        let adapter = Adapter(std::sync::Arc::new(condition));
        redb::StorageBackend::read(&adapter, 0, &mut [0; 8]).unwrap_err();
        suspects.note_chunk(CHUNK, &unreadable());
        suspects.note_node(NODE, &unreadable());
        assert_eq!(suspects.chunk(&CHUNK), Some(Harm::Unreadable));
        assert!(suspects.has_nodes() && suspects.has_unreadable_nodes());
        watch();
        assert!(!failed_here());
    }

    #[test]
    fn another_s_failure_is_tried_again_and_ones_own_is_not() {
        let count = |ends_well_at: usize, failure: &dyn Fn() -> Error| {
            let mut runs = 0;
            let done = unless_of_another(|| {
                runs += 1;
                if runs == ends_well_at {
                    Ok(())
                } else {
                    Err(failure())
                }
            });
            (runs, done.is_ok())
        };
        watch();
        assert_eq!(count(1, &unreadable), (1, true));
        assert_eq!(count(2, &unreadable), (2, true));
        assert_eq!(
            count(ANOTHER_TIME + 1, &unreadable),
            (ANOTHER_TIME + 1, true)
        );
        assert_eq!(count(0, &unreadable), (ANOTHER_TIME + 1, false));
        // What is damaged stays damaged.
        assert_eq!(count(0, &|| Error::corrupt("x", "y")), (1, false));
        let faulty = Faulty::new(vec![0; 8192]);
        faulty.order().reads = Some(std::io::ErrorKind::Other);
        let condition = Condition::new(faulty.open().unwrap(), 0, Share::alone()).unwrap();
        let adapter = Adapter(std::sync::Arc::new(condition));
        redb::StorageBackend::read(&adapter, 0, &mut [0; 8]).unwrap_err();
        assert_eq!(count(0, &unreadable), (1, false));
        watch();
    }
}
