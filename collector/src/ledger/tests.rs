use super::*;
use crate::timeline::Launch;
use nccltap_proto::{Datatype, v1};
use proptest::prelude::*;

fn call(elements: u64, communicator: u32, peer: Option<i32>) -> OperationCall {
    OperationCall {
        function: Function::ncclSend,
        operation: nccltap_proto::Operation::Send,
        communicator: Some(communicator),
        elements,
        datatype: Some(Datatype::Float16),
        peer,
        launch: Launch::Eager,
        end: 0,
        duration_ns: Some(1_500),
    }
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

proptest! {
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
