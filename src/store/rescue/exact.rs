//! Every row that can be derived, spoilt in every way: verification says just that, and a repair
//! gives back the very tables that there were.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::{
    Action, CheckpointRecord, ChunkRow, DeletedMark, Extent, ExtentHeader, Head, HeadMark,
    IndexKey, IndexKind, JobRecord, LogRecord, MAX_PARTS, NameRecord, Record, Stamp, StoredNode,
    TableCode, with_frame,
};
use crate::id::{CheckpointId, ChunkId, NodeId};
use crate::metric::Direction;
use crate::storage::{Change, NewChunk, Writes, chunk_row, put_chunk};
use crate::store::index_rows::whole;
use crate::store::testing::{Tables, closed, keys, put, record, sample, tampered};
use crate::store::walk::{each_chunk, each_group};
use crate::store::{Damage, Store, VerifyDepth};

/// What verification says: of whom, and in which words.
type Said = BTreeSet<(Option<u64>, Option<String>, String)>;

fn said(damage: &[Damage]) -> Said {
    let say = |damage: &Damage| {
        let id = damage.checkpoint.map(CheckpointId::get);
        (id, damage.entry.clone(), damage.what.clone())
    };
    damage.iter().map(say).collect()
}

fn of_store(what: String) -> Said {
    Said::from([(None, None, what)])
}

/// Entries, with the ids of their checkpoints, by the chunk that they have in them.
pub(super) type Users = BTreeMap<ChunkId, BTreeSet<(u64, String)>>;

/// The entries that have each chunk in them, by themselves or through what they are deltas of.
fn users(store: &Store) -> Users {
    let tables = Tables::of(store);
    let mut users = Users::new();
    for (id, checkpoint) in &tables.checkpoints {
        let mut use_it = |chunk: ChunkId, entry: &str| {
            let mut below = vec![chunk];
            while let Some(chunk) = below.pop() {
                let of = users.entry(chunk).or_default();
                of.insert((*id, entry.to_owned()));
                below.extend(&tables.chunks[&chunk].bases);
            }
        };
        let manifest = &checkpoint.saved.manifest;
        let walked = store.read(|rows| {
            each_group(rows, manifest, &mut |group| {
                for entry in &group.entries {
                    if let (crate::format::Content::Packed(_), Some(pack)) =
                        (&entry.content, &group.pack)
                    {
                        use_it(pack.chunk(), &entry.name);
                    }
                    each_chunk(rows, entry, &mut |chunk| {
                        use_it(chunk.chunk(), &entry.name);
                        Ok(())
                    })?;
                }
                Ok(())
            })
        });
        walked.unwrap();
    }
    users
}

/// Verifies, repairs, and compares with the tables that there were.
fn check(store: &Store, expected: &Said, before: &Tables, at: &str) {
    let found = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(&said(&found.damage), expected, "{at}");
    repaired_to(store, before, at);
}

fn repaired_to(store: &Store, before: &Tables, at: &str) {
    let repaired = store.repair(&mut |_, _| {}).unwrap();
    assert!(!repaired.was_clean(), "{at}");
    assert_eq!(
        (repaired.left, repaired.lost, repaired.uncertain),
        (vec![], vec![], vec![]),
        "{at}"
    );
    assert_eq!(repaired.lost_chunks, 0, "{at}");
    let after = store.verify(VerifyDepth::Full).unwrap();
    assert!(
        after.is_clean() && after.orphans == 0,
        "{at}: {:?}",
        after.damage
    );
    let after = Tables::of(store);
    for (id, row) in &before.chunks {
        assert_eq!(after.chunks.get(id), Some(row), "{at}");
    }
    for (id, value) in &before.nodes {
        assert!(after.nodes.get(id) == Some(value), "{at}");
    }
    assert_eq!(after.jobs, before.jobs, "{at}");
    assert_eq!(after.names, before.names, "{at}");
    assert!(after == *before, "{at}: {after:#?} is not {before:#?}");
}

