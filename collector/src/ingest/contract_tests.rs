use super::*;
use proptest::prelude::*;

fn good_hello() -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        record_size: RECORD_SIZE as u32,
        process: Some(v1::Process { host: "node".into(), pid: 7, ..Default::default() }),
        clock: v1::Clock::Tsc.into(),
        started: Some(v1::Anchor::default()),
        ..Default::default()
    }
}

fn one_record(change: impl FnOnce(&mut Record)) -> v1::Report {
    let mut record = Record { end: 2, function: 1, sequence: 5, ..Record::default() };
    change(&mut record);
    let bytes: Vec<u8> = record.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
    let encoding = v1::Encoding::Raw64.into();
    let batch = v1::Batch { ring: 0, first: 5, encoding, records: bytes.into() };
    v1::Report { batches: vec![batch], ..Default::default() }
}

fn with_batch(change: impl FnOnce(&mut v1::Batch)) -> v1::Report {
    let mut report = one_record(|_| {});
    change(&mut report.batches[0]);
    report
}

#[test]
fn a_hello_that_keeps_the_contract_is_taken() {
    assert_eq!(hello(&good_hello()), Ok(()));
    assert_eq!(report(&one_record(|_| {}), &[]), Ok(()));
}

#[test]
fn each_broken_rule_of_a_hello_has_its_sentence() {
    let function = v1::Function { id: 1, name: "ncclReduce".into() };
    for (change, sentence) in [
        (
            Box::new(|h: &mut v1::Hello| h.protocol_version = 9) as Box<dyn FnOnce(&mut v1::Hello)>,
            "speaks protocol version 9",
        ),
        (Box::new(|h: &mut v1::Hello| h.record_size = 80), "records have 80 bytes"),
        (Box::new(|h: &mut v1::Hello| h.process = None), "which process it is from"),
        (Box::new(|h: &mut v1::Hello| h.clock = 77), "clock 77"),
        (Box::new(|h: &mut v1::Hello| h.started = None), "came to life"),
        (Box::new(|h: &mut v1::Hello| h.ring_file = "x".repeat(5000)), "has 5000 bytes"),
        (
            Box::new(move |h: &mut v1::Hello| h.functions = vec![function]),
            "function 1 is ncclAllReduce here and ncclReduce at the agent",
        ),
    ] {
        let mut changed = good_hello();
        change(&mut changed);
        let breach = hello(&changed).unwrap_err().to_string();
        assert!(breach.contains(sentence), "{breach}");
    }
}

#[test]
fn marks_are_records_and_no_part_of_a_graph() {
    for kind in MarkKind::ALL {
        assert!(report(&one_record(|r| r.function = kind.id()), &[]).is_ok());
        let operation =
            v1::ManifestOperation { function: kind.id().into(), times: 1, ..Default::default() };
        let manifest = v1::Manifest { id: 1, operations: vec![operation], ..Default::default() };
        let broken = v1::Report { manifests: vec![manifest], ..Default::default() };
        assert!(report(&broken, &[]).is_err());
    }
}

