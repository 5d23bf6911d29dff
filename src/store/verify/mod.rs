//! Verifying: everything that is stored twice must agree, everything that is hashed must match.

mod content;
mod records;
mod report;
mod run;
mod series;

pub(super) use content::Content;
pub(super) use report::Findings;
pub use report::{Damage, VerifyDepth, VerifyReport};
