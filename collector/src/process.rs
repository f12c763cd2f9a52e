//! One tapped process: who it is, what it said, and what that amounts to.
//!
//! Pure. Live streams, recordings and ring files all end up here, as the same messages.

use crate::accountant::Accountant;
use crate::backends::Backends;
use crate::groups::Board;
use crate::history::History;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::steps::{Passage, Steps};
use crate::timeline::{Clock, CommunicatorId, Timeline};
use nccltap_proto::record::{RECORD_SIZE, Record};
use nccltap_proto::{Function, v1};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What tells one process from every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Host name.
    pub host: String,
    /// Process id, in its own pid namespace.
    pub pid: u32,
    /// When the tap came to life in it, nanoseconds since 1970.
    pub instance: u64,
}

impl From<&v1::Process> for Identity {
    fn from(process: &v1::Process) -> Self {
        Self { host: process.host.clone(), pid: process.pid, instance: process.instance }
    }
}

impl From<Identity> for v1::Process {
    fn from(identity: Identity) -> Self {
        let Identity { host, pid, instance } = identity;
        Self { host, pid, instance, ..Self::default() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It has not said that it ends. Whether it still lives is for the stream to say.
    Running,
    /// It said Goodbye.
    Ended,
    /// It died without a word, and its ring file was read.
    Recovered,
}

/// A call that has entered NCCL and not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The function.
    pub function: Option<Function>,
    /// Its communicator.
    pub communicator: Option<CommunicatorId>,
    /// Thread that made the call.
    pub thread: u32,
    /// The call as recorded so far.
    pub record: Record,
    /// How long it had been inside NCCL when the process spoke last, in nanoseconds.
    pub age_ns: Option<u64>,
    /// When it entered, nanoseconds since 1970.
    pub since_realtime_ns: Option<u64>,
}

/// Where every call that a process made has gone.
///
/// `made = seen + dropped + unrecorded + before + lost + pending`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Calls of wrapped functions that the process made under the tap, and marks of engine steps.
    pub made: u64,
    /// Calls this collector took into its counts, and marks of engine steps.
    pub seen: u64,
    /// Calls not recorded because their ring was full.
    pub dropped: u64,
    /// Calls not recorded because no ring could be had.
    pub unrecorded: u64,
    /// Calls that another collector took before this one knew the process.
    pub before: u64,
    /// Calls that were recorded and never reached this collector.
    pub lost: u64,
    /// Calls recorded and not yet received.
    pub pending: u64,
    /// Operations that are in the counts: those of the calls seen, and those of graphs launched.
    pub operations: u64,
    /// Of those: operations that launches of graphs carried out. They were no calls.
    pub graph_operations: u64,
    /// Of those seen: operations captured into graphs, and not carried out by that.
    pub captured_operations: u64,
    /// Of those seen: operations that NCCL refused.
    pub failed_operations: u64,
    /// Of those seen: operations of simulated groups.
    pub simulated_operations: u64,
    /// Of those seen: operations waiting for the end of their group.
    pub held_operations: u64,
    /// Of those seen: marks of engine steps. They were no calls of NCCL.
    #[serde(default)]
    pub marks: u64,
    /// Of those seen: calls of functions this collector does not know.
    pub unknown_functions: u64,
    /// Whether the sums above agree with the positions of the records, counted apart.
    pub balanced: bool,
}

/// One tapped process.
#[derive(Debug)]
pub struct Process {
    hello: v1::Hello,
    facts: v1::Process,
    life: Life,
    timeline: Timeline,
    steps: Steps,
    ledger: Ledger,
    backends: Backends,
    history: History,
    journal: Option<Journal>,
    libraries: BTreeMap<u32, v1::Library>,
    faults: BTreeMap<String, u64>,
    unrecorded: u64,
    in_flight: Vec<InFlight>,
}

