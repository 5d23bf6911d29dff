//! A checkpoint on one line that begins with its reference.

use ckptdb::CheckpointInfo;
use ckptdb::name::printable;

use super::{Style, human};

/// `vit@9000  val_loss=0.291 lr=0.001  2m ago`: the reference first, so that a script can cut it
/// off; `first` is the metric that the question was about.
pub(crate) fn summary(info: &CheckpointInfo, first: Option<&str>, style: &Style) -> String {
    let mut metrics: Vec<_> = info.metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| first != Some(name.as_str()));
    let metrics = metrics
        .iter()
        .map(|(name, value)| format!("{}={}", printable(name), human::metric_short(**value)))
        .collect::<Vec<_>>()
        .join(" ");
    let ago = style.faint(&style.ago(info.saved_at));
    let reference = style.strong(&human::reference(info));
    let parts = [reference, metrics, ago];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}
