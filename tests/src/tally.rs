//! Calls, counted by everything that tells them apart: the form in which the simulator's counts, a
//! report and a ring file are compared.

use nccltap_proto::{Datatype, Function};
use nccltap_rehearsal::counts::{Counts, Launch, Process, Row};
use nccltap_rehearsal::graphs::{Graphs, Kernel, PeerCopy};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Operations that one process asked of NCCL in the same words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Process id.
    pub pid: u32,
    /// NCCL's name without prefix, e.g. `AllReduce`.
    pub op: String,
    /// NCCL's count argument; of a kernel beside NCCL, what NCCL would be told, `None` where it does not say.
    pub elements: Option<u64>,
    /// NCCL's name of the data type, `None` for one it does not have.
    pub dtype: Option<String>,
    /// Peer or root.
    pub peer: Option<i32>,
    /// Identity of the communicator.
    pub group: Option<u64>,
    /// Size of the communicator.
    pub ranks: Option<i32>,
    /// Rank in it.
    pub rank: Option<i32>,
    /// `eager` or `graph`.
    pub launch: String,
    /// The way it took: `nccl`, or what is written in [`KERNELS`].
    pub path: String,
}

/// How often each call was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<Call, u64>);

/// The counter of the simulator that a tally is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Calls that came in.
    Asked,
    /// Calls that went back.
    Returned,
    /// Operations that were carried out: returned without an error, in no group that launched
    /// nothing; or captured, and then carried out by launches of graphs. What a ledger must hold once
    /// the process has ended.
    CarriedOut,
}

impl Tally {
    /// What the simulator was asked, by its own account.
    pub fn of_simulator(counts: &Counts, counter: Counter) -> Self {
        let mut tally = Self::default();
        for (process, row) in counts.rows() {
            if let Some(call) = asked(process, row) {
                tally.add(call, counter.of(row));
            }
        }
        tally
    }

    /// Counts what kernels carried out beside NCCL, by the simulator's own account.
    pub fn add_kernels(&mut self, cuda: &Graphs) {
        for process in &cuda.processes {
            for kernel in &process.kernels {
                for (launch, count) in [("eager", kernel.launched), ("graph", kernel.replayed)] {
                    if let Some(call) = carried_out(process.pid, kernel, launch) {
                        self.add(call, count);
                    }
                }
            }
        }
    }

    /// Counts copies from one GPU to another, by the simulator's own account. Within one GPU they are none.
    pub fn add_peer_copies(&mut self, cuda: &Graphs) {
        for process in &cuda.processes {
            for copy in process.peer_copies.iter().filter(|copy| copy.from != copy.to) {
                for (launch, count) in [("eager", copy.carried_out), ("graph", copy.replayed)] {
                    self.add(copied(process.pid, copy, launch), count);
                }
            }
        }
    }

    /// How much took this path.
    pub fn of_path(&self, path: &str) -> u64 {
        let calls = self.0.iter().filter(|(call, _)| call.path == path);
        calls.map(|(_, count)| count).sum()
    }

    /// The rows of `nccltap report --format json`.
    ///
    /// # Panics
    /// When the text is not such rows.
    pub fn of_report(json: &str) -> Self {
        let rows: Vec<ReportRow> = serde_json::from_str(json)
            .unwrap_or_else(|error| panic!("not rows of a report ({error}): {json}"));
        let mut tally = Self::default();
        for row in rows {
            tally.add(row.call(), row.count);
        }
        tally
    }

    /// Counts `count` more of a call.
    pub fn add(&mut self, call: Call, count: u64) {
        if count > 0 {
            *self.0.entry(call).or_default() += count;
        }
    }

    /// How often `op` was called in all.
    pub fn of(&self, op: &str) -> u64 {
        self.0.iter().filter(|(call, _)| call.op == op).map(|(_, count)| count).sum()
    }

    /// How often `op` was carried out by launches of graphs.
    pub fn of_graphs(&self, op: &str) -> u64 {
        let of_graphs = |call: &Call| call.op == op && call.launch == "graph";
        self.0.iter().filter(|(call, _)| of_graphs(call)).map(|(_, count)| count).sum()
    }

    /// How often `op` was called with so many elements.
    pub fn of_elements(&self, op: &str, elements: u64) -> u64 {
        let calls =
            self.0.iter().filter(|(call, _)| call.op == op && call.elements == Some(elements));
        calls.map(|(_, count)| count).sum()
    }

