//! Telemetry rows: segments of a job's time series, and blocks of their points.

use serde::{Deserialize, Serialize};

use super::envelope::TableCode;
use super::limits::{MAX_BLOCK_ROWS, MAX_SERIES, MAX_SKETCH_BINS};
use super::malformed::Malformed;
use super::wire::Record;

/// A row of `telemetry`. Its key is the job's number, then a sequence number, 32 bits each. The
/// order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TelemetryRecord {
    /// A stretch of a line begins.
    Segment(SegmentRecord),
    /// Points of the segment before.
    Block(BlockRecord),
}

/// A stretch of a line: what was logged between two turns back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    /// The segment that it continues, by key, and up to which iteration.
    pub(crate) parent: Option<(u64, u64)>,
    /// The last block that `summaries` speak of, by key; those after it are small.
    pub(crate) summed: Option<u64>,
    /// By name.
    pub(crate) summaries: Vec<SummaryRecord>,
}

/// What is known of a series without reading it. Values are bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SummaryRecord {
    pub(crate) name: String,
    /// Points, and how many of them are NaN or infinite: those count for nothing below but the
    /// last.
    pub(crate) count: u64,
    pub(crate) odd: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) sum: u64,
    /// The first and the last point: iteration, value.
    pub(crate) first: (u64, u64),
    pub(crate) last: (u64, u64),
    pub(crate) zeros: u64,
    /// The sketch: how many values lie in which bin, by bin.
    pub(crate) negative: Vec<(i32, u64)>,
    pub(crate) positive: Vec<(i32, u64)>,
}

/// Points of one segment, by columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRecord {
    /// The segment, by key.
    pub(crate) segment: u64,
    /// The first iteration and the last.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) rows: u32,
    /// When the last of them came.
    pub(crate) at: i64,
    pub(crate) iterations: Packed,
    /// By name.
    pub(crate) columns: Vec<ColumnRecord>,
}

/// One metric's values in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnRecord {
    pub(crate) name: String,
    pub(crate) count: u32,
    /// The rows that have a value, where not all do.
    pub(crate) rows: Option<Packed>,
    pub(crate) values: Packed,
}

/// Numbers, transposed by bytes and then encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// The codec's code.
    pub(crate) codec: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Record for TelemetryRecord {
    const TABLE: TableCode = TableCode::Telemetry;

    fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Segment(segment) => {
                let bins = |summary: &SummaryRecord| {
                    summary.negative.len() + summary.positive.len() > MAX_SKETCH_BINS
                };
                if segment.summaries.iter().any(bins) {
                    return Err(Malformed::new("a sketch has too many bins"));
                }
                ordered(segment.summaries.iter().map(|summary| &summary.name))
            }
            Self::Block(block) => {
                if block.rows == 0 || block.rows as usize > MAX_BLOCK_ROWS {
                    let limit = format!("1 to {MAX_BLOCK_ROWS}");
                    return Err(Malformed::field("its rows", limit, block.rows));
                }
                if block.first > block.last {
                    return Err(Malformed::new("its iterations go back"));
                }
                let count = |column: &ColumnRecord| column.count == 0 || column.count > block.rows;
                if block.columns.iter().any(count) {
                    return Err(Malformed::new("a column has other rows than its block"));
                }
                ordered(block.columns.iter().map(|column| &column.name))
            }
        }
    }
}

/// Names rise, and are not too many.
fn ordered<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Malformed> {
    let names: Vec<&String> = names.collect();
    if names.len() > MAX_SERIES {
        return Err(Malformed::field(
            "its series",
            format!("at most {MAX_SERIES}"),
            names.len(),
        ));
    }
    let rises = names.iter().zip(names.iter().skip(1)).all(|(a, b)| a < b);
    if rises {
        Ok(())
    } else {
        Err(Malformed::new("its series are out of order"))
    }
}
