//! The tables of the paper, cell by cell: Llama models under vLLM 0.8.5.post1 with the V0 engine,
//! eager, one request of 128 prompt and 128 generated tokens.
//!
//! Prefill and decode of a Gather have the same size. So what belongs to the prefill is taken from a
//! second run that ends behind it, and the decode is what the whole run has more.

use super::rows::{Layout, ROWS, Row, Way};
use crate::tally::{Call, Tally};
use std::collections::BTreeMap;
use std::fmt;

/// Tokens of the prompt.
const PROMPT: u64 = 128;

/// A table of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Tensor parallel.
    Three,
    /// Sizes and counts of three models.
    Four,
    /// Pipeline parallel.
    Five,
    /// Both.
    Six,
}

/// A phase of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The prompt.
    Prefill,
    /// The generated tokens but the first.
    Decode,
}

/// How a count of the paper is found in the counts of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Every rank has it.
    EveryRank,
    /// Those ranks have it that make the operation at all.
    RanksThatDo,
    /// The ranks of the first stage, which has the embedding, have it.
    FirstStage,
    /// It is the sum over all ranks.
    Sum,
    /// The root receives so often from each of the others.
    Root,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    table: Table,
    model: &'static str,
    layout: Layout,
    phase: Phase,
    /// As the paper names it.
    op: &'static str,
    shape: String,
    /// As NCCL counts it.
    asked: &'static str,
    elements: u64,
    over: Over,
    /// The paper's count.
    pub expected: u64,
}

/// The runs that the cells are read from, by the names of their rows.
pub type Runs = BTreeMap<String, Tally>;

impl Cell {
    /// The row that is run for it, with so many generated tokens.
    fn row(&self, output: u32) -> Option<&'static Row> {
        ROWS.iter().find(|row| {
            row.version == Some(false)
                && row.model == self.model
                && row.layout == self.layout
                && row.way == Way::Offline { requests: 1, output }
        })
    }

    /// The count in what was reported.
    ///
    /// # Errors
    /// When the runs do not have it, or ranks that should agree do not.
    pub fn observed(&self, runs: &Runs) -> Result<u64, String> {
        let of = |output| {
            let row = self.row(output).ok_or("no row of the matrix runs it")?;
            let tally =
                runs.get(&row.name()).ok_or_else(|| format!("{} was not run", row.name()))?;
            self.count(tally)
        };
        // Where the size tells the phases apart, the whole run has it all.
        let by_size = self.op != "Gather";
        match self.phase {
            _ if by_size => of(128),
            Phase::Prefill => of(1),
            Phase::Decode => {
                let (whole, prefill) = (of(128)?, of(1)?);
                whole.checked_sub(prefill).ok_or_else(|| format!("{whole} less {prefill}"))
            }
        }
    }

    fn count(&self, tally: &Tally) -> Result<u64, String> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for (call, count) in &tally.0 {
            let matches = self.is_of(call);
            *counts.entry(call.pid).or_default() += if matches { *count } else { 0 };
        }
        let counts: Vec<u64> = counts.into_values().collect();
        let ranks = u64::from(self.layout.tensor);
        let most = counts.iter().copied().max().unwrap_or_default();
        let all_have = |counts: &mut dyn Iterator<Item = &u64>| {
            let all: Vec<u64> = counts.copied().collect();
            match all.iter().all(|count| *count == most) {
                true => Ok(most),
                false => Err(format!("ranks differ: {all:?}")),
            }
        };
        match self.over {
            Over::EveryRank => all_have(&mut counts.iter()),
            Over::RanksThatDo => all_have(&mut counts.iter().filter(|count| **count > 0)),
            Over::FirstStage => {
                let first = counts.iter().filter(|count| **count == most).count() as u64;
                match first == ranks {
                    true => Ok(most),
                    false => Err(format!("{first} ranks have {most}, the stage has {ranks}")),
                }
            }
            Over::Sum => Ok(counts.iter().sum()),
            Over::Root => match most % (ranks - 1) {
                0 => Ok(most / (ranks - 1)),
                _ => Err(format!("the root received {most} from {} others", ranks - 1)),
            },
        }
    }

    fn is_of(&self, call: &Call) -> bool {
        let half = call.dtype.as_deref().is_some_and(|name| name.ends_with("float16"));
        call.op == self.asked && call.elements == Some(self.elements) && half
    }
}

impl Table {
    fn numeral(self) -> &'static str {
        match self {
            Self::Three => "III",
            Self::Four => "IV",
            Self::Five => "V",
            Self::Six => "VI",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, op, shape, .. } = self;
        let (table, layout) = (self.table.numeral(), self.layout.to_string());
        let phase = match self.phase {
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
        };
        write!(f, "Table {table:<3} {model:<12} {layout:<6} {phase:<7} {op:<9} {shape:<12}")
    }
}

/// Tokens of a phase's step, and how many steps it has.
const PHASES: [(Phase, u64, u64); 2] = [(Phase::Prefill, PROMPT, 1), (Phase::Decode, 1, 127)];

const L8: &str = "llama-3.1-8b";
const HIDDEN: u64 = 4096;
const VOCABULARY: u64 = 128_256;

