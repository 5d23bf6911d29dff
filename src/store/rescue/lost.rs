//! Bytes that are gone for good: a repair marks just these, and a save of the same state gives back
//! the store that there would be without the damage.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;

use super::anew::salvaged;
use super::exact::sound;
use crate::format::{
    CheckpointRecord, ChunkRef, ChunkRow, Content, EXTENT_HEADER_BYTES, EXTENT_MAGIC, ExtentHeader,
    Group, Manifest, Node, StoredNode,
};
use crate::id::{CheckpointId, ChunkId, NodeId};
use crate::storage::load_node;
use crate::store::testing::{Tables, content, opened, sample, save, tampered, without};
use crate::store::{Damage, Store, VerifyDepth};

/// The bytes of a store in which no copy of this chunk can be read.
fn without_chunk(image: &[u8], id: &ChunkId) -> Vec<u8> {
    let mut image = image.to_vec();
    let places: Vec<usize> = memmem::find_iter(&image, EXTENT_MAGIC).collect();
    for at in places {
        match ExtentHeader::from_bytes(&image[at..]) {
            Ok(header) if header.chunk == *id && header.part == 0 => {
                image[at + EXTENT_HEADER_BYTES + 32 * usize::from(header.bases)] ^= 1;
            }
            _ => {}
        }
    }
    image
}

fn entries(damage: &[Damage]) -> BTreeSet<(u64, String)> {
    let of = damage.iter().map(|damage| {
        let id = damage.checkpoint.map_or(0, CheckpointId::get);
        (id, damage.entry.clone().unwrap_or_default())
    });
    of.collect()
}

fn checkpoints(damage: &[Damage]) -> BTreeSet<u64> {
    let of = damage.iter().filter_map(|damage| damage.checkpoint);
    of.map(CheckpointId::get).collect()
}

/// How often each chunk is named, and each node; the index; the jobs.
type Counts = (BTreeMap<ChunkId, u64>, BTreeMap<NodeId, Vec<u8>>, usize);

fn counts(store: &Store) -> Counts {
    let tables = Tables::of(store);
    assert_eq!(tables.lost, 0);
    let refs = tables.chunks.iter().map(|(id, row)| (*id, row.refs));
    (refs.collect(), tables.nodes, tables.index.len())
}

/// Saves this state once more, and compares with a store that was never damaged.
fn healed_by(store: &Store, image: &[u8], iteration: u64, orphans: u64, at: &str) {
    let control = opened(image);
    for store in [store, &control] {
        save(store, "again", 90, &content(iteration));
    }
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{at}: {:?}", report.damage);
    assert_eq!(report.orphans, orphans, "{at}");
    assert_eq!(counts(store), counts(&control), "{at}");
    let again = store.resolve("again@latest").unwrap();
    for (name, bytes) in content(iteration) {
        assert!(again.read(&name).unwrap() == bytes, "{at}: {name}");
    }
    let pinned = store.resolve("NQ@tag:baseline").unwrap();
    pinned.set_pinned(false).unwrap();
    for job in store.jobs().unwrap() {
        store.delete_job(&job.name).unwrap();
    }
    assert_eq!(store.reclaim(true).unwrap().damaged, 0, "{at}");
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.chunks, stats.nodes, stats.deleted),
        (0, 0, 0),
        "{at}"
    );
}

