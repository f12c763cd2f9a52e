//! How large messages are.

use super::{STARTUP, collective, is_sender, phase_order};
use crate::outputs::rows::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Messages of one phase and collective up to a size, over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRow {
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// Bytes of one message are at most this, a power of two, and more than half of it.
    pub up_to_bytes: u64,
    /// How many.
    pub count: u64,
    /// Their message bytes.
    pub message_bytes: u64,
}

/// The distribution of the rows of view collectives, by phase and then by size. Start-up, and what has no
/// known size, is not in it.
pub fn distribution(rows: &[Row]) -> Vec<SizeRow> {
    let mut sums: BTreeMap<(usize, String, u64, String), (u64, u64)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.phase != STARTUP && is_sender(row) && row.count > 0) {
        let Some(bytes) = row.message_bytes else { continue };
        // A row has one size, or sizes up to one power of two.
        let up_to = (bytes / row.count).max(1).checked_next_power_of_two().unwrap_or(u64::MAX);
        let key = (phase_order(&row.phase), row.phase.clone(), up_to, collective(row).to_owned());
        let (count, sum) = sums.entry(key).or_default();
        *count = count.saturating_add(row.count);
        *sum = sum.saturating_add(bytes);
    }
    sums.into_iter()
        .map(|((_, phase, up_to_bytes, collective), (count, message_bytes))| SizeRow {
            phase,
            collective,
            up_to_bytes,
            count,
            message_bytes,
        })
        .collect()
}
