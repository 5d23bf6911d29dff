//! What each kind of record, node and row looks like: written so, and read so, for ever. Fields
//! that change places, and variants that do, are found here, though they encode and decode.
//!
//! `CKPTDB_GOLDEN=write cargo test --lib golden` writes the file anew, for a new format.

use std::fmt::Write as _;

use super::chunk_row::ChunkRow;
use super::extent::ExtentHeader;
use super::index::{IndexKey, IndexKind};
use super::node::{
    ChunkRef, Content, EntryRecord, Group, KindRecord, Manifest, NameChild, Node, SpanChild,
    StoredNode,
};
use super::telemetry::{
    BlockRecord, ColumnRecord, Packed, SegmentRecord, SummaryRecord, TelemetryRecord,
};
use super::wire::Record;
use super::*;
use crate::id::{ChunkId, StoreId};

const GOLDEN: &str = include_str!("golden.txt");

fn text(text: &str) -> String {
    text.to_owned()
}

fn metric(name: &str, bits: u64) -> MetricRow {
    let name = text(name);
    MetricRow { name, bits }
}

fn attribute(name: &str, json: &str) -> AttributeRow {
    let (name, json) = (text(name), text(json));
    AttributeRow { name, json }
}

/// One of each action on a checkpoint.
fn actions_on_checkpoints() -> Vec<Action> {
    vec![
        Action::Save {
            job: 1,
            iteration: 1000,
            parent: Some(2),
            content: [3; 32],
            replaced: Some(4),
        },
        Action::Merge {
            checkpoint: 5,
            events: vec![text("manual")],
            metrics: vec![metric("loss", 6)],
            attributes: vec![attribute("a", "1")],
        },
        Action::Annotate {
            checkpoint: 7,
            attribute: attribute("b", "2"),
        },
        Action::Tag {
            checkpoint: 8,
            tag: text("kept"),
            set: true,
        },
        Action::Pin {
            checkpoint: 9,
            pinned: true,
        },
        Action::Delete {
            checkpoint: 10,
            forced: true,
        },
        Action::Undelete { checkpoint: 11 },
        Action::Reclaim { checkpoint: 12 },
        Action::Verified { checkpoint: 23 },
        Action::Fork {
            checkpoint: 24,
            source: 25,
        },
    ]
}

/// One of each of the others.
fn other_actions() -> Vec<Action> {
    vec![
        Action::Rollback {
            job: 13,
            from: Some(14),
            to: Some(15),
            reason: text("why"),
        },
        Action::CreateJob {
            job: 16,
            name: text("NQ"),
        },
        Action::DeleteJob { job: 17 },
        Action::DeclareMetric {
            job: 18,
            name: text("sharpe"),
            direction: 1,
        },
        Action::MainMetric {
            job: 19,
            name: text("loss"),
        },
        Action::Lost,
        Action::Repair { lost: vec![20, 21] },
        Action::Salvage { lost: vec![22] },
        Action::SessionStart {
            job: 26,
            resumed: Some(27),
            skipped: 28,
            lost_iterations: 29,
            lost_millis: 30,
        },
        Action::SessionEnd {
            job: 31,
            session: 32,
            outcome: SessionsRecord::VANISHED,
            head: Some(33),
            reason: text("gone"),
        },
        Action::RenameJob {
            job: 34,
            name: text("NQ.2024"),
        },
    ]
}

fn chunk(byte: u8, raw_len: u32) -> ChunkRef {
    let id = [byte; 32];
    ChunkRef { id, raw_len }
}

/// A group with an entry of each kind and content.
fn group() -> Group {
    let entry = |name: &str, kind, bytes, content| EntryRecord {
        name: text(name),
        kind,
        bytes,
        content,
    };
    let shape = vec![2, 3];
    let tensor = KindRecord::Tensor { dtype: 13, shape };
    let root = [5; 32];
    Group {
        pack: Some(chunk(1, 900)),
        entries: vec![
            entry("a", KindRecord::File, 3, Content::Inline(vec![1, 2, 3])),
            entry("b", KindRecord::Document, 4, Content::Packed(700)),
            entry("c", tensor, 12, Content::Chunks(vec![chunk(2, 12)])),
            entry("d", KindRecord::File, 99, Content::Tree { root, depth: 2 }),
        ],
    }
}

