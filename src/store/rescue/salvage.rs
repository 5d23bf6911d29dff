//! Rebuilding a store from the bytes of a file, whether or not its tables can still be read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::evidence::Evidence;
use super::frames::{Frames, Reached};
use super::plan::Plan;
use super::rebuild::{Rebuild, batches, write_log};
use crate::error::{Error, Result};
use crate::format::{
    Action, CheckpointRecord, ChunkRef, FORMAT_VERSION, Head, Identity, MAX_CHAIN_DEPTH, StoreTag,
    TelemetryRecord,
};
use crate::id::{CheckpointId, ChunkId, NodeId};
use crate::platform::{self, Temporary};
use crate::storage::{
    Change, Durability, Engine, FileMedium, Medium, MemoryMedium, NewChunk, RawMedium, Records,
    Rehearsal, Room, put_chunk, retain_manifest,
};
use crate::store::handle::check_file;
use crate::store::sweep::sweep;
use crate::store::{Damage, Options, Store, VerifyDepth};
use crate::telemetry;

/// New chunks that are written in one transaction.
const STAGE_BYTES: usize = 16 << 20;
/// Checkpoints that are written in one transaction.
const STAGE_CHECKPOINTS: usize = 256;

/// What a salvage found and brought over.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Salvaged {
    /// Bytes that were searched.
    pub searched: u64,
    /// Records of the store that were found, of all kinds and versions.
    pub records: u64,
    /// Manifest nodes that were found.
    pub nodes: u64,
    /// Chunks of which something was found.
    pub chunks: u64,
    /// Checkpoints in the new store.
    pub checkpoints: u64,
    /// Those of them that are deleted and can still come back.
    pub deleted: u64,
    /// Raw bytes of the chunks in the new store.
    pub bytes: u64,
    /// Checkpoints that did not come over, and why; and what else in the new store does not verify.
    pub lost: Vec<Damage>,
    /// Checkpoints in the new store that no log record vouches for: whether they had been deleted
    /// is not known.
    pub uncertain: Vec<Damage>,
}