/// How deep a chunk lies, and its bases.
fn depth_of(store: &Store, id: &ChunkId) -> (u8, Vec<ChunkId>) {
    let row = store.read(|rows| chunk_row(rows, id)).unwrap().unwrap();
    (row.depth, row.bases)
}

/// The tables of the sample, and who uses its chunks.
pub(super) fn sound(image: &[u8]) -> (Tables, Users) {
    let store = tampered(image, |_| Ok(()));
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean() && report.orphans == 0, "{report:?}");
    (Tables::of(&store), users(&store))
}

#[test]
fn a_chunk_that_is_counted_wrong_is_named_and_counted_right_again() {
    let image = sample();
    let (before, _) = sound(&image);
    let kinds: BTreeSet<_> = before
        .chunks
        .values()
        .map(|row| (row.bases.len(), row.deltas > 0, row.refs > 1))
        .collect();
    assert!(kinds.len() >= 5, "{kinds:?}");
    for (id, row) in &before.chunks {
        let more = (row.refs + 1, row.deltas);
        let fewer = (row.refs.saturating_sub(1), row.deltas);
        let deltas = (row.refs, row.deltas + 1);
        for (refs, deltas) in [more, fewer, deltas] {
            let store = tampered(&image, |rows| {
                let known = ChunkRow::from_bytes(id, &rows.chunk(id)?.unwrap()).unwrap();
                let lie = ChunkRow {
                    refs,
                    deltas,
                    ..known
                };
                rows.put_chunk(id, &lie.to_bytes(id))
            });
            let expected = format!(
                "chunk {id} counts {refs} references and {deltas} deltas; there are {} and {}",
                row.refs, row.deltas
            );
            check(&store, &of_store(expected), &before, "a count");
        }
    }
}

#[test]
fn a_chunk_whose_row_is_lost_or_spoilt_is_named_with_its_entries_and_derived_from_its_extents() {
    let image = sample();
    let (before, users) = sound(&image);
    for (id, row) in &before.chunks {
        for is_lost in [true, false] {
            let store = tampered(&image, |rows| {
                if is_lost {
                    return rows.remove_chunk(id);
                }
                let mut bytes = rows.chunk(id)?.unwrap();
                bytes[9] ^= 1;
                rows.put_chunk(id, &bytes)
            });
            let found = store.verify(VerifyDepth::Quick).unwrap();
            let mut named = BTreeSet::new();
            for damage in &found.damage {
                match (damage.checkpoint, &damage.entry) {
                    (Some(checkpoint), Some(entry)) => {
                        named.insert((checkpoint.get(), entry.clone()));
                    }
                    // Its bases count a delta that nothing has any more.
                    _ => assert!(
                        row.bases
                            .iter()
                            .any(|base| damage.what.contains(&base.to_string())),
                        "{damage:?}"
                    ),
                }
            }
            assert_eq!(named, users[id], "{row:?}");
            repaired_to(&store, &before, "a row");
            let (depth, bases) = depth_of(&store, id);
            let below = bases.iter().map(|base| depth_of(&store, base).0);
            assert_eq!(depth, below.max().map_or(0, |below| below + 1));
        }
    }
}

#[test]
fn a_node_whose_row_is_lost_or_miscounted_or_spoilt_is_put_back_as_it_was() {
    let image = sample();
    let (before, _) = sound(&image);
    let mut counts = BTreeSet::new();
    for (id, value) in &before.nodes {
        let (refs, bytes) = StoredNode::split(id, value).unwrap();
        counts.insert(refs);
        let with_count = |refs| {
            let store = tampered(&image, |rows| {
                rows.put_node(id, &StoredNode::value(id, refs, bytes))
            });
            let expected = format!(
                "manifest node {id} counts {refs} references, manifests have {}",
                StoredNode::split(id, value).unwrap().0
            );
            check(&store, &of_store(expected), &before, "a count");
        };
        with_count(refs + 1);
        with_count(refs - 1);
        // The count alone is spoilt, and then all is gone; the file has the bytes elsewhere.
        let mut spoilt = value.clone();
        spoilt[0] ^= 1;
        let store = tampered(&image, |rows| rows.put_node(id, &spoilt));
        repaired_to(&store, &before, "a spoilt count");
        let store = tampered(&image, |rows| rows.remove_node(id));
        let found = store.verify(VerifyDepth::Quick).unwrap();
        let lost = |damage: &Damage| {
            damage.checkpoint.is_some() && damage.what.contains(&format!("{id}: it is missing"))
        };
        assert!(found.damage.iter().any(lost), "{:?}", found.damage);
        repaired_to(&store, &before, "a lost row");
        // A node that nothing names.
        let stray = NodeId::new([9; 32]);
        let store = tampered(&image, |rows| {
            rows.put_node(&stray, &StoredNode::value(&stray, 2, bytes))
        });
        let expected = format!("manifest node {stray} counts 2 references, manifests have 0");
        check(&store, &of_store(expected), &before, "a stray node");
    }
    assert!(counts.len() > 1, "some are shared: {counts:?}");
}