fn settings() -> [Vec<u8>; 3] {
    let identity = Identity {
        format: 1,
        store: [7; 16],
        created_at: -5,
        writer: text("ckptdb"),
    };
    let head = Head {
        last: 1,
        count: 2,
        chain: [3; 32],
        live: 4,
        next_chunk: 5,
        next_name: 6,
        next_job: 7,
        lost: 8,
        bundle: 9,
    };
    let name = NameRecord {
        text: text("sharpe"),
    };
    [
        sealed(&identity, Identity::KEY),
        sealed(&head, Head::KEY),
        sealed(&name, 9),
    ]
}

fn job() -> JobRecord {
    JobRecord {
        name: text("NQ"),
        created_at: 1,
        removed: true,
        head: Some(HeadMark {
            id: 2,
            iteration: 3,
            at: 4,
        }),
        current: 5,
        abandoned: 6,
        deleted: 7,
        bytes: 8,
        new_bytes: 9,
        metrics: vec![MetricRecord {
            name: text("loss"),
            larger: Some(false),
            best: Some((10, 11)),
        }],
        main_metric: Some(text("loss")),
        good: Some(12),
        segment: Some(13),
        sessions: SessionsRecord {
            open: Some(14),
            completed_head: Some(15),
            started: 16,
            completed: 17,
            failed: 18,
            interrupted: 19,
            vanished: 20,
            resumed: 21,
            fell_back: 22,
            lost_iterations: 23,
            lost_millis: 24,
        },
        stamp: Stamp::new(25, &[26; 32]),
    }
}

fn checkpoint() -> CheckpointRecord {
    let saved = SavedPart {
        job: 1,
        iteration: 2,
        saved_at: 3,
        parent: Some(4),
        events: vec![text("periodic")],
        metrics: vec![metric("loss", 5)],
        attributes: vec![attribute("a", "1")],
        manifest: Manifest::Tree {
            root: [6; 32],
            depth: 7,
        },
        entries: 8,
        bytes: 9,
    };
    let later = Later {
        events: vec![text("manual")],
        metrics: vec![metric("sharpe", 10)],
        attributes: vec![attribute("b", "2")],
        tags: vec![text("kept")],
        pinned: true,
        abandoned: true,
        deleted: Some(DeletedMark { log: 11, at: 12 }),
        new_bytes: 13,
        progress: Progress {
            anchor: Some(14),
            marks: vec![metric("loss", 15)],
            segment: Some(16),
            source: Some(17),
        },
        stamp: Stamp::new(18, &[19; 32]),
    };
    CheckpointRecord {
        saved,
        content: [20; 32],
        later,
    }
}

fn telemetry() -> [TelemetryRecord; 2] {
    let packed = |codec| Packed {
        codec,
        bytes: vec![codec; 3],
    };
    let summary = SummaryRecord {
        name: text("loss"),
        count: 1,
        odd: 2,
        min: 3,
        max: 4,
        sum: 5,
        first: (6, 7),
        last: (8, 9),
        zeros: 10,
        negative: vec![(-11, 12)],
        positive: vec![(13, 14)],
    };
    let segment = SegmentRecord {
        parent: Some((15, 16)),
        summed: Some(17),
        summaries: vec![summary],
    };
    let column = ColumnRecord {
        name: text("loss"),
        count: 1,
        rows: Some(packed(2)),
        values: packed(3),
    };
    let block = BlockRecord {
        segment: 4,
        first: 5,
        last: 6,
        rows: 7,
        at: 8,
        iterations: packed(9),
        columns: vec![column],
    };
    [
        TelemetryRecord::Segment(segment),
        TelemetryRecord::Block(block),
    ]
}

const TAG: StoreTag = StoreTag::of(StoreId::new([7; 16]));

fn sealed<T: Record + PartialEq + std::fmt::Debug>(record: &T, key: u64) -> Vec<u8> {
    let key = key.to_be_bytes();
    let bytes = record.to_bytes(TAG, &key).unwrap();
    assert_eq!(&T::from_bytes(TAG, &key, &bytes).unwrap(), record);
    bytes
}

fn node(node: &Node) -> Vec<u8> {
    let (id, bytes) = node.to_bytes().unwrap();
    assert_eq!(&Node::from_bytes(&id, &bytes).unwrap(), node);
    StoredNode::value(&id, 7, &bytes)
}

