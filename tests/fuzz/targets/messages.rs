//! Anything that a peer on the socket may say: messages that are well formed and contradict each other,
//! and bytes that are no messages at all.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nccltap_collector::collector::Collector;
use nccltap_collector::ingest::contract;
use nccltap_fuzz::{hello, holds_together};
use nccltap_proto::Record;
use nccltap_proto::v1::{self, agent_message::Message};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
enum Said {
    Hello { pid: u8 },
    Report(Report),
    Goodbye(Report),
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Report {
    batches: Vec<Batch>,
    communicators: Vec<Communicator>,
    rings: Vec<(u8, u16, u8)>,
    in_flight: Option<(u8, Call)>,
    faults: Vec<(u8, u16)>,
    unrecorded: u8,
    anchor: Option<(u32, u32)>,
}

#[derive(Arbitrary, Debug)]
struct Batch {
    ring: u8,
    first: u16,
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
struct Communicator {
    id: u8,
    handle: u8,
    group: u8,
    ranks: u8,
    rank: i8,
    created: u16,
    destroyed: u16,
    name: String,
}

#[derive(Arbitrary, Debug)]
struct Call {
    start: u16,
    length: i16,
    communicator: u8,
    count: u64,
    function: u8,
    datatype: u8,
    peer: i8,
    result: i8,
    group: u8,
    depth: u8,
}

impl Call {
    fn record(&self, sequence: u32) -> Record {
        Record {
            start: self.start.into(),
            end: u64::from(self.start).saturating_add_signed(self.length.into()),
            communicator: self.communicator.into(),
            count: self.count,
            function: self.function.into(),
            datatype: self.datatype,
            peer: self.peer.into(),
            result: self.result.into(),
            group: self.group.into(),
            depth: self.depth.into(),
            sequence,
            ..Record::default()
        }
    }
}

impl From<Report> for v1::Report {
    fn from(report: Report) -> Self {
        let bytes = |record: Record| record.to_words().map(u64::to_le_bytes).concat();
        let batch = |batch: Batch| v1::Batch {
            ring: batch.ring.into(),
            first: batch.first.into(),
            encoding: v1::Encoding::Raw64.into(),
            records: (u32::from(batch.first)..)
                .zip(&batch.calls)
                .flat_map(|(sequence, call)| bytes(call.record(sequence)))
                .collect(),
        };
        let communicator = |it: Communicator| v1::Communicator {
            id: it.id.into(),
            handle: it.handle.into(),
            group: it.group.into(),
            ranks: it.ranks.into(),
            rank: it.rank.into(),
            created: it.created.into(),
            destroyed: it.destroyed.into(),
            name: it.name,
            ..Default::default()
        };
        Self {
            batches: report.batches.into_iter().map(batch).collect(),
            communicators: report.communicators.into_iter().map(communicator).collect(),
            rings: report
                .rings
                .into_iter()
                .map(|(ring, recorded, dropped)| v1::RingTotals {
                    ring: ring.into(),
                    recorded: recorded.into(),
                    dropped: dropped.into(),
                    ..Default::default()
                })
                .collect(),
            in_flight: report
                .in_flight
                .into_iter()
                .map(|(ring, call)| v1::InFlight {
                    ring: ring.into(),
                    record: bytes(call.record(0)).into(),
                    ..Default::default()
                })
                .collect(),
            faults: report
                .faults
                .into_iter()
                .map(|(kind, count)| v1::Fault {
                    name: format!("kind_{kind}"),
                    count: count.into(),
                })
                .collect(),
            unrecorded: report.unrecorded.into(),
            anchor: report.anchor.map(|(ticks, ns)| v1::Anchor {
                ticks: ticks.into(),
                monotonic_ns: ns.into(),
                realtime_ns: ns.into(),
            }),
            ..Default::default()
        }
    }
}

fn message(said: Said) -> Option<Message> {
    match said {
        Said::Hello { pid } => Some(Message::Hello(hello(pid.into()))),
        Said::Report(report) => Some(Message::Report(report.into())),
        Said::Goodbye(last) => Some(Message::Goodbye(v1::Goodbye { last: Some(last.into()) })),
        Said::Bytes(bytes) => v1::AgentMessage::decode(bytes.as_slice()).ok()?.message,
    }
}

fuzz_target!(|said: Vec<Said>| {
    let collector = Collector::new(3);
    let mut stream = None;
    for message in said.into_iter().filter_map(message) {
        match message {
            Message::Hello(hello) => {
                if contract::hello(&hello).is_ok() {
                    // A collector that is full refuses, and the stream before goes on.
                    stream = collector.hello(hello, 0).ok().map(|(stream, _)| stream).or(stream);
                }
            }
            message => {
                let Some(stream) = &stream else { continue };
                let report = match &message {
                    Message::Report(report) => Some(report),
                    Message::Goodbye(goodbye) => goodbye.last.as_ref(),
                    Message::Hello(_) => None,
                };
                let functions = stream.followed().lock().hello().functions.clone();
                if report.is_none_or(|report| contract::report(report, &functions).is_ok()) {
                    collector.take(stream.followed(), message, 0, false);
                }
            }
        }
    }
    drop(stream);
    holds_together(collector);
});
