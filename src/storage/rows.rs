//! The tables in plain bytes: what the rest of the crate sees of a transaction.

use std::ops::ControlFlow;

use redb::{ReadableTable, ReadableTableMetadata, StorageError};

use super::pack::pack;
use super::suspects::Suspects;
use super::tables::{Access, WriteTx};
use crate::error::{Error, Result};
use crate::format::{IndexKey, MAX_NODE_BYTES, MAX_PARTS, MAX_RECORD_BYTES, StoreTag, TableCode};
use crate::id::{ChunkId, NodeId};

/// What a visitor answers: go on, or stop.
pub(crate) type Visit = Result<ControlFlow<()>>;

/// Reads of one transaction. Values are copied out; no guard of the engine's escapes.
pub(crate) trait Rows {
    /// The tag that this store's records carry.
    fn tag(&self) -> StoreTag;
    /// What reads have found damaged.
    fn suspects(&self) -> &Suspects;
    /// A record.
    fn record(&self, table: TableCode, key: u64) -> Result<Option<Vec<u8>>>;
    /// The records with these keys, both ends included, in order or backwards.
    fn record_range(
        &self,
        table: TableCode,
        keys: (u64, u64),
        backwards: bool,
        visit: &mut dyn FnMut(u64, &[u8]) -> Visit,
    ) -> Result<()>;
    /// A chunk's row.
    fn chunk(&self, id: &ChunkId) -> Result<Option<Vec<u8>>>;
    /// A node, with its count before it.
    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>>;
    /// Whether there is a row of this node, whatever is in it.
    fn has_node(&self, id: &NodeId) -> Result<bool>;
    /// Every chunk's row.
    fn each_chunk(&self, visit: &mut dyn FnMut(ChunkId, &[u8]) -> Visit) -> Result<()>;
    /// Every node.
    fn each_node(&self, visit: &mut dyn FnMut(NodeId, &[u8]) -> Visit) -> Result<()>;
    /// Shows an extent to `visit` without a copy; whether there is one.
    fn extent(&self, key: u64, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool>;
    /// Every extent.
    fn each_extent(&self, visit: &mut dyn FnMut(u64, &[u8]) -> Visit) -> Result<()>;
    /// How many extents there are.
    fn extent_count(&self) -> Result<u64>;
    /// Whether the table's last row is in its place.
    fn are_extents_ended(&self) -> Result<bool>;
    /// The largest chunk number that an extent has, or the one that is known if none has a larger
    /// one: extents up to that are not read, since one that can't be would end the transaction.
    fn last_chunk_number(&self, known: u64) -> Result<u64>;
    /// The number of an interned name, by its hash.
    fn name_number(&self, hash: &[u8; 16]) -> Result<Option<u32>>;
    /// How many names have numbers.
    fn name_count(&self) -> Result<u64>;
    /// The index rows between two keys, both included, in order or backwards.
    fn index(
        &self,
        keys: (IndexKey, IndexKey),
        backwards: bool,
        visit: &mut dyn FnMut(IndexKey) -> Visit,
    ) -> Result<()>;
    /// Whether the index has this row.
    fn has_index(&self, key: IndexKey) -> Result<bool>;
    /// The first staged chunks, at most `most`.
    fn staged(&self, most: usize) -> Result<Vec<(u64, ChunkId)>>;
    /// Number of chunk rows and of nodes.
    fn counts(&self) -> Result<(u64, u64)>;
}

impl<T: Access> Rows for T {
    fn tag(&self) -> StoreTag {
        self.store_tag()
    }

    fn suspects(&self) -> &Suspects {
        &self.context().suspects
    }

    fn record(&self, table: TableCode, key: u64) -> Result<Option<Vec<u8>>> {
        let found = self.records(table)?.get(key).map_err(reading(self))?;
        found
            .map(|guard| bounded(guard.value(), MAX_RECORD_BYTES))
            .transpose()
    }

