//! The entries of a save on their way in: first what others are rounded copies of, then all in the
//! order of their names.

use std::collections::{BTreeMap, HashMap};

use super::body::{Item, Part, Reachable, body_of, body_of_reachable, check_length};
use super::cutting::Blocks;
use super::ingest::Ingest;
use super::intake::{Intake, Span};
use super::manifest::{Body, Built, ManifestBuilder};
use super::pipeline::{Task, Work, with_pipeline};
use crate::codec::Narrow;
use crate::error::Result;
use crate::format::{ChunkRef, KindRecord, MAX_CHUNK_BYTES, SMALL_ENTRY_BYTES};
use crate::tensor::DType;

/// Bytes of a tensor that are looked at before all of them are.
const PROBE: usize = 4 << 10;

/// Takes all entries in.
pub(super) fn take_in(
    ingest: &mut Ingest<'_>,
    mut parts: BTreeMap<String, Part<'_>>,
) -> Result<Built> {
    let items: Vec<Item<'_>> = parts.iter_mut().map(Item::of).collect();
    with_pipeline(ingest.threads(), ingest.worker(), |pipeline| {
        take_items_in(&mut Intake::new(ingest, pipeline), items)
    })
}

fn take_items_in<'e>(intake: &mut Intake<'_, '_, 'e>, items: Vec<Item<'e>>) -> Result<Built> {
    let mut builder = ManifestBuilder::new();
    let mut blocks = Blocks::default();
    let mut ready = if intake.uses_bases() {
        let copies = copies(intake, &items)?;
        copies_in(intake, copies)?
    } else {
        BTreeMap::new()
    };
    for item in items {
        let (name, kind, bytes) = (item.name, item.kind, item.bytes);
        let body = match ready.remove(name) {
            Some(chunks) => Body::Large(chunks),
            None => body_of(intake, item, &mut blocks)?,
        };
        check_length(name, bytes, body.len(intake))?;
        builder.add(intake, name.to_owned(), kind.clone(), body)?;
    }
    builder.finish(intake)
}

/// A tensor that is another one of the same save, rounded.
struct Copy<'i, 'e> {
    item: &'i Item<'e>,
    narrow: Narrow,
    master: &'i Item<'e>,
}

/// Finds the tensors that are rounded copies of others, by their bytes. Only tensors in memory or
/// in files are looked at, and of those that share packs none.
fn copies<'i, 'e>(
    intake: &mut Intake<'_, '_, 'e>,
    items: &'i [Item<'e>],
) -> Result<Vec<Copy<'i, 'e>>> {
    let mut masters: HashMap<&[u64], Vec<&Item<'_>>> = HashMap::new();
    for item in items {
        // What is not looked at may be anything, and nothing is derived from it.
        let length = item.len().and_then(|len| usize::try_from(len).ok());
        if let Some((DType::F32, shape)) = tensor(item)
            && !intake
                .parent()
                .is_unchanged(item.name, item.kind, length.unwrap_or(0))?
        {
            masters.entry(shape).or_default().push(item);
        }
    }
    let mut found = Vec::new();
    for item in items {
        let (narrow, shape) = match tensor(item) {
            Some((DType::Bf16, shape)) => (Narrow::Bf16, shape),
            Some((DType::F16, shape)) => (Narrow::F16, shape),
            _ => continue,
        };
        let candidates = masters.get(shape).map_or(&[][..], Vec::as_slice);
        if candidates.is_empty() || item.len().is_none_or(|len| len < SMALL_ENTRY_BYTES as u64) {
            continue;
        }
        let Some(raw) = item.reachable() else {
            continue;
        };
        if intake
            .parent()
            .is_unchanged(item.name, item.kind, raw.len())?
        {
            continue;
        }
        for master in candidates {
            let Some(wide) = master.reachable() else {
                continue;
            };
            if is_copy(narrow, (item.name, &raw), (master.name, &wide))? {
                found.push(Copy {
                    item,
                    narrow,
                    master,
                });
                break;
            }
        }
    }
    Ok(found)
}

