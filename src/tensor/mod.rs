//! Tensors: element types, shapes, and views of bytes that belong to somebody else.

mod dtype;
mod view;

pub use dtype::{DType, MAX_DIMENSIONS};
pub use view::{Tensor, TensorSlice};
