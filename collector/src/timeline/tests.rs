use super::*;
use nccltap_proto::record::{NO_DATATYPE, NO_PEER, Record};
use nccltap_proto::{Datatype, Function, Mark, MarkKind, Operation};
use proptest::prelude::*;

/// Writes down what it is told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    calls: u64,
    operations: Vec<OperationCall>,
    groups: Vec<usize>,
    failed: Vec<(Function, i32)>,
    simulated: u64,
    gaps: u64,
    captured: u64,
    launched: Vec<String>,
    /// Marks, each with the number of operations that were told before it.
    marks: Vec<(Mark, usize)>,
}

impl Listener for Told {
    fn call(&mut self, _: Function) {
        self.calls += 1;
    }
    fn operation(&mut self, call: &OperationCall, _: &Communicators) {
        self.operations.push(*call);
    }
    fn group(&mut self, calls: &[OperationCall], _: &Communicators) {
        self.groups.push(calls.len());
        self.operations.extend(calls);
    }
    fn failed(&mut self, function: Function, result: i32) {
        self.failed.push((function, result));
    }
    fn simulated(&mut self, operations: u64) {
        self.simulated += operations;
    }
    fn gap(&mut self) {
        self.gaps += 1;
    }
    fn captured(&mut self, _: &OperationCall, _: &Communicators) {
        self.captured += 1;
    }
    fn mark(&mut self, mark: &Mark) {
        self.marks.push((*mark, self.operations.len()));
    }
    fn launched_by_device(&mut self, _: &Manifest) {
        self.launched.push("by device".to_owned());
    }
    fn launched(&mut self, holds: Holds<'_>, _: u64, _: &Communicators) {
        self.launched.push(match holds {
            Holds::Nothing => "nothing".to_owned(),
            Holds::Operations(manifest) => format!("{} blocks", manifest.blocks().len()),
            Holds::Unknown => "unknown".to_owned(),
            Holds::Captured => "captured".to_owned(),
        });
    }
}

const COMMUNICATOR: u64 = 0xc0;

fn record(function: Function, group: u32, depth: u8) -> Record {
    Record {
        start: 1_000,
        end: 3_000,
        communicator: COMMUNICATOR,
        count: 8,
        function: function.id(),
        datatype: 9,
        peer: NO_PEER,
        group,
        depth,
        ..Record::default()
    }
}

fn batch(first: u64, records: &[Record]) -> v1::Batch {
    let mut bytes = Vec::new();
    for (offset, record) in records.iter().enumerate() {
        let record = Record { sequence: (first + offset as u64) as u32, ..*record };
        record.to_words().iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    }
    let encoding = v1::Encoding::Raw64.into();
    v1::Batch { ring: 0, first, encoding, records: bytes.into() }
}

fn report(batches: Vec<v1::Batch>) -> v1::Report {
    let anchor = v1::Anchor { ticks: 4_000, monotonic_ns: 2_000, realtime_ns: 9_000 };
    let communicator = v1::Communicator {
        id: 4,
        handle: COMMUNICATOR,
        created: 10,
        ranks: 2,
        ..Default::default()
    };
    v1::Report {
        anchor: Some(anchor),
        communicators: vec![communicator],
        batches,
        ..Default::default()
    }
}

fn timeline() -> Timeline {
    Timeline::new(Clock::new(v1::Clock::Tsc, v1::Anchor::default()))
}

fn told(records: &[Record]) -> (Told, Timeline) {
    let (mut told, mut timeline) = (Told::default(), timeline());
    timeline.report(&report(vec![batch(0, records)]), &mut told);
    (told, timeline)
}

use Function::cudaGraphLaunch;
use Function::{ncclAllReduce, ncclGroupEnd, ncclGroupSimulateEnd, ncclGroupStart, ncclRecv};

#[test]
fn a_record_becomes_an_operation_with_its_communicator_and_duration() {
    let (told, _) = told(&[record(ncclAllReduce, 0, 0)]);
    let expected = OperationCall {
        end: 3_000,
        function: ncclAllReduce,
        operation: Operation::AllReduce,
        communicator: Some(4),
        elements: 8,
        path: nccltap_proto::Path::Nccl,
        datatype: Some(Datatype::Bfloat16),
        peer: None,
        launch: Launch::Eager,
        duration_ns: Some(1_000),
    };
    assert_eq!(told.operations, [expected]);
}

#[test]
fn what_is_not_known_stays_so() {
    let strange =
        Record { communicator: 0xbad, datatype: NO_DATATYPE, ..record(ncclAllReduce, 0, 0) };
    let (told, _) = told(&[strange]);
    assert_eq!(told.operations[0].communicator, None);
    assert_eq!(told.operations[0].datatype, None);
}

