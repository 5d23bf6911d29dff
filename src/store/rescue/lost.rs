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
use crate::storage::{load_node, remove_frame};
use crate::store::testing::{Tables, closed, content, opened, sample, save, tampered, without};
use crate::store::{Damage, Filter, Store, VerifyDepth};

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
        expected.extents.retain(|(_, number)| *number != row.number);
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
            row.parts.max(1).into(),
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
        // What is still there is explained.
        assert!(!store.breakdown().unwrap().encodings.is_empty());
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

/// The nodes of the sample that are named by others, each with the one that names it.
fn pairs(before: &Tables) -> Vec<(NodeId, NodeId)> {
    let mut pairs = Vec::new();
    for (id, value) in &before.nodes {
        let (_, bytes) = StoredNode::split(id, value).unwrap();
        let children: Vec<[u8; 32]> = match Node::from_bytes(id, bytes).unwrap() {
            Node::Names(children) => children.iter().map(|child| child.node).collect(),
            Node::Spans(children) => children.iter().map(|child| child.node).collect(),
            Node::Group(group) => group
                .entries
                .iter()
                .filter_map(|entry| match entry.content {
                    Content::Tree { root, .. } => Some(root),
                    _ => None,
                })
                .collect(),
            Node::List(_) => Vec::new(),
        };
        pairs.extend(children.into_iter().map(|child| (*id, NodeId::new(child))));
    }
    pairs
}

/// An iteration whose checkpoint leads to this node.
fn iteration_of(image: &[u8], before: &Tables, node: &NodeId) -> u64 {
    let store = opened(image);
    let leads = |record: &&CheckpointRecord| {
        let named = Named::of(&store, [*record], None);
        named.nodes.contains_key(node)
    };
    let found = before.checkpoints.values().find(leads);
    found.unwrap().saved.iteration
}

#[test]
fn a_node_that_is_missing_beneath_another_comes_back_with_the_same_state_whoever_missed_it() {
    let image = sample();
    let (before, _) = sound(&image);
    let pairs = pairs(&before);
    assert!(pairs.len() > 4, "{pairs:?}");
    let mut missed = 0;
    for (above, below) in &pairs {
        let iteration = iteration_of(&image, &before, above);
        // Nobody looks for it: what names it is there.
        let store = tampered(&image, |rows| rows.remove_node(below));
        healed_by(&store, &image, iteration, 0, "unnoticed");
        // Nobody gets as far as the second.
        let store = tampered(&image, |rows| {
            rows.remove_node(above)?;
            rows.remove_node(below)
        });
        let all = store.list(&Filter::default()).unwrap();
        let damaged = all.filter(|found| found.as_ref().unwrap().load().is_err());
        if damaged.count() > 0 {
            missed += 1;
            healed_by(&store, &image, iteration, 0, "the first is missed");
        }
        // Both were marked as lost.
        let bytes = |id: &NodeId| {
            let (_, bytes) = StoredNode::split(id, &before.nodes[id]).unwrap();
            bytes.to_vec()
        };
        let damaged = without(&without(&image, &bytes(above)), &bytes(below));
        let store = opened(&damaged);
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert!(!repaired.left.is_empty());
        healed_by(&store, &image, iteration, 0, "both are marked");
    }
    assert!(missed > 2, "{missed}");
}

#[test]
fn a_chunk_whose_row_went_with_the_node_that_names_it_is_counted_when_both_come_back() {
    let image = sample();
    let (before, _) = sound(&image);
    let store = opened(&image);
    let mut cases = 0;
    for (node, value) in &before.nodes {
        let (_, bytes) = StoredNode::split(node, value).unwrap();
        let chunk = match Node::from_bytes(node, bytes).unwrap() {
            Node::Group(group) => group.pack,
            Node::List(chunks) => chunks.first().copied(),
            _ => None,
        };
        let Some(chunk) = chunk.map(|chunk| chunk.chunk()) else {
            continue;
        };
        cases += 1;
        // Only where one node names it, nobody else has to be looked for.
        let named = Named::of(&store, before.checkpoints.values(), Some(node));
        if named.chunks.contains_key(&chunk) {
            continue;
        }
        let iteration = iteration_of(&image, &before, node);
        let store = tampered(&image, |rows| {
            rows.remove_node(node)?;
            rows.remove_chunk(&chunk)
        });
        for found in store.list(&Filter::default()).unwrap() {
            let _ = found.unwrap().load();
        }
        let parts = before.chunks[&chunk].parts;
        healed_by(
            &store,
            &image,
            iteration,
            parts.max(1).into(),
            "a node and a chunk",
        );
    }
    assert!(cases > 3, "{cases}");
}

#[test]
fn a_row_that_was_lost_of_what_the_parent_has_is_counted_for_all_though_nobody_missed_it() {
    let image = sample();
    let (before, users) = sound(&image);
    let shared = users.iter().find(|(_, users)| {
        let names: BTreeSet<&str> = users.iter().map(|(_, name)| name.as_str()).collect();
        names == BTreeSet::from(["shared"])
    });
    let (id, users) = shared.unwrap();
    assert!(users.len() > 2);
    let store = tampered(&image, |rows| rows.remove_chunk(id));
    // Training goes on; what lies beside it is new.
    save(&store, "NQ", 80, &content(9));
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
    let row = Tables::of(&store).chunks[id].clone();
    assert_eq!(row.refs, before.chunks[id].refs + 1);
}

#[test]
fn what_waits_for_a_base_is_given_up_if_its_own_bytes_are_gone_too() {
    let image = sample();
    let (before, _) = sound(&image);
    let mut cases = 0;
    for (id, row) in &before.chunks {
        let Some(base) = row.bases.first() else {
            continue;
        };
        cases += 1;
        let damaged = without_chunk(&image, base);
        let store = tampered(&damaged, |rows| match row.bundle {
            0 => rows.remove_extent(row.number * crate::format::MAX_PARTS as u64),
            bundle => remove_frame(rows, bundle, row.number),
        });
        let store = opened(&without_chunk(&closed(&store), id));
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        assert_eq!(repaired.lost_chunks, 2);
        assert!(Tables::of(&store).chunks[id].is_lost());
    }
    assert!(cases > 1);
}