#[test]
fn each_broken_rule_of_a_report_has_its_sentence() {
    for (broken, sentence) in [
        (with_batch(|b| b.ring = 5000), "ring 5000 is out of range"),
        (with_batch(|b| b.encoding = 8), "encoding 8"),
        (with_batch(|b| b.records = vec![0; 63].into()), "63 bytes, not a multiple of 64"),
        (with_batch(|b| b.first = u64::MAX), "out of range"),
        (with_batch(|b| b.first = 6), "the record at position 6 of ring 0 says it is record 5"),
        (one_record(|r| r.end = 0), "has not ended"),
        (one_record(|r| r.function = 500), "function 500 is neither known nor named"),
    ] {
        let breach = report(&broken, &[]).unwrap_err().to_string();
        assert!(breach.contains(sentence), "{breach}");
    }
    let operation = |function| v1::ManifestOperation { function, times: 1, ..Default::default() };
    let with_manifest = |id, operation: v1::ManifestOperation| {
        let manifest = v1::Manifest { id, operations: vec![operation], ..Default::default() };
        v1::Report { manifests: vec![manifest], ..Default::default() }
    };
    let far = v1::ManifestOperation { communicator: Some(9999), ..operation(1) };
    let too_long = vec![operation(1); LARGEST_MANIFEST + 1];
    let too_long = v1::Manifest { id: 1, operations: too_long, device_launch: false };
    for (broken, sentence) in [
        (with_manifest(0, operation(1)), "manifest 0 is out of range"),
        (with_manifest(5000, operation(1)), "manifest 5000 is out of range"),
        (with_manifest(1, operation(500)), "function 500 is neither known nor named"),
        (
            with_manifest(1, operation(22)),
            "manifest 1 has function 22 in it, which is no operation",
        ),
        (with_manifest(1, far), "a communicator of manifest 1 is out of range"),
        (
            v1::Report { manifests: vec![too_long], ..Default::default() },
            "operations in one manifest",
        ),
    ] {
        let breach = report(&broken, &[]).unwrap_err().to_string();
        assert!(breach.contains(sentence), "{breach}");
    }
    assert_eq!(report(&with_manifest(1, operation(1)), &[]), Ok(()));
    let in_flight = v1::InFlight { record: vec![1; 10].into(), ..Default::default() };
    let broken = v1::Report { in_flight: vec![in_flight], ..Default::default() };
    assert!(report(&broken, &[]).unwrap_err().to_string().contains("10 bytes"));
}

#[test]
fn the_largest_totals_that_are_allowed_can_be_summed() {
    let most =
        v1::RingTotals { recorded: LAST_POSITION, dropped: LAST_POSITION, ..Default::default() };
    let rings = (0..MAX_RINGS).map(|ring| v1::RingTotals { ring, ..most }).collect();
    let most = v1::Report { rings, unrecorded: LAST_POSITION, ..Default::default() };
    assert_eq!(report(&most, &[]), Ok(()));
    let mut process = crate::process::Process::new(&good_hello());
    process.take(&v1::agent_message::Message::Report(most), false);
    let mut accounting = process.accounting();
    assert!(accounting.balanced, "{accounting:?}");
    for _ in 0..9 {
        accounting.add(&process.accounting());
    }
    assert_eq!(accounting.made, u64::MAX, "a sum over processes stops there");
}

#[test]
fn a_function_of_a_newer_agent_is_taken_when_its_hello_names_it() {
    let newer = [v1::Function { id: 500, name: "ncclNewest".into() }];
    assert_eq!(report(&one_record(|r| r.function = 500), &newer), Ok(()));
}

proptest! {
    /// Whatever passes the contract can be counted, and the sums hold.
    #[test]
    fn no_report_makes_the_counts_wrong(
        batches in prop::collection::vec((0u32..3, 0u64..40, prop::collection::vec(any::<[u64; 8]>(), 0..20)), 0..20),
        recorded: u32,
    ) {
        let mut process = crate::process::Process::new(&good_hello());
        for (ring, first, words) in batches {
            let mut bytes = Vec::new();
            for (offset, words) in words.into_iter().enumerate() {
                let mut record = Record::from_words(words);
                record.sequence = (first + offset as u64) as u32;
                record.end = record.end.max(1);
                record.function = record.function % 38 + 1;
                record.group %= 3;
                record.depth %= 3;
                record.result %= 2;
                record.to_words().iter().for_each(|word| bytes.extend(word.to_le_bytes()));
            }
            let encoding = v1::Encoding::Raw64.into();
            let batch = v1::Batch { ring, first, encoding, records: bytes.into() };
            let rings = vec![v1::RingTotals { ring, recorded: recorded.into(), ..Default::default() }];
            let one = v1::Report { batches: vec![batch], rings, ..Default::default() };
            prop_assert_eq!(report(&one, &[]), Ok(()));
            process.take(&v1::agent_message::Message::Report(one), false);
            prop_assert!(process.accounting().balanced, "{:?}", process.accounting());
        }
        process.take(&v1::agent_message::Message::Goodbye(v1::Goodbye { last: None }), false);
        let accounting = process.accounting();
        prop_assert!(accounting.balanced, "{accounting:?}");
        prop_assert_eq!(accounting.held_operations, 0);
    }
}
