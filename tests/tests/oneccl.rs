//! Intel's oneCCL: its C API is NCCL's under another prefix, and is recorded alike, on a path of its own.
//!
//! Ground truth is the account of a simulated oneCCL (`tests/hosts/oneccl/ccl.c`).

use nccltap_tests::tally::datatype;
use nccltap_tests::{Call, Collector, Host, Linkage, Stage, Tally, eventually, hosts};
use std::collections::BTreeSet;
use std::fs;

/// A rank of `tests/hosts/oneccl.c`, with the tap in it.
fn rank(stage: &Stage, rank: u32, linkage: Linkage) -> Host {
    let program = stage.tapped(hosts::oneccl_program("oneccl", linkage)).arg(rank.to_string());
    program.env("SIMULATED_ONECCL_ACCOUNT", stage.path().join(format!("oneccl-{rank}")))
}

/// What the simulated oneCCL took of a rank, by its own account.
fn account(stage: &Stage, rank: u32, pid: u32) -> Tally {
    let text = fs::read_to_string(stage.path().join(format!("oneccl-{rank}")));
    let mut tally = Tally::default();
    for line in text.expect("it was written as the rank ended").lines() {
        let [op, elements, dtype, peer, times] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not a line of the account: {line}");
        };
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let call = Call {
            pid,
            op: op.to_owned(),
            elements: u64::try_from(number(elements)).ok(),
            dtype: datatype(number(dtype) as i32),
            peer: i32::try_from(number(peer)).ok().filter(|peer| *peer >= 0),
            group: None,
            ranks: None,
            rank: None,
            launch: "eager".to_owned(),
            path: "oneccl".to_owned(),
        };
        tally.add(call, times.parse().expect("a number"));
    }
    tally
}

/// Requires that the ledger becomes equal to the account, and gives it.
fn ledger_equals(collector: &Collector, account: &Tally) -> Tally {
    eventually(|| {
        let ledger = collector.rows();
        match ledger.differences(account) {
            differences if differences.is_empty() => Ok(ledger),
            differences => Err(format!("ledger against account:\n{differences}")),
        }
    })
}

#[test]
fn a_program_linked_to_oneccl_is_recorded_and_calls_of_oneccl_itself_are_not() {
    for linkage in [Linkage::Lazy, Linkage::Now, Linkage::NoPlt] {
        let stage = Stage::new();
        let collector = stage.collector();
        let pid = rank(&stage, 1, linkage).run().succeeded().pid;
        let process = collector.ended(pid);
        process.is_accounted_for();
        assert!(process.faults.is_empty(), "{process:?}");
        let ledger = ledger_equals(&collector, &account(&stage, 1, pid));
        // Those of the communicator that does not block were taken too.
        assert_eq!(ledger.of_elements("AllReduce", 4096), 2 * 65);
        assert_eq!((ledger.of("AlltoAllv"), ledger.of("Send"), ledger.of("Recv")), (2, 1, 1));
        let failed = collector.metric("nccltap_failed_operations_total", &["op=\"AllReduce\""]);
        assert_eq!(failed, 1.0, "the one with a data type that there is not");
        let [library] = process.libraries.as_slice() else { panic!("{:?}", process.libraries) };
        assert_eq!((library.kind.as_str(), library.version), ("oneCCL", Some(20_220_200)));
    }
}

#[test]
fn ranks_name_their_communicators_alike() {
    let stage = Stage::new();
    let collector = stage.collector();
    for of in [1, 3] {
        let pid = rank(&stage, of, Linkage::Lazy).run().succeeded().pid;
        collector.ended(pid);
    }
    let rows = eventually(|| match collector.report_rows() {
        rows if rows.iter().any(|row| row["rank"] == 3) => Ok(rows),
        _ => Err("the second rank is not in the report".to_owned()),
    });
    let communicators = |elements: u64, ranks: u64| {
        let such =
            rows.iter().filter(|row| row["op"] == "AllReduce" && row["elements"] == elements);
        let such = such.filter(|row| row["ranks_in_group"] == ranks);
        such.map(|row| (row["communicator"].to_string(), row["rank"].to_string()))
            .unzip::<_, _, BTreeSet<_>, Vec<_>>()
    };
    let (names, ranks) = communicators(4096, 4);
    assert_eq!((names.len(), ranks), (1, vec!["1".to_owned(), "3".to_owned()]), "{rows:?}");
    let (halves, ranks) = communicators(80, 2);
    assert_eq!((halves.len(), ranks), (1, vec!["0".to_owned(), "1".to_owned()]), "{rows:?}");
    assert_ne!(names, halves);
}

#[test]
fn functions_that_a_program_looks_up_are_recorded() {
    let stage = Stage::new();
    let collector = stage.collector();
    let script = stage.script("oneccl").arg(hosts::simulated_oneccl());
    let script = script.env("SIMULATED_ONECCL_ACCOUNT", stage.path().join("oneccl-0"));
    let pid = script.run().succeeded().pid;
    collector.ended(pid).is_accounted_for();
    let ledger = ledger_equals(&collector, &account(&stage, 0, pid));
    assert_eq!(ledger.of("AllReduce"), 10);
}