/// Every cell of the Tables III to VI, with the paper's numbers.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let tp = |tensor| Layout { tensor, pipeline: 1, data: 1, experts: false };
    let gather = |table, layout: Layout, phase, expected| Cell {
        table,
        model: L8,
        layout,
        phase,
        op: "Gather",
        shape: format!("[{}]", VOCABULARY / u64::from(layout.tensor)),
        asked: "Recv",
        elements: VOCABULARY / u64::from(layout.tensor),
        over: Over::Root,
        expected,
    };
    for tensor in [2, 4] {
        for ((phase, tokens, gathers), expected) in PHASES.into_iter().zip([65, 8255]) {
            cells.push(Cell {
                table: Table::Three,
                model: L8,
                layout: tp(tensor),
                phase,
                op: "AllReduce",
                shape: format!("[{tokens}, {HIDDEN}]"),
                asked: "AllReduce",
                elements: tokens * HIDDEN,
                over: Over::EveryRank,
                expected,
            });
            cells.push(gather(Table::Three, tp(tensor), phase, gathers));
        }
    }
    for (model, sizes, counts) in [
        ("llama-3.2-3b", [786_432, 6144], [57, 7239]),
        (L8, [1_048_576, 8192], [65, 8255]),
        ("llama-2-13b", [1_310_720, 10_240], [81, 10_287]),
    ] {
        for (((phase, ..), size), expected) in PHASES.into_iter().zip(sizes).zip(counts) {
            cells.push(Cell {
                table: Table::Four,
                model,
                layout: tp(2),
                phase,
                op: "AllReduce",
                shape: format!("{size} B"),
                asked: "AllReduce",
                elements: size / 2,
                over: Over::EveryRank,
                expected,
            });
        }
    }
    for (pipeline, counts) in [(2, [2, 254]), (4, [6, 762])] {
        for ((phase, tokens, _), expected) in PHASES.into_iter().zip(counts) {
            for op in ["Send", "Recv"] {
                cells.push(Cell {
                    table: Table::Five,
                    model: L8,
                    layout: Layout { tensor: 1, pipeline, data: 1, experts: false },
                    phase,
                    op,
                    shape: format!("[{tokens}, {HIDDEN}]"),
                    asked: op,
                    elements: tokens * HIDDEN,
                    over: Over::Sum,
                    expected,
                });
            }
        }
    }
    let both = Layout { tensor: 2, pipeline: 2, data: 1, experts: false };
    for (phase, tokens, gathers) in PHASES {
        let prefill = phase == Phase::Prefill;
        let of = |op, width: u64, part: u64, over, expected| Cell {
            table: Table::Six,
            model: L8,
            layout: both,
            phase,
            op,
            shape: format!("[{tokens}, {width}]"),
            asked: op,
            elements: tokens * width / part,
            over,
            expected,
        };
        // The paper names an AllGather by its result; NCCL counts what one of the two ranks sends.
        let boundary = if prefill { 2 } else { 254 };
        let reduced = if prefill { 33 } else { 4191 };
        cells.push(of("AllReduce", HIDDEN, 1, Over::FirstStage, reduced));
        cells.push(gather(Table::Six, both, phase, gathers));
        cells.push(of("AllGather", HIDDEN, 2, Over::RanksThatDo, boundary));
        cells.push(of("Send", HIDDEN / 2, 1, Over::RanksThatDo, boundary));
        cells.push(of("Recv", HIDDEN / 2, 1, Over::RanksThatDo, boundary));
    }
    cells
}

/// The rows that the paper's tables are read from.
pub fn rows() -> Vec<&'static Row> {
    let cells = cells();
    let needed = |row: &&Row| {
        let is = |row: &Row, other: Option<&Row>| other.is_some_and(|other| other == row);
        cells
            .iter()
            .any(|cell| is(row, cell.row(128)) || (cell.op == "Gather" && is(row, cell.row(1))))
    };
    ROWS.iter().filter(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_its_rows() {
        let rows = rows();
        assert_eq!(rows.len(), 10);
        for cell in cells() {
            assert!(cell.row(128).is_some(), "{cell}");
        }
        assert_eq!(cells().len(), 8 + 6 + 8 + 10);
    }

    fn call(pid: u32, op: &str, elements: u64) -> Call {
        Call {
            pid,
            op: op.to_owned(),
            elements: Some(elements),
            path: "nccl".to_owned(),
            dtype: Some("bfloat16".to_owned()),
            peer: None,
            group: None,
            ranks: None,
            rank: None,
            launch: "eager".to_owned(),
        }
    }

    fn runs(cell: &Cell, counts: &[(u32, u64)], output: u32) -> Runs {
        let mut tally = Tally::default();
        for (pid, count) in counts {
            tally.add(call(*pid, cell.asked, cell.elements), *count);
        }
        Runs::from([(cell.row(output).unwrap().name(), tally)])
    }

    #[test]
    fn a_count_that_ranks_do_not_share_is_no_count() {
        let cell = &cells()[0];
        assert_eq!(cell.observed(&runs(cell, &[(1, 65), (2, 65)], 128)), Ok(65));
        assert!(cell.observed(&runs(cell, &[(1, 65), (2, 64)], 128)).is_err());
        assert!(cell.observed(&Runs::new()).is_err());
    }

    #[test]
    fn the_decode_of_a_gather_is_what_the_whole_run_has_more() {
        let cells = cells();
        let decode = cells.iter().rfind(|cell| cell.op == "Gather" && cell.layout.tensor == 4);
        let decode = decode.unwrap();
        assert_eq!(decode.phase, Phase::Decode);
        let mut both = runs(decode, &[(1, 384), (2, 0)], 128);
        both.extend(runs(decode, &[(1, 3), (2, 0)], 1));
        assert_eq!(decode.observed(&both), Ok(127));
    }
}
