//! A save as hooks see it before it happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::name::printable;
use crate::store::Save;
use crate::tensor::{DType, Tensor};

/// A save as hooks see it before it happens. What a hook asks for is done when it has returned, all
/// of it or, if it fails, nothing.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The job.
    pub job: String,
    /// The iteration.
    pub iteration: u64,
    /// Why it is saved.
    pub events: BTreeSet<Event>,
    /// Metrics of the checkpoint.
    pub metrics: BTreeMap<String, f64>,
    /// Names of its entries.
    pub entries: BTreeSet<String>,
    edits: Vec<Edit>,
    veto: Option<String>,
}

#[derive(Clone, Debug)]
enum Edit {
    Bytes(String, Vec<u8>),
    Document(String, Value),
    Tensor(String, Tensor),
    Metric(String, f64),
    Attribute(String, Value),
}

impl Draft {
    pub(super) fn new(
        job: &str,
        iteration: u64,
        events: &BTreeSet<Event>,
        metrics: &BTreeMap<String, f64>,
        entries: BTreeSet<String>,
    ) -> Self {
        Self {
            job: job.to_owned(),
            iteration,
            events: events.clone(),
            metrics: metrics.clone(),
            entries,
            ..Self::default()
        }
    }

    /// Adds or replaces a file.
    pub fn put_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.edits.push(Edit::Bytes(name.to_owned(), bytes));
    }

    /// Adds or replaces a JSON document.
    pub fn put_document(&mut self, name: &str, value: Value) {
        self.edits.push(Edit::Document(name.to_owned(), value));
    }

    /// Adds or replaces a tensor.
    pub fn put_tensor(&mut self, name: &str, dtype: DType, shape: &[u64], data: Vec<u8>) {
        let tensor = Tensor {
            dtype,
            shape: shape.to_vec(),
            data: data.into(),
        };
        self.edits.push(Edit::Tensor(name.to_owned(), tensor));
    }

    /// Adds or replaces a metric.
    pub fn put_metric(&mut self, name: &str, value: f64) {
        self.edits.push(Edit::Metric(name.to_owned(), value));
    }

    /// Adds or replaces an attribute.
    pub fn put_attribute(&mut self, name: &str, value: Value) {
        self.edits.push(Edit::Attribute(name.to_owned(), value));
    }

    /// Asks for the save to be left out. It is reported with the reason. A save that an interrupt
    /// or the end of training asks for is not left out.
    pub fn veto(&mut self, reason: &str) {
        self.veto = Some(reason.to_owned());
    }

    pub(super) fn take_veto(&mut self) -> Option<String> {
        self.veto.take()
    }

    /// Does to a save what was asked for, one by one; what can't be accepted is told and left out.
    pub(super) fn applied<'s>(&mut self, mut save: Save<'s>) -> (Save<'s>, Vec<Error>) {
        let mut refused = Vec::new();
        for edit in std::mem::take(&mut self.edits) {
            let fault;
            (save, fault) = match edit {
                Edit::Bytes(name, bytes) => {
                    let reader = std::io::Cursor::new(bytes);
                    let done = save.replaced(&name, |save| save.file(&name, reader));
                    self.added(name, done)
                }
                Edit::Document(name, value) => {
                    let done = save.replaced(&name, |save| save.document(&name, &value));
                    self.added(name, done)
                }
                Edit::Tensor(name, tensor) => match fits(&name, &tensor) {
                    Err(error) => (save, Some(error)),
                    Ok(()) => {
                        let Tensor { dtype, shape, data } = tensor;
                        let reader = std::io::Cursor::new(data);
                        let put = |save: Save<'s>| save.tensor_from(&name, dtype, &shape, reader);
                        let done = save.replaced(&name, put);
                        self.added(name, done)
                    }
                },
                Edit::Metric(name, value) => {
                    let (save, fault) = save.with_metric(&name, value);
                    if fault.is_none() {
                        self.metrics.insert(name, value);
                    }
                    (save, fault)
                }
                Edit::Attribute(name, value) => save.with_attribute(&name, &value),
            };
            refused.extend(fault);
        }
        (save, refused)
    }

    fn added<'s>(
        &mut self,
        name: String,
        (save, fault): (Save<'s>, Option<Error>),
    ) -> (Save<'s>, Option<Error>) {
        if fault.is_none() {
            self.entries.insert(name);
        }
        (save, fault)
    }
}

/// Whether a tensor has the bytes that its shape asks for.
fn fits(name: &str, tensor: &Tensor) -> Result<()> {
    let (asked, found) = (tensor.dtype.size_of(&tensor.shape)?, tensor.data.len());
    if asked == found as u64 {
        return Ok(());
    }
    let why = format!("its shape asks for {asked} bytes, it has {found}");
    Err(Error::invalid(format!("tensor `{}`", printable(name)), why))
}
