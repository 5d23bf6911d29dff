//! Every rule of the format, at its edge: the last value that is accepted, and the first that is
//! not.

use super::checkpoint::{CheckpointRecord, Later, MetricRow, Progress, SavedPart};
use super::chunk_row::ChunkRow;
use super::extent::{ExtentHeader, cut_parts};
use super::limits::*;
use super::node::{
    ChunkRef, Content, EntryRecord, Group, KindRecord, Manifest, NameChild, Node, SpanChild,
};
use super::settings::SessionsRecord;
use super::telemetry::{
    BlockRecord, ColumnRecord, Packed, SegmentRecord, SummaryRecord, TelemetryRecord,
};
use super::wire::Record;
use super::{AttributeRow, LooseRecord, StoreTag};
use crate::id::{ChunkId, NodeId, StoreId};

fn pointer(raw_len: usize) -> ChunkRef {
    ChunkRef {
        id: [7; 32],
        raw_len: u32::try_from(raw_len).unwrap(),
    }
}

fn file(name: &str, bytes: u64, content: Content) -> EntryRecord {
    EntryRecord {
        name: name.to_owned(),
        kind: KindRecord::File,
        bytes,
        content,
    }
}

fn group(pack: Option<usize>, entries: Vec<EntryRecord>) -> Group {
    Group {
        pack: pack.map(pointer),
        entries,
    }
}

/// Whether a node can be written and read.
fn read(node: &Node) -> bool {
    node.to_bytes()
        .is_ok_and(|(id, bytes)| Node::from_bytes(&id, &bytes).is_ok_and(|again| again == *node))
}

/// What a group of these says, once as a rule and once through the bytes of a node.
fn accepts(group: Group) -> bool {
    let by_rule = group.check().is_ok();
    assert_eq!(read(&Node::Group(group)), by_rule);
    by_rule
}

#[test]
fn chunks_of_a_manifest_have_1_byte_to_a_full_chunk() {
    for (raw_len, fine) in [
        (0, false),
        (1, true),
        (MAX_CHUNK_BYTES, true),
        (MAX_CHUNK_BYTES + 1, false),
    ] {
        let entry = file("a", raw_len as u64, Content::Chunks(vec![pointer(raw_len)]));
        assert_eq!(accepts(group(None, vec![entry])), fine, "{raw_len}");
        assert_eq!(
            read(&Node::List(vec![pointer(raw_len); 2])),
            fine,
            "{raw_len}"
        );
    }
    for (raw_len, fine) in [
        (0, false),
        (1, true),
        (MAX_PACK_BYTES, true),
        (MAX_PACK_BYTES + 1, false),
    ] {
        assert_eq!(accepts(group(Some(raw_len), vec![])), fine, "{raw_len}");
    }
}

#[test]
fn entries_have_names_in_order_and_contents_that_add_up() {
    let inline = |name: &str| file(name, 2, Content::Inline(vec![0; 2]));
    let long = "n".repeat(1024);
    assert!(accepts(group(
        None,
        vec![inline("a"), inline("b"), inline(&long)]
    )));
    assert!(!accepts(group(None, vec![inline("")])));
    assert!(!accepts(group(None, vec![inline(&format!("{long}n"))])));
    assert!(!accepts(group(None, vec![inline("a"), inline("a")])));
    assert!(!accepts(group(None, vec![inline("b"), inline("a")])));
    assert!(!accepts(group(
        None,
        vec![file("a", 3, Content::Inline(vec![0; 2]))]
    )));
    let packed = |offset, bytes| file("a", bytes, Content::Packed(offset));
    assert!(accepts(group(Some(100), vec![packed(90, 10)])));
    assert!(!accepts(group(Some(100), vec![packed(91, 10)])));
    assert!(!accepts(group(Some(100), vec![packed(u32::MAX, u64::MAX)])));
    assert!(!accepts(group(None, vec![packed(0, 1)])));
    let chunks = |count: usize| {
        let list = vec![pointer(10); count];
        file("a", 10 * count as u64, Content::Chunks(list))
    };
    assert!(accepts(group(None, vec![chunks(1)])));
    assert!(accepts(group(None, vec![chunks(DIRECT_CHUNKS)])));
    assert!(!accepts(group(None, vec![chunks(0)])));
    assert!(!accepts(group(None, vec![chunks(DIRECT_CHUNKS + 1)])));
    assert!(!accepts(group(
        None,
        vec![file("a", 11, Content::Chunks(vec![pointer(10)]))]
    )));
    let tree = |depth| {
        file(
            "a",
            99,
            Content::Tree {
                root: [1; 32],
                depth,
            },
        )
    };
    assert!(accepts(group(None, vec![tree(MAX_TREE_DEPTH)])));
    assert!(!accepts(group(None, vec![tree(MAX_TREE_DEPTH + 1)])));
    let tensor = |dtype, shape: &[u64], bytes: usize| EntryRecord {
        name: "t".to_owned(),
        kind: KindRecord::Tensor {
            dtype,
            shape: shape.to_vec(),
        },
        bytes: bytes as u64,
        content: Content::Inline(vec![0; bytes]),
    };
    assert!(accepts(group(None, vec![tensor(18, &[2, 3], 24)])));
    assert!(!accepts(group(None, vec![tensor(18, &[2, 3], 23)])));
    assert!(!accepts(group(None, vec![tensor(0, &[1], 1)])));
    assert!(!accepts(group(
        None,
        vec![tensor(18, &[u64::MAX, u64::MAX], 4)]
    )));
}

