//! Tensors as values: borrowed going in, owned coming out.

use std::borrow::Cow;

use bytes::Bytes;
use safetensors::{Dtype, View};

use super::DType;
use crate::error::{Error, Result};

/// A tensor over bytes that somebody else owns: the way in for raw buffers. It implements
/// [`safetensors::View`].
///
/// ```
/// use ckptdb::{DType, TensorSlice};
/// let weights = [0_u8; 24];
/// let tensor = TensorSlice::new(DType::F32, &[2, 3], &weights)?;
/// # let _ = tensor;
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorSlice<'data> {
    dtype: DType,
    shape: Vec<usize>,
    data: &'data [u8],
}

impl<'data> TensorSlice<'data> {
    /// A tensor of `shape` over `data`, little-endian and in row-major order.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `data` is not exactly as long as dtype and shape say.
    pub fn new(dtype: DType, shape: &[usize], data: &'data [u8]) -> Result<Self> {
        let dimensions: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        let expected = dtype.size_of(&dimensions)?;
        if expected != data.len() as u64 {
            let why = format!("it takes {expected} bytes, {} were given", data.len());
            return Err(Error::invalid(format!("tensor {dtype} {shape:?}"), why));
        }
        Ok(Self {
            dtype,
            shape: shape.to_vec(),
            data,
        })
    }
}

impl View for TensorSlice<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype.into()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// A loaded tensor: little-endian bytes in row-major order, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// The elements' bytes.
    pub data: Bytes,
}
