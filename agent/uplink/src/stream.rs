//! One gRPC stream at a time, on a runtime that runs only while somebody waits in it.

use crate::codec::Untouched;
use crate::socket::Socket;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use nccltap_proto::MAX_MESSAGE_BYTES;
use nccltap_proto::address::Address;
use nccltap_proto::uplink::Host;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};

/// Messages that may wait for the network.
const WAITING: usize = 2;

/// Where to connect, and how.
pub(crate) struct Destination {
    pub(crate) address: Address,
    pub(crate) method: PathAndQuery,
    /// A socket on this host may belong to this user, or to root.
    pub(crate) user: u32,
    pub(crate) patience: Duration,
    /// Is told the number of the socket.
    pub(crate) host: Host,
}

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoStream {
    Unreachable,
    Foreign,
    Refused,
    /// There was no answer in time.
    Silent,
}

/// What waiting has brought.
pub(crate) enum Received {
    Message(Bytes),
    Nothing,
    Ended,
    Broken,
}

struct Stream {
    outgoing: Option<mpsc::Sender<Bytes>>,
    incoming: Streaming<Bytes>,
}

/// The runtime, and the stream if there is one.
pub(crate) struct Link {
    runtime: Runtime,
    woken: Notify,
    stream: Mutex<Option<Stream>>,
}

impl Link {
    pub(crate) fn new() -> io::Result<Self> {
        // Not `enable_all`: where some other crate of the build asks for it, that has a signal driver.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { runtime, woken: Notify::new(), stream: Mutex::new(None) })
    }

    fn stream(&self) -> MutexGuard<'_, Option<Stream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream, with this as its first message.
    pub(crate) fn connect(&self, to: &Destination, first: Bytes) -> Result<(), NoStream> {
        let mut stream = self.stream();
        *stream = None;
        *stream = Some(self.runtime.block_on(open(to, first))?);
        Ok(())
    }

    pub(crate) fn has_room(&self) -> bool {
        let stream = self.stream();
        let outgoing = stream.as_ref().and_then(|stream| stream.outgoing.as_ref());
        outgoing.is_some_and(|outgoing| outgoing.capacity() > 0 && !outgoing.is_closed())
    }

    /// Says whether the message is on its way.
    pub(crate) fn send(&self, message: Bytes) -> bool {
        let stream = self.stream();
        let outgoing = stream.as_ref().and_then(|stream| stream.outgoing.as_ref());
        outgoing.is_some_and(|outgoing| outgoing.try_send(message).is_ok())
    }

    /// Waits for a message, for the end of `patience`, or for [`Link::wake`].
    pub(crate) fn receive(&self, patience: Duration) -> Received {
        let mut stream = self.stream();
        self.runtime.block_on(async {
            let message = async {
                match stream.as_mut() {
                    Some(stream) => stream.incoming.message().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In this order: that a stream has broken is said at once.
                biased;
                message = message => match message {
                    Ok(Some(message)) => Received::Message(message),
                    Ok(None) => Received::Ended,
                    Err(_) => Received::Broken,
                },
                () = sleep(patience) => Received::Nothing,
                () = self.woken.notified() => Received::Nothing,
            }
        })
    }

    pub(crate) fn finish(&self) {
        if let Some(stream) = self.stream().as_mut() {
            stream.outgoing = None;
        }
    }

    pub(crate) fn close(&self) {
        *self.stream() = None;
    }

    /// Lets the wait that is under way, or else the next one, come to its end.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }
}

async fn open(to: &Destination, first: Bytes) -> Result<Stream, NoStream> {
    let channel = match timeout(to.patience, connect(to)).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(NoStream::Unreachable),
    };
    let (outgoing, waiting) = mpsc::channel(WAITING);
    outgoing.try_send(first).map_err(|_| NoStream::Silent)?;
    let mut client = Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answer = async {
        client.ready().await.map_err(|_| NoStream::Refused)?;
        let request = tonic::Request::new(ReceiverStream::new(waiting));
        let answer = client.streaming(request, to.method.clone(), Untouched).await;
        answer.map_err(|_| NoStream::Refused)
    };
    let answer = timeout(to.patience, answer).await.map_err(|_| NoStream::Silent)??;
    Ok(Stream { outgoing: Some(outgoing), incoming: answer.into_inner() })
}

async fn connect(to: &Destination) -> Result<Channel, NoStream> {
    match &to.address {
        Address::Tcp { host, port } => {
            let socket = TcpStream::connect(format!("{host}:{port}")).await;
            let socket = socket.map_err(|_| NoStream::Unreachable)?;
            let _ = socket.set_nodelay(true);
            over(Socket::new(socket, to.host), &format!("http://{host}:{port}")).await
        }
        Address::Unix(path) => {
            let socket = own_socket(path, to.user).await?;
            // The name is never looked up; HTTP/2 wants one.
            over(Socket::new(socket, to.host), "http://nccltap").await
        }
    }
}

/// A channel over this socket and no other: what comes after a broken one is a new stream.
async fn over<S>(socket: S, name: &str) -> Result<Channel, NoStream>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut socket = Some(TokioIo::new(socket));
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(socket)
    });
    let endpoint = Endpoint::from_shared(name.to_owned()).map_err(|_| NoStream::Unreachable)?;
    let channel = endpoint
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await;
    channel.map_err(|_| NoStream::Unreachable)
}

/// Connects to a socket, if this user or root made it: what a process does is not told to others.
async fn own_socket(path: &Path, user: u32) -> Result<UnixStream, NoStream> {
    let socket = UnixStream::connect(path).await.map_err(|_| NoStream::Unreachable)?;
    let owner = socket.peer_cred().map_err(|_| NoStream::Unreachable)?.uid();
    if owner != user && owner != 0 {
        return Err(NoStream::Foreign);
    }
    Ok(socket)
}
