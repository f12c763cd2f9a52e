use super::*;
use nccltap_proto::Function;
use nccltap_proto::record::{NO_PEER, Record};
use nccltap_proto::v1::{self, agent_message::Message};

const RECV: Function = Function::ncclRecv;
const SEND: Function = Function::ncclSend;

/// One rank of a group of `ranks`, that made these calls: function, peer, number of its group.
fn take(collector: &Collector, rank: i32, ranks: u32, calls: &[(Function, i32, u32)]) {
    let pid = 100 + rank.unsigned_abs();
    let process = v1::Process { host: "node".into(), pid, ..Default::default() };
    let hello = v1::Hello { process: Some(process), ..Default::default() };
    let (stream, _) = collector.hello(hello, 0).unwrap();
    let facts = v1::Communicator { handle: 1, group: 5, ranks, rank, ..Default::default() };
    let records = calls.iter().flat_map(|(function, peer, group)| {
        let record = Record {
            communicator: 1,
            start: 1,
            end: 2,
            count: 4,
            function: function.id(),
            peer: *peer,
            group: *group,
            depth: u8::from(*group > 0),
            ..Record::default()
        };
        record.to_words().into_iter().flat_map(u64::to_le_bytes)
    });
    let records: Vec<u8> = records.collect();
    let batch = v1::Batch { records: records.into(), ..Default::default() };
    let report =
        v1::Report { communicators: vec![facts], batches: vec![batch], ..Default::default() };
    collector.take(stream.followed(), Message::Report(report), 0, false);
    collector.take(stream.followed(), Message::Goodbye(v1::Goodbye { last: None }), 0, false);
}

fn counts(collector: &Collector) -> Vec<(i32, String, Option<i32>, u64)> {
    let row = |row: Row| (row.rank.unwrap(), row.collective.unwrap(), row.peer, row.count);
    rows(collector, View::Collectives).into_iter().map(row).collect()
}

fn named(rank: i32, collective: &str, peer: i32, count: u64) -> (i32, String, Option<i32>, u64) {
    (rank, collective.to_owned(), (peer != NO_PEER).then_some(peer), count)
}

#[test]
fn a_send_is_part_of_the_gather_that_received_it() {
    let collector = Collector::new(8);
    let gather = [(RECV, 1, 1), (RECV, 2, 1)];
    take(&collector, 0, 3, &gather);
    take(&collector, 1, 3, &[(SEND, 0, 1)]);
    take(&collector, 2, 3, &[(SEND, 0, 1), (SEND, 0, 2)]);
    let expected = [
        named(0, "Gather", 0, 1),
        named(1, "Gather", 0, 1),
        // The root has not received the second one yet: one of the two was the gather's.
        named(2, "Send", 0, 1),
        named(2, "Gather", 0, 1),
    ];
    assert_eq!(counts(&collector), expected);
}

#[test]
fn a_transfer_of_the_same_shape_beside_a_gather_stays_a_transfer() {
    let collector = Collector::new(8);
    take(&collector, 0, 3, &[(RECV, 1, 1), (RECV, 2, 1), (RECV, 1, 2)]);
    take(&collector, 1, 3, &[(SEND, 0, 1), (SEND, 0, 2)]);
    let expected = [
        named(0, "Recv", 1, 1),
        named(0, "Gather", 0, 1),
        named(1, "Send", 0, 1),
        named(1, "Gather", 0, 1),
    ];
    assert_eq!(counts(&collector), expected);
}

#[test]
fn without_the_root_a_send_stays_a_send() {
    let collector = Collector::new(8);
    take(&collector, 1, 3, &[(SEND, 0, 1)]);
    assert_eq!(counts(&collector), [named(1, "Send", 0, 1)]);
}

#[test]
fn a_scatter_is_joined_in_the_same_way() {
    let collector = Collector::new(8);
    take(&collector, 0, 3, &[(SEND, 1, 1), (SEND, 2, 1)]);
    take(&collector, 2, 3, &[(RECV, 0, 1)]);
    assert_eq!(counts(&collector), [named(0, "Scatter", 0, 1), named(2, "Scatter", 0, 1)]);
}

#[test]
fn a_row_of_json_has_every_key_that_scripts_rely_on() {
    let collector = Collector::new(8);
    take(&collector, 0, 2, &[(SEND, 1, 0)]);
    let text = json(&rows(&collector, View::Operations)).unwrap();
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = rows[0].keys().map(String::as_str).collect();
    let mut expected = vec![
        "host",
        "pid",
        "rank",
        "stage",
        "phase",
        "phase_source",
        "group",
        "communicator",
        "role",
        "op",
        "collective",
        "path",
        "launch",
        "dtype",
        "elements",
        "peer",
        "ranks_in_group",
        "count",
        "message_bytes",
        "bus_bytes",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
}