#[test]
fn nodes_have_members_in_order_and_no_more_than_fit() {
    let span = SpanChild {
        node: [1; 32],
        bytes: 10,
    };
    let name = |first: &str| NameChild {
        node: [1; 32],
        first: first.to_owned(),
    };
    let accepts = |node: Node| read(&node);
    for (count, fine) in [
        (0, false),
        (1, true),
        (LIST_CHUNKS, true),
        (LIST_CHUNKS + 1, false),
    ] {
        assert_eq!(
            accepts(Node::List(vec![pointer(10); count])),
            fine,
            "{count}"
        );
        assert_eq!(accepts(Node::Spans(vec![span; count])), fine, "{count}");
    }
    assert!(accepts(Node::Names(vec![name("a"), name("b")])));
    assert!(!accepts(Node::Names(vec![])));
    assert!(!accepts(Node::Names(vec![name("a"), name("a")])));
    assert!(!accepts(Node::Names(vec![name("b"), name("a")])));
}

#[test]
fn bytes_longer_than_any_node_are_refused_before_they_are_decoded() {
    let why = |len: usize| {
        let bytes = vec![1; len];
        let id = NodeId::new(*blake3::hash(&bytes).as_bytes());
        let refused = Node::from_bytes(&id, &bytes).unwrap_err();
        format!("{:?}", refused.of("a node"))
    };
    assert!(why(MAX_NODE_BYTES).contains("begin like a node"));
    assert!(why(MAX_NODE_BYTES + 1).contains("its length"));
    let mut long = NODE_MAGIC.to_vec();
    long.extend([2, 1, 0, 0]);
    let body = MAX_NODE_BYTES - NODE_HEADER_BYTES;
    for (body, fine) in [(body, true), (body + 1, false)] {
        let mut bytes = long.clone();
        bytes.extend(u32::try_from(body).unwrap().to_le_bytes());
        bytes.resize(NODE_HEADER_BYTES + body + 9, 0);
        let found = Node::loose(&bytes).map(|(_, len)| len);
        assert_eq!(found, fine.then_some(MAX_NODE_BYTES));
    }
}

fn row() -> ChunkRow {
    ChunkRow {
        refs: 1,
        deltas: 0,
        number: 5,
        raw_len: 1000,
        stored_len: 500,
        codec: 1,
        parts: 1,
        depth: 0,
        position: 0,
        bases: Vec::new(),
        bundle: 0,
    }
}

#[test]
fn a_bundle_begins_with_the_end_of_a_chunk_that_came_no_later() {
    let id = ChunkId::new([3; 32]);
    let with = |parts, bundle, stored_len| {
        let row = ChunkRow {
            stored_len,
            parts,
            bundle,
            ..row()
        };
        let read = ChunkRow::from_bytes(&id, &row.to_bytes(&id));
        assert!(read.as_ref().is_ok_and(|read| *read == row) || read.is_err());
        read.is_ok().then(|| row.extents())
    };
    assert_eq!(with(1, 1, 500), Some(0));
    // Chunk number 5 in the place of its own last part.
    assert_eq!((with(1, 80, 500), with(1, 81, 500)), (Some(0), None));
    assert_eq!((with(3, 82, 500), with(3, 83, 500)), (Some(2), None));
    assert_eq!(with(3, 0, 500), Some(3));
    assert_eq!((with(0, 80, 0), with(0, 0, 0)), (None, None));
    // The mark of a bundle, and none.
    let mut fields = row().to_bytes(&id);
    fields.truncate(33);
    fields[29] |= 0x80;
    fields.extend([0; 8]);
    let check = blake3::hash(&[&id.as_bytes()[..], &fields].concat());
    fields.extend(&check.as_bytes()[..8]);
    ChunkRow::from_bytes(&id, &fields).unwrap_err();
}

