//! What the tests of this layer begin with.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::backend::{Backend, Medium};
use super::engine::Engine;
use super::handle::{Durability, EngineOptions};
use super::memory::MemoryMedium;
use super::records::Change;
use super::room::Room;
use super::rows::Writes;
use crate::error::Result;
use crate::format::{ChunkRef, Identity, NameChild, Node, SpanChild};
use crate::id::NodeId;

pub(super) const OPTIONS: EngineOptions = EngineOptions {
    cache_bytes: 1 << 20,
    ballast_bytes: 0,
    wait: std::time::Duration::from_secs(1),
    stop: None,
};

/// A store in memory with what `fill` writes.
pub(super) fn engine(fill: impl FnOnce(&mut Change<'_>) -> Result<()>) -> Engine {
    engine_in(Arc::new(MemoryMedium::default()), fill)
}

/// A store with what `fill` writes.
pub(super) fn engine_in(
    medium: Arc<dyn Medium>,
    fill: impl FnOnce(&mut Change<'_>) -> Result<()>,
) -> Engine {
    let identity = Identity {
        format: 1,
        store: [7; 16],
        created_at: 0,
        writer: "test".to_owned(),
    };
    let made = Engine::create(medium, OPTIONS, &identity, |rows| {
        let mut change = Change::first(rows, 0);
        fill(&mut change)?;
        change.finish()
    });
    made.unwrap()
}

/// Writes to it.
pub(super) fn write(engine: &Engine, write: impl FnOnce(&mut dyn Writes) -> Result<()>) {
    let written = engine.write(Durability::Durable, Room::Ordinary, write);
    written.unwrap();
}

/// Nodes that lead to each other, the first to a list of one chunk, and so many above that; each
/// names the one before.
pub(crate) fn deep_nodes(above: usize, by_name: bool) -> (Vec<(Node, NodeId, Vec<u8>)>, ChunkRef) {
    let chunk = ChunkRef {
        id: *blake3::hash(&[9; 1000]).as_bytes(),
        raw_len: 1000,
    };
    let mut nodes: Vec<(Node, NodeId, Vec<u8>)> = Vec::new();
    for _ in 0..=above {
        let node = match nodes.last() {
            None => Node::List(vec![chunk]),
            Some((_, below, _)) if by_name => Node::Names(vec![NameChild {
                node: *below.as_bytes(),
                first: "a".to_owned(),
            }]),
            Some((_, below, _)) => Node::Spans(vec![SpanChild {
                node: *below.as_bytes(),
                bytes: 1000,
            }]),
        };
        let (id, bytes) = node.to_bytes().unwrap();
        nodes.push((node, id, bytes));
    }
    (nodes, chunk)
}

/// A place in memory that refuses what it is told to, and remembers what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    pub(crate) memory: MemoryMedium,
    orders: Arc<Mutex<Orders>>,
}

/// What a [`Faulty`] refuses, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Reads that touch this byte fail.
    pub(crate) bad_byte: Option<u64>,
    /// Reads, writes and syncs fail like this.
    pub(crate) reads: Option<io::ErrorKind>,
    pub(crate) writes: Option<io::ErrorKind>,
    pub(crate) syncs: Option<io::ErrorKind>,
    /// Writes fail like this once something has been synced.
    pub(crate) writes_after_a_sync: Option<io::ErrorKind>,
    /// What is longer than this, or reserved beyond, finds the disk full.
    pub(crate) capacity: Option<u64>,
    /// Writes and syncs as they came: a place and a length, or none.
    pub(crate) asked: Vec<Option<(u64, usize)>>,
}

impl Faulty {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            memory: MemoryMedium::new(bytes),
            orders: Arc::default(),
        }
    }

    pub(crate) fn order(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap()
    }
}

impl Medium for Faulty {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        let memory = self.memory.open()?;
        let orders = Arc::clone(&self.orders);
        Ok(Box::new(FaultyBackend { memory, orders }))
    }

    fn path(&self) -> &Path {
        Path::new("faulty")
    }
}

#[derive(Debug)]
struct FaultyBackend {
    memory: Box<dyn Backend>,
    orders: Arc<Mutex<Orders>>,
}

impl FaultyBackend {
    fn fits(&self, end: u64) -> io::Result<()> {
        let capacity = self.orders.lock().unwrap().capacity;
        match capacity.filter(|capacity| end > *capacity && self.memory.len().unwrap() < end) {
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }
}

fn obey(order: Option<io::ErrorKind>) -> io::Result<()> {
    order.map_or(Ok(()), |kind| Err(kind.into()))
}

impl Backend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let orders = self.orders.lock().unwrap();
        obey(orders.reads)?;
        let touched = offset..offset + out.len() as u64;
        if orders.bad_byte.is_some_and(|byte| touched.contains(&byte)) {
            return Err(io::Error::other("a bad sector"));
        }
        self.memory.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap();
        obey(orders.writes)?;
        orders.asked.push(Some((offset, data.len())));
        self.memory.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fits(len)?;
        self.memory.set_len(len)
    }

    fn reserve(&self, _: u64, to: u64) -> io::Result<()> {
        self.fits(to)
    }

    fn sync(&self) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap();
        obey(orders.syncs)?;
        orders.asked.push(None);
        orders.writes = orders.writes_after_a_sync.take().or(orders.writes);
        self.memory.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.memory.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.memory.unlock()
    }
}
