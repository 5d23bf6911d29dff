//! The series that sessions keep by themselves.

/// The series in which a session notes how many seconds the training waited for a save.
pub const BLOCKED_SECONDS: &str = "ckptdb/blocked_s";
/// The series in which a session notes how many seconds a save took until it was durable.
pub const SAVE_SECONDS: &str = "ckptdb/save_s";

/// Whether a series is one that sessions keep by themselves, rather than a metric of the user's.
pub fn is_own(series: &str) -> bool {
    [BLOCKED_SECONDS, SAVE_SECONDS].contains(&series)
}