#[test]
fn chunk_rows_keep_their_lengths_numbers_and_chains_within_limits() {
    let id = ChunkId::new([3; 32]);
    let read = |row: &ChunkRow| ChunkRow::from_bytes(&id, &row.to_bytes(&id)).is_ok();
    let with = |alter: &dyn Fn(&mut ChunkRow)| {
        let mut row = row();
        alter(&mut row);
        read(&row)
    };
    assert!(with(&|_| {}));
    assert!(with(&|row| row.parts = 16));
    assert!(!with(&|row| row.parts = 17));
    assert!(with(&|row| row.stored_len = 1000));
    assert!(!with(&|row| row.stored_len = 1001));
    assert!(!with(&|row| row.stored_len = 0));
    assert!(!with(&|row| row.raw_len = 0));
    let full = u32::try_from(MAX_CHUNK_BYTES).unwrap();
    assert!(with(&|row| row.raw_len = full));
    assert!(!with(&|row| row.raw_len = full + 1));
    assert!(with(&|row| row.number = u64::MAX / 16));
    assert!(!with(&|row| row.number = u64::MAX / 16 + 1));
    let base = |count: usize| vec![ChunkId::new([9; 32]); count];
    let chain = |depth: u8, bases: usize| {
        with(&|row| {
            row.depth = depth;
            row.bases = base(bases);
        })
    };
    assert!(chain(1, 1) && chain(MAX_CHAIN_DEPTH, MAX_BASES));
    assert!(!chain(0, 1) && !chain(1, 0) && !chain(MAX_CHAIN_DEPTH + 1, 1));
    assert!(!chain(1, MAX_BASES + 1));
    assert!(!with(&|row| row.position = 1));
    assert!(with(&|row| {
        (row.depth, row.position, row.bases) = (1, u8::MAX, base(1));
    }));
    // With a base, the stored bytes begin with its id.
    let stored = |stored_len| {
        with(&|row| {
            (row.depth, row.bases) = (1, base(1));
            row.stored_len = stored_len;
        })
    };
    assert!(stored(1032) && !stored(1033));
}

#[test]
fn a_lost_chunk_has_no_parts_no_bytes_and_no_codec() {
    let id = ChunkId::new([3; 32]);
    let lost = ChunkRow::lost(4, 2, 5, 1000);
    assert!(lost.is_lost() && !row().is_lost());
    assert_eq!(
        ChunkRow::from_bytes(&id, &lost.to_bytes(&id)).unwrap(),
        lost
    );
    let with = |alter: &dyn Fn(&mut ChunkRow)| {
        let mut row = lost.clone();
        alter(&mut row);
        ChunkRow::from_bytes(&id, &row.to_bytes(&id)).is_ok()
    };
    assert!(!with(&|row| row.stored_len = 1));
    assert!(!with(&|row| row.codec = 1));
    assert!(!with(&|row| row.parts = 1));
}

fn header() -> ExtentHeader {
    ExtentHeader {
        part: 0,
        parts: 2,
        bundled: false,
        codec: 0,
        bases: 0,
        number: 9,
        chunk: ChunkId::new([5; 32]),
        raw_len: 5000,
        stored_len: 5000,
        payload_len: 4016,
    }
}

