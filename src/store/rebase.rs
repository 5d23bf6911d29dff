//! Dead weight: chunks that no checkpoint has any more, kept because others are deltas against
//! them. Those are written against what is alive below, or by themselves, and the weight goes.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use crate::codec::{Against, Codec, Encoder, texture_of};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, MAX_CHAIN_DEPTH};
use crate::id::ChunkId;
use crate::storage::{
    Change, Durability, Engine, NewChunk, Room, Rows, chunk_row, load_chunk, load_encoded,
    replace_chunk,
};

/// Stored bytes that are written in one transaction.
const BATCH_BYTES: usize = 16 << 20;

/// Writes the deltas anew that keep these chunks alive: all of them, or on a full disk one, so that
/// what that frees makes room for the next. One that can't be read stays as it is, and its base
/// with it. Returns how many were written.
pub(super) fn rebase(
    engine: &Engine,
    encoder: &mut Encoder,
    dead: &HashSet<ChunkId>,
    one: bool,
) -> Result<u64> {
    let deltas = engine.read(|rows| deltas_against(rows, dead))?;
    let mut pending: Vec<NewChunk> = Vec::new();
    let mut bytes = 0;
    let mut written = 0;
    for (id, row) in deltas {
        match engine.read(|rows| encoded_anew(rows, encoder, &id, &row)) {
            Ok(chunk) => {
                bytes += chunk.stored.len();
                written += 1;
                pending.push(chunk);
            }
            Err(error @ (Error::Corrupt { .. } | Error::Io { .. })) => {
                tracing::warn!(%error, "a delta keeps its base, which nothing else needs");
            }
            Err(other) => return Err(other),
        }
        if one && written > 0 {
            break;
        }
        if bytes >= BATCH_BYTES {
            write(engine, &std::mem::take(&mut pending))?;
            bytes = 0;
        }
    }
    write(engine, &pending)?;
    Ok(written)
}

/// The chunks that checkpoints have and that are deltas against one of these.
fn deltas_against(rows: &dyn Rows, dead: &HashSet<ChunkId>) -> Result<HashMap<ChunkId, ChunkRow>> {
    let mut found = HashMap::new();
    rows.each_chunk(&mut |id, bytes| {
        if let Ok(row) = ChunkRow::from_bytes(&id, bytes)
            && row.refs > 0
            && row.bases.iter().any(|base| dead.contains(base))
        {
            found.insert(id, row);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// A delta as it is written against the nearest chunk below that a checkpoint has.
fn encoded_anew(
    rows: &dyn Rows,
    encoder: &mut Encoder,
    id: &ChunkId,
    row: &ChunkRow,
) -> Result<NewChunk> {
    let chunk = ChunkRef {
        id: *id.as_bytes(),
        raw_len: row.raw_len,
    };
    let raw = load_chunk(rows, &chunk)?;
    let texture = texture_of(row.codec, &load_encoded(rows, id, row)?);
    let base = alive_below(rows, row)?;
    let below = match &base {
        Some((id, row)) => {
            let chunk = ChunkRef {
                id: *id.as_bytes(),
                raw_len: row.raw_len,
            };
            Some(load_chunk(rows, &chunk)?)
        }
        None => None,
    };
    let against = base.as_ref().zip(below.as_ref());
    let against = against.map(|((id, _), raw)| Against {
        id: id.as_bytes(),
        raw,
        // The chain has no more deltas in which all words differ than it had.
        allows_steps: row.codec == Codec::Steps.code(),
    });
    let encoded = encoder.encode(texture, &raw, against);
    let base = base.filter(|_| encoded.as_ref().is_some_and(|encoded| encoded.with_base));
    let (codec, stored) = match encoded {
        Some(encoded) => (encoded.codec, encoded.bytes),
        None => (Codec::Raw, raw),
    };
    Ok(NewChunk {
        id: *id,
        raw_len: row.raw_len,
        codec: codec.code(),
        // Lower than before: what is written against this chunk stays above it.
        position: base
            .as_ref()
            .map_or(0, |(_, below)| below.position.saturating_add(1)),
        bases: base.map(|(id, _)| id).into_iter().collect(),
        stored,
    })
}

/// The nearest chunk of a chain that a checkpoint has.
fn alive_below(rows: &dyn Rows, row: &ChunkRow) -> Result<Option<(ChunkId, ChunkRow)>> {
    let mut row = row.clone();
    for _ in 0..=MAX_CHAIN_DEPTH {
        let [base] = row.bases[..] else {
            return Ok(None);
        };
        let below = chunk_row(rows, &base)?;
        row = below.ok_or_else(|| Error::corrupt(format!("chunk {base}"), "it is missing"))?;
        if row.bases.len() > 1 || row.position.max(row.depth) >= MAX_CHAIN_DEPTH {
            return Ok(None);
        }
        if row.refs > 0 {
            return Ok(Some((base, row)));
        }
    }
    Ok(None)
}

/// Writes chunks anew that are named as often as before; only their bytes are others.
pub(super) fn write(engine: &Engine, chunks: &[NewChunk]) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    engine.write(Durability::Durable, Room::Ballast, |rows| {
        let mut change = Change::begin(rows, 0)?;
        for chunk in chunks {
            // They are named as often as before; only their bytes are others.
            let row = chunk_row(change.records().0, &chunk.id)?;
            let uses = row.map_or((0, 0), |row| (row.refs, row.deltas));
            replace_chunk(&mut change, chunk, uses)?;
        }
        change.finish()
    })
}
