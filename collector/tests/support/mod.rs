//! A fake agent, and a collector to speak to: what the contract says, said by hand.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod browser;
pub mod engine;
pub mod job;
pub mod promtool;
pub mod ring;

use nccltap_proto::record::{NO_PEER, Record};
use nccltap_proto::v1::{self, agent_message::Message, collector_message, tap_client::TapClient};
use nccltap_proto::{Function, MAX_MESSAGE_BYTES, PROTOCOL_VERSION, RECORD_SIZE};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub const HANDLE: u64 = 0xc0ffee;
pub const GROUP: u64 = 0xfeed_beef;

/// Waits until `condition` gives something, or fails the test.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `nccltap serve` in a directory of its own.
pub struct Collector {
    child: Child,
    pub socket: PathBuf,
    pub http: String,
    /// Every address of the collector, in the order of `--listen`.
    pub addresses: Vec<String>,
    pub dir: tempfile::TempDir,
    stderr: Option<BufReader<ChildStderr>>,
    _stdout: BufReader<ChildStdout>,
}

pub fn nccltap() -> Command {
    // Examples have no such name, and start none.
    let mut command = Command::new(option_env!("CARGO_BIN_EXE_nccltap").unwrap_or("nccltap"));
    command.env_remove("NCCLTAP_COLLECTOR").env_remove("NCCLTAP_LOG");
    command
}

impl Collector {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), &[])
    }

    /// Starts in `dir`, where another one may have been.
    pub fn start_in(dir: tempfile::TempDir, arguments: &[&str]) -> Self {
        Self::start_at(dir, "127.0.0.1:0", arguments)
    }

    /// The same, with HTTP at this address.
    pub fn start_at(dir: tempfile::TempDir, http: &str, arguments: &[&str]) -> Self {
        Self::start_with(dir, http, arguments, &[])
    }

    /// The same, with further variables in its environment.
    pub fn start_with(
        dir: tempfile::TempDir,
        http: &str,
        arguments: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let socket = dir.path().join("collector.sock");
        let rings = dir.path().join("rings");
        std::fs::create_dir_all(&rings).expect("the directory of rings");
        let mut child = nccltap()
            .args(["serve", "--http", http, "--listen"])
            .arg(format!("unix:{}", socket.display()))
            .arg("--recover-dir")
            .arg(&rings)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nccltap starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let stderr = child.stderr.take().map(BufReader::new);
        let Some(http) = line.split_whitespace().find_map(|word| word.strip_prefix("http=")) else {
            let mut log = String::new();
            let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut log));
            panic!("nccltap serve printed `{line}` and logged: {log}");
        };
        let http = http.to_owned();
        let addresses = line.split_whitespace().filter_map(|w| w.strip_prefix("collector="));
        let addresses = addresses.map(str::to_owned).collect();
        Self { child, socket, http, addresses, dir, stderr, _stdout: stdout }
    }

    pub fn rings(&self) -> PathBuf {
        self.dir.path().join("rings")
    }

    pub fn get(&self, path: &str) -> String {
        let stream = std::net::TcpStream::connect(&self.http).expect("HTTP answers");
        http_get(stream, path)
    }

    pub fn rows(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.get("/api/v1/report")).expect("rows")
    }

    pub fn processes(&self) -> Vec<serde_json::Value> {
        let overview: serde_json::Value =
            serde_json::from_str(&self.get("/api/v1/processes")).expect("an overview");
        overview["processes"].as_array().expect("processes").clone()
    }

    /// The value of the one sample whose name and labels contain all of `parts`.
    pub fn metric(&self, parts: &[&str]) -> Option<f64> {
        let text = self.get("/metrics");
        let mut samples = text.lines().filter(|line| !line.starts_with('#'));
        let line = samples.find(|line| parts.iter().all(|part| line.contains(part)))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Stops it in good order. Gives its directory, its exit code and its log.
    pub fn stop(mut self) -> (tempfile::TempDir, Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().expect("it ends");
        let mut log = String::new();
        if let Some(stderr) = &mut self.stderr {
            stderr.read_to_string(&mut log).expect("its log");
        }
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"));
        (dir, status.code(), log)
    }

    /// Kills it. Gives its directory.
    pub fn kill(mut self) -> tempfile::TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an HTTP answer.
pub fn http_get(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer)
}

pub fn unix_get(socket: &Path, path: &str) -> String {
    http_get(UnixStream::connect(socket).expect("the socket answers"), path)
}