impl Store {
    /// Rebuilds a store at `new` from the bytes of the file `old`, which is only read and may be in
    /// any state: its tables are not needed. The new store has the same id, its checkpoints the
    /// same ids. A checkpoint comes over if every byte of it verifies; what was deleted stays
    /// deleted, what was reclaimed stays away.
    ///
    /// Reads `old` once and what is needed of it again; memory is that of all records, small states
    /// and telemetry among them, and not of the chunks. `progress` is told how far the search is
    /// (bytes, of how many).
    ///
    /// # Errors
    /// [`Error::Exists`] when `new` is taken; [`Error::NotAStore`] when there is nothing of a
    /// store in `old`.
    pub fn salvage(
        old: impl AsRef<Path>,
        new: impl AsRef<Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Salvaged> {
        let new = new.as_ref();
        let (temporary, salvaged) = salvage_beside(old.as_ref(), new, progress)?;
        temporary.link_to(new)?;
        // A name that may not last is none, and salvaging can be repeated.
        platform::sync_parent(new).inspect_err(|_| platform::remove_quietly(new))?;
        Ok(salvaged)
    }

    /// What [`Store::salvage`] would do. The new store is made all the same, in a file of that
    /// folder that has no name.
    ///
    /// # Errors
    /// As [`Store::salvage`].
    pub fn rehearse_salvage(
        old: impl AsRef<Path>,
        new: impl AsRef<Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Salvaged> {
        let (old, new) = (old.as_ref(), new.as_ref());
        check_salvage(old, new)?;
        let folder = new.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let target = Rehearsal::over(&MemoryMedium::default(), folder)?;
        let source = Arc::new(FileMedium::read_only(old));
        let options = Options::default();
        let (store, salvaged) = Self::salvage_in(source, Arc::new(target), options, progress)?;
        store.engine().close()?;
        Ok(salvaged)
    }

    /// [`Store::salvage`] from a medium into an empty one.
    ///
    /// # Errors
    /// As [`Store::salvage`].
    pub fn salvage_in(
        old: Arc<dyn Medium>,
        new: Arc<dyn Medium>,
        options: Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Salvaged)> {
        let path = old.path().to_owned();
        let mut frames = Frames::scan(RawMedium::open(old.as_ref())?, progress)?;
        let (head, tables) = head_of(old, &options).unzip();
        let evidence = frames.take_evidence(head.as_ref().map(|(tag, _)| *tag));
        let mut evidence = evidence.ok_or_else(|| Error::NotAStore {
            path,
            why: "nothing of a store was found in it".to_owned(),
        })?;
        evidence.head = head
            .filter(|(tag, _)| *tag == StoreTag::of(evidence.store))
            .map(|(_, head)| head);
        let plan = Plan::of(&evidence);
        let segments = plan.segments();
        let series = series_of(&mut evidence, tables, &plan);
        let at = options.clock.now().as_millis();
        let identity = Identity {
            format: FORMAT_VERSION,
            store: *evidence.store.as_bytes(),
            created_at: evidence.identity.map_or(at, |identity| identity.created_at),
            writer: concat!("ckptdb ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let engine = Engine::create(new, options.engine(), &identity, |rows| {
            let mut change = Change::first(rows, at);
            write_log(&mut change, &plan.history)?;
            for action in plan.corrections {
                change.log(action)?;
            }
            change.finish()
        })?;
        engine.begin_turn()?;
        let (nodes, chunks) = frames.counts();
        let salvaged = Salvaged {
            searched: frames.raw().len(),
            records: evidence.records,
            nodes,
            chunks,
            lost: plan.lost,
            uncertain: plan.uncertain,
            ..Salvaged::default()
        };
        let mut carrier = Carrier {
            engine: &engine,
            frames: &frames,
            at,
            rebuild: Rebuild::new(plan.jobs),
            done: salvaged,
            nodes: HashSet::new(),
            carried: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            ready: Vec::new(),
        };
        for (id, record) in plan.checkpoints {
            carrier.carry(id, record)?;
        }
        let mut salvaged = carrier.finish(series, segments)?;
        sweep(&engine, options.compression)?;
        let store = Self::with(engine, options);
        // What is wrong all the same is told; the rest was rescued.
        let report = store.verify(VerifyDepth::Full)?;
        salvaged.lost.extend(report.damage);
        Ok((store, salvaged))
    }
}

fn check_salvage(old: &Path, new: &Path) -> Result<()> {
    if platform::is_taken(new) {
        return Err(Error::Exists {
            path: new.to_owned(),
        });
    }
    check_file(old)
}

/// Salvages into a file beside `new`, which has yet to get that name.
fn salvage_beside(
    old: &Path,
    new: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Temporary, Salvaged)> {
    check_salvage(old, new)?;
    let temporary = Temporary::beside(new)?;
    let target = Arc::new(FileMedium::new(temporary.path()));
    let source = Arc::new(FileMedium::read_only(old));
    let (store, salvaged) = Store::salvage_in(source, target, Options::default(), progress)?;
    store.engine().close()?;
    Ok((temporary, salvaged))
}

/// Rows of telemetry, and those that can't be read.
type Series = (BTreeMap<u64, TelemetryRecord>, Vec<(u64, String)>);

/// Where the store stood, and its telemetry, if its tables can still be read.
fn head_of(old: Arc<dyn Medium>, options: &Options) -> Option<((StoreTag, Head), Series)> {
    let engine = Engine::open(old, options.engine()).ok()?;
    let head = engine.read(|rows| Records(rows).sound_head()).ok()?;
    let series = engine.read(telemetry::sound).ok()?;
    Some(((StoreTag::of(engine.store()), head), series))
}

/// The telemetry that comes over: of jobs that there are.
fn series_of(
    evidence: &mut Evidence,
    tables: Option<Series>,
    plan: &Plan,
) -> BTreeMap<u64, TelemetryRecord> {
    let elsewhere = std::mem::take(&mut evidence.telemetry);
    let mut series = match tables {
        Some((mut sound, faults)) => {
            telemetry::fill(&mut sound, &faults, elsewhere);
            sound
        }
        None => telemetry::choose(elsewhere).into_iter().collect(),
    };
    series.retain(|key, _| plan.has_job(key >> 32));
    series
}

const LOOP: &str = "it is needed for itself";

/// What became of a chunk.
enum Carried {
    /// Its bases come first.
    Underway,
    /// It is in the new store, or will be with the next stage.
    There {
        depth: u8,
        bases: usize,
    },
    Lost(String),
}

/// Brings checkpoints over, many in a transaction.
struct Carrier<'a> {
    engine: &'a Engine,
    frames: &'a Frames,
    at: i64,
    rebuild: Rebuild,
    done: Salvaged,
    /// Nodes that the new store has or will have with the next transaction.
    nodes: HashSet<NodeId>,
    /// Chunks that were tried, and what was wrong with them.
    carried: HashMap<ChunkId, Carried>,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
    ready: Vec<(u64, CheckpointRecord, Reached)>,
}

impl Carrier<'_> {
    fn carry(&mut self, id: u64, record: CheckpointRecord) -> Result<()> {
        match self.gather(&record) {
            Ok(reached) => {
                self.nodes.extend(&reached.ids);
                self.ready.push((id, record, reached));
            }
            Err(Error::Corrupt { what, why }) => {
                let lines = self.rebuild.job_name(record.saved.job);
                self.done.lost.push(Damage {
                    checkpoint: Some(CheckpointId::new(id)),
                    job: lines,
                    iteration: Some(record.saved.iteration),
                    entry: None,
                    what: format!("{what}: {why}"),
                });
            }
            Err(other) => return Err(other),
        }
        if self.pending_bytes >= STAGE_BYTES || self.ready.len() >= STAGE_CHECKPOINTS {
            self.flush()?;
        }
        Ok(())
    }