#[test]
fn a_chunk_whose_bytes_are_gone_is_marked_alone_and_healed_by_the_same_state() {
    let image = sample();
    let (before, users) = sound(&image);
    for (id, row) in &before.chunks {
        let damaged = without_chunk(&image, id);
        let store = opened(&damaged);
        let found = store.verify(VerifyDepth::Full).unwrap();
        assert_eq!(entries(&found.damage), users[id], "{row:?}");
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(entries(&repaired.left), users[id], "{row:?}");
        assert_eq!((repaired.lost_chunks, repaired.lost.len()), (1, 0));
        // All is as it was, but for this chunk and what it counted at its bases.
        let mut expected = before.clone();
        let lost = ChunkRow::lost(row.refs, row.deltas, row.number, row.raw_len);
        expected.chunks.insert(*id, lost);
        for base in &row.bases {
            let base = expected.chunks.get_mut(base);
            base.unwrap().deltas -= 1;
        }
        expected.lost = 1;
        let parts = row.number * 16..row.number * 16 + u64::from(row.parts);
        expected.extents.retain(|key| !parts.contains(key));
        let after = Tables::of(&store);
        assert!(after == expected, "{after:#?} is not {expected:#?}");
        let again = store.verify(VerifyDepth::Quick).unwrap();
        assert_eq!(entries(&again.damage), users[id], "{row:?}");
        let (user, _) = users[id].first().unwrap();
        let iteration = before.checkpoints[user].saved.iteration;
        healed_by(&store, &image, iteration, 0, "after a repair");
        // Without a repair, once a load has met it.
        let store = opened(&damaged);
        store.verify(VerifyDepth::Full).unwrap();
        healed_by(&store, &image, iteration, 0, "without a repair");
        // Nor is its row there any more.
        let store = tampered(&damaged, |rows| rows.remove_chunk(id));
        assert!(!store.verify(VerifyDepth::Full).unwrap().is_clean());
        healed_by(
            &store,
            &image,
            iteration,
            row.parts.into(),
            "without its row",
        );
        let (_, told) = salvaged(&damaged);
        let users: BTreeSet<u64> = users[id].iter().map(|(user, _)| *user).collect();
        assert_eq!(checkpoints(&told.lost), users, "{row:?}");
        assert_eq!(
            told.checkpoints,
            (before.checkpoints.len() - users.len()) as u64
        );
    }
}

/// What manifests name: worked out here by itself.
#[derive(Default)]
struct Named {
    chunks: BTreeMap<ChunkId, u64>,
    nodes: BTreeMap<NodeId, u64>,
}

impl Named {
    /// All that these checkpoints name; what is below `lost` is not known.
    fn of<'a>(
        store: &Store,
        checkpoints: impl IntoIterator<Item = &'a CheckpointRecord>,
        lost: Option<&NodeId>,
    ) -> Self {
        let mut named = Self::default();
        for checkpoint in checkpoints {
            match &checkpoint.saved.manifest {
                Manifest::Inline(group) => named.group(store, group, lost),
                Manifest::Tree { root, .. } => named.node(store, NodeId::new(*root), lost),
            }
        }
        named
    }

    fn group(&mut self, store: &Store, group: &Group, lost: Option<&NodeId>) {
        if let Some(pack) = &group.pack {
            *self.chunks.entry(pack.chunk()).or_default() += 1;
        }
        for entry in &group.entries {
            match &entry.content {
                Content::Inline(_) | Content::Packed(_) => {}
                Content::Chunks(chunks) => self.chunks(chunks),
                Content::Tree { root, .. } => self.node(store, NodeId::new(*root), lost),
            }
        }
    }

    fn chunks(&mut self, chunks: &[ChunkRef]) {
        for chunk in chunks {
            *self.chunks.entry(chunk.chunk()).or_default() += 1;
        }
    }

    fn node(&mut self, store: &Store, node: NodeId, lost: Option<&NodeId>) {
        let refs = self.nodes.entry(node).or_default();
        *refs += 1;
        if *refs > 1 || lost == Some(&node) {
            return;
        }
        match store.read(|rows| load_node(rows, &node)).unwrap() {
            Node::Group(group) => self.group(store, &group, lost),
            Node::List(chunks) => self.chunks(&chunks),
            Node::Spans(children) => {
                let below = children.iter().map(|child| NodeId::new(child.node));
                below.for_each(|below| self.node(store, below, lost));
            }
            Node::Names(children) => {
                let below = children.iter().map(|child| NodeId::new(child.node));
                below.for_each(|below| self.node(store, below, lost));
            }
        }
    }
}

