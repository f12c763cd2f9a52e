use super::*;
use crate::timeline::{Launch, Manifests};
use nccltap_proto::record::UNKNOWN_COUNT;
use nccltap_proto::{Datatype, v1};
use proptest::prelude::*;

fn call(elements: u64, communicator: u32, peer: Option<i32>) -> OperationCall {
    OperationCall {
        function: Function::ncclSend,
        operation: nccltap_proto::Operation::Send,
        communicator: Some(communicator),
        elements,
        path: nccltap_proto::Path::Nccl,
        datatype: Some(Datatype::Float16),
        peer,
        launch: Launch::Eager,
        end: 0,
        duration_ns: Some(1_500),
    }
}

fn launched(ledger: &mut Ledger, holds: Holds<'_>, communicators: &Communicators) {
    let mut steps = crate::steps::Steps::default();
    let mut history = crate::history::History::default();
    let mut backends = crate::backends::Backends::default();
    let mut accountant =
        crate::accountant::Accountant::new(&mut steps, ledger, &mut backends, &mut history, None);
    crate::timeline::Listener::launched(&mut accountant, holds, 0, communicators);
}

fn count(ledger: &mut Ledger, call: &OperationCall) {
    ledger.operation(call, Label::UNKNOWN, Tokens::default());
}

#[test]
fn calls_of_one_key_are_counted_together() {
    let mut ledger = Ledger::default();
    for elements in [8, 8, 16, 8] {
        count(&mut ledger, &call(elements, 0, Some(1)));
    }
    let counts: Vec<_> = ledger.entries().iter().map(|e| (e.count, e.elements)).collect();
    assert_eq!(counts, [(3, 24), (1, 16)]);
    assert_eq!(ledger.series()[0].1.count(), 4);
    assert_eq!(ledger.series()[0].1.sum_ns, 6_000);
}

#[test]
fn past_the_exact_keys_sizes_are_powers_of_two_and_sums_stay_exact() {
    let mut ledger = Ledger::default();
    let most = EXACT_KEYS as u64;
    for elements in 1..=most {
        count(&mut ledger, &call(elements, 0, Some(1)));
    }
    for elements in [most + 1, most + 2, most + 3] {
        count(&mut ledger, &call(elements, 0, Some(1)));
    }
    // A key that was there before stays exact.
    count(&mut ledger, &call(5, 0, Some(1)));
    assert_eq!(ledger.entries()[4].count, 2);
    let rounded = ledger.entries()[EXACT_KEYS];
    assert_eq!(rounded.key.elements, Elements::UpTo(2 * most));
    assert_eq!((rounded.count, rounded.elements), (3, 3 * u128::from(most) + 6));
    assert_eq!(ledger.entries().len(), EXACT_KEYS + 1);
}

#[test]
fn memory_is_bounded_whatever_a_process_does() {
    let mut ledger = Ledger::default();
    for number in 0..200_000u64 {
        count(&mut ledger, &call(number, number as u32, Some(number as i32)));
    }
    assert_eq!(ledger.operations(), 200_000);
    let counted: u64 = ledger.entries().iter().map(|entry| entry.count).sum();
    assert_eq!(counted, 200_000);
    assert!(ledger.entries().len() < 2 * EXACT_KEYS + 100, "{}", ledger.entries().len());
}

#[test]
fn results_that_are_not_nccls_are_one_kind() {
    let mut ledger = Ledger::default();
    for result in [3, 77_000, -4, UNWOUND] {
        ledger.failed(Function::ncclSend, result);
    }
    let failed: Vec<_> = ledger.failures().iter().map(|((_, result), n)| (*result, *n)).collect();
    assert_eq!(failed, [(OTHER_RESULT, 2), (UNWOUND, 1), (3, 1)]);
    assert_eq!(ledger.failed_operations(), 4);
}

