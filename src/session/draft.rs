//! A save as hooks see it before it happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::Error;
use crate::event::Event;
use crate::metric::canonical;
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

    /// Does to a save what was asked for. What can't be accepted makes the save fail as any other
    /// part does, so it is checked first, one by one.
    pub(super) fn applied<'s>(&mut self, mut save: Save<'s>) -> (Save<'s>, Vec<Error>) {
        let mut refused = Vec::new();
        for edit in std::mem::take(&mut self.edits) {
            match edit {
                Edit::Bytes(name, bytes) => {
                    if let Err(error) = crate::name::check_entry(&name) {
                        refused.push(error);
                        continue;
                    }
                    let reader = std::io::Cursor::new(bytes);
                    self.entries.insert(name.clone());
                    save = save.without(&name).file(&name, reader);
                }
                Edit::Document(name, value) => {
                    if let Err(error) = crate::name::check_entry(&name) {
                        refused.push(error);
                        continue;
                    }
                    self.entries.insert(name.clone());
                    save = save.without(&name).document(&name, &value);
                }
                Edit::Tensor(name, tensor) => {
                    let fits = crate::name::check_entry(&name)
                        .and_then(|()| tensor.dtype.size_of(&tensor.shape));
                    match fits {
                        Ok(bytes) if bytes == tensor.data.len() as u64 => {
                            let reader = std::io::Cursor::new(tensor.data);
                            self.entries.insert(name.clone());
                            save = save.without(&name).tensor_from(
                                &name,
                                tensor.dtype,
                                &tensor.shape,
                                reader,
                            );
                        }
                        Ok(bytes) => {
                            let found = tensor.data.len();
                            let why = format!("its shape asks for {bytes} bytes, it has {found}");
                            refused.push(Error::invalid(format!("tensor `{name}`"), why));
                        }
                        Err(error) => refused.push(error),
                    }
                }
                Edit::Metric(name, value) => match crate::name::check_word("metric", &name) {
                    Ok(()) => {
                        self.metrics.insert(name.clone(), value);
                        let metrics = &mut save.request_mut().metrics;
                        metrics.insert(name, canonical(value));
                    }
                    Err(error) => refused.push(error),
                },
                Edit::Attribute(name, value) => match crate::name::check_word("attribute", &name) {
                    Ok(()) => {
                        save.request_mut().attributes.remove(&name);
                        save = save.attribute(&name, &value);
                    }
                    Err(error) => refused.push(error),
                },
            }
        }
        (save, refused)
    }
}