    /// Finds all that a checkpoint needs, verified.
    fn gather(&mut self, record: &CheckpointRecord) -> Result<Reached> {
        let reached = self.frames.follow(&record.saved.manifest, &self.nodes)?;
        for chunk in &reached.chunks {
            self.bring(chunk, 0)?;
        }
        Ok(reached)
    }

    /// Brings a chunk over, after its bases. Where one of these does not come over as what the
    /// chunk was written against, or is on its way itself, the chunk is stored alone: a file may
    /// hold several encodings of each, of different times.
    fn bring(&mut self, chunk: &ChunkRef, above: u8) -> Result<()> {
        let id = chunk.chunk();
        match self.carried.get(&id) {
            Some(Carried::There { .. }) => return Ok(()),
            Some(Carried::Underway) => return Err(Error::corrupt(format!("chunk {id}"), LOOP)),
            Some(Carried::Lost(why)) => {
                return Err(Error::corrupt(format!("chunk {id}"), why));
            }
            None => {}
        }
        let (mut found, raw) = match self.frames.chunk_and_raw(chunk) {
            Ok(found) => found,
            Err(error @ Error::Corrupt { .. }) => {
                let why = "its bytes do not verify".to_owned();
                self.carried.insert(id, Carried::Lost(why));
                return Err(error);
            }
            Err(other) => return Err(other),
        };
        self.carried.insert(id, Carried::Underway);
        let mut depth = 0;
        for base in &found.bases {
            match self.base_depth(base, above)? {
                Some(below) => depth = depth.max(below + 1),
                None => depth = u8::MAX,
            }
        }
        if depth > MAX_CHAIN_DEPTH {
            (found, depth) = (NewChunk::alone(id, &raw), 0);
        }
        let bases = found.bases.len();
        self.pending_bytes += found.stored.len();
        self.done.bytes += u64::from(found.raw_len);
        self.pending.push(found);
        self.carried.insert(id, Carried::There { depth, bases });
        if self.pending_bytes >= STAGE_BYTES {
            self.stage()?;
        }
        Ok(())
    }

    /// Brings a base over. Returns how deep it lies; none if it can't be one.
    fn base_depth(&mut self, base: &ChunkId, above: u8) -> Result<Option<u8>> {
        if above >= MAX_CHAIN_DEPTH {
            return Ok(None);
        }
        let brought = self
            .frames
            .base(base)
            .and_then(|base| self.bring(&base, above + 1));
        match brought {
            Ok(()) | Err(Error::Corrupt { .. }) => Ok(match self.carried.get(base) {
                Some(Carried::There { depth, bases }) if *bases <= 1 => Some(*depth),
                _ => None,
            }),
            Err(other) => Err(other),
        }
    }

    /// Writes pending chunks ahead of the checkpoints that need them. Should these not come, they
    /// are swept at the end.
    fn stage(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let at = self.at;
        self.engine
            .write(Durability::Staged, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, at)?;
                for chunk in &pending {
                    let number = put_chunk(&mut change, chunk)?;
                    change.rows().stage(number, &chunk.id)?;
                }
                change.finish()
            })
    }

    fn flush(&mut self) -> Result<()> {
        self.stage()?;
        let ready = std::mem::take(&mut self.ready);
        let (rebuild, done, at) = (&mut self.rebuild, &mut self.done, self.at);
        self.engine
            .write(Durability::Staged, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, at)?;
                for (id, record, reached) in &ready {
                    retain_manifest(change.rows(), &record.saved.manifest, &reached.nodes)?;
                    rebuild.put(&mut change, *id, record)?;
                    done.checkpoints += 1;
                    done.deleted += u64::from(record.later.deleted.is_some());
                }
                change.finish()
            })
    }

    fn finish(
        mut self,
        series: BTreeMap<u64, TelemetryRecord>,
        segments: BTreeSet<u64>,
    ) -> Result<Salvaged> {
        self.flush()?;
        let ids = |damage: &Damage| damage.checkpoint.map(CheckpointId::get);
        let lost: Vec<u64> = self.done.lost.iter().filter_map(ids).collect();
        let (rebuild, at) = (self.rebuild, self.at);
        self.engine
            .write(Durability::Durable, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, at)?;
                change.next_jobs_from(rebuild.next_job());
                // A log record has a limit, and what is lost may have none.
                for lost in batches(&lost) {
                    change.log(Action::Salvage { lost })?;
                }
                telemetry::restore(&mut change, series, segments)?;
                rebuild.finish(&mut change)?;
                change.finish()
            })?;
        Ok(self.done)
    }
}