#[test]
fn a_frame_in_a_bundle_is_short_and_the_last_part_of_its_chunk() {
    let with = |part, parts, payload_len| {
        let header = ExtentHeader {
            part,
            parts,
            bundled: true,
            payload_len,
            raw_len: 9000,
            stored_len: 9000,
            ..header()
        };
        let read = ExtentHeader::from_bytes(&header.to_bytes());
        read.map(|read| (read == header).then(|| read.extent_len()))
            .ok()
            .flatten()
    };
    assert_eq!((with(0, 1, 500), with(15, 16, 500)), (Some(564), Some(564)));
    assert_eq!((with(0, 2, 500), with(1, 1, 500)), (None, None));
    assert_eq!((with(0, 0, 500), with(16, 17, 500)), (None, None));
    let most = u32::try_from(MAX_FRAME_BYTES - EXTENT_HEADER_BYTES).unwrap();
    assert_eq!(with(0, 1, most), Some(MAX_FRAME_BYTES));
    assert_eq!((with(0, 1, most + 1), with(0, 1, 0)), (None, None));
}

#[test]
fn extent_headers_keep_parts_and_lengths_within_limits() {
    let with = |alter: &dyn Fn(&mut ExtentHeader)| {
        let mut header = header();
        alter(&mut header);
        let bytes = header.to_bytes();
        let read = ExtentHeader::from_bytes(&bytes);
        assert!(read.as_ref().is_ok_and(|read| *read == header) || read.is_err());
        read.is_ok()
    };
    assert!(with(&|_| {}));
    assert!(with(&|header| header.part = 1));
    assert!(!with(&|header| header.part = 2));
    assert!(!with(&|header| header.parts = 0));
    assert!(with(&|header| (header.part, header.parts) = (15, 16)));
    assert!(!with(&|header| (header.part, header.parts) = (15, 17)));
    let full = u32::try_from(MAX_CHUNK_BYTES).unwrap();
    assert!(with(&|header| header.raw_len = full));
    assert!(!with(&|header| header.raw_len = full + 1));
    assert!(!with(&|header| header.raw_len = 0));
    let bases = u8::try_from(MAX_BASES).unwrap();
    assert!(with(&|header| header.bases = bases));
    assert!(!with(&|header| header.bases = bases + 1));
    let most = full + 32 * u32::try_from(MAX_BASES).unwrap();
    assert!(with(&|header| header.stored_len = most));
    assert!(!with(&|header| header.stored_len = most + 1));
    assert!(with(&|header| header.payload_len = 5000));
    assert!(!with(&|header| header.payload_len = 5001));
    assert!(!with(&|header| header.payload_len = 0));
}

#[test]
fn a_cut_fills_its_pages_and_has_no_more_parts_than_the_limit() {
    for len in [
        1,
        4015,
        4016,
        4017,
        8112,
        8113,
        262_064,
        MAX_CHUNK_BYTES - 1,
        MAX_CHUNK_BYTES,
    ] {
        let stored = vec![1; len];
        let extents = cut_parts(header(), &stored).unwrap();
        assert!(extents.len() <= MAX_PARTS);
        let mut payload = 0;
        for (part, cut) in extents.iter().enumerate() {
            let mut extent = Vec::new();
            cut.write_to(&mut extent);
            let fills = (extent.len() + PAGE_OVERHEAD_BYTES).is_power_of_two();
            assert!(fills || cut.header.bundled);
            let read = ExtentHeader::from_bytes(&extent[..EXTENT_HEADER_BYTES]);
            if len <= 5000 {
                let read = read.unwrap();
                assert_eq!(usize::from(read.part), part);
                assert_eq!(read.extent_len(), extent.len());
            }
            let of_part = u32::from_le_bytes(extent[56..60].try_into().unwrap()) as usize;
            payload += of_part;
            let used = EXTENT_HEADER_BYTES + of_part;
            assert!(extent[used..].iter().all(|byte| *byte == 0));
            let is_last = part + 1 == extents.len();
            assert!(
                used == extent.len() || is_last,
                "only the last has room left"
            );
        }
        assert_eq!(payload, len);
    }
    cut_parts(header(), &vec![1; 17 << 20]).unwrap_err();
}

fn checkpoint() -> CheckpointRecord {
    CheckpointRecord {
        saved: SavedPart {
            job: 1,
            iteration: 10,
            saved_at: 0,
            parent: None,
            events: vec!["manual".to_owned()],
            metrics: Vec::new(),
            attributes: Vec::new(),
            manifest: Manifest::Inline(Group::default()),
            entries: 0,
            bytes: 0,
        },
        content: [0; 32],
        later: Later::default(),
    }
}

fn row_of(n: usize) -> MetricRow {
    MetricRow {
        name: format!("m{n:05}"),
        bits: 1.0_f64.to_bits(),
    }
}