    /// How many calls there are in all.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The same without the devices that copies go to: where these are not known outside CUDA.
    pub fn without_devices(&self) -> Self {
        let mut tally = Self::default();
        for (call, count) in &self.0 {
            let peer = call.peer.filter(|_| call.path != "peer_copy");
            tally.add(Call { peer, ..call.clone() }, *count);
        }
        tally
    }

    /// The same without the identities of communicators: where these are not known outside NCCL.
    pub fn without_groups(&self) -> Self {
        self.without_groups_where(|_| true)
    }

    /// The same without the identities of the communicators of such calls.
    pub fn without_groups_where(&self, such: impl Fn(&Call) -> bool) -> Self {
        let mut tally = Self::default();
        for (call, count) in &self.0 {
            let group = call.group.filter(|_| !such(call));
            tally.add(Call { group, ..call.clone() }, *count);
        }
        tally
    }

    /// Every call whose count differs, one per line; empty when there is none.
    pub fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        for call in self.0.keys().chain(other.0.keys()).collect::<BTreeSet<_>>() {
            let [here, there] = [self, other].map(|t| t.0.get(call).copied().unwrap_or_default());
            if here != there {
                let _ = writeln!(text, "{here} against {there}: {call:?}");
            }
        }
        text
    }
}

impl Counter {
    fn of(self, row: &Row) -> u64 {
        match self {
            Self::Asked => row.asked,
            Self::Returned => row.returned,
            Self::CarriedOut => row.carried_out().1,
        }
    }
}

/// The call that a row of the simulator counts, if it is an operation.
fn asked(process: &Process, row: &Row) -> Option<Call> {
    let function = Function::ALL.iter().find(|function| function.name() == row.function)?;
    let known = row.ranks > 0;
    let op = function.operation()?.name();
    Some(Call {
        pid: process.pid,
        op: op.to_owned(),
        elements: (op != "AlltoAllv").then_some(row.count),
        path: "nccl".to_owned(),
        dtype: datatype(row.datatype),
        peer: (row.peer >= 0).then_some(row.peer),
        group: known.then_some(row.communicator),
        ranks: known.then_some(row.ranks),
        rank: known.then_some(row.rank),
        launch: match row.carried_out().0 {
            Launch::Eager => "eager".to_owned(),
            Launch::Graph => "graph".to_owned(),
        },
    })
}

/// Parts of the names of kernels that move data between GPUs, with the path of each and what it does: written down
/// here once more, by hand, so that a mistake in the tap's own list shows.
pub const KERNELS: [(&str, &str, &str); 12] = [
    ("cross_device_reduce_", "custom_all_reduce", "AllReduce"),
    ("allreduce_prototype", "quick_reduce", "AllReduce"),
    ("multimem_all_reduce_kernel", "symm_mem_multimem", "AllReduce"),
    ("multimem_one_shot_reduce_kernel", "symm_mem_multimem", "AllReduce"),
    ("multimem_all_gather_kernel", "symm_mem_multimem", "AllGather"),
    ("two_shot_all_reduce_kernel", "symm_mem_two_shot", "AllReduce"),
    ("one_shot_all_reduce_kernel", "symm_mem_one_shot", "AllReduce"),
    ("AllReduceFusionPatternE0", "flashinfer", "AllReduce"),
    ("allreduce_fusion_kernel", "flashinfer_fused", "AllReduce"),
    ("moeAllToAllKernel", "flashinfer_all_to_all", "AlltoAll"),
    ("deep_ep11internode_ll", "deepep_ll", "AlltoAll"),
    ("deep_ep9intranode", "deepep_ht", "AlltoAll"),
];

/// What a kernel carries out.
fn carried_out(pid: u32, kernel: &Kernel, launch: &str) -> Option<Call> {
    let (_, path, op) = KERNELS.iter().find(|(part, ..)| kernel.name.contains(part))?;
    let types = [
        ("bfloat16", "bfloat16", 2),
        ("BFloat16", "bfloat16", 2),
        ("__half", "float16", 2),
        ("IfL", "float32", 4),
        ("multimem_all_gather_kernel", "uint8", 1),
    ];
    let dtype = types.iter().find(|(part, ..)| kernel.name.contains(part));
    Some(Call {
        pid,
        op: (*op).to_owned(),
        elements: dtype.and_then(|(.., bytes)| Some(kernel.bytes? / bytes)),
        dtype: dtype.map(|(_, name, _)| (*name).to_owned()),
        peer: None,
        group: None,
        ranks: None,
        rank: None,
        launch: launch.to_owned(),
        path: (*path).to_owned(),
    })
}