#[test]
fn grouped_operations_are_told_when_the_group_ends() {
    let start = [record(ncclGroupStart, 1, 1), record(ncclRecv, 1, 1), record(ncclRecv, 1, 1)];
    let (mut told, mut timeline) = told(&start);
    assert_eq!((told.operations.len(), timeline.totals().held), (0, 2));
    // The end of an inner group launches nothing.
    let inner = [record(ncclGroupStart, 1, 2), record(ncclGroupEnd, 1, 2)];
    timeline.report(&report(vec![batch(3, &inner)]), &mut told);
    assert_eq!(timeline.totals().held, 2);
    timeline.report(&report(vec![batch(5, &[record(ncclGroupEnd, 1, 1)])]), &mut told);
    assert_eq!((told.groups.as_slice(), timeline.totals().held), ([2].as_slice(), 0));
}

#[test]
fn a_simulated_group_is_not_traffic() {
    let group =
        [record(ncclRecv, 1, 1), record(ncclRecv, 1, 1), record(ncclGroupSimulateEnd, 1, 1)];
    let (told, timeline) = told(&group);
    assert_eq!((told.operations.len(), told.simulated, timeline.totals().held), (0, 2, 0));
}

#[test]
fn a_group_that_nccl_refuses_is_not_traffic() {
    let group = [record(ncclRecv, 1, 1), Record { result: 5, ..record(ncclGroupEnd, 1, 1) }];
    let (told, _) = told(&group);
    assert_eq!(told.operations, []);
    assert_eq!(told.failed, [(ncclGroupEnd, 5), (ncclRecv, 5)]);
}

#[test]
fn a_refused_operation_is_not_traffic_and_one_in_progress_is() {
    let refused = Record { result: 4, ..record(ncclAllReduce, 0, 0) };
    let in_progress = Record { result: 7, ..record(ncclAllReduce, 0, 0) };
    let (told, _) = told(&[refused, in_progress]);
    assert_eq!((told.operations.len(), told.failed), (1, vec![(ncclAllReduce, 4)]));
}

#[test]
fn a_group_without_end_is_told_when_the_next_one_begins_or_the_process_ends() {
    let (mut told, mut timeline) = told(&[record(ncclRecv, 1, 1), record(ncclRecv, 2, 1)]);
    assert_eq!((told.operations.len(), timeline.groups_without_end()), (1, 1));
    timeline.finish(false, &mut told);
    assert_eq!((told.operations.len(), timeline.groups_without_end()), (2, 2));
}

#[test]
fn a_group_larger_than_what_can_be_held_is_told_before_its_end() {
    let more = HELD_OPERATIONS + 10;
    let mut group = vec![record(ncclRecv, 1, 1); more];
    group.push(record(ncclGroupEnd, 1, 1));
    let (told, timeline) = told(&group);
    assert_eq!(told.operations.len(), more);
    assert_eq!(timeline.told_before_group_end(), more as u64);
    assert_eq!(timeline.totals().held, 0);
}

#[test]
fn what_goes_to_a_graph_is_not_carried_out_and_not_held_for_its_group() {
    let depth = nccltap_proto::record::CAPTURED;
    let alone = Record { depth, ..record(ncclAllReduce, 0, 0) };
    let grouped = Record { depth: depth | 1, ..record(ncclRecv, 1, 1) };
    let refused = Record { result: 5, ..alone };
    let (told, timeline) = told(&[alone, grouped, record(ncclGroupEnd, 1, 1), refused]);
    assert_eq!((told.captured, told.operations.len(), timeline.totals().held), (2, 0, 0));
    assert_eq!(told.failed, [(ncclAllReduce, 5)]);
}

#[test]
fn a_launch_tells_what_its_manifest_says() {
    let manifest = |id, device_launch| v1::Manifest { id, device_launch, ..Default::default() };
    let launch = |count| Record { count, ..record(cudaGraphLaunch, 0, 0) };
    let (mut told, mut timeline) = (Told::default(), timeline());
    let refused = Record { result: 700, ..launch(1) };
    let captured = Record { depth: nccltap_proto::record::CAPTURED, ..launch(1) };
    let all = [launch(0), launch(1), launch(9), launch(u32::MAX.into()), refused, captured];
    let first = v1::Report {
        manifests: vec![manifest(1, false), manifest(2, true), manifest(2, true)],
        ..report(vec![batch(0, &all)])
    };
    timeline.report(&first, &mut told);
    let expected = ["by device", "nothing", "0 blocks", "unknown", "unknown", "captured"];
    assert_eq!(told.launched, expected);
    assert_eq!((told.calls, told.failed), (6, vec![(cudaGraphLaunch, 700)]));
}