#[test]
fn checkpoint_records_hold_no_more_than_the_limits() {
    let with = |alter: &dyn Fn(&mut CheckpointRecord)| {
        let mut record = checkpoint();
        alter(&mut record);
        record.check().is_ok()
    };
    let words = |count: usize| -> Vec<String> { (0..count).map(|n| format!("e{n}")).collect() };
    assert!(with(&|_| {}));
    assert!(with(&|record| record.saved.events = words(MAX_EVENTS)));
    assert!(!with(&|record| record.saved.events = words(MAX_EVENTS + 1)));
    assert!(
        !with(&|record| record.later.events = words(MAX_EVENTS)),
        "with those that were saved"
    );
    assert!(with(&|record| record.later.tags = words(MAX_EVENTS)));
    assert!(!with(&|record| record.later.tags = words(MAX_EVENTS + 1)));
    let rows = |count: usize| -> Vec<MetricRow> { (0..count).map(row_of).collect() };
    assert!(with(&|record| record.saved.metrics = rows(MAX_METRICS)));
    assert!(!with(&|record| record.saved.metrics = rows(MAX_METRICS + 1)));
    assert!(!with(&|record| {
        record.saved.metrics = rows(MAX_METRICS);
        record.later.metrics = rows(1);
    }));
    assert!(with(
        &|record| record.later.progress.marks = rows(MAX_METRICS)
    ));
    assert!(!with(
        &|record| record.later.progress.marks = rows(MAX_METRICS + 1)
    ));
    let attribute = |name: usize, json: usize| AttributeRow {
        name: "n".repeat(name),
        json: "j".repeat(json),
    };
    let half = MAX_ATTRIBUTE_BYTES / 2;
    assert!(with(&|record| {
        record.saved.attributes = vec![attribute(10, half - 10)];
        record.later.attributes = vec![attribute(20, half - 20)];
    }));
    assert!(!with(&|record| {
        record.saved.attributes = vec![attribute(10, half - 10)];
        record.later.attributes = vec![attribute(20, half - 19)];
    }));
    assert!(with(&|record| record.saved.entries = MAX_ENTRIES as u64));
    assert!(!with(
        &|record| record.saved.entries = MAX_ENTRIES as u64 + 1
    ));
    let tree = |depth| Manifest::Tree {
        root: [1; 32],
        depth,
    };
    assert!(with(&|record| record.saved.manifest = tree(MAX_TREE_DEPTH)));
    assert!(!with(
        &|record| record.saved.manifest = tree(MAX_TREE_DEPTH + 1)
    ));
    let bad = group(None, vec![file("", 0, Content::Inline(vec![]))]);
    assert!(!with(
        &|record| record.saved.manifest = Manifest::Inline(bad.clone())
    ));
}

#[test]
fn periodic_and_best_events_move_the_anchor_and_the_marks_and_nothing_else_does() {
    let mut progress = Progress::default();
    let metrics = [
        row_of(1),
        MetricRow {
            name: "odd".to_owned(),
            bits: f64::NAN.to_bits(),
        },
    ];
    progress.advance(
        5,
        ["manual", "best(m00001)", "best(odd)", "best(absent)"],
        &metrics,
    );
    assert_eq!(progress.anchor, None);
    assert_eq!(progress.marks, [row_of(1)]);
    progress.advance(7, ["periodic", "final"], &metrics);
    assert_eq!((progress.anchor, progress.marks.len()), (Some(7), 1));
    let better = MetricRow {
        bits: 9.0_f64.to_bits(),
        ..row_of(1)
    };
    progress.advance(8, ["best(m00001)"], std::slice::from_ref(&better));
    assert_eq!(
        (progress.anchor, &progress.marks[..]),
        (Some(7), &[better][..])
    );
}