fn copied(pid: u32, copy: &PeerCopy, launch: &str) -> Call {
    Call {
        pid,
        op: "Copy".to_owned(),
        elements: Some(copy.bytes),
        dtype: Some("uint8".to_owned()),
        peer: Some(copy.to),
        group: None,
        ranks: None,
        rank: None,
        launch: launch.to_owned(),
        path: "peer_copy".to_owned(),
    }
}

/// NCCL's name of a data type.
pub fn datatype(code: i32) -> Option<String> {
    let datatype = u8::try_from(code).ok().and_then(Datatype::from_code)?;
    Some(datatype.name().to_owned())
}

/// One row of a report, as far as it is compared.
#[derive(Deserialize)]
struct ReportRow {
    pid: u32,
    op: String,
    elements: Option<u64>,
    path: String,
    dtype: Option<String>,
    peer: Option<i32>,
    communicator: Option<String>,
    ranks_in_group: Option<i32>,
    rank: Option<i32>,
    launch: String,
    count: u64,
}

impl ReportRow {
    fn call(&self) -> Call {
        let group = self.communicator.as_deref().map(|hex| {
            assert_eq!(hex.len(), 16, "`{hex}` is no communicator: 16 hexadecimal digits");
            u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("`{hex}` is not hexadecimal"))
        });
        // The simulator does not know for whom a kernel works.
        let of_nccl = self.path == "nccl";
        let (group, ranks, rank) = match of_nccl {
            true => (group, self.ranks_in_group, self.rank),
            false => (None, None, None),
        };
        Call {
            pid: self.pid,
            op: self.op.clone(),
            elements: self.elements,
            path: self.path.clone(),
            dtype: self.dtype.clone(),
            peer: self.peer,
            group,
            ranks,
            rank,
            launch: self.launch.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"[{"host":"h","pid":7,"rank":1,"stage":null,"phase":"unknown",
        "group":"tp0","communicator":"00000000000000ff","role":"tensor","op":"Send","collective":null,"path":"nccl",
        "launch":"eager","dtype":"bfloat16","elements":64,"peer":0,"ranks_in_group":2,"count":5,
        "message_bytes":640,"bus_bytes":640}]"#;

    fn row() -> Row {
        Row {
            function: "ncclSend".into(),
            communicator: 0xff,
            ranks: 2,
            rank: 1,
            count: 64,
            datatype: 9,
            peer: 0,
            capture: 0,
            asked: 9,
            returned: 8,
            failed: 1,
            discarded: 2,
            replayed: 0,
        }
    }

    fn counts(row: Row) -> Counts {
        Counts { processes: vec![Process { pid: 7, started_ns: 1, rows: vec![row] }] }
    }

    #[test]
    fn a_row_of_a_report_and_a_row_of_the_simulator_meet_in_the_same_call() {
        let report = Tally::of_report(ROW);
        let simulator = Tally::of_simulator(&counts(row()), Counter::CarriedOut);
        assert_eq!(report, simulator);
        assert_eq!(report.differences(&simulator), "");
        assert_eq!(report.of("Send"), 5);
    }

    #[test]
    fn bcast_counts_as_broadcast_and_getters_count_as_nothing() {
        let bcast = counts(Row { function: "ncclBcast".into(), ..row() });
        assert_eq!(Tally::of_simulator(&bcast, Counter::Asked).of("Broadcast"), 9);
        let getter = counts(Row { function: "ncclCommCount".into(), ..row() });
        assert_eq!(Tally::of_simulator(&getter, Counter::Asked).total(), 0);
    }

    #[test]
    fn a_difference_is_named_whichever_side_it_is_on() {
        let report = Tally::of_report(ROW);
        let none = Tally::default();
        assert!(report.differences(&none).starts_with("5 against 0: "));
        assert!(none.differences(&report).starts_with("0 against 5: "));
    }
}
