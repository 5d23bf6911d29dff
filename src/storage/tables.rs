//! The tables, and the transactions that they are read and written in.

use std::cell::OnceCell;

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use super::guard::Context;
use crate::error::Result;
use crate::format::{StoreTag, TableCode};

pub(super) type Bytes = &'static [u8];
pub(super) type Hash = &'static [u8; 32];
pub(super) type Key = &'static [u8; 25];
pub(super) type NameHash = &'static [u8; 16];

const SETTINGS: TableDefinition<u64, Bytes> = TableDefinition::new("settings");
const LOG: TableDefinition<u64, Bytes> = TableDefinition::new("log");
const CHECKPOINTS: TableDefinition<u64, Bytes> = TableDefinition::new("checkpoints");
const JOBS: TableDefinition<u64, Bytes> = TableDefinition::new("jobs");
const NAMES: TableDefinition<u64, Bytes> = TableDefinition::new("names");
const TELEMETRY: TableDefinition<u64, Bytes> = TableDefinition::new("telemetry");
const NAME_IDS: TableDefinition<NameHash, u32> = TableDefinition::new("name_ids");
const INDEX: TableDefinition<Key, ()> = TableDefinition::new("index");
const NODES: TableDefinition<Hash, Bytes> = TableDefinition::new("nodes");
const CHUNKS: TableDefinition<Hash, Bytes> = TableDefinition::new("chunks");
const EXTENTS: TableDefinition<u64, Bytes> = TableDefinition::new("extents");
const STAGING: TableDefinition<u64, Hash> = TableDefinition::new("staging");

const fn records(code: TableCode) -> TableDefinition<'static, u64, Bytes> {
    match code {
        TableCode::Settings => SETTINGS,
        TableCode::Log => LOG,
        TableCode::Checkpoints => CHECKPOINTS,
        TableCode::Jobs => JOBS,
        TableCode::Names => NAMES,
        TableCode::Telemetry => TELEMETRY,
    }
}

/// The place of a table of records in an array of them.
const fn place(code: TableCode) -> usize {
    code as usize - 1
}

/// A transaction's tables, whichever kind of transaction it is.
pub(super) trait Access {
    type Records: ReadableTable<u64, Bytes>;
    type Hashed: ReadableTable<Hash, Bytes>;
    type Index: ReadableTable<Key, ()>;
    type NameIds: ReadableTable<NameHash, u32>;
    type Staging: ReadableTable<u64, Hash>;

    fn context(&self) -> &Context;
    fn store_tag(&self) -> StoreTag;
    fn records(&self, code: TableCode) -> Result<&Self::Records>;
    fn extents(&self) -> Result<&Self::Records>;
    fn nodes(&self) -> Result<&Self::Hashed>;
    fn chunks(&self) -> Result<&Self::Hashed>;
    fn index(&self) -> Result<&Self::Index>;
    fn name_ids(&self) -> Result<&Self::NameIds>;
    fn staging(&self) -> Result<&Self::Staging>;
}

/// A consistent view of a committed state. Tables are opened when they are first used.
pub(super) struct ReadTx {
    transaction: ReadTransaction,
    context: Context,
    tag: StoreTag,
    records: [OnceCell<ReadOnlyTable<u64, Bytes>>; 6],
    extents: OnceCell<ReadOnlyTable<u64, Bytes>>,
    nodes: OnceCell<ReadOnlyTable<Hash, Bytes>>,
    chunks: OnceCell<ReadOnlyTable<Hash, Bytes>>,
    index: OnceCell<ReadOnlyTable<Key, ()>>,
    name_ids: OnceCell<ReadOnlyTable<NameHash, u32>>,
    staging: OnceCell<ReadOnlyTable<u64, Hash>>,
}

impl ReadTx {
    pub(super) fn new(transaction: ReadTransaction, context: Context, tag: StoreTag) -> Self {
        Self {
            transaction,
            context,
            tag,
            records: std::array::from_fn(|_| OnceCell::new()),
            extents: OnceCell::new(),
            nodes: OnceCell::new(),
            chunks: OnceCell::new(),
            index: OnceCell::new(),
            name_ids: OnceCell::new(),
            staging: OnceCell::new(),
        }
    }

    fn open<'a, K: redb::Key + 'static, V: redb::Value + 'static>(
        &'a self,
        cell: &'a OnceCell<ReadOnlyTable<K, V>>,
        table: TableDefinition<'static, K, V>,
    ) -> Result<&'a ReadOnlyTable<K, V>> {
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self
            .transaction
            .open_table(table)
            .map_err(|e| self.context.table(e))?;
        Ok(cell.get_or_init(|| open))
    }
}

