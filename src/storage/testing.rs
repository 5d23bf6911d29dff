//! What the tests of this layer begin with.

use std::sync::Arc;

use super::engine::Engine;
use super::handle::{Durability, EngineOptions};
use super::memory::MemoryMedium;
use super::records::Change;
use super::room::Room;
use super::rows::Writes;
use crate::error::Result;
use crate::format::Identity;

/// A store in memory with what `fill` writes.
pub(super) fn engine(fill: impl FnOnce(&mut Change<'_>) -> Result<()>) -> Engine {
    let options = EngineOptions {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
    };
    let identity = Identity {
        format: 1,
        store: [7; 16],
        created_at: 0,
        writer: "test".to_owned(),
    };
    let medium = Arc::new(MemoryMedium::default());
    let made = Engine::create(medium, options, &identity, |rows| {
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