fn mark(kind: MarkKind) -> Record {
    Record { function: kind.id(), start: 3_000, end: 3_000, ..Record::default() }
}

#[test]
fn marks_take_their_place_among_the_operations_and_are_no_calls() {
    let all = [mark(MarkKind::Begin), record(ncclAllReduce, 0, 0), mark(MarkKind::End)];
    let (told, timeline) = told(&all);
    let kinds: Vec<_> = told.marks.iter().map(|(mark, before)| (mark.kind(), *before)).collect();
    assert_eq!(kinds, [(MarkKind::Begin, 0), (MarkKind::End, 1)]);
    assert_eq!((told.calls, timeline.marks(), timeline.unknown_functions()), (1, 2, 0));
}

#[test]
fn a_mark_behind_which_others_may_be_missing_holds_for_nothing() {
    let (mut told, mut timeline) = (Told::default(), timeline());
    // Somewhere before position 2 a mark found the ring full.
    let totals = v1::RingTotals { recorded: 2, dropped: 1, ..Default::default() };
    let marks = batch(0, &[mark(MarkKind::Begin), mark(MarkKind::Begin), mark(MarkKind::Begin)]);
    timeline.report(&v1::Report { rings: vec![totals], ..report(vec![marks]) }, &mut told);
    // One where it is learnt, and one before each of the three and behind the first two.
    assert_eq!((told.marks.len(), told.gaps), (3, 1 + 3 + 2));
}

#[test]
fn what_another_collector_took_is_neither_seen_nor_lost() {
    let (mut told, mut timeline) = (Told::default(), timeline());
    let totals = v1::RingTotals { ring: 0, recorded: 100, ..Default::default() };
    let first = v1::Report { rings: vec![totals], ..report(vec![]) };
    timeline.report(&first, &mut told);
    assert_eq!(timeline.positions(), []);
    timeline.report(&report(vec![batch(100, &[record(ncclAllReduce, 0, 0)])]), &mut told);
    let sums = timeline.totals();
    assert_eq!((sums.made, sums.before, sums.taken, sums.lost), (101, 100, 1, 0));
}

#[test]
fn a_ring_of_which_nothing_came_before_a_goodbye_was_anothers() {
    let (mut told, mut timeline) = (Told::default(), timeline());
    let totals = v1::RingTotals { ring: 7, recorded: 100, ..Default::default() };
    timeline.report(&v1::Report { rings: vec![totals], ..report(vec![]) }, &mut told);
    assert_eq!(timeline.totals().pending, 100);
    timeline.finish(true, &mut told);
    let sums = timeline.totals();
    assert_eq!((sums.pending, sums.before, sums.made), (0, 100, 100));
}

proptest! {
    /// However a stream of records is cut, repeated after a reconnect, or interrupted, each record
    /// is told once, and the totals say how many are missing.
    #[test]
    fn repeats_and_cuts_change_nothing(
        total in 1u64..200,
        cuts in prop::collection::vec((0u64..200, 1u64..60), 0..20),
    ) {
        let at = |first: u64, count: u64| {
            let records: Vec<_> = (first..first + count)
                .map(|position| Record { count: position, ..record(ncclAllReduce, 0, 0) })
                .collect();
            batch(first, &records)
        };
        let (mut told, mut timeline) = (Told::default(), timeline());
        timeline.report(&report(vec![at(0, 1)]), &mut told);
        for (first, count) in cuts {
            let next = timeline.position(0).unwrap();
            let first = first.min(next);
            let count = count.min(total.saturating_sub(first));
            timeline.report(&report(vec![at(first, count)]), &mut told);
        }
        let next = timeline.position(0).unwrap();
        let told: Vec<u64> = told.operations.iter().map(|call| call.elements).collect();
        prop_assert_eq!(told, (0..next).collect::<Vec<_>>());
        prop_assert_eq!(timeline.totals().lost, 0);
        prop_assert_eq!(timeline.totals().taken, next);
    }

    #[test]
    fn a_gap_is_lost_and_everything_else_is_told(gaps in prop::collection::vec(0u64..50, 1..20)) {
        let (mut told, mut timeline) = (Told::default(), timeline());
        timeline.report(&report(vec![batch(0, &[record(ncclAllReduce, 0, 0)])]), &mut told);
        let mut position = 1;
        for gap in &gaps {
            position += gap;
            let one = batch(position, &[record(ncclAllReduce, 0, 0)]);
            timeline.report(&report(vec![one]), &mut told);
            position += 1;
        }
        let sums = timeline.totals();
        prop_assert_eq!(sums.lost, gaps.iter().sum::<u64>());
        prop_assert_eq!(told.operations.len(), gaps.len() + 1);
        prop_assert_eq!(sums.made, sums.taken + sums.lost);
    }
}
