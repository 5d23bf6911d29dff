//! Tensors: element types, shapes, and views of bytes that belong to somebody else.

mod dtype;
mod values;
mod view;

pub use dtype::{DType, MAX_DIMENSIONS};
pub(crate) use values::Values;
pub use view::{Tensor, TensorSlice};
