//! Hosts at their limits, and hosts that do what few do: the host comes first, and what is not seen
//! is counted.

use nccltap_tests::tally::Counter;
use nccltap_tests::{Linkage, Stage, eventually, hosts};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

#[test]
fn a_host_that_may_not_have_large_files_memory_descriptors_or_threads_goes_on() {
    for what in ["file", "memory", "descriptors", "threads"] {
        let stage = Stage::new();
        let _collector = stage.collector();
        let host = stage.host("limited", Linkage::Lazy).arg(what).run();
        assert!(host.status.success(), "{what}: {} {}", host.status, host.stderr);
        assert_eq!(host.stdout, "done\n", "{what}");
    }
}

/// Needs a mount of its own, which some machines do not allow: there it says so and tries nothing.
#[test]
fn a_host_whose_shared_memory_is_full_goes_on_and_every_call_is_accounted_for() {
    let unshare = |stage: &Stage| stage.untapped("/usr/bin/unshare").arg("-rm");
    if !unshare(&Stage::new()).arg("/bin/true").run().status.success() {
        eprintln!("skipped: `unshare -rm` is not allowed here");
        return;
    }
    let stage = Stage::new();
    let collector = stage.collector();
    let script = format!(
        "mount -t tmpfs -o size=300k tmpfs {} && exec {} 64 100",
        stage.rings_directory().display(),
        hosts::program("threads", Linkage::Lazy).display(),
    );
    let host = stage.tapped("/usr/bin/unshare").arg("-rm").arg("/bin/sh").arg("-c").arg(script);
    let host = host.env("NCCLTAP_RING_RECORDS", "2048").run().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    assert_eq!(stage.ground_truth(Counter::Returned).total(), 6400);
    assert_eq!(process.accounting.made, 6401, "{process:?}");
    assert!(process.accounting.unrecorded > 0, "{process:?}");
    assert!(process.faults.contains_key("no_room"), "{process:?}");
}

#[test]
fn a_thread_with_a_small_stack_is_counted() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("small_stack", Linkage::Lazy).run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 100);
}

#[test]
fn more_communicators_than_can_be_described_are_counted_without_their_group() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("many_communicators", Linkage::Lazy).arg("4200").run().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    assert_eq!(process.communicators.len(), 4096);
    assert!(process.faults.contains_key("too_many_communicators"), "{:?}", process.faults);
    let rows = collector.rows();
    assert_eq!(rows.total(), 4200);
    let unknown = rows.0.iter().filter(|(call, _)| call.group.is_none());
    assert_eq!(unknown.map(|(_, count)| count).sum::<u64>(), 4200 - 4096);
}

#[test]
fn signals_are_the_hosts() {
    let stage = Stage::new();
    let collector = stage.collector();
    stage.host("signals", Linkage::Lazy).run().succeeded();
    assert!(stage.ledger_equals_ground_truth(&collector).total() > 300);
}

#[test]
fn calls_of_a_thread_that_left_one_by_a_jump_are_counted_if_only_as_unrecorded() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage
        .host("jump", Linkage::Lazy)
        .env("NCCLTAP_REHEARSAL_HANG_AFTER", "2")
        .run()
        .succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!((truth.of("AllReduce"), truth.of("AllGather")), (11, 0));
    assert_eq!(collector.rows().of("AllReduce") + process.accounting.unrecorded, 11);
    let nested = process.faults.get("nested_call").copied().unwrap_or_default();
    assert_eq!(nested, process.accounting.unrecorded);
}

/// The tap's own descriptors are among those closed. Whether it can go on or not, it must leave
/// alone what then has their numbers.
#[test]
fn a_host_that_closes_all_descriptors_keeps_those_it_opens_then() {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut host = stage.host("closes_files", Linkage::Lazy).start();
    host.wait_for_line("calling");
    eventually(|| match collector.rows().total() {
        100 => Ok(()),
        others => Err(format!("{others} calls have arrived")),
    });
    host.go_on();
    host.wait_for_line("closed");
    // The drain thread has its turn, once or more, before the host looks at its files.
    std::thread::sleep(Duration::from_millis(200));
    host.go_on();
    host.finish().succeeded();
    assert_eq!(stage.ground_truth(Counter::Returned).total(), 300);
    let counted = collector.rows().total();
    assert!((100..=300).contains(&counted), "{counted}");
}

#[test]
fn a_host_that_locks_its_memory_pays_for_what_is_used_alone() {
    let stage = Stage::new();
    let collector = stage.collector();
    let mut host = stage.host("locked", Linkage::Lazy).start();
    host.wait_for_line("calling");
    let files = nccltap_tests::rings::files(&stage.rings_directory());
    let taken: u64 = files
        .iter()
        .map(|file| std::fs::metadata(file).map_or(0, |facts| facts.blocks() * 512))
        .sum();
    host.go_on();
    host.finish().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 10);
    // One ring of 4 MiB and what stands before it; the whole file has room for 64 of them.
    assert!((4 << 20..8 << 20).contains(&taken), "{taken} bytes");
}
