//! The entries of a save on their way in: first what others are rounded copies of, then all in the
//! order of their names.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::body::{Part, Source, body_of, check_length};
use super::ingest::Ingest;
use super::manifest::{Body, Built, ManifestBuilder};
use crate::codec::Narrow;
use crate::error::Result;
use crate::format::{KindRecord, MAX_CHUNK_BYTES, SMALL_ENTRY_BYTES};
use crate::tensor::DType;

/// Takes all entries in.
pub(super) fn take_in(ingest: &mut Ingest<'_>, parts: BTreeMap<String, Part<'_>>) -> Result<Built> {
    let mut builder = ManifestBuilder::new();
    let mut buffer = Vec::new();
    let copies = if ingest.uses_bases() {
        copies(&parts)
    } else {
        BTreeMap::new()
    };
    let mut ready = copies_in(ingest, &parts, &copies)?;
    for (name, part) in parts {
        let body = match ready.remove(&name) {
            Some(body) => body,
            None => body_of(
                ingest,
                &name,
                &part.kind,
                part.bytes,
                part.source,
                &mut buffer,
            )?,
        };
        check_length(&name, part.bytes, body.len())?;
        builder.add(ingest, name, part.kind, body)?;
    }
    builder.finish(ingest)
}

/// A tensor that is another one of the same save, rounded.
struct Copy {
    narrow: Narrow,
    master: String,
}

/// Finds the tensors that are rounded copies of others, by their bytes. Only tensors in memory are
/// looked at, and of those that share packs none.
fn copies(parts: &BTreeMap<String, Part<'_>>) -> BTreeMap<String, Copy> {
    let mut masters: HashMap<&[u64], Vec<&str>> = HashMap::new();
    for (name, part) in parts {
        if let Some((DType::F32, shape)) = tensor(part) {
            masters.entry(shape).or_default().push(name);
        }
    }
    let mut found = BTreeMap::new();
    for (name, part) in parts {
        let (narrow, shape) = match tensor(part) {
            Some((DType::Bf16, shape)) => (Narrow::Bf16, shape),
            Some((DType::F16, shape)) => (Narrow::F16, shape),
            _ => continue,
        };
        let candidates = masters.get(shape).map_or(&[][..], Vec::as_slice);
        let Some(raw) = bytes(part).filter(|_| !candidates.is_empty()) else {
            continue;
        };
        if raw.len() < SMALL_ENTRY_BYTES {
            continue;
        }
        let is_master = |master: &&&str| {
            let wide = parts.get(**master).and_then(bytes);
            wide.is_some_and(|wide| narrow.is_rounded(&raw, &[&wide]))
        };
        if let Some(master) = candidates.iter().find(is_master) {
            let master = (*master).to_owned();
            found.insert(name.clone(), Copy { narrow, master });
        }
    }
    found
}

fn tensor<'a>(part: &'a Part<'_>) -> Option<(DType, &'a [u64])> {
    match &part.kind {
        KindRecord::Tensor { dtype, shape } => Some((DType::from_code(*dtype)?, shape)),
        KindRecord::Document | KindRecord::File => None,
    }
}

/// The bytes of what is in memory.
fn bytes<'a>(part: &'a Part<'_>) -> Option<Cow<'a, [u8]>> {
    match &part.source {
        Source::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
        Source::View(view) => Some(view.data()),
        Source::Reader(_) => None,
    }
}

/// Takes in the masters, and then their copies.
fn copies_in(
    ingest: &mut Ingest<'_>,
    parts: &BTreeMap<String, Part<'_>>,
    copies: &BTreeMap<String, Copy>,
) -> Result<BTreeMap<String, Body>> {
    let mut ready: BTreeMap<String, Body> = BTreeMap::new();
    for (name, copy) in copies {
        let both = parts.get(name).zip(parts.get(&copy.master));
        let Some((part, master)) = both else {
            continue;
        };
        let Some((raw, wide)) = bytes(part).zip(bytes(master)) else {
            continue;
        };
        if !ready.contains_key(&copy.master) {
            let source = Source::Bytes(Cow::Borrowed(&wide));
            let body = body_of(
                ingest,
                &copy.master,
                &master.kind,
                master.bytes,
                source,
                &mut Vec::new(),
            )?;
            ready.insert(copy.master.clone(), body);
        }
        let Some(Body::Large(chunks)) = ready.get(&copy.master) else {
            continue;
        };
        let wide: Vec<&[u8]> = wide.chunks(MAX_CHUNK_BYTES).collect();
        let pieces = raw.chunks(MAX_CHUNK_BYTES);
        let body = pieces
            .zip(wide.chunks(2).zip(chunks.chunks(2)))
            .map(|(piece, (wide, chunks))| ingest.copy(piece, copy.narrow, wide, chunks))
            .collect::<Result<_>>()?;
        ready.insert(name.clone(), Body::Large(body));
    }
    Ok(ready)
}