#[test]
fn a_node_whose_bytes_are_gone_is_marked_alone_and_healed_by_the_same_state() {
    let image = sample();
    let (before, _) = sound(&image);
    let control = opened(&image);
    let mut kinds = BTreeSet::new();
    for (id, value) in &before.nodes {
        let (refs, bytes) = StoredNode::split(id, value).unwrap();
        kinds.insert(bytes[4]);
        let named = Named::of(&control, before.checkpoints.values(), Some(id));
        let leads = |checkpoint: &&u64| {
            let record = &before.checkpoints[*checkpoint];
            Named::of(&control, [record], None).nodes.contains_key(id)
        };
        let users: BTreeSet<u64> = before.checkpoints.keys().filter(leads).copied().collect();
        let damaged = without(&image, bytes);
        let store = opened(&damaged);
        let found = store.verify(VerifyDepth::Full).unwrap();
        assert_eq!(checkpoints(&found.damage), users);
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(checkpoints(&repaired.left), users);
        assert_eq!((repaired.lost_chunks, repaired.lost.len()), (0, 0));
        let after = Tables::of(&store);
        // What nothing names without it is gone; all the others are as they were.
        let nodes = named.nodes.iter().map(|(node, refs)| {
            let bytes = StoredNode::split(node, &before.nodes[node]).unwrap().1;
            let bytes = if node == id { &[][..] } else { bytes };
            (*node, StoredNode::value(node, *refs, bytes))
        });
        assert!(after.nodes == nodes.collect::<BTreeMap<_, _>>());
        assert_eq!(named.nodes[id], refs);
        let chunks = after.chunks.iter().map(|(chunk, row)| (*chunk, row.refs));
        assert_eq!(chunks.collect::<BTreeMap<_, _>>(), named.chunks);
        assert_eq!(after.lost, 1);
        let again = store.verify(VerifyDepth::Quick).unwrap();
        assert_eq!(checkpoints(&again.damage), users);
        let user = users.first().unwrap();
        let iteration = before.checkpoints[user].saved.iteration;
        healed_by(&store, &image, iteration, 0, "after a repair");
        // Without a repair, once a load has met it.
        let store = opened(&damaged);
        assert!(!store.verify(VerifyDepth::Full).unwrap().is_clean());
        healed_by(&store, &image, iteration, 0, "without a repair");
        // Nor is its row there any more.
        let without_row = || tampered(&damaged, |rows| rows.remove_node(id));
        let store = without_row();
        assert!(!store.verify(VerifyDepth::Full).unwrap().is_clean());
        healed_by(&store, &image, iteration, 0, "without its row");
        let store = without_row();
        store.repair(&mut |_, _| {}).unwrap();
        let marked = Tables::of(&store);
        assert_eq!(marked.lost, 1);
        assert!(marked.nodes == after.nodes);
    }
    assert_eq!(kinds, BTreeSet::from([1, 2, 4]));
}

#[test]
fn a_save_of_a_chunk_whose_row_nobody_missed_counts_what_named_it_before() {
    let image = sample();
    let (before, users) = sound(&image);
    let mut counted = 0;
    for id in before.chunks.keys() {
        let store = tampered(&image, |rows| rows.remove_chunk(id));
        let (user, _) = users[id].first().unwrap();
        let iteration = before.checkpoints[user].saved.iteration;
        save(&store, "again", 90, &content(iteration));
        if store.verify(VerifyDepth::Quick).unwrap().is_clean() {
            // Whoever named it before may go.
            counted += 1;
            let pinned = store.resolve("NQ@tag:baseline").unwrap();
            pinned.set_pinned(false).unwrap();
            store.delete_job("NQ").unwrap();
            store.delete_job("ES").unwrap();
            assert_eq!(store.reclaim(true).unwrap().damaged, 0);
        } else {
            // Others name it that this state knows nothing of: a repair counts those.
            assert!(store.repair(&mut |_, _| {}).unwrap().left.is_empty());
        }
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        let again = store.resolve("again@latest").unwrap();
        assert_eq!(again.load().unwrap().len(), content(iteration).len());
    }
    assert!(2 * counted > before.chunks.len(), "{counted}");
}
