//! The save builder: what a checkpoint shall hold, until `commit` puts it there.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use safetensors::View;

use super::body::{Part, Source, check_length};
use super::commit::{self, Published};
use super::document;
use super::ingest::{Ingest, Tally};
use super::request::Request;
use super::take_in::take_in;
use super::times::{SaveTimes, Stopwatch};
use super::turn::Turn;
use crate::codec::Compression;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::format::{KindRecord, MAX_ATTRIBUTE_BYTES, MAX_DOCUMENT_BYTES, MAX_EVENTS, MAX_METRICS};
use crate::id::CheckpointId;
use crate::metric::{Direction, canonical};
use crate::name::{check_entry, check_tag, check_word, printable};
use crate::platform::FileSection;
use crate::storage::Records;
use crate::store::{Checkpoint, Job};
use crate::telemetry::Batch;
use crate::tensor::{DType, Tensor};
use crate::time::Timestamp;

/// A checkpoint about to be saved. Nothing happens before [`Save::commit`], which also reports
/// what was wrong with the parts.
///
/// ```
/// use ckptdb::{DType, Event, Store, TensorSlice};
/// let store = Store::in_memory()?;
/// let weights = [0_u8; 16];
/// let saved = store
///     .job("mlp")?
///     .save(100)
///     .tensor("layer.weight", TensorSlice::new(DType::F32, &[2, 2], &weights)?)
///     .document("state", &serde_json::json!({"epoch": 3}))
///     .metric("loss", 0.25)
///     .event(Event::Periodic)
///     .commit()?;
/// assert_eq!(saved.checkpoint.entries()?.len(), 2);
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[must_use = "nothing is saved before `commit`"]
pub struct Save<'a> {
    job: Job,
    parts: BTreeMap<String, Part<'a>>,
    pub(super) request: Request,
    attribute_bytes: usize,
    /// The first thing that was wrong.
    fault: Option<Error>,
}

/// What a save did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Saved {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The same state had been saved at this iteration already: events, metrics and attributes
    /// were united with it, and no new checkpoint was made.
    pub merged: bool,
    /// Bytes of all entries.
    pub logical_bytes: u64,
    /// How many of them the store had already.
    pub shared_bytes: u64,
    /// How many of them it had not.
    pub new_bytes: u64,
    /// What the new ones take, encoded.
    pub stored_bytes: u64,
    /// Chunks that the entries were cut into.
    pub chunks: u64,
    /// Chunks that the store had not.
    pub new_chunks: u64,
    /// Chunks that the store had, but damaged, and that are whole again now, for every checkpoint
    /// that shares them.
    pub healed_chunks: u64,
    /// Where its time went.
    pub times: SaveTimes,
}

impl Job {
    /// Begins a checkpoint of this iteration.
    pub fn save<'a>(&self, iteration: u64) -> Save<'a> {
        Save::new(self.clone(), iteration)
    }
}

impl<'a> Save<'a> {
    fn new(job: Job, iteration: u64) -> Self {
        Self {
            job,
            parts: BTreeMap::new(),
            request: Request::new(iteration),
            attribute_bytes: 0,
            fault: None,
        }
    }