impl Process {
    /// A process that has said Hello. The Hello keeps to the
    /// [contract](crate::ingest::contract).
    pub fn new(hello: &v1::Hello) -> Self {
        let clock = Clock::new(hello.clock(), hello.started.unwrap_or_default());
        Self {
            facts: hello.process.clone().unwrap_or_default(),
            hello: hello.clone(),
            life: Life::Running,
            timeline: Timeline::new(clock),
            steps: Steps::default(),
            ledger: Ledger::default(),
            backends: Backends::default(),
            history: History::default(),
            journal: None,
            libraries: BTreeMap::new(),
            faults: BTreeMap::new(),
            unrecorded: 0,
            in_flight: Vec::new(),
        }
    }

    /// The same, keeping each operation until it is taken from the [`journal`](Self::journal).
    pub fn with_journal(self) -> Self {
        Self { journal: Some(Journal::default()), ..self }
    }

    /// The journal of single operations, if one is kept.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// Takes a message in. A later Hello is that of a new stream of the same process. What was
    /// `recovered` from the ring file of a dead process ends with a Goodbye that is not its own.
    pub fn take(&mut self, message: &v1::agent_message::Message, recovered: bool) {
        use v1::agent_message::Message;
        match message {
            Message::Hello(hello) => self.hello = hello.clone(),
            Message::Report(report) => self.report(report),
            Message::Goodbye(goodbye) => {
                if let Some(last) = &goodbye.last {
                    self.report(last);
                }
                // What a process did after its own Goodbye stands in its file; it ended all the same.
                self.life = match self.life {
                    Life::Running if recovered => Life::Recovered,
                    life if recovered => life,
                    _ => Life::Ended,
                };
                let mut accountant = Accountant::new(
                    &mut self.steps,
                    &mut self.ledger,
                    &mut self.backends,
                    &mut self.history,
                    self.journal.as_mut(),
                );
                self.timeline.finish(!recovered, &mut accountant);
                accountant.finish();
            }
        }
    }

    fn report(&mut self, report: &v1::Report) {
        let mut accountant = Accountant::new(
            &mut self.steps,
            &mut self.ledger,
            &mut self.backends,
            &mut self.history,
            self.journal.as_mut(),
        );
        self.timeline.report(report, &mut accountant);
        for library in &report.libraries {
            self.libraries.insert(library.id, library.clone());
        }
        for fault in &report.faults {
            let count = self.faults.entry(fault.name.clone()).or_default();
            *count = fault.count.max(*count);
        }
        self.unrecorded = self.unrecorded.max(report.unrecorded);
        self.in_flight = report.in_flight.iter().filter_map(|call| self.in_flight(call)).collect();
    }

    fn in_flight(&mut self, call: &v1::InFlight) -> Option<InFlight> {
        let bytes = <&[u8; RECORD_SIZE]>::try_from(call.record.as_ref()).ok()?;
        let record = Record::from_bytes(bytes);
        let communicator = self.timeline.communicator_at(record.communicator, record.start);
        let clock = self.timeline.clock();
        Some(InFlight {
            function: Function::from_id(record.function),
            communicator,
            thread: call.thread,
            record,
            age_ns: clock.duration_ns(record.start, clock.latest().ticks),
            since_realtime_ns: clock.realtime_ns(record.start),
        })
    }

    /// Who it is.
    pub fn identity(&self) -> Identity {
        Identity::from(&self.facts)
    }

    /// Host, pid, command line and so on.
    pub fn facts(&self) -> &v1::Process {
        &self.facts
    }

    /// The latest Hello.
    pub fn hello(&self) -> &v1::Hello {
        &self.hello
    }