impl Access for ReadTx {
    type Records = ReadOnlyTable<u64, Bytes>;
    type Hashed = ReadOnlyTable<Hash, Bytes>;
    type Index = ReadOnlyTable<Key, ()>;
    type NameIds = ReadOnlyTable<NameHash, u32>;
    type Staging = ReadOnlyTable<u64, Hash>;

    fn context(&self) -> &Context {
        &self.context
    }
    fn store_tag(&self) -> StoreTag {
        self.tag
    }
    fn records(&self, code: TableCode) -> Result<&Self::Records> {
        let cell = self.records.get(place(code)).unwrap_or(&self.extents);
        self.open(cell, records(code))
    }
    fn extents(&self) -> Result<&Self::Records> {
        self.open(&self.extents, EXTENTS)
    }
    fn nodes(&self) -> Result<&Self::Hashed> {
        self.open(&self.nodes, NODES)
    }
    fn chunks(&self) -> Result<&Self::Hashed> {
        self.open(&self.chunks, CHUNKS)
    }
    fn index(&self) -> Result<&Self::Index> {
        self.open(&self.index, INDEX)
    }
    fn name_ids(&self) -> Result<&Self::NameIds> {
        self.open(&self.name_ids, NAME_IDS)
    }
    fn staging(&self) -> Result<&Self::Staging> {
        self.open(&self.staging, STAGING)
    }
}

/// A write transaction's tables, all open.
pub(super) struct WriteTx<'t> {
    context: Context,
    tag: StoreTag,
    pub(super) records: [Table<'t, u64, Bytes>; 6],
    pub(super) extents: Table<'t, u64, Bytes>,
    pub(super) nodes: Table<'t, Hash, Bytes>,
    pub(super) chunks: Table<'t, Hash, Bytes>,
    pub(super) index: Table<'t, Key, ()>,
    pub(super) name_ids: Table<'t, NameHash, u32>,
    pub(super) staging: Table<'t, u64, Hash>,
}

impl<'t> WriteTx<'t> {
    /// Opens every table; the first transaction of a store makes them.
    pub(super) fn new(
        transaction: &'t WriteTransaction,
        context: &Context,
        tag: StoreTag,
    ) -> Result<Self> {
        let failed = |error| context.table(error);
        let open = |code| transaction.open_table(records(code)).map_err(failed);
        Ok(Self {
            context: context.clone(),
            tag,
            records: [
                open(TableCode::Settings)?,
                open(TableCode::Log)?,
                open(TableCode::Checkpoints)?,
                open(TableCode::Jobs)?,
                open(TableCode::Names)?,
                open(TableCode::Telemetry)?,
            ],
            extents: transaction.open_table(EXTENTS).map_err(failed)?,
            nodes: transaction.open_table(NODES).map_err(failed)?,
            chunks: transaction.open_table(CHUNKS).map_err(failed)?,
            index: transaction.open_table(INDEX).map_err(failed)?,
            name_ids: transaction.open_table(NAME_IDS).map_err(failed)?,
            staging: transaction.open_table(STAGING).map_err(failed)?,
        })
    }

    pub(super) fn records_mut(&mut self, code: TableCode) -> &mut Table<'t, u64, Bytes> {
        let [settings, log, checkpoints, jobs, names, telemetry] = &mut self.records;
        match code {
            TableCode::Settings => settings,
            TableCode::Log => log,
            TableCode::Checkpoints => checkpoints,
            TableCode::Jobs => jobs,
            TableCode::Names => names,
            TableCode::Telemetry => telemetry,
        }
    }
}

impl<'t> Access for WriteTx<'t> {
    type Records = Table<'t, u64, Bytes>;
    type Hashed = Table<'t, Hash, Bytes>;
    type Index = Table<'t, Key, ()>;
    type NameIds = Table<'t, NameHash, u32>;
    type Staging = Table<'t, u64, Hash>;

    fn context(&self) -> &Context {
        &self.context
    }
    fn store_tag(&self) -> StoreTag {
        self.tag
    }
    fn records(&self, code: TableCode) -> Result<&Self::Records> {
        Ok(self.records.get(place(code)).unwrap_or(&self.extents))
    }
    fn extents(&self) -> Result<&Self::Records> {
        Ok(&self.extents)
    }
    fn nodes(&self) -> Result<&Self::Hashed> {
        Ok(&self.nodes)
    }
    fn chunks(&self) -> Result<&Self::Hashed> {
        Ok(&self.chunks)
    }
    fn index(&self) -> Result<&Self::Index> {
        Ok(&self.index)
    }
    fn name_ids(&self) -> Result<&Self::NameIds> {
        Ok(&self.name_ids)
    }
    fn staging(&self) -> Result<&Self::Staging> {
        Ok(&self.staging)
    }
}