/// Rows that are no records.
fn rows() -> [Vec<u8>; 4] {
    let id = ChunkId::new([1; 32]);
    let row = ChunkRow {
        refs: 2,
        deltas: 3,
        number: 4,
        raw_len: 5,
        stored_len: 6,
        codec: 3,
        parts: 1,
        depth: 8,
        position: 9,
        bases: vec![ChunkId::new([10; 32])],
        bundle: 0,
    };
    let bundled = ChunkRow {
        bundle: 3,
        ..row.clone()
    };
    let header = ExtentHeader {
        part: 1,
        parts: 2,
        bundled: false,
        codec: 3,
        bases: 4,
        number: 5,
        chunk: id,
        raw_len: 6,
        stored_len: 8,
        payload_len: 7,
    };
    let frame = ExtentHeader {
        bundled: true,
        ..header
    };
    let row_bytes = |row: ChunkRow| {
        let bytes = row.to_bytes(&id);
        assert_eq!(ChunkRow::from_bytes(&id, &bytes).unwrap(), row);
        bytes
    };
    let header_bytes = |header: ExtentHeader| {
        let bytes = header.to_bytes().to_vec();
        assert_eq!(ExtentHeader::from_bytes(&bytes).unwrap(), header);
        bytes
    };
    [
        row_bytes(row),
        header_bytes(header),
        row_bytes(bundled),
        header_bytes(frame),
    ]
}

/// All of them, by name.
fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| all.push((text(name), bytes));
    for (name, bytes) in ["identity", "head", "name"].iter().zip(settings()) {
        add(name, bytes);
    }
    let actions = actions_on_checkpoints().into_iter().chain(other_actions());
    for (number, action) in (1_u64..).zip(actions) {
        let record = LogRecord {
            at: 100,
            previous: [1; 32],
            action,
        };
        add(&format!("log-{number}"), sealed(&record, number));
    }
    add("job", sealed(&job(), 1));
    add("checkpoint", sealed(&checkpoint(), 2));
    let inline = CheckpointRecord {
        saved: SavedPart {
            manifest: Manifest::Inline(group()),
            ..checkpoint().saved
        },
        ..checkpoint()
    };
    add("checkpoint-inline", sealed(&inline, 3));
    for (name, record) in ["segment", "block"].iter().zip(telemetry()) {
        add(name, sealed(&record, 1 << 32 | 4));
    }
    add("group", node(&Node::Group(group())));
    add("list", node(&Node::List(vec![chunk(1, 2), chunk(3, 4)])));
    let span = SpanChild {
        node: [5; 32],
        bytes: 6,
    };
    add("spans", node(&Node::Spans(vec![span])));
    let names = NameChild {
        node: [7; 32],
        first: text("a"),
    };
    add("names", node(&Node::Names(vec![names])));
    let named = ["chunk", "extent", "chunk-bundled", "frame"];
    for (name, bytes) in named.iter().zip(rows()) {
        add(name, bytes);
    }
    for kind in IndexKind::ALL {
        let key = IndexKey {
            kind,
            job: 1,
            name: 2,
            order: 3,
            id: 4,
        };
        add(&format!("index-{kind:?}"), key.to_bytes().to_vec());
    }
    all
}

#[test]
fn everything_is_written_as_it_always_was() {
    let line = |(name, bytes): (String, Vec<u8>)| {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        format!("{name} {hex}\n")
    };
    let lines: String = all().into_iter().map(line).collect();
    as_always(&lines, GOLDEN, "src/format/golden.txt");
}

/// Holds lines, each of which begins with a name, against those that were written once. With
/// `CKPTDB_GOLDEN=write` they are written anew.
pub(crate) fn as_always(lines: &str, golden: &str, file: &str) {
    if std::env::var("CKPTDB_GOLDEN").is_ok_and(|asked| asked == "write") {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        #[expect(clippy::disallowed_methods, reason = "it is a source file, asked for")]
        std::fs::write(path, lines).unwrap();
    }
    for (new, old) in lines.lines().zip(golden.lines()) {
        let name = new.split(' ').next();
        assert!(new == old, "{name:?} is not what it was");
    }
    assert_eq!(lines.lines().count(), golden.lines().count());
}
