//! The gRPC service: one stream per process.

use super::connection::Peer;
use super::contract::{self, Breach};
use crate::collector::{Collector, OpenStream};
use crate::recovery::Recovery;
use crate::refusals::Refusal;
use nccltap_proto::v1::agent_message::Message;
use nccltap_proto::v1::{self, collector_message, tap_server::Tap};
use nccltap_proto::{MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// How long a peer may stay silent before it says Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Answers that may wait for a peer to read them. When they do, nothing more is read from it.
const ANSWERS: usize = 64;

/// The realtime clock, in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The secret that TCP peers share with the collector.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// Why a file holds no token.
#[derive(Debug)]
pub struct TokenError(String);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TokenError {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(set)")
    }
}

impl Token {
    /// Reads the token from the first line of a file.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            TokenError(format!("the token file {} cannot be read: {error}", file.display()))
        })?;
        match text.lines().next().map(str::trim) {
            Some(token) if !token.is_empty() => Ok(Self(token.as_bytes().to_vec())),
            _ => Err(TokenError(format!("the token file {} is empty", file.display()))),
        }
    }

    /// Whether `given` is the token. Takes the same time wherever they differ.
    pub fn is(&self, given: &str) -> bool {
        let mut difference = self.0.len() ^ given.len();
        for (index, byte) in given.bytes().enumerate() {
            let own = self.0.get(index % self.0.len()).copied().unwrap_or(0);
            difference |= usize::from(byte ^ own);
        }
        difference == 0
    }
}

/// Serves `nccltap.v1.Tap`.
#[derive(Clone, Debug)]
pub struct TapService {
    collector: Arc<Collector>,
    recovery: Recovery,
    token: Option<Arc<Token>>,
    stop: watch::Receiver<bool>,
}

impl TapService {
    /// A service that hands everything to `collector`, and streams that broke off to `recovery`.
    /// It ends its streams when `stop` changes.
    pub fn new(
        collector: Arc<Collector>,
        recovery: Recovery,
        token: Option<Arc<Token>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { collector, recovery, token, stop }
    }

    /// The service as tonic serves it.
    pub fn into_server(self) -> v1::tap_server::TapServer<Self> {
        v1::tap_server::TapServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Refuses a peer, in the log and in its status.
    fn refuse(
        &self,
        who: &dyn fmt::Display,
        refusal: Refusal,
        code: Code,
        sentence: &str,
    ) -> Status {
        self.collector.refuse(refusal, who, sentence);
        Status::new(code, sentence)
    }

    fn breach(&self, who: &dyn fmt::Display, breach: &Breach) -> Status {
        let refusal = Refusal::from(breach);
        let code = match refusal {
            Refusal::Version => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        };
        self.refuse(who, refusal, code, &breach.to_string())
    }

    async fn greet(
        &self,
        peer: &Peer,
        inbound: &mut Streaming<v1::AgentMessage>,
    ) -> Result<(OpenStream, v1::Welcome), Status> {
        let first = match tokio::time::timeout(HELLO_WITHIN, inbound.message()).await {
            Ok(first) => first.map_err(|status| self.unreadable(peer, &status))?,
            Err(_) => {
                let sentence = format!("no Hello within {HELLO_WITHIN:?}");
                return Err(self.refuse(peer, Refusal::Silent, Code::DeadlineExceeded, &sentence));
            }
        };
        let Some(Message::Hello(mut hello)) = first.and_then(|message| message.message) else {
            let rule = Breach::Order("the first message of a stream must be a Hello");
            return Err(self.breach(peer, &rule));
        };
        if let (Peer::Tcp(_), Some(token)) = (peer, &self.token)
            && !token.is(&hello.token)
        {
            let sentence = "this collector wants a token that NCCLTAP_TOKEN does not give";
            let code = Code::Unauthenticated;
            return Err(self.refuse(peer, Refusal::Token, code, sentence));
        }
        // A secret is neither kept nor recorded.
        hello.token.clear();
        let who = hello.process.as_ref().map_or_else(|| peer.to_string(), named);
        contract::hello(&hello).map_err(|breach| self.breach(&who, &breach))?;
        let (stream, rings) = self.collector.hello(hello, now_ns()).map_err(|full| {
            self.refuse(&who, Refusal::Full, Code::ResourceExhausted, &full.to_string())
        })?;
        let welcome = v1::Welcome {
            protocol_version: PROTOCOL_VERSION,
            collector_version: env!("CARGO_PKG_VERSION").to_owned(),
            rings,
        };
        Ok((stream, welcome))
    }

    /// What became of a message that could not be read: too large, garbage, or the peer is gone.
    fn unreadable(&self, who: &dyn fmt::Display, status: &Status) -> Status {
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted | Code::Internal | Code::InvalidArgument => {
                let sentence = format!("a message could not be read: {}", status.message());
                self.breach(who, &Breach::Impossible(sentence))
            }
            _ => status.clone(),
        }
    }

