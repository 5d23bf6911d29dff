//! The verbs, a file each.

pub(crate) mod annotate;
pub(crate) mod best;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod init;
pub(crate) mod jobs;
pub(crate) mod jobs_delete;
pub(crate) mod latest;
pub(crate) mod ls;
pub(crate) mod metric;
pub(crate) mod pin;
pub(crate) mod prune;
pub(crate) mod reclaim;
pub(crate) mod repair;
pub(crate) mod resume;
pub(crate) mod salvage;
pub(crate) mod save;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod undelete;
pub(crate) mod verify;
pub(crate) mod version;