    /// How far it has come.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Its calls in order.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Its engine steps.
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// What it knows of steps that other stages of its pipeline wait for, and what it waits for itself.
    pub(crate) fn exchange(&mut self, board: &mut Board) {
        let communicators = self.timeline.communicators();
        if let Some(doubtful) = self.steps.doubtful() {
            let group = |id| communicators.get(id).map_or(0, |c| c.group);
            let groups = doubtful.iter().map(|id| group(*id));
            if board.are_one_copy(groups, self.steps.links().map(group)) {
                self.steps.is_alone();
            }
        }
        if self.steps.waiting() > 0 {
            let answer = |passage: &Passage| board.answer(passage, communicators);
            for (awaited, label, tokens) in self.steps.ask(answer) {
                self.ledger.settle_step(awaited.step, label, tokens);
                self.history.settle_step(awaited.step, label);
                if let Some(journal) = &mut self.journal {
                    journal.settle_step(awaited.step, label);
                }
            }
        }
        for told in self.steps.told() {
            board.tell(told, communicators);
        }
    }

    /// Its counts.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Its all-reduce backends, as its engine says.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// When it did what.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The copies of libraries in it.
    pub fn libraries(&self) -> impl Iterator<Item = &v1::Library> {
        self.libraries.values()
    }

    /// Trouble its tap stepped around: count per kind.
    pub fn faults(&self) -> &BTreeMap<String, u64> {
        &self.faults
    }

    /// Calls that were inside NCCL when the process spoke last.
    pub fn calls_in_flight(&self) -> &[InFlight] {
        &self.in_flight
    }

    /// Where its calls have gone, with the proof that none is missing or counted twice.
    pub fn accounting(&self) -> Accounting {
        let sums = self.timeline.totals();
        let ledger = &self.ledger;
        let unknown_functions = self.timeline.unknown_functions();
        let marks = self.timeline.marks();
        let calls = ledger.calls().map(|(_, count)| count).sum::<u64>();
        let seen = calls + marks + unknown_functions;
        let operation_calls: u64 = ledger
            .calls()
            .filter(|(function, _)| function.operation().is_some() || function.launches_kernel())
            .map(|(_, count)| count)
            .sum();
        let mut accounting = Accounting {
            made: sums.made + self.unrecorded,
            seen,
            dropped: sums.dropped,
            unrecorded: self.unrecorded,
            before: sums.before,
            lost: sums.lost,
            pending: sums.pending,
            operations: ledger.operations(),
            graph_operations: ledger.graph_operations(),
            captured_operations: ledger.captured(),
            failed_operations: ledger.failed_operations(),
            simulated_operations: ledger.simulated(),
            held_operations: sums.held,
            marks,
            unknown_functions,
            balanced: false,
        };
        accounting.balanced = seen == sums.taken
            && accounting.made == accounting.accounted_for()
            && operation_calls
                == accounting.operations.saturating_sub(accounting.graph_operations)
                    + accounting.captured_operations
                    + accounting.failed_operations
                    + accounting.simulated_operations
                    + accounting.held_operations;
        accounting
    }
}

impl Accounting {
    fn accounted_for(&self) -> u64 {
        self.seen + self.dropped + self.unrecorded + self.before + self.lost + self.pending
    }

    /// The accounting of no calls.
    pub fn nothing() -> Self {
        Self { balanced: true, ..Self::default() }
    }

    /// Adds the calls of another process. Sums stop at the largest number there is.
    pub fn add(&mut self, other: &Self) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.made, other.made);
        sum(&mut self.seen, other.seen);
        sum(&mut self.dropped, other.dropped);
        sum(&mut self.unrecorded, other.unrecorded);
        sum(&mut self.before, other.before);
        sum(&mut self.lost, other.lost);
        sum(&mut self.pending, other.pending);
        sum(&mut self.operations, other.operations);
        sum(&mut self.graph_operations, other.graph_operations);
        sum(&mut self.captured_operations, other.captured_operations);
        sum(&mut self.failed_operations, other.failed_operations);
        sum(&mut self.simulated_operations, other.simulated_operations);
        sum(&mut self.held_operations, other.held_operations);
        sum(&mut self.marks, other.marks);
        sum(&mut self.unknown_functions, other.unknown_functions);
        self.balanced &= other.balanced;
    }

    /// Calls that are in no count of this collector.
    pub fn missing(&self) -> u64 {
        self.made.saturating_sub(self.seen)
    }
}