/// What is done to a store.
type Tamper<'a> = Box<dyn FnOnce(&mut dyn Writes) -> Result<()> + 'a>;

/// What is done to a row, and what verification says of it.
type Lie<'a> = (&'a str, Said, Tamper<'a>);

/// A row of this key, altered.
fn altered<'a, T: Record + 'a>(key: u64, alter: impl FnOnce(&mut T) + 'a) -> Tamper<'a> {
    Box::new(move |rows| {
        let mut found: T = record(rows, key);
        alter(&mut found);
        put(rows, key, &found)
    })
}

#[test]
fn what_a_job_or_the_head_counts_wrong_is_told_and_counted_right_again() {
    let image = sample();
    let (before, _) = sound(&image);
    let (job, known) = before.jobs.first_key_value().unwrap();
    let counts = || of_store("job `NQ` counts other than its checkpoints".to_owned());
    let best = || {
        let what = "the best by `loss` of job `NQ` is not what the checkpoints say";
        of_store(what.to_owned())
    };
    let live = || of_store("the head record counts another number of checkpoints".to_owned());
    let head = known.head.unwrap();
    let of = |alter: fn(&mut JobRecord)| altered(*job, alter);
    let lies: Vec<Lie<'_>> = vec![
        ("current", counts(), of(|job| job.current += 1)),
        ("abandoned", counts(), of(|job| job.abandoned -= 1)),
        ("deleted", counts(), of(|job| job.deleted += 1)),
        ("bytes", counts(), of(|job| job.bytes += 1)),
        ("new bytes", counts(), of(|job| job.new_bytes -= 1)),
        ("no head", counts(), of(|job| job.head = None)),
        (
            "another head",
            counts(),
            altered(*job, move |job: &mut JobRecord| {
                let id = head.id - 1;
                job.head = Some(HeadMark { id, ..head });
            }),
        ),
        ("no best", best(), of(|job| job.metrics[0].best = None)),
        (
            "another best",
            best(),
            of(|job| job.metrics[0].best.as_mut().unwrap().1 -= 1),
        ),
        (
            "another value",
            best(),
            of(|job| job.metrics[0].best.as_mut().unwrap().0 += 1),
        ),
        (
            "more live",
            live(),
            altered(Head::KEY, |head: &mut Head| head.live += 1),
        ),
        (
            "fewer live",
            live(),
            altered(Head::KEY, |head: &mut Head| head.live -= 1),
        ),
        (
            "another count",
            of_store(format!(
                "the log ends at record {0} of {0}, the head record says {0} of {1}",
                before.log.len(),
                before.log.len() + 1
            )),
            altered(Head::KEY, |head: &mut Head| head.count += 1),
        ),
    ];
    for (at, expected, tamper) in lies {
        check(&tampered(&image, tamper), &expected, &before, at);
    }
}

