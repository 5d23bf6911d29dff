//! Tables whose rows come in at random places, written anew in the order of their keys.
//!
//! A leaf that is full is parted in two halves, so that such tables are two thirds full. What is
//! put after all others fills its leaf before the next one is begun.

use redb::{Key, ReadableTable, ReadableTableMetadata, StorageError, Table, Value};

/// Tables with more bytes of rows than this stay as they are: the rows are held in memory, and what
/// they take beside so many checkpoints is little.
const MOST_BYTES: usize = 32 << 20;

/// Writes all rows of a table anew, if there are as many as there should be and each of them is
/// sound, as far as `is_sound` tells by its key and value: what is spoilt stays where it is, for a
/// repair to find what it can.
pub(super) fn pack<K: Key + 'static, V: Value + 'static>(
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