#[test]
fn a_group_that_is_a_collective_is_counted_as_both() {
    let mut communicators = Communicators::default();
    communicators.learn(&v1::Communicator { id: 0, ranks: 3, rank: 0, ..Default::default() });
    let mut ledger = Ledger::default();
    let others = [call(8, 0, Some(1)), call(8, 0, Some(2))];
    ledger.group(&others, &communicators, Label::UNKNOWN, Tokens::default());
    ledger.group(&others[..1], &communicators, Label::UNKNOWN, Tokens::default());
    let merged: Vec<_> = ledger.merged().map(|(m, _, n)| (m.collective, m.root, n)).collect();
    assert_eq!(merged, [(Collective::Scatter, Some(0), 1)]);
    let counts: Vec<_> = ledger.entries().iter().map(|e| (e.count, e.merged)).collect();
    assert_eq!(counts, [(2, 1), (1, 1)]);
}

/// A manifest of Sends, each with its count, communicator, group, times, and whether a condition holds it.
fn manifest(operations: &[(u64, u32, u32, u32, bool)]) -> Manifest {
    let operation =
        |(count, communicator, group, times, conditional): &(u64, u32, u32, u32, bool)| {
            v1::ManifestOperation {
                function: Function::ncclSend.id().into(),
                count: *count,
                datatype: 6,
                communicator: Some(*communicator),
                peer: 1,
                group: *group,
                times: *times,
                conditional: *conditional,
                ..Default::default()
            }
        };
    let operations = operations.iter().map(operation).collect();
    let mut all = Manifests::default();
    let manifest = v1::Manifest { id: 1, operations, device_launch: false };
    all.learn(&manifest, &Communicators::default()).unwrap().clone()
}

#[test]
fn what_a_kernel_does_not_say_of_its_size_is_in_no_sum() {
    let mut ledger = Ledger::default();
    let kernel = OperationCall { path: Path::SymmMemMultimem, ..call(UNKNOWN_COUNT, 0, None) };
    for one in [kernel, call(8, 0, None), kernel] {
        count(&mut ledger, &one);
    }
    let entries: Vec<_> = ledger
        .entries()
        .iter()
        .map(|e| (e.key.path, e.key.elements, e.count, e.elements, e.key.message_bytes(e.elements)))
        .collect();
    let [unknown, known] = entries[..] else { panic!("two keys: {entries:?}") };
    assert_eq!(unknown, (Path::SymmMemMultimem, Elements::Unknown, 2, 0, None));
    assert_eq!((known.0, known.1, known.4), (Path::Nccl, Elements::Exactly(8), Some(16)));
}

#[test]
fn launches_are_counted_by_what_is_known_of_them() {
    let (mut ledger, communicators) = (Ledger::default(), Communicators::default());
    let manifest = manifest(&[(8, 0, 0, 65, false)]);
    for holds in [Holds::Operations(&manifest), Holds::Nothing, Holds::Unknown, Holds::Captured] {
        launched(&mut ledger, holds, &communicators);
    }
    let expected = Launches { with_operations: 1, without: 1, unknown: 1, captured: 1 };
    assert_eq!(ledger.launches(), expected);
    assert_eq!((ledger.operations(), ledger.graph_operations()), (65, 65));
    // A call of its own is another key than the same in a graph.
    count(&mut ledger, &call(8, 0, Some(1)));
    let counts: Vec<_> = ledger.entries().iter().map(|e| (e.key.launch, e.count)).collect();
    assert_eq!(counts, [(Launch::Graph, 65), (Launch::Eager, 1)]);
    // Nobody timed what was in the graph.
    let timed: Vec<_> = ledger.series().iter().map(|(_, durations)| durations.count()).collect();
    assert_eq!(timed, [0, 1]);
}

#[test]
fn a_group_in_a_graph_is_a_collective_as_often_as_it_is_launched() {
    let mut communicators = Communicators::default();
    communicators.learn(&v1::Communicator { id: 0, ranks: 2, rank: 0, ..Default::default() });
    let broadcast = |peer| v1::ManifestOperation {
        function: Function::ncclBroadcast.id().into(),
        count: 8,
        datatype: 6,
        communicator: Some(0),
        peer,
        group: 1,
        times: 3,
        ..Default::default()
    };
    let operations = vec![broadcast(0), broadcast(1)];
    let mut all = Manifests::default();
    let told = v1::Manifest { id: 1, operations, device_launch: false };
    let manifest = all.learn(&told, &Communicators::default()).unwrap().clone();
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        launched(&mut ledger, Holds::Operations(&manifest), &communicators);
    }
    let merged: Vec<_> = ledger.merged().map(|(m, _, n)| (m.collective, m.launch, n)).collect();
    assert_eq!(merged, [(Collective::AllGather, Launch::Graph, 15)]);
    assert!(ledger.entries().iter().all(|entry| entry.merged == entry.count));
}

