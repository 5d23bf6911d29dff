//! Telemetry, verified: every row decodes, and the segments that records name are there.

use std::ops::ControlFlow;

use super::report::{Damage, Findings};
use crate::error::Result;
use crate::format::TelemetryRecord;
use crate::storage::{Records, Rows};
use crate::telemetry;

/// Checks all of it. Decodes every block.
pub(super) fn check_telemetry(rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
    let (sound, faults) = telemetry::sound(rows)?;
    for (key, what) in faults {
        let job = u32::try_from(key >> 32).unwrap_or(u32::MAX);
        findings.damage.insert(Damage {
            job: findings.jobs.get(&job).cloned(),
            ..Damage::of_store(what)
        });
    }
    let is_segment = |key: &u64| matches!(sound.get(key), Some(TelemetryRecord::Segment(_)));
    let lost = |key: u64| format!("its telemetry segment {key:#x} is missing");
    for (number, job) in Records(rows).all_jobs()? {
        if let Some(key) = job.segment.filter(|key| !is_segment(key)) {
            findings.damage.insert(Damage {
                job: Some(job.name.clone()),
                ..Damage::of_store(lost(key))
            });
        }
        if telemetry::last_segment(rows, number)? != job.segment {
            findings.damage.insert(Damage {
                job: Some(job.name),
                ..Damage::of_store("its telemetry does not go on where its record says")
            });
        }
    }
    Records(rows).checkpoints((0, u64::MAX), false, &mut |id, record| {
        if let Ok(record) = record
            && let Some(key) = record.later.progress.segment.filter(|key| !is_segment(key))
        {
            findings.checkpoint(id, &record, None, lost(key));
        }
        Ok(ControlFlow::Continue(()))
    })
}
