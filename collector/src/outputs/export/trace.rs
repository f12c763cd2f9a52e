//! A timeline for Perfetto and for Chrome: the JSON trace event format, one event per operation.
//!
//! A process of the trace is a process of the run; its threads are the groups that it is in. A call is a slice as
//! long as it was inside NCCL on the host; an operation of a graph is an instant, when its launch ended. The format:
//! "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

use super::{Member, Operation, Who};
use crate::timeline::Launch;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Numbers of threads that each process has: more than it can have communicators.
const THREADS: u32 = 1 << 16;

/// Writes operations as a trace.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    /// The first operation's start: times in the trace count from there, in microseconds.
    origin: Option<u64>,
    named: BTreeSet<(u32, Option<u32>)>,
    untimed: u64,
    first: bool,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    /// Of an instant: it concerns its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: Args<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Name {
        name: &'a str,
    },
    Operation {
        dtype: Option<&'a str>,
        elements: Option<u64>,
        path: &'static str,
        peer: Option<i32>,
        message_bytes: Option<u64>,
        bus_bytes: Option<u64>,
        launch: &'a str,
        phase: &'a str,
    },
}

impl<W: Write> Writer<W> {
    /// A trace with nothing in it yet.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Self { to, origin: None, named: BTreeSet::new(), untimed: 0, first: true })
    }

    /// Adds an operation. One whose time is not known has no place in a trace, and is counted.
    pub fn add(&mut self, operation: &Operation) -> io::Result<()> {
        let (Some(start), Some(end)) = (operation.start_ns, operation.end_ns) else {
            self.untimed += 1;
            return Ok(());
        };
        let who = &operation.who;
        let thread = thread(who, operation.group.as_deref());
        self.name(who, operation.group.as_deref(), thread)?;
        let origin = *self.origin.get_or_insert(start);
        let microseconds = |ns: i128| ns as f64 / 1e3;
        let graph = operation.launch == Launch::Graph;
        self.event(&Event {
            name: operation.op.name(),
            ph: if graph { "i" } else { "X" },
            pid: who.number,
            tid: thread,
            ts: Some(microseconds(i128::from(start) - i128::from(origin))),
            dur: (!graph).then(|| microseconds(i128::from(end) - i128::from(start))),
            cat: Some(operation.phase.name()),
            s: graph.then_some("t"),
            args: Args::Operation {
                dtype: operation.dtype.map(nccltap_proto::Datatype::name),
                elements: operation.elements,
                path: operation.path.name(),
                peer: operation.peer,
                message_bytes: operation.message_bytes,
                bus_bytes: operation.bus_bytes,
                launch: operation.launch.name(),
                phase: operation.phase.name(),
            },
        })
    }

    /// Writes the end of the trace. Gives how many operations have no time, and are not in it.
    pub fn finish(mut self) -> io::Result<u64> {
        let origin = self.origin.unwrap_or_default();
        write!(self.to, "\n],\"otherData\":{{\"begins_ns_since_1970\":\"{origin}\"}}}}\n")?;
        self.to.flush()?;
        Ok(self.untimed)
    }

    /// Says what a process and a thread are, before their first event.
    fn name(&mut self, who: &Who, group: Option<&Member>, thread: u32) -> io::Result<()> {
        let metadata =
            |kind: &'static str, tid: u32| move |name: &str| (kind, tid, name.to_owned());
        let mut names = Vec::new();
        if self.named.insert((who.number, None)) {
            let place = match (who.stage, who.tensor_rank) {
                (Some(stage), Some(rank)) => format!("stage {stage}, tensor rank {rank}: "),
                _ => String::new(),
            };
            let text = format!("{place}process {} on {}", who.pid, who.host);
            names.push(metadata("process_name", 0)(&text));
        }
        if self.named.insert((who.number, Some(thread))) {
            let text = match group {
                Some(group) => {
                    let name = group.name.as_deref().unwrap_or("a group without a name");
                    let rank = group.rank.map(|rank| format!(" rank {rank}")).unwrap_or_default();
                    format!("{name}{rank}")
                }
                None => "group not known".to_owned(),
            };
            names.push(metadata("thread_name", thread)(&text));
        }
        for (kind, tid, name) in names {
            let args = Args::Name { name: &name };
            let (ts, dur, cat, s) = (None, None, None, None);
            self.event(&Event {
                name: kind,
                ph: "M",
                pid: who.number,
                tid,
                ts,
                dur,
                cat,
                s,
                args,
            })?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let before: &[u8] = if std::mem::take(&mut self.first) { b"\n" } else { b",\n" };
        self.to.write_all(before)?;
        serde_json::to_writer(&mut self.to, event)?;
        Ok(())
    }
}

/// The number of a group's thread: of no other group in the trace, and no process' number, since a thread with that
/// would be its main one.
fn thread(who: &Who, group: Option<&Member>) -> u32 {
    let of_process = group.map_or(0, |group| group.id.saturating_add(1) % THREADS);
    who.number.saturating_mul(THREADS).saturating_add(of_process)
}
