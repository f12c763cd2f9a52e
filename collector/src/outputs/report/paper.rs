//! The counts as Tables III to VI of the paper give them.
//!
//! Its conventions: an AllReduce is counted at one rank of the first pipeline stage, a Gather at one rank
//! of the stage that has it, AllGather and transfers over all boundaries between stages, for one
//! tensor-parallel rank. The shape of an AllGather is that of its result. Start-up is not in the tables,
//! and neither are the broadcasts by which vLLM V0 tells its ranks about a step.

use super::{STARTUP, collective, phase_order};
use crate::outputs::rows::Row;
use nccltap_proto::Operation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaperRow {
    /// `III` for tensor parallelism, `V` for pipeline parallelism, `VI` for both; null where the layout
    /// is not known.
    pub table: Option<String>,
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// NCCL's name of the data type.
    pub dtype: Option<String>,
    /// Dimensions. Without a model, whose hidden size tells rows from columns, the number of elements.
    pub shape: Vec<u64>,
    /// Bytes of one message: what Table IV calls message size.
    pub message_size: Option<u64>,
    /// How many, by the paper's conventions.
    pub count: u64,
    /// The fewest of any rank, where ranks that should agree do not; else the same as `count`.
    pub fewest: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    phase: usize,
    phase_name: String,
    order: usize,
    collective: String,
    dtype: Option<String>,
    elements: u64,
}

/// The collectives in the order of the paper's tables.
fn collective_order(name: &str) -> usize {
    let order = [
        Operation::AllReduce,
        Operation::Gather,
        Operation::AllGather,
        Operation::ReduceScatter,
        Operation::AlltoAll,
        Operation::Send,
        Operation::Recv,
    ];
    order.iter().position(|known| known.name() == name).unwrap_or(order.len())
}

/// What one rank of a stage did: its process and the stage.
type Counts = BTreeMap<(Option<u32>, String, u32), (u64, u64)>;

/// What shapes need to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Hidden size.
    pub hidden: u64,
    /// Vocabulary, as vLLM pads it.
    pub vocabulary: u64,
}

/// The rows, from those of view collectives. `layout` is tensor- and pipeline-parallel size, where known;
/// `model` is there where one is named.
pub fn tables(
    rows: &[Row],
    layout: Option<(u32, u32)>,
    model: Option<Dimensions>,
) -> Vec<PaperRow> {
    let table = layout.map(|(tensor, pipeline)| match (tensor, pipeline) {
        (_, 1) => "III".to_owned(),
        (1, _) => "V".to_owned(),
        _ => "VI".to_owned(),
    });
    let mut kinds: BTreeMap<Kind, Counts> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.phase != STARTUP) {
        let name = collective(row);
        if name == Operation::Broadcast.name() {
            continue;
        }
        let Some(elements) = row.elements else { continue };
        let of_result = name == Operation::AllGather.name();
        let ranks = if of_result { row.ranks_in_group.map_or(1, u64::from) } else { 1 };
        let kind = Kind {
            phase: phase_order(&row.phase),
            phase_name: row.phase.clone(),
            order: collective_order(name),
            collective: name.to_owned(),
            dtype: row.dtype.clone(),
            elements: elements.saturating_mul(ranks),
        };
        let counts = kinds.entry(kind).or_default();
        let (count, bytes) = counts.entry((row.stage, row.host.clone(), row.pid)).or_default();
        // A gather of two ranks is a Send at one and a Recv at the other.
        *count += row.count;
        *bytes += row.message_bytes.unwrap_or(0);
    }
    kinds
        .into_iter()
        .map(|(kind, counts)| row(kind, &counts, table.clone(), layout, model))
        .collect()
}

