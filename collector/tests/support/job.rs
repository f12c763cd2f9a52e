//! Ranks that serve as in [`engine`](super::engine), now, each over a stream of its own.

use super::engine::{Rank, Shape};
use super::{FakeAgent, batch, hello};
use nccltap_proto::v1;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Ranks on one host.
const ON_A_HOST: u32 = 8;

/// One rank with its stream.
pub struct Member {
    pub agent: FakeAgent,
    pub rank: Rank,
    recorded: u64,
}

/// All ranks of one engine.
pub struct Job {
    pub members: Vec<Member>,
    began: Instant,
    began_ns: u64,
    /// Operations and other calls that were acknowledged.
    pub sent: u64,
}

impl Job {
    /// Connects every rank, and lets it start up.
    pub async fn start(socket: &Path, shape: Shape) -> Self {
        Self::start_as(socket, shape, |process| process).await
    }

    /// The same, each process as `change` has it.
    pub async fn start_as(
        socket: &Path,
        shape: Shape,
        change: impl Fn(v1::Process) -> v1::Process,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let began_ns = since.as_nanos() as u64;
        let mut job = Self { members: Vec::new(), began: Instant::now(), began_ns, sent: 0 };
        for number in 0..shape.tensor * shape.stages {
            let pid = 500 + number.unsigned_abs();
            let mut hello = hello(pid);
            let host = format!("node-{}", number.unsigned_abs() / ON_A_HOST + 1);
            hello.process = hello.process.map(|process| change(v1::Process { host, ..process }));
            hello.started = Some(job.anchor(1));
            let (agent, _) = FakeAgent::connect(socket, hello).await.expect("a stream");
            let rank = Rank::new(shape, number, 1);
            job.members.push(Member { agent, rank, recorded: 0 });
        }
        for member in &mut job.members {
            let communicators = member.rank.communicators();
            let first = v1::Report { communicators, ..v1::Report::default() };
            member.agent.report(first).await.expect("an acknowledgement");
        }
        job.each(|rank, _| rank.start_up()).await;
        job
    }

    /// The clock of records: nanoseconds since the job began, where `ticks` is.
    fn anchor(&self, ticks: u64) -> v1::Anchor {
        v1::Anchor { ticks, monotonic_ns: ticks, realtime_ns: self.began_ns + ticks }
    }

    /// Lets all ranks do something now, and waits until it is acknowledged.
    pub async fn each(&mut self, mut act: impl FnMut(&mut Rank, u32)) {
        for at in 0..self.members.len() {
            let now = self.began.elapsed().as_nanos() as u64 + 2;
            let member = &mut self.members[at];
            member.rank.now = member.rank.now.max(now);
            act(&mut member.rank, at as u32);
            self.flush(at).await;
        }
    }

    /// One engine step of all ranks.
    pub async fn step(&mut self, tokens: u64, blocks: u64) {
        self.each(|rank, _| rank.step(tokens, blocks)).await;
    }

    /// Sends what one rank has done.
    pub async fn flush(&mut self, at: usize) {
        let calls = std::mem::take(&mut self.members[at].rank.calls);
        let end = calls.iter().map(|call| call.end).max().unwrap_or(2);
        let anchor = Some(self.anchor(end));
        let member = &mut self.members[at];
        let first = member.recorded;
        member.recorded += calls.len() as u64;
        let report = v1::Report {
            anchor,
            rings: vec![v1::RingTotals {
                ring: 0,
                recorded: member.recorded,
                ..Default::default()
            }],
            batches: vec![batch(0, first, &calls)],
            ..Default::default()
        };
        member.agent.report(report).await.expect("an acknowledgement");
        self.sent += calls.len() as u64;
    }
}