    /// Adds a tensor: anything that implements [`safetensors::View`].
    pub fn tensor<V: View + 'a>(mut self, name: &str, tensor: V) -> Self {
        let shape: Vec<u64> = tensor
            .shape()
            .iter()
            .map(|&dimension| dimension as u64)
            .collect();
        match DType::try_from(tensor.dtype()) {
            Ok(dtype) => self.put_tensor(name, dtype, &shape, Source::View(Box::new(tensor))),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Adds a tensor whose bytes are not the caller's any more, or are shared and will not change:
    /// [`Save::into_owned`] does not copy them. [`Bytes::from_owner`] makes such of a buffer of any
    /// kind.
    pub fn tensor_owned(mut self, name: &str, tensor: Tensor) -> Self {
        let Tensor { dtype, shape, data } = tensor;
        let bytes = data.len() as u64;
        self.put_tensor(name, dtype, &shape, Source::Shared(data));
        let part = self.parts.get(name);
        let checked = part.map_or(Ok(()), |part| check_length(name, part.bytes, bytes));
        self.check(checked)
    }

    /// Adds tensors.
    pub fn tensors<S, V, I>(mut self, tensors: I) -> Self
    where
        S: AsRef<str>,
        V: View + 'a,
        I: IntoIterator<Item = (S, V)>,
    {
        for (name, tensor) in tensors {
            self = self.tensor(name.as_ref(), tensor);
        }
        self
    }

    /// Adds a tensor whose bytes come from a reader, in pieces: it need not fit in memory.
    pub fn tensor_from(
        mut self,
        name: &str,
        dtype: DType,
        shape: &[u64],
        reader: impl Read + 'a,
    ) -> Self {
        self.put_tensor(name, dtype, shape, Source::Reader(Box::new(reader)));
        self
    }

    /// [`Save::tensor_from`] a file, of which any bytes can be had again.
    pub(crate) fn tensor_in(
        mut self,
        name: &str,
        dtype: DType,
        shape: &[u64],
        section: FileSection,
    ) -> Self {
        self.put_tensor(name, dtype, shape, Source::Section(section));
        self
    }

    /// Adds a JSON document.
    pub fn document(self, name: &str, value: &serde_json::Value) -> Self {
        self.document_text(name, &value.to_string())
    }

    /// Adds a JSON document from its text. It is stored canonically: sorted keys, no spaces,
    /// numbers as they are written.
    pub fn document_text(mut self, name: &str, json: &str) -> Self {
        let what = || format!("document `{}`", printable(name));
        if json.len() > MAX_DOCUMENT_BYTES {
            let why = format!("it is longer than {MAX_DOCUMENT_BYTES} bytes; save it as a file");
            self.fail(Error::invalid(what(), why));
            return self;
        }
        match document::canonical(&what(), json) {
            Ok(text) => {
                let source = Source::Bytes(text.into_bytes().into());
                self.put(name, KindRecord::Document, None, source);
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Adds a file: opaque bytes, in pieces from a reader.
    pub fn file(mut self, name: &str, reader: impl Read + 'a) -> Self {
        self.put(
            name,
            KindRecord::File,
            None,
            Source::Reader(Box::new(reader)),
        );
        self
    }

    /// [`Save::file`] of a file, which is read ahead.
    pub(crate) fn file_in(mut self, name: &str, section: FileSection) -> Self {
        self.put(name, KindRecord::File, None, Source::Section(section));
        self
    }

    /// Adds a file from memory.
    pub fn bytes(mut self, name: &str, bytes: &'a [u8]) -> Self {
        self.put(name, KindRecord::File, None, Source::Bytes(bytes.into()));
        self
    }

    /// Adds a file whose bytes are not the caller's any more, or are shared: as
    /// [`Save::tensor_owned`].
    pub fn bytes_owned(mut self, name: &str, bytes: Bytes) -> Self {
        self.put(name, KindRecord::File, None, Source::Shared(bytes));
        self
    }

    /// Records a metric's value. NaN and infinities are kept and shown, but never rank.
    pub fn metric(mut self, name: &str, value: f64) -> Self {
        let metrics = &mut self.request.metrics;
        let added = check_word("metric", name).and_then(|()| {
            if metrics.insert(name.to_owned(), canonical(value)).is_some() {
                return Err(Error::invalid(
                    format!("metric `{name}`"),
                    "it is given twice",
                ));
            }
            within("metrics", metrics.len(), MAX_METRICS)
        });
        self.check(added)
    }

    /// Declares which way a metric is better, with the save: if that fails, nothing is declared.
    pub fn direction(mut self, metric: &str, direction: Direction) -> Self {
        let checked = check_word("metric", metric);
        self.request.directions.insert(metric.to_owned(), direction);
        self.check(checked)
    }

    /// Adds an event. A checkpoint saved without any is a manual one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write `event(Event::Final)`"
    )]
    pub fn event(mut self, event: Event) -> Self {
        let checked = event.check();
        self.request.events.insert(event.to_string());
        let count = within("events", self.request.events.len(), MAX_EVENTS);
        self.check(checked.and(count))
    }

    /// Adds an attribute.
    pub fn attribute(mut self, name: &str, value: &serde_json::Value) -> Self {
        let what = format!("attribute `{}`", printable(name));
        let text = check_word("attribute", name)
            .and_then(|()| document::canonical(&what, &value.to_string()));
        let added = text.and_then(|text| {
            self.attribute_bytes += name.len() + text.len();
            if self
                .request
                .attributes
                .insert(name.to_owned(), text)
                .is_some()
            {
                return Err(Error::invalid(what, "it is given twice"));
            }
            within("attribute bytes", self.attribute_bytes, MAX_ATTRIBUTE_BYTES)
        });
        self.check(added)
    }

    /// Gives it a tag, which no other checkpoint of the job may have.
    pub fn tag(mut self, tag: &str) -> Self {
        let checked = check_tag(tag);
        self.request.tags.insert(tag.to_owned());
        let count = within("tags", self.request.tags.len(), MAX_EVENTS);
        self.check(checked.and(count))
    }

    /// Dates it to an earlier point in time: for what was saved elsewhere before. A later one than
    /// now is now. Ages and what retention keeps within a time go by it; order does not.
    pub fn saved_at(mut self, time: Timestamp) -> Self {
        self.request.saved_at = Some(time.as_millis());
        self
    }

    /// Pins it: it is never removed while it is pinned.
    pub fn pin(mut self) -> Self {
        self.request.pinned = true;
        self
    }

    /// Appends points to the job's telemetry with the save: both are there, or neither.
    pub fn telemetry(mut self, batch: Batch) -> Self {
        self.request.telemetry = Some(batch);
        self
    }

    /// Continues this checkpoint rather than the job's head. What came after it stays, as an
    /// abandoned line; the log records the rollback.
    pub fn parent(mut self, id: CheckpointId) -> Self {
        self.request.parent = Some(id.get());
        self
    }

    /// How its entries are encoded, in place of what the store's options say.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.request.compression = Some(compression);
        self
    }

    /// How many deltas a load of it may take, in place of what [`Options::chain_depth`] says: fewer
    /// for states that are loaded often, more for those that are only kept.
    ///
    /// [`Options::chain_depth`]: crate::Options::chain_depth
    pub fn chain_depth(mut self, depth: u8) -> Self {
        self.request.chain_depth = Some(depth);
        self
    }

    /// Says the generation of an entry: a number that its owner changes whenever the entry's bytes
    /// change, as frameworks count the writes to a tensor. An entry that the job's save before, by
    /// this store handle, had with the same generation is not even looked at: it stays what it was
    /// there. Tensors and documents from 64 KiB on are spared their hashing so, if their bytes are
    /// in memory; others are hashed all the same.
    ///
    /// A wrong generation saves bytes that are not the entry's. Builds with debug assertions
    /// compare them, and refuse the save.
    ///
    /// ```
    /// # use ckptdb::{DType, Store, TensorSlice};
    /// # let store = Store::in_memory()?;
    /// let job = store.job("fine-tune")?;
    /// let frozen = vec![1_u8; 1 << 20];
    /// for iteration in 1..=3 {
    ///     let saved = job
    ///         .save(iteration)
    ///         .tensor("embedding", TensorSlice::new(DType::F32, &[1 << 18], &frozen)?)
    ///         .generation("embedding", 0)
    ///         .commit()?;
    /// # assert_eq!(saved.shared_bytes > 0, iteration > 1);
    /// }
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    pub fn generation(mut self, entry: &str, generation: u64) -> Self {
        self.request
            .generations
            .insert(entry.to_owned(), generation);
        self
    }

    /// Replaces the head if it has this iteration and other entries, and nothing continues it. The
    /// old one is deleted; its tags and its pin move.
    pub fn overwrite(mut self) -> Self {
        self.request.overwrite = true;
        self
    }

    /// Saves it: everything in one transaction, on the disk when this returns. Of small saves that
    /// come from several threads at once, one syncs for those before it.
    ///
    /// Memory is bounded whatever the size: entries from readers and large tensors are taken in by
    /// pieces. The entries' bytes are hashed once; those that the store has cost no writing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the first part that can't be accepted; [`Error::Conflict`] when the
    /// iteration, a metric, an attribute or a tag contradicts what is stored; [`Error::Full`] and
    /// [`Error::Io`] from the disk; [`Error::Interrupted`] when another operation failed so that
    /// the store was opened anew before this was on the disk. After an error nothing half is there:
    /// the store is as before, or, if the disk failed in the very last step, the checkpoint is
    /// saved. Repeating the save is always right: it then only unites with it. [`Error::Full`] ends
    /// the undo windows of what was deleted before, to make room for the next save.
    pub fn commit(self) -> Result<Saved> {
        let (job, parts, request) = self.into_parts()?;
        let watch = Stopwatch::start(&job.store_clock());
        perform(&job, parts, &request, watch)
    }

    /// What it is made of, if nothing is wrong with it.
    pub(super) fn into_parts(self) -> Result<(Job, BTreeMap<String, Part<'a>>, Request)> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok((self.job, self.parts, self.request)),
        }
    }

