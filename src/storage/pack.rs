//! Tables whose rows come in at random places, written anew in the order of their keys.
//!
//! A leaf that is full is parted in two halves, so that such tables are two thirds full. What is
//! put after all others fills its leaf before the next one is begun.

use redb::{Key, ReadableTable, ReadableTableMetadata, StorageError, Table, Value};

use super::tables::WriteTx;
use crate::format::{ChunkRow, Extent, LooseRecord, StoredNode, is_whole_bundle};
use crate::id::{ChunkId, NodeId};

/// Tables with more bytes of rows than this stay as they are: the rows are held in memory, and what
/// they take beside so many checkpoints is little.
const MOST_BYTES: usize = 32 << 20;

/// Writes the rows of chunks, nodes and the index anew, or those of all tables.
pub(super) fn pack(tables: &mut WriteTx<'_>, all: bool) -> Result<(), StorageError> {
    pack_table(&mut tables.chunks, |key, row| {
        let id = key.try_into().map(ChunkId::new);
        id.is_ok_and(|id| ChunkRow::from_bytes(&id, row).is_ok())
    })?;
    pack_table(&mut tables.nodes, |key, row| {
        let id = key.try_into().map(NodeId::new);
        id.is_ok_and(|id| StoredNode::split(&id, row).is_ok())
    })?;
    pack_table(&mut tables.index, |_, _| true)?;
    if !all {
        return Ok(());
    }
    pack_table(&mut tables.extents, |_, row| {
        row.is_empty() || is_whole_bundle(row) || Extent::from_bytes(row).is_ok()
    })?;
    for table in &mut tables.records {
        pack_table(table, |_, row| {
            LooseRecord::at(row).is_some_and(|found| found.len == row.len())
        })?;
    }
    Ok(())
}

/// Writes all rows of a table anew, if there are as many as there should be and each of them is
/// sound, as far as `is_sound` tells by its key and value: what is spoilt stays where it is, for a
/// repair to find what it can.
fn pack_table<K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    is_sound: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<(), StorageError> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    for row in table.iter()? {
        let (key, value) = row?;
        let key = K::as_bytes(&key.value()).as_ref().to_vec();
        let value = V::as_bytes(&value.value()).as_ref().to_vec();
        bytes += key.len() + value.len();
        if bytes > MOST_BYTES || !is_sound(&key, &value) {
            return Ok(());
        }
        rows.push((key, value));
    }
    if rows.len() as u64 != table.len()? {
        return Ok(());
    }
    table.retain(|_, _| false)?;
    for (key, value) in &rows {
        table.insert(K::from_bytes(key), V::from_bytes(value))?;
    }
    Ok(())
}