#[test]
fn sessions_are_counted_by_their_outcomes_each_once() {
    let mut sessions = SessionsRecord::default();
    sessions.start(5, None, 0, (0, 0));
    sessions.end(4, SessionsRecord::COMPLETED, None);
    assert_eq!((sessions.open, sessions.completed), (Some(5), 0));
    sessions.end(5, SessionsRecord::VANISHED, Some(3));
    sessions.end(5, SessionsRecord::FAILED, Some(3));
    assert_eq!(
        (sessions.open, sessions.vanished, sessions.failed),
        (None, 1, 0)
    );
    assert_eq!(sessions.completed_head, None);
    sessions.start(9, Some(3), 2, (10, 1000));
    sessions.end(9, SessionsRecord::COMPLETED, Some(8));
    sessions.start(12, Some(8), 0, (5, 500));
    sessions.end(12, SessionsRecord::INTERRUPTED, Some(11));
    sessions.start(14, Some(8), 0, (0, 0));
    sessions.end(14, SessionsRecord::FAILED, Some(11));
    let wanted = SessionsRecord {
        open: None,
        completed_head: Some(8),
        started: 4,
        completed: 1,
        failed: 1,
        interrupted: 1,
        vanished: 1,
        resumed: 3,
        fell_back: 1,
        lost_iterations: 15,
        lost_millis: 1500,
    };
    assert_eq!(sessions, wanted);
}

fn block() -> BlockRecord {
    let packed = Packed {
        codec: 0,
        bytes: Vec::new(),
    };
    BlockRecord {
        segment: 1,
        first: 5,
        last: 9,
        rows: 3,
        at: 0,
        iterations: packed.clone(),
        columns: vec![
            ColumnRecord {
                name: "a".to_owned(),
                count: 3,
                rows: None,
                values: packed.clone(),
            },
            ColumnRecord {
                name: "b".to_owned(),
                count: 1,
                rows: Some(packed.clone()),
                values: packed,
            },
        ],
    }
}

#[test]
fn telemetry_rows_hold_no_more_than_the_limits() {
    let with = |alter: &dyn Fn(&mut BlockRecord)| {
        let mut block = block();
        alter(&mut block);
        TelemetryRecord::Block(block).check().is_ok()
    };
    assert!(with(&|_| {}));
    assert!(!with(&|block| block.rows = 0));
    assert!(with(
        &|block| block.rows = u32::try_from(MAX_BLOCK_ROWS).unwrap()
    ));
    assert!(!with(
        &|block| block.rows = u32::try_from(MAX_BLOCK_ROWS).unwrap() + 1
    ));
    assert!(with(&|block| block.first = 9));
    assert!(!with(&|block| block.first = 10));
    assert!(!with(&|block| block.columns[0].count = 4));
    assert!(!with(&|block| block.columns[0].count = 0));
    assert!(!with(&|block| block.columns[1].name = "a".to_owned()));
    let many = |block: &mut BlockRecord, count: usize| {
        let column = block.columns[0].clone();
        let named = |n| ColumnRecord {
            name: format!("{n:05}"),
            ..column.clone()
        };
        block.columns = (0..count).map(named).collect();
    };
    assert!(with(&|block| many(block, MAX_SERIES)));
    assert!(!with(&|block| many(block, MAX_SERIES + 1)));
    let summary = |negative: usize, positive: usize| SummaryRecord {
        name: "a".to_owned(),
        count: 0,
        odd: 0,
        min: 0,
        max: 0,
        sum: 0,
        first: (0, 0),
        last: (0, 0),
        zeros: 0,
        negative: vec![(0, 1); negative],
        positive: vec![(0, 1); positive],
    };
    let segment = |summaries| {
        TelemetryRecord::Segment(SegmentRecord {
            summaries,
            ..SegmentRecord::default()
        })
        .check()
        .is_ok()
    };
    let half = MAX_SKETCH_BINS / 2;
    assert!(segment(vec![summary(half, half)]));
    assert!(!segment(vec![summary(half, half + 1)]));
    assert!(!segment(vec![summary(0, 0), summary(0, 0)]));
}

#[test]
fn a_record_found_anywhere_says_whose_it_is_and_how_long() {
    let tag = StoreTag::of(StoreId::new([4; 16]));
    let bytes = checkpoint().to_bytes(tag, &77_u64.to_be_bytes()).unwrap();
    assert_eq!(StoreTag::peek(&bytes), Some(tag));
    let mut followed = bytes.clone();
    followed.extend([9; 40]);
    let found = LooseRecord::at(&followed).unwrap();
    assert_eq!((found.key, found.len, found.store), (77, bytes.len(), tag));
    for at in 0..bytes.len() {
        let mut spoilt = followed.clone();
        spoilt[at] ^= 1;
        assert_eq!(LooseRecord::at(&spoilt), None, "byte {at}");
    }
    assert_eq!(LooseRecord::at(&bytes[..bytes.len() - 1]), None);
}
