//! Blocks: a batch's columns, packed.

use super::batch::Batch;
use super::column::{pack, pack_rising, unpack, unpack_rising};
use crate::error::{Error, Result};
use crate::format::{BlockRecord, ColumnRecord};

/// A batch of at most a block's rows as a block of this segment.
pub(super) fn block_of(segment: u64, at: i64, batch: &Batch) -> BlockRecord {
    let rows = batch.rows.len();
    let columns = batch.columns.iter().map(|(name, values)| {
        let places: Vec<u64> = values.iter().map(|(row, _)| u64::from(*row)).collect();
        let bits: Vec<u64> = values.iter().map(|(_, value)| value.to_bits()).collect();
        ColumnRecord {
            name: name.clone(),
            count: u32::try_from(values.len()).unwrap_or(u32::MAX),
            rows: (values.len() < rows).then(|| pack_rising(&places)),
            values: pack(&bits),
        }
    });
    BlockRecord {
        segment,
        first: batch.rows.first().copied().unwrap_or(0),
        last: batch.rows.last().copied().unwrap_or(0),
        rows: u32::try_from(rows).unwrap_or(u32::MAX),
        at,
        iterations: pack_rising(&batch.rows),
        columns: columns.collect(),
    }
}

/// The batch that a block was made of.
pub(super) fn batch_of(block: &BlockRecord) -> Result<Batch> {
    let rows = iterations(block)?;
    let mut batch = Batch {
        rows,
        ..Batch::default()
    };
    for column in &block.columns {
        let values = values(block, column)?;
        batch.columns.insert(column.name.clone(), values);
    }
    Ok(batch)
}

/// The iteration of each row.
pub(super) fn iterations(block: &BlockRecord) -> Result<Vec<u64>> {
    let rows = unpack_rising(&block.iterations, block.rows as usize)?;
    let rises = rows.iter().zip(rows.iter().skip(1)).all(|(a, b)| a <= b);
    if !rises || rows.first() != Some(&block.first) || rows.last() != Some(&block.last) {
        return Err(fault("its iterations are not those that it says"));
    }
    Ok(rows)
}

/// A column's rows and values.
pub(super) fn values(block: &BlockRecord, column: &ColumnRecord) -> Result<Vec<(u32, f64)>> {
    let count = column.count as usize;
    let rows = match &column.rows {
        Some(packed) => unpack_rising(packed, count)?,
        None => (0..u64::from(column.count)).collect(),
    };
    let rises = rows.iter().zip(rows.iter().skip(1)).all(|(a, b)| a < b);
    if !rises
        || rows
            .last()
            .is_none_or(|last| *last >= u64::from(block.rows))
    {
        return Err(fault("a column has rows that it has not"));
    }
    let values = unpack(&column.values, count)?;
    let pairs = rows.into_iter().zip(values);
    pairs
        .map(|(row, bits)| {
            let row = u32::try_from(row).map_err(|_| fault("a row is out of range"))?;
            Ok((row, f64::from_bits(bits)))
        })
        .collect()
}

fn fault(why: &str) -> Error {
    Error::corrupt("a block of telemetry", why)
}