#[test]
fn every_row_of_the_index_that_is_lost_or_stray_is_told_and_put_right() {
    let image = sample();
    let (before, _) = sound(&image);
    let mut rows: Vec<(IndexKey, Option<String>)> = Vec::new();
    let store = tampered(&image, |_| Ok(()));
    let kinds = (IndexKind::Commit, IndexKind::AbandonedMetric);
    let all = (whole(kinds.0).0, whole(kinds.1).1);
    let read = store.read(|found| {
        found.index(all, false, &mut |key| {
            let name = match key.name {
                0 => None,
                number => {
                    let name: NameRecord = record(found, number.into());
                    Some(name.text)
                }
            };
            rows.push((key, name));
            Ok(ControlFlow::Continue(()))
        })
    });
    read.unwrap();
    let count = |kind| rows.iter().filter(|(key, _)| key.kind == kind).count();
    let counted = |kind: IndexKind, found| {
        let asked = count(kind);
        format!("the index has {found} {kind:?} rows, the records ask for {asked}")
    };
    let mut kinds = BTreeSet::new();
    for (key, name) in &rows {
        kinds.insert(key.kind);
        let mut expected = of_store(counted(key.kind, count(key.kind) - 1));
        if key.kind != IndexKind::JobName {
            let of = match name {
                Some(name) => format!(" of `{name}`"),
                None => String::new(),
            };
            let what = format!("its {:?} row{of} is missing from the index", key.kind);
            expected.insert((Some(key.id), None, what));
        }
        let store = tampered(&image, |rows| rows.set_index(*key, false));
        check(&store, &expected, &before, "a lost row");
        let stray = IndexKey {
            order: key.order ^ 1 << 40,
            ..*key
        };
        let store = tampered(&image, |rows| rows.set_index(stray, true));
        let expected = of_store(counted(key.kind, count(key.kind) + 1));
        check(&store, &expected, &before, "a stray row");
    }
    assert!(kinds.len() >= 9, "{kinds:?}");
}

#[test]
fn every_name_whose_row_or_number_is_lost_or_another_s_is_told_and_put_right() {
    let image = sample();
    let (before, _) = sound(&image);
    let store = tampered(&image, |_| Ok(()));
    let names = store.read(|rows| Ok(keys(rows, TableCode::Names))).unwrap();
    for number in names {
        let store = tampered(&image, |rows| rows.remove_record(TableCode::Names, number));
        assert!(!store.verify(VerifyDepth::Quick).unwrap().is_clean());
        repaired_to(&store, &before, "a lost name");
        let store = tampered(&image, |rows| {
            altered(number, |name: &mut NameRecord| name.text.push('x'))(rows)
        });
        assert!(!store.verify(VerifyDepth::Quick).unwrap().is_clean());
        repaired_to(&store, &before, "another name");
    }
}

#[test]
fn a_record_that_says_other_than_the_log_is_told_and_believed_where_the_log_is_silent() {
    let image = sample();
    let (before, _) = sound(&image);
    let differs = |id: u64| -> Said {
        let what = "the log does not say what its record says";
        Said::from([(Some(id), None, what.to_owned())])
    };
    for (id, known) in &before.checkpoints {
        let of = |alter: fn(&mut CheckpointRecord)| tampered(&image, altered(*id, alter));
        let told = |store: &Store, what: &Said| {
            let found = store.verify(VerifyDepth::Full).unwrap();
            assert!(said(&found.damage).is_superset(what), "{found:?}");
            found
        };
        // What it was saved as is hashed, and the log has the hash.
        let hashed = Said::from([(
            Some(*id),
            None,
            "its content hash does not match".to_owned(),
        )]);
        let job = of(|record| record.saved.job ^= 3);
        assert!(told(&job, &differs(*id)).damage.len() > 1);
        told(&job, &hashed);
        let iteration = of(|record| record.saved.iteration += 1);
        told(&iteration, &differs(*id));
        told(&iteration, &hashed);
        let content = of(|record| record.content[7] ^= 1);
        told(&content, &differs(*id));
        told(&content, &hashed);
        let entries = of(|record| record.saved.entries += 1);
        assert_eq!(said(&told(&entries, &hashed).damage), hashed);
        // What came later is in the log.
        let deleted = of(|record| {
            let later = &mut record.later;
            later.deleted = match later.deleted {
                Some(_) => None,
                None => Some(DeletedMark { log: 1, at: 0 }),
            };
        });
        told(&deleted, &differs(*id));
        // A version from before a change that the log has.
        let changed = before.log.values().any(|(_, action)| match action {
            Action::Tag { checkpoint, .. }
            | Action::Pin { checkpoint, .. }
            | Action::Annotate { checkpoint, .. }
            | Action::Delete { checkpoint, .. } => checkpoint == id,
            _ => false,
        });
        let older = tampered(&image, |rows| {
            let mut found: CheckpointRecord = record(rows, *id);
            let saved: LogRecord = record(rows, *id);
            let bytes = saved.to_bytes(rows.tag(), &id.to_be_bytes()).unwrap();
            found.later.stamp = Stamp::new(*id, &LogRecord::chain(&bytes));
            put(rows, *id, &found)
        });
        let report = older.verify(VerifyDepth::Full).unwrap();
        let expected = if changed { differs(*id) } else { Said::new() };
        assert_eq!(said(&report.damage), expected, "{known:?}");
        if changed {
            repaired_to(&older, &before, "an older version");
        }
    }
}