    /// The names of its entries.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// Puts an entry in the place of the one with this name, if there is one. What can't be
    /// accepted is told, and nothing has changed. A generation is that of the bytes that it was
    /// given for, and goes with them.
    pub(crate) fn replaced(
        mut self,
        name: &str,
        put: impl FnOnce(Self) -> Self,
    ) -> (Self, Option<Error>) {
        let before = self.fault.take();
        let old = self.parts.remove(name);
        let generation = self.request.generations.remove(name);
        let mut save = put(self);
        let fault = std::mem::replace(&mut save.fault, before);
        if let (Some(_), Some(old)) = (&fault, old) {
            save.parts.insert(name.to_owned(), old);
            let generation = generation.map(|generation| (name.to_owned(), generation));
            save.request.generations.extend(generation);
        }
        (save, fault)
    }

    /// [`Save::replaced`] for an attribute.
    pub(crate) fn with_attribute(
        mut self,
        name: &str,
        value: &serde_json::Value,
    ) -> (Self, Option<Error>) {
        let before = self.fault.take();
        let (bytes, old) = (self.attribute_bytes, self.request.attributes.remove(name));
        self.attribute_bytes -= old.as_ref().map_or(0, |old| name.len() + old.len());
        let mut save = self.attribute(name, value);
        let fault = std::mem::replace(&mut save.fault, before);
        if fault.is_some() {
            let attributes = &mut save.request.attributes;
            attributes.remove(name);
            attributes.extend(old.map(|old| (name.to_owned(), old)));
            save.attribute_bytes = bytes;
        }
        (save, fault)
    }

