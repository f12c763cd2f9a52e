//! The stream to the collector: connect, say Hello, report, reconnect.

use crate::descriptors;
use crate::drain::{self, Drain, Look};
use crate::faults::{self, Fault};
use crate::life::Agent;
use crate::pace;
use crate::uplink::{self, Received, Uplink};
use nccltap_proto::address::Address;
use nccltap_proto::uplink::Outcome;
use nccltap_proto::v1::agent_message::Message as ToCollector;
use nccltap_proto::v1::collector_message::Message as FromCollector;
use nccltap_proto::v1::tap_server::SERVICE_NAME;
use nccltap_proto::v1::{AgentMessage, CollectorMessage};
use prost::Message;
use std::time::{Duration, Instant};

/// Longest wait for a connection, and for the collector's Welcome.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// First wait before a new attempt; it doubles up to the longest.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How often the ring file is told that the process lives, where that is all that can be done.
const ALONE_PAUSE: Duration = Duration::from_secs(1);

/// Why a stream has ended.
enum Ended {
    /// The collector has everything, and the process is ending.
    InGoodOrder,
    /// The process is ending; the rest stays in the ring file.
    Unfinished,
    /// Something broke. `lived` is how long the stream had been open.
    Broken { lived: Duration },
    /// There was nobody to connect to.
    NoCollector,
}

/// Keeps a stream to the collector for as long as the process lives.
pub(crate) fn run(agent: &'static Agent) {
    let mut drain = Drain::new(agent);
    match Uplink::open() {
        Ok(mut uplink) => {
            let waker = uplink.waker();
            agent.exit.wakes_by(move || waker.wake());
            keep_connected(agent, &mut drain, &mut uplink);
        }
        Err(missing) => {
            uplink::count_missing(missing);
            let thread = std::thread::current();
            agent.exit.wakes_by(move || thread.unpark());
            stay_alone(agent, &mut drain);
        }
    }
}

/// Where nothing can be sent: the collector of this host finds the ring file when the process has ended.
fn stay_alone(agent: &'static Agent, drain: &mut Drain) {
    loop {
        drain.note_status();
        if agent.exit.is_asked() {
            return;
        }
        std::thread::park_timeout(ALONE_PAUSE);
    }
}

fn keep_connected(agent: &'static Agent, drain: &mut Drain, uplink: &mut Uplink) {
    let mut backoff = SHORTEST_BACKOFF;
    let mut met_collector = false;
    loop {
        let ended = stream(agent, drain, uplink);
        uplink.close();
        met_collector |= !matches!(ended, Ended::NoCollector);
        match ended {
            Ended::InGoodOrder | Ended::Unfinished => break,
            Ended::Broken { lived } => {
                faults::count(Fault::Reconnect);
                if lived > LONGEST_BACKOFF {
                    backoff = SHORTEST_BACKOFF;
                }
            }
            Ended::NoCollector => {}
        }
        if agent.exit.is_asked() {
            break;
        }
        drain.note_status();
        // Ranks that lost the same collector should not come back all at once.
        let spread = Duration::from_millis(u64::from(agent.process.pid % 16));
        uplink.receive(backoff + spread);
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
    drain.note_status();
    // A collector on this host removes the file itself, once it has seen the last record in it: the
    // host may call NCCL from destructors that have yet to run.
    let remote = matches!(agent.settings.collector, Address::Tcp { .. });
    let named = !agent.file.path().as_os_str().is_empty();
    if named && (!met_collector || (remote && drain.is_drained())) {
        let _ = std::fs::remove_file(agent.file.path());
    }
}

/// One stream, from connection to end.
fn stream(agent: &'static Agent, drain: &mut Drain, uplink: &mut Uplink) -> Ended {
    let opened = Instant::now();
    let broken = || Ended::Broken { lived: opened.elapsed() };
    let address = agent.settings.collector.to_string();
    let method = format!("/{SERVICE_NAME}/Stream");
    let hello = encoded(ToCollector::Hello(drain.hello()));
    match uplink.connect(&address, &method, CONNECT_PATIENCE, &hello) {
        Outcome::DONE => {}
        Outcome::UNREACHABLE => return Ended::NoCollector,
        Outcome::FOREIGN => {
            faults::count(Fault::ForeignCollector);
            return Ended::NoCollector;
        }
        Outcome::REFUSED => {
            faults::count(Fault::Refused);
            return broken();
        }
        _ => return broken(),
    }
    let until = Instant::now() + CONNECT_PATIENCE;
    loop {
        match uplink.receive(until.saturating_duration_since(Instant::now())) {
            Received::Message(message) => match decoded(message) {
                Some(FromCollector::Welcome(welcome)) => {
                    drain.welcomed(&welcome.rings);
                    break;
                }
                _ => return broken(),
            },
            Received::Broken => {
                faults::count(Fault::Refused);
                return broken();
            }
            // The process is ending, which wakes this thread: the collector answers all the same.
            Received::Nothing if Instant::now() < until => {}
            Received::Nothing | Received::Ended => return broken(),
        }
    }

    let (mut looked, mut pause) = (Instant::now(), pace::SHORTEST);
    loop {
        if !descriptors::are_intact() {
            faults::count(Fault::DescriptorsClosed);
            drain::stop_for_good();
        }
        let ending = agent.exit.is_asked();
        if ending && drain.is_drained() {
            return say_goodbye(drain, uplink);
        }
        // A look is taken only when there is room for its report, so that none waits outside the rings.
        let last = std::mem::replace(&mut pause, pace::SHORTEST);
        if uplink.has_room() {
            let Look { report, more, filled } = drain.look();
            let since = std::mem::replace(&mut looked, Instant::now()).elapsed();
            if let Some(report) = report {
                uplink.send(&encoded(ToCollector::Report(report)));
            }
            // A process that is ending waits for the collector's last acknowledgement.
            if !more && !ending {
                pause = pace::pause(last, since, filled);
            }
        }
        let until = Instant::now() + pause;
        loop {
            match uplink.receive(until.saturating_duration_since(Instant::now())) {
                Received::Message(message) => {
                    if let Some(FromCollector::Acknowledgement(acknowledgement)) = decoded(message)
                    {
                        drain.taken(&acknowledgement.rings);
                    }
                }
                Received::Nothing => break,
                Received::Ended | Received::Broken if ending => return Ended::Unfinished,
                Received::Ended | Received::Broken => return broken(),
            }
        }
    }
}

/// Says that nothing follows, and waits until the collector has closed the stream.
fn say_goodbye(drain: &mut Drain, uplink: &mut Uplink) -> Ended {
    let is_over = |received: Received<'_>| matches!(received, Received::Ended | Received::Broken);
    while !uplink.has_room() {
        if is_over(uplink.receive(pace::SHORTEST)) {
            return Ended::Unfinished;
        }
    }
    if !uplink.send(&encoded(ToCollector::Goodbye(drain.goodbye()))) {
        return Ended::Unfinished;
    }
    uplink.finish();
    while !is_over(uplink.receive(pace::LONGEST)) {}
    Ended::InGoodOrder
}

fn encoded(message: ToCollector) -> Vec<u8> {
    AgentMessage { message: Some(message) }.encode_to_vec()
}

/// What the collector says; None when it cannot be understood.
fn decoded(message: &[u8]) -> Option<FromCollector> {
    CollectorMessage::decode(message).ok()?.message
}