#[test]
fn what_nothing_leads_to_is_counted_and_goes_with_a_repair() {
    let image = sample();
    let (before, _) = sound(&image);
    let orphans = |at: &str, orphans: u64, tamper: Tamper<'_>| {
        let store = tampered(&image, tamper);
        let found = store.verify(VerifyDepth::Full).unwrap();
        assert!(found.is_clean(), "{at}: {:?}", found.damage);
        assert_eq!(found.orphans, orphans, "{at}");
        repaired_to(&store, &before, at);
    };
    let extent = |rows: &mut dyn Writes, by: u64| {
        let in_extents = before.chunks.values().find(|row| row.extents() > 0);
        let key = in_extents.unwrap().number * MAX_PARTS as u64;
        let mut bytes = Vec::new();
        rows.extent(key, &mut |found| {
            bytes.extend_from_slice(found);
            Ok(())
        })?;
        rows.put_extent(key + by, &bytes)
    };
    orphans("a part too many", 1, Box::new(|rows| extent(rows, 7)));
    orphans("a stray extent", 1, Box::new(|rows| extent(rows, 16 * 500)));
    let bundle = before.chunks.values().map(|row| row.bundle).max().unwrap();
    let stray = |rows: &mut dyn Writes, key: u64| {
        let frame = Extent {
            header: ExtentHeader {
                part: 0,
                parts: 1,
                bundled: true,
                codec: 0,
                bases: 0,
                number: 500,
                chunk: ChunkId::new([1; 32]),
                raw_len: 3,
                stored_len: 3,
                payload_len: 3,
            },
            payload: b"abc",
        };
        let mut fuller = None;
        rows.extent(key, &mut |bytes| {
            fuller = with_frame(bytes, &frame);
            Ok(())
        })?;
        let fuller = fuller.or_else(|| with_frame(&[], &frame));
        rows.put_extent(key, &fuller.unwrap())
    };
    orphans("a stray frame", 1, Box::new(|rows| stray(rows, bundle)));
    orphans("a stray bundle", 1, Box::new(|rows| stray(rows, 16 * 500)));
    let unused = |rows: &mut dyn Writes, is_staged: bool| {
        let mut change = Change::begin(rows, 0)?;
        let raw = [5; 3000];
        let id = ChunkId::new(*blake3::hash(&raw).as_bytes());
        let number = put_chunk(&mut change, &NewChunk::alone(id, &raw))?;
        if is_staged {
            change.rows().stage(number, &id)?;
        }
        change.finish()
    };
    orphans("an unused chunk", 1, Box::new(|rows| unused(rows, false)));
    // One that is to be swept is none.
    let store = tampered(&image, |rows| unused(rows, true));
    let found = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!((found.damage.len(), found.orphans), (0, 0));
    let raw = |row: &ChunkRow| u64::from(row.raw_len);
    assert_eq!(found.chunks, before.chunks.len() as u64);
    assert_eq!(found.bytes, before.chunks.values().map(raw).sum::<u64>());
}

