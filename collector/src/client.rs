//! Asks a running collector over HTTP, by its Unix socket or by TCP.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use nccltap_proto::address::{Address, AddressError};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 256 << 20;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A collector to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Where agents reach it: `unix:/PATH` or `tcp:HOST:PORT`. It answers HTTP there too.
    Collector(Address),
    /// Its HTTP address: `http://HOST:PORT`.
    Http(String),
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("http://") {
            Some(rest) => Ok(Self::Http(rest.trim_end_matches('/').to_owned())),
            None => text.parse().map(Self::Collector),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collector(address) => write!(f, "{address}"),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

/// Why a collector gave no answer.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens there.
    Unreachable(Target, std::io::Error),
    /// It answered with something else than 200.
    Refused(Target, StatusCode, String),
    /// It broke off, or took too long.
    Broken(Target, String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(target, error) => write!(
                f,
                "no collector answers at {target} ({error}); start one with `nccltap serve`, or \
                 say where it is with --collector"
            ),
            Self::Refused(target, status, body) => {
                write!(f, "the collector at {target} answered {status}: {}", body.trim())
            }
            Self::Broken(target, why) => write!(f, "the collector at {target} broke off: {why}"),
        }
    }
}

impl std::error::Error for AskError {}

/// The body of the answer to a GET of `path`, where `token` is for a collector on TCP that wants
/// one.
pub async fn get(target: &Target, path: &str, token: Option<&str>) -> Result<String, AskError> {
    let unreachable = |error| AskError::Unreachable(target.clone(), error);
    let answer = async {
        match target {
            Target::Collector(Address::Unix(socket)) => {
                let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
                exchange(target, stream, "localhost", path, token).await
            }
            Target::Collector(Address::Tcp { host, port }) => {
                let authority = format!("{host}:{port}");
                let stream = TcpStream::connect(&authority).await.map_err(unreachable)?;
                exchange(target, stream, &authority, path, token).await
            }
            Target::Http(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
                exchange(target, stream, authority, path, token).await
            }
        }
    };
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let why = format!("no answer within {ANSWER_WITHIN:?}");
            Err(AskError::Broken(target.clone(), why))
        }
    }
}

async fn exchange(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
    token: Option<&str>,
) -> Result<String, AskError> {
    let broken = |error: &dyn fmt::Display| AskError::Broken(target.clone(), error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::new()).map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| broken(&error))?
        .to_bytes();
    connection.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    match status {
        StatusCode::OK => Ok(body),
        _ => Err(AskError::Refused(target.clone(), status, body)),
    }
}