    fn record_range(
        &self,
        table: TableCode,
        (from, to): (u64, u64),
        backwards: bool,
        visit: &mut dyn FnMut(u64, &[u8]) -> Visit,
    ) -> Result<()> {
        if from > to {
            return Ok(());
        }
        let mut range = self
            .records(table)?
            .range(from..=to)
            .map_err(reading(self))?;
        while let Some(row) = if backwards {
            range.next_back()
        } else {
            range.next()
        } {
            let (key, value) = row.map_err(reading(self))?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn chunk(&self, id: &ChunkId) -> Result<Option<Vec<u8>>> {
        let found = self.chunks()?.get(id.as_bytes()).map_err(reading(self))?;
        found
            .map(|guard| bounded(guard.value(), MAX_NODE_BYTES + 64))
            .transpose()
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>> {
        let found = self.nodes()?.get(id.as_bytes()).map_err(reading(self))?;
        found
            .map(|guard| bounded(guard.value(), MAX_NODE_BYTES + 64))
            .transpose()
    }

    fn has_node(&self, id: &NodeId) -> Result<bool> {
        let found = self.nodes()?.get(id.as_bytes()).map_err(reading(self))?;
        Ok(found.is_some())
    }

    fn each_chunk(&self, visit: &mut dyn FnMut(ChunkId, &[u8]) -> Visit) -> Result<()> {
        for row in self
            .chunks()?
            .range::<&[u8; 32]>(..)
            .map_err(reading(self))?
        {
            let (key, value) = row.map_err(reading(self))?;
            if visit(ChunkId::new(*key.value()), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn each_node(&self, visit: &mut dyn FnMut(NodeId, &[u8]) -> Visit) -> Result<()> {
        for row in self
            .nodes()?
            .range::<&[u8; 32]>(..)
            .map_err(reading(self))?
        {
            let (key, value) = row.map_err(reading(self))?;
            if visit(NodeId::new(*key.value()), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn extent(&self, key: u64, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        match self.extents()?.get(key).map_err(reading(self))? {
            Some(guard) => visit(guard.value()).map(|()| true),
            None => Ok(false),
        }
    }

    fn each_extent(&self, visit: &mut dyn FnMut(u64, &[u8]) -> Visit) -> Result<()> {
        let all = self.extents()?.range(..END).map_err(reading(self))?;
        for row in all {
            let (key, value) = row.map_err(reading(self))?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn extent_count(&self) -> Result<u64> {
        let table = self.extents()?;
        let end = table.get(END).map_err(reading(self))?;
        let rows = table.len().map_err(reading(self))?;
        Ok(rows - u64::from(end.is_some()))
    }

    fn are_extents_ended(&self) -> Result<bool> {
        let table = self.extents()?;
        let is_empty = table.is_empty().map_err(reading(self))?;
        Ok(is_empty || table.get(END).map_err(reading(self))?.is_some())
    }

    fn last_chunk_number(&self, known: u64) -> Result<u64> {
        // What a row of a chunk says may be beyond what numbers can be.
        let from = known.saturating_add(1).saturating_mul(MAX_PARTS as u64);
        let table = self.extents()?;
        let mut beyond = table.range(from..END).map_err(reading(self))?;
        // The last of none would be looked for in the page before.
        let Some(first) = beyond.next().transpose().map_err(reading(self))? else {
            return Ok(known);
        };
        let last = beyond.next_back().transpose().map_err(reading(self))?;
        Ok(last.unwrap_or(first).0.value() / MAX_PARTS as u64)
    }

    fn name_number(&self, hash: &[u8; 16]) -> Result<Option<u32>> {
        let found = self.name_ids()?.get(hash).map_err(reading(self))?;
        Ok(found.map(|guard| guard.value()))
    }

    fn name_count(&self) -> Result<u64> {
        self.name_ids()?.len().map_err(reading(self))
    }

    fn index(
        &self,
        (from, to): (IndexKey, IndexKey),
        backwards: bool,
        visit: &mut dyn FnMut(IndexKey) -> Visit,
    ) -> Result<()> {
        let (from, to) = (from.to_bytes(), to.to_bytes());
        if from > to {
            return Ok(());
        }
        let table = Access::index(self)?;
        let mut range = table
            .range::<&[u8; 25]>(&from..=&to)
            .map_err(reading(self))?;
        while let Some(row) = if backwards {
            range.next_back()
        } else {
            range.next()
        } {
            let (key, _) = row.map_err(reading(self))?;
            let key = IndexKey::from_bytes(key.value())
                .ok_or_else(|| Error::corrupt("an index row", "its kind is not known"))?;
            if visit(key)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn has_index(&self, key: IndexKey) -> Result<bool> {
        let found = Access::index(self)?
            .get(&key.to_bytes())
            .map_err(reading(self))?;
        Ok(found.is_some())
    }

    fn staged(&self, most: usize) -> Result<Vec<(u64, ChunkId)>> {
        let range = self.staging()?.range::<u64>(..).map_err(reading(self))?;
        range
            .take(most)
            .map(|row| {
                let (number, id) = row.map_err(reading(self))?;
                Ok((number.value(), ChunkId::new(*id.value())))
            })
            .collect()
    }

    fn counts(&self) -> Result<(u64, u64)> {
        let chunks = self.chunks()?.len().map_err(reading(self))?;
        Ok((chunks, self.nodes()?.len().map_err(reading(self))?))
    }
}

/// A copy of a value, unless it is longer than any that is written.
fn bounded(value: &[u8], most: usize) -> Result<Vec<u8>> {
    if value.len() > most {
        let why = format!("{} bytes, the limit is {most}", value.len());
        return Err(Error::corrupt("a row", why));
    }
    Ok(value.to_vec())
}

fn reading<T: Access>(rows: &T) -> impl Fn(StorageError) -> Error + '_ {
    |error| rows.context().storage("reading", error)
}

/// Tables that a repair writes anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// Jobs, names and the index: all of it follows from the log and the checkpoints.
    Derived,
    /// The log.
    Log,
}

/// Writes of one transaction.
pub(crate) trait Writes: Rows {
    /// Puts a record.
    fn put_record(&mut self, table: TableCode, key: u64, value: &[u8]) -> Result<()>;
    /// Removes a record.
    fn remove_record(&mut self, table: TableCode, key: u64) -> Result<()>;
    /// Puts a chunk's row.
    fn put_chunk(&mut self, id: &ChunkId, value: &[u8]) -> Result<()>;
    /// Removes a chunk's row.
    fn remove_chunk(&mut self, id: &ChunkId) -> Result<()>;
    /// Puts a node.
    fn put_node(&mut self, id: &NodeId, value: &[u8]) -> Result<()>;
    /// Removes a node.
    fn remove_node(&mut self, id: &NodeId) -> Result<()>;
    /// Puts an extent.
    fn put_extent(&mut self, key: u64, value: &[u8]) -> Result<()>;
    /// Puts the extents' last row in its place.
    fn end_extents(&mut self) -> Result<()>;
    /// Removes an extent.
    fn remove_extent(&mut self, key: u64) -> Result<()>;
    /// Puts the number of an interned name.
    fn put_name_number(&mut self, hash: &[u8; 16], number: u32) -> Result<()>;
    /// Puts or removes an index row.
    fn set_index(&mut self, key: IndexKey, present: bool) -> Result<()>;
    /// Notes a chunk that nothing may refer to yet.
    fn stage(&mut self, number: u64, id: &ChunkId) -> Result<()>;
    /// Removes such a note.
    fn unstage(&mut self, number: u64) -> Result<()>;
    /// Removes every row.
    fn clear(&mut self, what: Clear) -> Result<()>;
    /// Writes rows anew, so that they take fewer pages: of chunks, nodes and the index, or all.
    fn pack(&mut self, all: bool) -> Result<()>;
}

/// The key of a row without bytes after all extents. The engine reads the page beside which it
/// puts a row: were that of the newest chunk the last, a sector of it that can't be read would keep
/// every later chunk from being saved.
const END: u64 = u64::MAX;

/// Runs one write on a table and turns its error into ours.
macro_rules! write {
    ($rows:ident, $table:expr, $operation:ident $arguments:tt) => {{
        let result = $table.$operation $arguments.map(drop);
        result.map_err(|error| $rows.context().storage("writing", error))
    }};
}

impl Writes for WriteTx<'_> {
    fn put_record(&mut self, table: TableCode, key: u64, value: &[u8]) -> Result<()> {
        write!(self, self.records_mut(table), insert(key, value))
    }

    fn remove_record(&mut self, table: TableCode, key: u64) -> Result<()> {
        write!(self, self.records_mut(table), remove(key))
    }

    fn put_chunk(&mut self, id: &ChunkId, value: &[u8]) -> Result<()> {
        write!(self, self.chunks, insert(id.as_bytes(), value))
    }

    fn remove_chunk(&mut self, id: &ChunkId) -> Result<()> {
        write!(self, self.chunks, remove(id.as_bytes()))
    }

    fn put_node(&mut self, id: &NodeId, value: &[u8]) -> Result<()> {
        write!(self, self.nodes, insert(id.as_bytes(), value))
    }

    fn remove_node(&mut self, id: &NodeId) -> Result<()> {
        write!(self, self.nodes, remove(id.as_bytes()))
    }

    fn put_extent(&mut self, key: u64, value: &[u8]) -> Result<()> {
        if self.extents.is_empty().map_err(reading(self))? {
            self.end_extents()?;
        }
        write!(self, self.extents, insert(key, value))
    }

    fn end_extents(&mut self) -> Result<()> {
        write!(self, self.extents, insert(END, [].as_slice()))
    }

    fn remove_extent(&mut self, key: u64) -> Result<()> {
        write!(self, self.extents, remove(key))
    }

    fn put_name_number(&mut self, hash: &[u8; 16], number: u32) -> Result<()> {
        write!(self, self.name_ids, insert(hash, number))
    }

    fn set_index(&mut self, key: IndexKey, present: bool) -> Result<()> {
        let key = key.to_bytes();
        if present {
            write!(self, self.index, insert(&key, ()))
        } else {
            write!(self, self.index, remove(&key))
        }
    }

    fn stage(&mut self, number: u64, id: &ChunkId) -> Result<()> {
        write!(self, self.staging, insert(number, id.as_bytes()))
    }

    fn unstage(&mut self, number: u64) -> Result<()> {
        write!(self, self.staging, remove(number))
    }

    fn clear(&mut self, what: Clear) -> Result<()> {
        match what {
            Clear::Derived => {
                write!(
                    self,
                    self.records_mut(TableCode::Jobs),
                    retain(|_, _| false)
                )?;
                write!(
                    self,
                    self.records_mut(TableCode::Names),
                    retain(|_, _| false)
                )?;
                write!(self, self.name_ids, retain(|_, _| false))?;
                write!(self, self.index, retain(|_, ()| false))
            }
            Clear::Log => write!(self, self.records_mut(TableCode::Log), retain(|_, _| false)),
        }
    }

    fn pack(&mut self, all: bool) -> Result<()> {
        pack(self, all).map_err(|error| self.context().storage("writing", error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{engine, write};
    use super::*;
    use crate::storage::Engine;

    #[test]
    fn a_range_of_records_has_both_its_ends_and_goes_both_ways() {
        let engine = engine(|change| {
            for job in 1..=5 {
                change.log(crate::format::Action::DeleteJob { job })?;
            }
            Ok(())
        });
        let keys = |range, backwards, most: usize| {
            let read = engine.read(|rows| {
                let mut keys = Vec::new();
                rows.record_range(TableCode::Log, range, backwards, &mut |key, _| {
                    keys.push(key);
                    Ok(if keys.len() < most {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    })
                })?;
                Ok(keys)
            });
            read.unwrap()
        };
        assert_eq!(keys((0, u64::MAX), false, 9), [1, 2, 3, 4, 5]);
        assert_eq!(keys((2, 4), true, 9), [4, 3, 2]);
        assert_eq!(keys((3, 3), false, 9), [3]);
        assert_eq!(keys((4, 3), false, 9), [0; 0]);
        assert_eq!(keys((0, u64::MAX), true, 2), [5, 4]);
    }

    #[test]
    fn a_range_of_the_index_has_both_its_ends_and_goes_both_ways() {
        let key = |order| IndexKey {
            kind: crate::format::IndexKind::Commit,
            job: 1,
            name: 0,
            order,
            id: order,
        };
        let engine = engine(|change| {
            (1..=4).try_for_each(|order| change.rows().set_index(key(order), true))
        });
        let orders = |from, to, backwards| {
            let read = engine.read(|rows| {
                let mut orders = Vec::new();
                rows.index((key(from), key(to)), backwards, &mut |key| {
                    orders.push(key.order);
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(orders)
            });
            read.unwrap()
        };
        assert_eq!(orders(1, 4, false), [1, 2, 3, 4]);
        assert_eq!(orders(2, 3, true), [3, 2]);
        assert_eq!(orders(3, 3, false), [3]);
        assert_eq!(orders(4, 3, false), [0; 0]);
        let has = |order| engine.read(|rows| rows.has_index(key(order))).unwrap();
        assert!(has(4) && !has(5));
    }

    #[test]
    fn extents_are_counted_and_shown_without_the_row_at_their_end() {
        let per_chunk = MAX_PARTS as u64;
        let empty = engine(|_| Ok(()));
        let seen = |engine: &Engine| {
            let read = engine.read(|rows| {
                let mut keys = Vec::new();
                rows.each_extent(&mut |key, _| {
                    keys.push(key);
                    Ok(ControlFlow::Continue(()))
                })?;
                let (count, last) = (rows.extent_count()?, rows.last_chunk_number(0)?);
                Ok((keys, count, last, rows.are_extents_ended()?))
            });
            read.unwrap()
        };
        assert_eq!(seen(&empty), (vec![], 0, 0, true));
        let keys = [7 * per_chunk, 7 * per_chunk + 1, 9 * per_chunk + 3];
        let full = engine(|change| {
            keys.iter()
                .try_for_each(|key| change.rows().put_extent(*key, &[1]))
        });
        assert_eq!(seen(&full), (keys.to_vec(), 3, 9, true));
        write(&full, |rows| rows.remove_extent(END));
        assert_eq!(seen(&full), (keys.to_vec(), 3, 9, false));
        write(&full, |rows| rows.end_extents());
        assert!(seen(&full).3);
        for known in (0..12).chain([u64::MAX / per_chunk, u64::MAX]) {
            let last = full.read(|rows| rows.last_chunk_number(known)).unwrap();
            assert_eq!(last, known.max(9));
        }
    }

    #[test]
    fn a_row_that_is_longer_than_any_that_is_written_is_damage() {
        let (chunk, node) = (ChunkId::new([1; 32]), NodeId::new([2; 32]));
        for (extra, is_sound) in [(0, true), (1, false), (1000, false)] {
            let engine = engine(|change| {
                let rows = change.rows();
                let long = vec![0; MAX_NODE_BYTES + 64 + extra];
                rows.put_chunk(&chunk, &long)?;
                rows.put_node(&node, &long)?;
                let long = vec![0; MAX_RECORD_BYTES + extra];
                rows.put_record(TableCode::Names, 9, &long)
            });
            let read = |rows: &dyn Rows| {
                Ok([
                    rows.chunk(&chunk).is_ok(),
                    rows.node(&node).is_ok(),
                    rows.record(TableCode::Names, 9).is_ok(),
                ])
            };
            assert_eq!(engine.read(read).unwrap(), [is_sound; 3], "{extra}");
        }
    }
}