#[test]
fn a_chain_that_does_not_fall_is_told_and_written_anew_from_the_file() {
    let image = sample();
    let (before, users) = sound(&image);
    let mut cases = 0;
    for (id, row) in &before.chunks {
        for base in &row.bases {
            let (depth, _) = depth_of(&tampered(&image, |_| Ok(())), id);
            let lie = |alter: &dyn Fn(&mut ChunkRow)| {
                tampered(&image, |rows| {
                    let mut row = ChunkRow::from_bytes(base, &rows.chunk(base)?.unwrap()).unwrap();
                    alter(&mut row);
                    rows.put_chunk(base, &row.to_bytes(base))
                })
            };
            let below = before.chunks[base].bases.first();
            let other = *before.chunks.keys().next_back().unwrap();
            let Some(below) = below else { continue };
            cases += 1;
            // As deep as what is above it; or a copy of several.
            let as_deep = lie(&|row| row.depth = depth);
            let branches = lie(&|row| row.bases = vec![*below, other]);
            for store in [as_deep, branches] {
                let found = store.verify(VerifyDepth::Quick).unwrap();
                let what = format!("chunk {id} is a delta, and its bases are no chain");
                let of = users[id].iter().map(|(user, entry)| {
                    let entry = Some(entry.clone());
                    (Some(*user), entry, what.clone())
                });
                assert!(said(&found.damage).is_superset(&of.collect()), "{found:?}");
                store.repair(&mut |_, _| {}).unwrap();
                let after = store.verify(VerifyDepth::Full).unwrap();
                assert!(after.is_clean() && after.orphans == 0, "{after:?}");
            }
        }
    }
    assert!(cases > 0);
}

#[test]
fn a_job_without_checkpoints_has_no_head_and_a_name_has_one_number() {
    let image = sample();
    let store = tampered(&image, |_| Ok(()));
    store.delete_job("ES").unwrap();
    let job = store.job("fresh").unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    let image = closed(&store);
    let (before, _) = sound(&image);
    let (fresh, _) = before.jobs.last_key_value().unwrap();
    let head = before.jobs.values().find_map(|job| job.head);
    let store = tampered(
        &image,
        altered(*fresh, |job: &mut JobRecord| job.head = head),
    );
    let expected = of_store("job `fresh` counts other than its checkpoints".to_owned());
    let found = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(said(&found.damage), expected);
    store.repair(&mut |_, _| {}).unwrap();
    let after = Tables::of(&store);
    assert_eq!(after.jobs, before.jobs);
    // Names that only deleted checkpoints have are not given numbers.
    let before = Tables {
        names: after.names,
        ..before
    };
    // The same name under another number.
    let mut names = 0;
    let store = tampered(&image, |rows| {
        let known = keys(rows, TableCode::Names);
        names = known.len();
        let name: NameRecord = record(rows, known[0]);
        put(rows, 99, &name)
    });
    let more = names + 1;
    let mut expected = of_store(format!("{names} names have numbers, {more} have records"));
    expected.extend(of_store(
        "name number 99 is not found by its name".to_owned(),
    ));
    check(&store, &expected, &before, "a name");
}

#[test]
fn a_row_that_is_no_checkpoint_s_goes_and_a_head_that_is_behind_its_log_is_not_believed() {
    let image = sample();
    let (before, _) = sound(&image);
    let store = tampered(&image, |rows| {
        rows.put_record(TableCode::Checkpoints, 999, b"nothing that anybody wrote")
    });
    assert!(!store.verify(VerifyDepth::Quick).unwrap().is_clean());
    repaired_to(&store, &before, "a stray row");
    let store = tampered(&image, |rows| {
        let mut head: Head = record(rows, Head::KEY);
        let last: LogRecord = record(rows, head.last);
        (head.last, head.count, head.chain) = (head.last - 1, head.count - 1, last.previous);
        put(rows, Head::KEY, &head)
    });
    assert!(!store.verify(VerifyDepth::Quick).unwrap().is_clean());
    repaired_to(&store, &before, "an older head");
}