    /// [`Save::replaced`] for a metric.
    pub(crate) fn with_metric(mut self, name: &str, value: f64) -> (Self, Option<Error>) {
        let before = self.fault.take();
        let old = self.request.metrics.remove(name);
        let mut save = self.metric(name, value);
        let fault = std::mem::replace(&mut save.fault, before);
        if fault.is_some() {
            let metrics = &mut save.request.metrics;
            metrics.remove(name);
            metrics.extend(old.map(|old| (name.to_owned(), old)));
        }
        (save, fault)
    }

    fn put_tensor(&mut self, name: &str, dtype: DType, shape: &[u64], source: Source<'a>) {
        match dtype.size_of(shape) {
            Ok(bytes) => {
                let kind = KindRecord::Tensor {
                    dtype: dtype.code(),
                    shape: shape.to_vec(),
                };
                self.put(name, kind, Some(bytes), source);
            }
            Err(error) => self.fail(error),
        }
    }

    fn put(&mut self, name: &str, kind: KindRecord, bytes: Option<u64>, source: Source<'a>) {
        if let Err(error) = check_entry(name) {
            self.fail(error);
        } else if self
            .parts
            .insert(
                name.to_owned(),
                Part {
                    kind,
                    bytes,
                    source,
                },
            )
            .is_some()
        {
            let what = format!("entry `{}`", printable(name));
            self.fail(Error::invalid(what, "it is given twice"));
        }
    }

    fn check(mut self, result: Result<()>) -> Self {
        if let Err(error) = result {
            self.fail(error);
        }
        self
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }
}

/// Saves these parts as a checkpoint.
pub(super) fn perform(
    job: &Job,
    parts: BTreeMap<String, Part<'_>>,
    request: &Request,
    mut watch: Stopwatch,
) -> Result<Saved> {
    let store = job.store();
    let turn = Turn::of(store, true)?;
    let queued = watch.lap();
    store.settle();
    let last = store.read(|rows| Ok(Records(rows).head()?.last))?;
    let mut ingest = Ingest::new(job, request)?;
    let taken = take_in(&mut ingest, parts).and_then(|built| {
        let encode = watch.lap();
        let bytes = built.bytes;
        let published = commit::publish(job, request, built, &mut ingest)?;
        Ok((published, bytes, encode))
    });
    let (published, logical_bytes, encode) = match taken {
        Ok(saved) => saved,
        Err(error) => {
            ingest.abandon();
            if matches!(error, Error::Full { .. }) {
                store.end_undo_windows(last);
            }
            return Err(error);
        }
    };
    ingest.forget_damage();
    let durable = turn.end(published.staged);
    if matches!(durable, Err(Error::Full { .. })) {
        let _turn = store.turn()?;
        store.end_undo_windows(last);
    }
    durable?;
    let mut times = SaveTimes {
        queued,
        encode,
        commit: watch.lap(),
        ..SaveTimes::default()
    };
    times.blocked = watch.blocked(times.behind());
    let Published {
        checkpoint, merged, ..
    } = published;
    // Not before: an id that is lost is given again.
    let known = (checkpoint.id.get(), store.engine().openings());
    let generations = &request.generations;
    store.generations().note(job.name(), known, generations);
    let Tally {
        shared_bytes,
        new_bytes,
        stored_bytes,
        chunks,
        new_chunks,
        healed_chunks,
    } = ingest.tally;
    Ok(Saved {
        checkpoint,
        merged,
        logical_bytes,
        shared_bytes,
        new_bytes,
        stored_bytes,
        chunks,
        new_chunks,
        healed_chunks,
        times,
    })
}

fn within(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(Error::invalid(
            what,
            format!("{count}; the limit is {most}"),
        ));
    }
    Ok(())
}