    /// Follows one stream to its end. Says why, if that is not a Goodbye.
    async fn follow(
        &self,
        stream: &OpenStream,
        mut inbound: Streaming<v1::AgentMessage>,
        answers: &mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    ) -> Result<Ending, Status> {
        let mut stop = self.stop.clone();
        let followed = stream.followed();
        let identity = followed.lock().identity();
        loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                _ = stop.changed() => {
                    return Err(Status::unavailable("the collector is stopping"));
                }
            };
            let message = match message {
                Ok(message) => message.and_then(|message| message.message),
                Err(status) if is_broken_off(&status) => return Ok(Ending::BrokenOff),
                Err(status) => return Err(self.unreadable(&identity, &status)),
            };
            let report = match &message {
                None => return Ok(Ending::BrokenOff),
                Some(Message::Hello(_)) => {
                    let rule = Breach::Order("a stream has one Hello, and this is the second");
                    return Err(self.breach(&identity, &rule));
                }
                Some(Message::Report(report)) => Some(report),
                Some(Message::Goodbye(goodbye)) => goodbye.last.as_ref(),
            };
            let number = report.map_or(0, |report| report.number);
            if let Some(report) = report {
                let checked = contract::report(report, &followed.lock().hello().functions);
                checked.map_err(|breach| self.breach(&identity, &breach))?;
            }
            let Some(message) = message else { return Ok(Ending::BrokenOff) };
            let ends = matches!(message, Message::Goodbye(_));
            let rings = self.collector.take(followed, message, now_ns(), false);
            let acknowledgement = v1::Acknowledgement { report: number, rings };
            let answer = collector_message::Message::Acknowledgement(acknowledgement);
            let told = answers.send(Ok(v1::CollectorMessage { message: Some(answer) })).await;
            if ends {
                return Ok(Ending::Goodbye);
            }
            if told.is_err() {
                return Ok(Ending::BrokenOff);
            }
        }
    }
}

/// A process by the name it gives itself, whatever that is, at a length that fits a log.
fn named(process: &v1::Process) -> String {
    let host: String = process.host.chars().take(64).collect();
    format!("process {} on {host}", process.pid)
}

/// How a stream came to its end.
enum Ending {
    Goodbye,
    BrokenOff,
}

/// Whether the transport failed, and not the peer's words.
fn is_broken_off(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Unavailable)
}

#[tonic::async_trait]
impl Tap for TapService {
    type StreamStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the peer of a stream is not known"))?;
        let mut inbound = request.into_inner();
        let (answers, outbound) = mpsc::channel(ANSWERS);
        let service = self.clone();
        tokio::spawn(async move {
            let (stream, welcome) = match service.greet(&peer, &mut inbound).await {
                Ok(greeted) => greeted,
                Err(status) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            };
            let followed = Arc::clone(stream.followed());
            let who = followed.lock().identity();
            tracing::info!("{who}: connected");
            let welcome = collector_message::Message::Welcome(welcome);
            let told = answers.send(Ok(v1::CollectorMessage { message: Some(welcome) })).await;
            let ending = match told {
                Ok(()) => service.follow(&stream, inbound, &answers).await,
                Err(_) => Ok(Ending::BrokenOff),
            };
            drop(stream);
            match ending {
                Ok(Ending::Goodbye) => tracing::info!("{who}: ended"),
                Ok(Ending::BrokenOff) => {
                    tracing::info!("{who}: its stream ended without a Goodbye");
                }
                Err(status) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            }
            if matches!(peer, Peer::Unix(_)) {
                service.recovery.stream_ended(&followed);
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}