fn row(
    kind: Kind,
    counts: &Counts,
    table: Option<String>,
    layout: Option<(u32, u32)>,
    model: Option<Dimensions>,
) -> PaperRow {
    let stages: BTreeSet<Option<u32>> = counts.keys().map(|(stage, ..)| *stage).collect();
    let of_stage = |wanted: Option<u32>| {
        let here = counts.iter().filter(move |((stage, ..), _)| *stage == wanted);
        let here: Vec<u64> = here.map(|(_, (count, _))| *count).collect();
        let most = here.iter().max().copied().unwrap_or(0);
        (here.iter().min().copied().unwrap_or(0), most)
    };
    let first_alone = kind.collective == Operation::AllReduce.name();
    let counted = stages.iter().take(if first_alone { 1 } else { stages.len() });
    let (fewest, count) = counted
        .map(|stage| of_stage(*stage))
        .fold((0, 0), |(a, b), (fewest, most)| (a + fewest, b + most));
    let (operations, bytes) = counts.values().fold((0u64, 0u64), |(a, b), (count, bytes)| {
        (a.saturating_add(*count), b.saturating_add(*bytes))
    });
    PaperRow {
        table,
        shape: shape(&kind, layout.unwrap_or((1, 1)), model),
        phase: kind.phase_name,
        collective: kind.collective,
        dtype: kind.dtype,
        message_size: bytes.checked_div(operations).filter(|_| bytes > 0),
        count,
        fewest,
    }
}

/// As the paper writes it: `[tokens, h]`, of transfers between stages `[tokens, h/t]`, of logits their
/// part of the vocabulary. The number of elements where the model is not named or does not fit.
fn shape(kind: &Kind, (tensor, pipeline): (u32, u32), model: Option<Dimensions>) -> Vec<u64> {
    let flat = vec![kind.elements];
    let Some(Dimensions { hidden, vocabulary }) = model else { return flat };
    let is = |operation: Operation| kind.collective == operation.name();
    let tensor = u64::from(tensor.max(1));
    let width = if is(Operation::Gather) {
        vocabulary / tensor
    } else if is(Operation::AllGather) && pipeline == 1 {
        vocabulary
    } else if is(Operation::Send) || is(Operation::Recv) {
        hidden / tensor
    } else {
        hidden
    };
    match kind.elements.checked_div(width) {
        Some(1) if is(Operation::Gather) => flat,
        Some(rows) if rows * width == kind.elements => vec![rows, width],
        _ => flat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: Option<Dimensions> = Some(Dimensions { hidden: 4096, vocabulary: 128_256 });

    fn row(pid: u32, stage: u32, collective: &str, elements: u64, count: u64) -> Row {
        Row {
            host: "node".into(),
            pid,
            rank: Some(0),
            stage: Some(stage),
            phase: "decode".into(),
            phase_source: None,
            group: None,
            communicator: None,
            role: Some("tensor".into()),
            op: None,
            collective: Some(collective.into()),
            path: "nccl".into(),
            launch: "eager".into(),
            dtype: Some("bfloat16".into()),
            elements: Some(elements),
            elements_up_to: None,
            peer: None,
            ranks_in_group: Some(2),
            count,
            at_least: false,
            message_bytes: Some(elements * count * 2),
            bus_bytes: None,
        }
    }

    #[test]
    fn an_all_reduce_is_that_of_the_first_stage_and_an_all_gather_that_of_all() {
        let rows = [
            row(1, 0, "AllReduce", 4096, 33),
            row(2, 0, "AllReduce", 4096, 33),
            row(3, 1, "AllReduce", 4096, 32),
            row(3, 1, "AllGather", 2048, 2),
            row(4, 2, "AllGather", 2048, 2),
        ];
        let table = tables(&rows, Some((2, 3)), MODEL);
        let seen: Vec<_> =
            table.iter().map(|r| (r.collective.as_str(), r.count, r.shape.clone())).collect();
        let hidden = vec![1, 4096];
        assert_eq!(seen, [("AllReduce", 33, hidden.clone()), ("AllGather", 4, hidden)]);
        assert_eq!(table[0].table.as_deref(), Some("VI"));
        assert_eq!(table[0].message_size, Some(8192));
    }

    #[test]
    fn ranks_that_do_not_agree_are_shown_as_such() {
        let rows = [row(1, 0, "AllReduce", 4096, 65), row(2, 0, "AllReduce", 4096, 64)];
        let table = tables(&rows, Some((2, 1)), None);
        assert_eq!((table[0].count, table[0].fewest, table[0].shape[0]), (65, 64, 4096));
    }

    #[test]
    fn transfers_are_of_slices_and_logits_of_the_vocabulary() {
        let rows = [row(1, 0, "Send", 2048 * 128, 2), row(1, 1, "Gather", 64_128, 1)];
        let mut rows = rows.to_vec();
        rows[0].role = Some("pipeline".into());
        let shapes: Vec<_> =
            tables(&rows, Some((2, 2)), MODEL).into_iter().map(|row| row.shape).collect();
        assert_eq!(shapes, [vec![64_128], vec![128, 2048]]);
    }
}
