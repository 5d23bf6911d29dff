//! After damage: mending a store in place, and rebuilding one from whatever bytes still verify.
//!
//! Both gather [`evidence`] (from the tables, or from the raw bytes of the file), decide by the log
//! which version of each record holds ([`history`], [`plan`]), and derive everything else anew.

#[cfg(test)]
mod anew;
mod chunks;
mod evidence;
#[cfg(test)]
mod exact;
mod frames;
mod history;
mod jobs;
#[cfg(test)]
mod lost;
mod plan;
mod rebuild;
mod references;
mod repair;
mod replay;
mod salvage;

pub use repair::Repaired;
pub use salvage::Salvaged;