#[test]
fn what_only_the_gpu_knows_is_a_lower_bound() {
    let (mut ledger, communicators) = (Ledger::default(), Communicators::default());
    let manifest = manifest(&[(8, 0, 0, 2, false), (8, 0, 0, 4, true), (16, 0, 0, 1, true)]);
    for _ in 0..3 {
        launched(&mut ledger, Holds::Operations(&manifest), &communicators);
    }
    let rows: Vec<_> = ledger.entries().iter().map(|e| (e.count, e.at_least)).collect();
    assert_eq!(rows, [(6, true), (0, true)]);
    assert_eq!(ledger.conditional().values().sum::<u64>(), 15);
    assert_eq!(ledger.operations(), 6);
}

proptest! {
    /// Launches are multiplication: so many launches of a manifest count what that many passes over
    /// its operations would, key by key, and in no order of launches does anything else come out.
    #[test]
    fn launches_times_manifest_is_what_the_ledger_holds(
        manifests in prop::collection::vec(
            prop::collection::vec((0u64..4, 0u32..3, 0u32..3, 1u32..70, any::<bool>()), 0..12), 1..4),
        launches in prop::collection::vec(0usize..4, 0..60),
    ) {
        let communicators = Communicators::default();
        // The operations of a group have their times and their condition in common.
        let mut contents = manifests;
        for operations in &mut contents {
            operations.sort_by_key(|operation| operation.2);
            for at in 1..operations.len() {
                let before = operations[at - 1];
                if before.2 != 0 && before.2 == operations[at].2 {
                    (operations[at].3, operations[at].4) = (before.3, before.4);
                }
            }
        }
        let known: Vec<Manifest> = contents.iter().map(|operations| manifest(operations)).collect();
        let mut ledger = Ledger::default();
        let mut expected: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        let mut conditional = 0;
        for number in launches.iter().filter(|number| **number < known.len()) {
            launched(&mut ledger, Holds::Operations(&known[*number]), &communicators);
            for (count, communicator, _, times, in_condition) in &contents[*number] {
                match in_condition {
                    true => conditional += u64::from(*times),
                    false => *expected.entry((*count, *communicator)).or_default() += u64::from(*times),
                }
            }
        }
        let counted: BTreeMap<_, _> = ledger
            .entries()
            .iter()
            .filter(|entry| entry.count > 0)
            .map(|entry| {
                let Elements::Exactly(elements) = entry.key.elements else { unreachable!() };
                ((elements, entry.key.communicator.unwrap()), entry.count)
            })
            .collect();
        prop_assert_eq!(counted, expected.clone());
        prop_assert_eq!(ledger.graph_operations(), expected.values().sum::<u64>());
        prop_assert_eq!(ledger.conditional().values().sum::<u64>(), conditional);
        for entry in ledger.entries() {
            let Elements::Exactly(elements) = entry.key.elements else { unreachable!() };
            prop_assert_eq!(entry.elements, u128::from(elements) * u128::from(entry.count));
        }
    }

    #[test]
    fn no_operation_is_counted_twice_or_not_at_all(
        calls in prop::collection::vec((0u64..20_000, 0u32..4, -1i32..4), 0..400)
    ) {
        let mut ledger = Ledger::default();
        for (elements, communicator, peer) in &calls {
            count(&mut ledger, &call(*elements, *communicator, Some(*peer)));
        }
        prop_assert_eq!(ledger.entries().iter().map(|e| e.count).sum::<u64>(), calls.len() as u64);
        prop_assert_eq!(
            ledger.entries().iter().map(|e| e.elements).sum::<u128>(),
            calls.iter().map(|(elements, ..)| u128::from(*elements)).sum::<u128>()
        );
        prop_assert_eq!(
            ledger.series().iter().map(|(_, d)| d.count()).sum::<u64>(),
            calls.len() as u64
        );
    }
}