/// The Hello of process `pid`.
pub fn hello(pid: u32) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        record_size: RECORD_SIZE as u32,
        process: Some(v1::Process {
            host: "node-1".into(),
            pid,
            instance: 1_000_000 + u64::from(pid),
            command_line: "python -m vllm".into(),
            job: "bench".into(),
            ..Default::default()
        }),
        agent_version: "0.1.0".into(),
        clock: v1::Clock::Monotonic.into(),
        started: Some(v1::Anchor { ticks: 1, monotonic_ns: 1, realtime_ns: 1 }),
        functions: Function::ALL
            .iter()
            .map(|f| v1::Function { id: f.id().into(), name: f.name().into() })
            .collect(),
        ..Default::default()
    }
}

/// A communicator of two ranks with [`HANDLE`].
pub fn communicator(rank: i32) -> v1::Communicator {
    v1::Communicator {
        handle: HANDLE,
        group: GROUP,
        ranks: 2,
        rank,
        device: rank,
        created_by: 24,
        created: 1,
        ..Default::default()
    }
}

pub fn call(function: Function, count: u64) -> Record {
    Record {
        start: 1_000,
        end: 3_500,
        communicator: HANDLE,
        count,
        function: function.id(),
        datatype: 9,
        peer: NO_PEER,
        ..Record::default()
    }
}

pub fn batch(ring: u32, first: u64, records: &[Record]) -> v1::Batch {
    let mut bytes = Vec::with_capacity(records.len() * RECORD_SIZE);
    for (offset, record) in records.iter().enumerate() {
        let record = Record { sequence: (first + offset as u64) as u32, ..*record };
        record.to_words().iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    }
    v1::Batch { ring, first, encoding: v1::Encoding::Raw64.into(), records: bytes.into() }
}

pub fn report(batches: Vec<v1::Batch>) -> v1::Report {
    let totals = |b: &v1::Batch| v1::RingTotals {
        ring: b.ring,
        recorded: b.first + (b.records.len() / RECORD_SIZE) as u64,
        ..Default::default()
    };
    v1::Report {
        anchor: Some(v1::Anchor { ticks: 9_000, monotonic_ns: 9_000, realtime_ns: 9_000 }),
        rings: batches.iter().map(totals).collect(),
        batches,
        ..Default::default()
    }
}

/// One process' stream.
pub struct FakeAgent {
    out: Option<mpsc::Sender<v1::AgentMessage>>,
    answers: Streaming<v1::CollectorMessage>,
    number: u64,
}

pub async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://collector")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        }))
        .await
        .expect("the collector is there")
}

impl FakeAgent {
    /// Opens a stream and says `hello`.
    pub async fn connect(socket: &Path, hello: v1::Hello) -> Result<(Self, v1::Welcome), Status> {
        let (mut agent, _) = Self::open(channel(socket).await, Message::Hello(hello)).await?;
        match agent.answer().await? {
            collector_message::Message::Welcome(welcome) => Ok((agent, welcome)),
            other => panic!("a Hello was answered with {other:?}"),
        }
    }

    /// Opens a stream that begins with any message.
    pub async fn open(channel: Channel, first: Message) -> Result<(Self, ()), Status> {
        let (out, messages) = mpsc::channel(16);
        out.send(v1::AgentMessage { message: Some(first) }).await.expect("there is room");
        let mut client = TapClient::new(channel).max_encoding_message_size(8 * MAX_MESSAGE_BYTES);
        let answers = client.stream(ReceiverStream::new(messages)).await?.into_inner();
        Ok((Self { out: Some(out), answers, number: 0 }, ()))
    }

    pub async fn answer(&mut self) -> Result<collector_message::Message, Status> {
        let answer = self.answers.message().await?;
        answer.and_then(|a| a.message).ok_or_else(|| Status::unavailable("the stream has ended"))
    }

    pub async fn send(&mut self, message: Message) {
        if let Some(out) = &self.out {
            let _ = out.send(v1::AgentMessage { message: Some(message) }).await;
        }
    }

    /// Sends a Report and waits until it is acknowledged.
    pub async fn report(
        &mut self,
        mut report: v1::Report,
    ) -> Result<Vec<v1::RingPosition>, Status> {
        self.number += 1;
        report.number = self.number;
        self.send(Message::Report(report)).await;
        match self.answer().await? {
            collector_message::Message::Acknowledgement(ack) => {
                assert_eq!(ack.report, self.number);
                Ok(ack.rings)
            }
            other => panic!("a Report was answered with {other:?}"),
        }
    }

    /// Says Goodbye and waits until the collector has heard it.
    pub async fn goodbye(mut self, last: v1::Report) {
        self.send(Message::Goodbye(v1::Goodbye { last: Some(last) })).await;
        while self.answer().await.is_ok() {}
    }
}