/// Whether some bytes are others, rounded; by pieces, as a file need not fit in memory. Most that
/// are not differ in their first ones.
fn is_copy(
    narrow: Narrow,
    (name, raw): (&str, &Reachable<'_>),
    (master, wide): (&str, &Reachable<'_>),
) -> Result<bool> {
    if wide.len() != 2 * raw.len() {
        return Ok(false);
    }
    let mut at = 0;
    let mut bytes = PROBE;
    while at < raw.len() {
        let end = raw.len().min(at + bytes);
        let (piece, of) = (
            raw.part(name, at..end)?,
            wide.part(master, 2 * at..2 * end)?,
        );
        if !narrow.is_rounded(&piece, &[&of]) {
            return Ok(false);
        }
        (at, bytes) = (end, MAX_CHUNK_BYTES);
    }
    Ok(true)
}

fn tensor<'e>(item: &Item<'e>) -> Option<(DType, &'e [u64])> {
    match item.kind {
        KindRecord::Tensor { dtype, shape } => Some((DType::from_code(*dtype)?, shape)),
        KindRecord::Document | KindRecord::File => None,
    }
}

/// Takes in the masters, and each one's copies after it.
fn copies_in<'e>(
    intake: &mut Intake<'_, '_, 'e>,
    copies: Vec<Copy<'_, 'e>>,
) -> Result<BTreeMap<&'e str, Span>> {
    let mut ready: BTreeMap<&str, Span> = BTreeMap::new();
    // One behind the masters: a copy waits for the names of its master's chunks.
    let mut due = None;
    for copy in copies {
        let both = copy.item.reachable().zip(copy.master.reachable());
        let Some((raw, wide)) = both else {
            continue;
        };
        let master = copy.master;
        if !ready.contains_key(master.name)
            && let Body::Large(chunks) = body_of_reachable(intake, master.name, master.kind, &wide)?
        {
            ready.insert(master.name, chunks);
        }
        if let Some((copy, raw, wide)) = due.replace((copy, raw, wide)) {
            copy_in(intake, &mut ready, &copy, (&raw, &wide))?;
        }
    }
    if let Some((copy, raw, wide)) = due {
        copy_in(intake, &mut ready, &copy, (&raw, &wide))?;
    }
    Ok(ready)
}

/// Takes in a copy of a master that has been sent.
fn copy_in<'e>(
    intake: &mut Intake<'_, '_, 'e>,
    ready: &mut BTreeMap<&'e str, Span>,
    copy: &Copy<'_, 'e>,
    (raw, wide): (&Reachable<'e>, &Reachable<'e>),
) -> Result<()> {
    let Some(master) = ready.get(copy.master.name) else {
        return Ok(());
    };
    intake.settle_span(master)?;
    let masters: Vec<_> = intake.chunks(master).iter().map(ChunkRef::chunk).collect();
    let mut chunks = Span::default();
    for (at, masters) in (0..raw.len())
        .step_by(MAX_CHUNK_BYTES)
        .zip(masters.chunks(2))
    {
        // As long as two chunks of the master, or what is left.
        let end = raw.len().min(at + MAX_CHUNK_BYTES);
        let pieces = (2 * at..2 * end).step_by(MAX_CHUNK_BYTES);
        let wide = pieces.map(|start| {
            let range = start..(2 * end).min(start + MAX_CHUNK_BYTES);
            wide.part(copy.master.name, range)
        });
        let work = Work::Copy {
            narrow: copy.narrow,
            wide: wide.collect::<Result<_>>()?,
            masters: masters.to_vec(),
        };
        let raw = raw.part(copy.item.name, at..end)?;
        chunks.add(intake.send(Task { raw, work })?);
    }
    ready.insert(copy.item.name, chunks);
    Ok(())
}
