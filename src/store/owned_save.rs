//! A save whose bytes are its own, so that training can go on while they are stored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;

use super::body::{Part, Source, check_length, reading};
use super::copying::{Pieces, copy_beside};
use super::request::Request;
use super::save::perform;
use super::times::Stopwatch;
use crate::error::{Error, Result};
use crate::format::KindRecord;
use crate::platform::Buffer;
use crate::store::{Job, Save, Saved};
use crate::telemetry::Batch;

/// A checkpoint about to be saved, in memory. It can be sent to another thread, and saved again
/// after an error.
#[derive(Clone, Debug)]
pub struct OwnedSave {
    job: Job,
    parts: BTreeMap<String, (KindRecord, Bytes)>,
    request: Request,
    watch: Stopwatch,
}

/// The bytes of an entry, before those are copied that are lent.
enum Taken<'a> {
    Owned(Bytes),
    Lent(&'a [u8]),
}

impl Save<'_> {
    /// Copies everything that it refers to, but for what is its own already
    /// ([`Save::tensor_owned`]). Costs the bytes of the entries that are lent, in memory and in
    /// time: a memory copy on as many cores as the store's options say, into pages that the system
    /// is asked for at once.
    ///
    /// # Errors
    /// As [`Save::commit`] for the first part that can't be accepted, and from readers.
    pub fn into_owned(self) -> Result<OwnedSave> {
        self.copy_while(|| ()).map(|(owned, ())| owned)
    }

    /// [`Save::into_owned`] while `run` goes on: the copy is made by other threads behind what only
    /// reads the state, a forward and a backward pass, and is whole when this returns, before the
    /// optimizer changes the state: the two phases of `CheckFreq` (Mohan, Phanishayee and
    /// Chidambaram, FAST 2021). What a reader or a lazy tensor gives is asked for before.
    ///
    /// ```
    /// # use ckptdb::Store;
    /// # let store = Store::in_memory()?;
    /// # let backward = |weights: &[u8]| weights.len();
    /// let mut weights = vec![0_u8; 1 << 20];
    /// let save = store.job("NQ")?.save(1).bytes("weights", &weights);
    /// let (owned, gradient) = save.copy_while(|| backward(&weights))?;
    /// weights[0] += u8::from(gradient > 0);
    /// // Here, or on another thread.
    /// let saved = owned.commit()?;
    /// assert_eq!(saved.checkpoint.read("weights")?[0], 0);
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Save::into_owned`]; without having run `run` if that is known before.
    pub fn copy_while<T>(self, run: impl FnOnce() -> T) -> Result<(OwnedSave, T)> {
        let (job, mut parts, request) = self.into_parts()?;
        let clock = job.store_clock();
        let mut watch = Stopwatch::start(&clock);
        let mut taken = BTreeMap::new();
        for (name, part) in &mut parts {
            let (kind, expected) = (part.kind.clone(), part.bytes);
            let bytes = taken_from(name, part)?;
            let length = match &bytes {
                Taken::Owned(bytes) => bytes.len(),
                Taken::Lent(bytes) => bytes.len(),
            };
            check_length(name, expected, length as u64)?;
            taken.insert(name.clone(), (kind, bytes));
        }
        let lent = taken.values().filter_map(|(_, bytes)| match bytes {
            Taken::Owned(_) => None,
            Taken::Lent(bytes) => Some(*bytes),
        });
        let lent: Vec<&[u8]> = lent.collect();
        let all = lent.iter().map(|bytes| bytes.len()).sum();
        let refused = |_| Error::invalid("a copy of the state", "it does not fit in memory");
        let mut buffer = Buffer::new(all).map_err(refused)?;
        let threads = job.store_handle().options().threads;
        let mut ran = Duration::ZERO;
        let run = || {
            let began = clock.elapsed();
            let result = run();
            ran = clock.elapsed().saturating_sub(began);
            result
        };
        let result = copy_beside(Pieces::new(&lent, &mut buffer), threads, run);
        let copied = Bytes::from(buffer);
        let mut at = 0;
        let parts = taken.into_iter().map(|(name, (kind, bytes))| {
            let bytes = match bytes {
                Taken::Owned(bytes) => bytes,
                Taken::Lent(bytes) => {
                    let range = at..at + bytes.len();
                    at = range.end;
                    copied.slice(range)
                }
            };
            (name, (kind, bytes))
        });
        let parts = parts.collect();
        watch.hand_over(ran);
        let owned = OwnedSave {
            job,
            parts,
            request,
            watch,
        };
        Ok((owned, result))
    }
}

/// The bytes of a part, as they can be had without a copy.
fn taken_from<'p>(name: &str, part: &'p mut Part<'_>) -> Result<Taken<'p>> {
    let cow = match &mut part.source {
        Source::Shared(bytes) => return Ok(Taken::Owned(bytes.clone())),
        Source::Bytes(Cow::Owned(bytes)) => return Ok(Taken::Owned(std::mem::take(bytes).into())),
        Source::Bytes(Cow::Borrowed(bytes)) => Cow::Borrowed(*bytes),
        Source::View(view) => view.data(),
        Source::Section(section) => {
            let bytes = section.part(0..section.len());
            Cow::Owned(bytes.map_err(|error| reading(name, error))?)
        }
        Source::Reader(reader) => {
            // One byte more than fits is enough to notice; an endless reader must end.
            let most = part.bytes.map_or(u64::MAX, |bytes| bytes.saturating_add(1));
            let mut bytes = Vec::new();
            let read = reader.take(most).read_to_end(&mut bytes);
            read.map_err(|error| reading(name, error))?;
            Cow::Owned(bytes)
        }
    };
    Ok(match cow {
        Cow::Owned(bytes) => Taken::Owned(bytes.into()),
        Cow::Borrowed(bytes) => Taken::Lent(bytes),
    })
}

impl OwnedSave {
    /// [`Save::commit`].
    ///
    /// # Errors
    /// As [`Save::commit`].
    pub fn commit(&self) -> Result<Saved> {
        perform(
            &self.job,
            self.borrowed(),
            &self.request,
            self.watch.clone(),
        )
    }

    fn borrowed(&self) -> BTreeMap<String, Part<'_>> {
        let parts = self.parts.iter().map(|(name, (kind, bytes))| {
            let part = Part {
                kind: kind.clone(),
                // It was checked when they were copied.
                bytes: None,
                source: Source::Shared(bytes.clone()),
            };
            (name.clone(), part)
        });
        parts.collect()
    }

    /// [`Save::commit`] with these points of telemetry in the place of its own.
    pub(crate) fn commit_with(&self, telemetry: Batch) -> Result<Saved> {
        let request = Request {
            telemetry: Some(telemetry),
            ..self.request.clone()
        };
        perform(&self.job, self.borrowed(), &request, self.watch.clone())
    }

    /// The same, from now on waiting for others and not for its caller.
    pub(crate) fn handed_over(mut self) -> Self {
        self.watch.lap();
        self
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.parts
            .values()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::tensor::{DType, Tensor, TensorSlice};

    fn tensor(bytes: &[u8]) -> TensorSlice<'_> {
        TensorSlice::new(DType::U8, &[bytes.len()], bytes).unwrap()
    }

    #[test]
    fn what_is_lent_is_copied_whole_and_what_is_owned_not_at_all() {
        let store = Store::in_memory().unwrap();
        // More than one piece, more than one entry, and an end that is no whole piece.
        let lent: Vec<Vec<u8>> = [9 << 20, 70_000, 3, 0]
            .map(|len: usize| (0..=250).cycle().take(len).collect())
            .into();
        let data = Bytes::from(vec![7; 100_000]);
        let own = Tensor {
            dtype: DType::U8,
            shape: vec![100_000],
            data: data.clone(),
        };
        let mut save = store.job("NQ").unwrap().save(1);
        for (number, bytes) in lent.iter().enumerate() {
            save = save.tensor(&format!("lent.{number}"), tensor(bytes));
        }
        save = save
            .tensor_owned("own", own)
            .bytes_owned("file", data.clone());
        save = save.file("read", &[5_u8; 50][..]);
        let (owned, answer) = save.copy_while(|| 42).unwrap();
        assert_eq!(answer, 42);
        for name in ["own", "file"] {
            assert_eq!(owned.parts[name].1.as_ptr(), data.as_ptr(), "{name}");
        }
        let expected = lent.clone();
        drop(lent);
        let checkpoint = owned.commit().unwrap().checkpoint;
        for (number, bytes) in expected.iter().enumerate() {
            assert_eq!(checkpoint.read(&format!("lent.{number}")).unwrap(), *bytes);
        }
        assert_eq!(checkpoint.read("own").unwrap(), data);
        assert_eq!(checkpoint.read("read").unwrap(), [5; 50].as_slice());
    }

    #[test]
    fn an_owned_tensor_of_another_length_than_its_shape_says_is_refused() {
        let store = Store::in_memory().unwrap();
        let tensor = Tensor {
            dtype: DType::F32,
            shape: vec![3],
            data: Bytes::from_static(&[0; 11]),
        };
        let save = store.job("NQ").unwrap().save(1).tensor_owned("x", tensor);
        let told = save.commit().unwrap_err().to_string();
        assert!(told.contains("its shape takes 12 bytes, 11 came"), "{told}");
    }

    #[test]
    fn a_panic_beside_the_copy_leaves_and_nothing_is_saved() {
        let store = Store::in_memory().unwrap();
        let bytes = vec![1; 5 << 20];
        let save = store.job("NQ").unwrap().save(1).bytes("x", &bytes);
        let run = || save.copy_while(|| panic!("the backward pass"));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        assert!(store.jobs().unwrap().is_empty());
    }
}
