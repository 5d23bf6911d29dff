//! What a store holds, in numbers.

use std::ops::ControlFlow;

use super::JobInfo;
use super::freed::freed_by;
use super::reclaim::deleted_ids;
use crate::error::Result;
use crate::format::{ChunkRow, FORMAT_VERSION};
use crate::id::StoreId;
use crate::storage::{Engine, Records};
use crate::store::Store;

/// What a store holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The store's id.
    pub store: StoreId,
    /// Version of its format.
    pub format: u32,
    /// Jobs.
    pub jobs: u64,
    /// Live checkpoints.
    pub checkpoints: u64,
    /// Deleted checkpoints that can still come back.
    pub deleted: u64,
    /// Records in its log.
    pub log_entries: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Manifest nodes.
    pub nodes: u64,
    /// Bytes of the entries of all live checkpoints.
    pub logical_bytes: u64,
    /// Raw bytes of the distinct chunks.
    pub unique_bytes: u64,
    /// Bytes that these take, encoded.
    pub stored_bytes: u64,
    /// Of these, what no checkpoint has any more: bases that deltas need.
    pub base_bytes: u64,
    /// Stored bytes that a reclaim of all deleted checkpoints would free.
    pub reclaimable_bytes: u64,
    /// Length of the file. It has holes: the disk holds `allocated_bytes`.
    pub file_bytes: u64,
    /// Bytes of the file on the disk, without the ballast that lies beyond its end while it is open
    /// for writing.
    pub allocated_bytes: u64,
    /// The jobs, by name.
    pub per_job: Vec<JobInfo>,
}

impl Store {
    /// Counts what the store holds. Costs a pass over the rows of all chunks.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn stats(&self) -> Result<Stats> {
        let per_job = self.jobs()?;
        let (file_bytes, allocated_bytes) = self.beside_others(Engine::size)?;
        self.read(|rows| {
            let head = Records(rows).head()?;
            let (chunks, nodes) = rows.counts()?;
            let deleted = deleted_ids(rows)?;
            let mut reclaimable_bytes = freed_by(rows, &deleted)?;
            let (mut unique_bytes, mut stored_bytes, mut base_bytes) = (0, 0, 0);
            rows.each_chunk(&mut |id, bytes| {
                let row = ChunkRow::from_bytes(&id, bytes)
                    .map_err(|error| error.of(format!("chunk {id}")))?;
                unique_bytes += u64::from(row.raw_len);
                stored_bytes += u64::from(row.stored_len);
                if row.is_dead_weight() {
                    base_bytes += u64::from(row.stored_len);
                }
                if row.is_unused() {
                    reclaimable_bytes += u64::from(row.stored_len);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(Stats {
                store: self.id(),
                format: FORMAT_VERSION,
                jobs: per_job.len() as u64,
                checkpoints: head.live,
                deleted: deleted.len() as u64,
                log_entries: head.count,
                chunks,
                nodes,
                logical_bytes: per_job.iter().map(|job| job.logical_bytes).sum(),
                unique_bytes,
                stored_bytes,
                base_bytes,
                reclaimable_bytes,
                file_bytes,
                allocated_bytes,
                per_job: per_job.clone(),
            })
        })
    }
}
