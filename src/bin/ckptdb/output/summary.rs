//! What is known of a checkpoint in few lines.

use ckptdb::CheckpointInfo;

use super::{Style, human};

/// `vit@9000  val_loss=0.291 lr=0.001  2m ago`: the reference first, so that a script can cut it
/// off; `first` is the metric that the question was about.
pub(crate) fn summary(info: &CheckpointInfo, first: Option<&str>, style: &Style) -> String {
    let mut metrics: Vec<_> = info.metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| first != Some(name.as_str()));
    let metrics = human::metrics(metrics.into_iter());
    let ago = style.faint(&style.ago(info.saved_at));
    let reference = style.strong(&human::reference(info));
    let parts = [reference, metrics, ago];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}

/// Adds lines under a label, which stands before the first of them only.
pub(crate) fn extend(
    facts: &mut Vec<(&'static str, String)>,
    label: &'static str,
    lines: Vec<String>,
) {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    facts.extend(labels.zip(lines));
}
