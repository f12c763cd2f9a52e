//! The program that plays one rank issues what vLLM issues.

use nccltap_rehearsal::counts::{Counts, Process};
use nccltap_rehearsal::{COUNTS_DIRECTORY, SWITCH};
use nccltap_rehearsal::{Installed, install};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The simulator, installed before any test of this process starts another one: a program cannot be
/// run while a process that was just forked still has it open for writing.
fn installed() -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("llama_rank");
    INSTALLED.get_or_init(|| install(&directory).unwrap())
}

/// Runs all ranks for 128 prompt and 128 generated tokens.
fn serve(tp: usize) -> Counts {
    let directory = tempfile::tempdir().unwrap();
    let ranks: Vec<_> = (0..tp)
        .map(|rank| {
            Command::new(&installed().llama_rank)
                .args(["--tp", &tp.to_string(), "--rank", &rank.to_string(), "--ids-file"])
                .arg(directory.path().join("ids"))
                .env(SWITCH.0, SWITCH.1)
                .env(COUNTS_DIRECTORY, directory.path())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut rank in ranks {
        assert!(rank.wait().unwrap().success());
    }
    Counts::read(directory.path()).unwrap()
}

/// Calls by function, count and datatype.
fn calls(process: &Process) -> BTreeMap<(&str, u64, i32), u64> {
    let mut calls = BTreeMap::new();
    for row in process.rows.iter().filter(|row| row.count > 0) {
        *calls.entry((row.function.as_str(), row.count, row.datatype)).or_default() += row.asked;
    }
    calls
}

fn rank_of(process: &Process) -> i32 {
    process.rows.iter().map(|row| row.rank).max().unwrap()
}

#[test]
fn two_ranks_issue_the_calls_of_llama_3_1_8b_under_vllm_v0() {
    const INT32: i32 = 2;
    const INT64: i32 = 4;
    const FLOAT32: i32 = 7;
    const BFLOAT16: i32 = 9;
    let counts = serve(2);
    assert_eq!(counts.processes.len(), 2);
    for process in &counts.processes {
        let mut expected = BTreeMap::from([
            (("ncclAllReduce", 1, FLOAT32), 1),
            (("ncclAllReduce", 128 * 4096, BFLOAT16), 65),
            (("ncclAllReduce", 4096, BFLOAT16), 127 * 65),
            (("ncclBcast", 128, INT64), 3),
            (("ncclBcast", 1, INT64), 1 + 127 * 4),
            (("ncclBcast", 1, INT32), 128 * 2),
            (("ncclBcast", 2, INT32), 128 * 2),
        ]);
        for blocks in 9..=16 {
            let steps = if blocks == 16 { 15 } else { 16 };
            expected.insert(("ncclBcast", blocks, INT32), steps);
        }
        let gather = if rank_of(process) == 0 { "ncclRecv" } else { "ncclSend" };
        expected.insert((gather, 64128, BFLOAT16), 128);
        assert_eq!(calls(process), expected);
    }
}

#[test]
fn pytorch_and_pynccl_have_a_communicator_each_that_all_ranks_share() {
    let counts = serve(4);
    assert_eq!(counts.processes.len(), 4);
    let groups = |function: &str| -> BTreeSet<u64> {
        counts
            .rows()
            .filter(|(_, row)| row.function == function)
            .map(|(_, row)| row.communicator)
            .collect()
    };
    let (torch, pynccl) = (groups("ncclBcast"), groups("ncclAllReduce"));
    assert_eq!((torch.len(), pynccl.len()), (1, 1));
    assert_ne!(torch, pynccl);
    assert_eq!(groups("ncclSend"), torch);
    let ranks: BTreeSet<_> = counts.processes.iter().map(rank_of).collect();
    assert_eq!(ranks, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_rank_that_is_told_nonsense_says_what_it_takes() {
    for arguments in [&["--tp", "1"][..], &["--tp", "2", "--rank", "2"], &["--bogus"], &[]] {
        let output = Command::new(&installed().llama_rank).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
