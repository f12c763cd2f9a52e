//! One accepted connection, gRPC or HTTP.

use crate::collector::Collector;
use crate::refusals::Refusal;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

/// Connections that may be open at once; further ones wait to be accepted.
pub const CONNECTIONS: usize = 8192;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host, by a Unix socket at this path.
    Unix(Arc<Path>),
    /// A TCP peer at this address.
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "a peer on unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// An accepted connection. Its first bytes must be those of HTTP, which gRPC is made of.
pub struct Connection {
    socket: Socket,
    peer: Peer,
    collector: Arc<Collector>,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn unix(
        socket: UnixStream,
        path: Arc<Path>,
        collector: Arc<Collector>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (socket, peer) = (Socket::Unix(socket), Peer::Unix(path));
        Self { socket, peer, collector, greeted: false, _permit: permit }
    }

    pub(super) fn tcp(
        socket: TcpStream,
        from: SocketAddr,
        collector: Arc<Collector>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (socket, peer) = (Socket::Tcp(socket), Peer::Tcp(from));
        Self { socket, peer, collector, greeted: false, _permit: permit }
    }

    /// Looks at the first bytes: an HTTP method, which the preface of HTTP/2 begins with too.
    fn greet(&mut self, first: &[u8]) -> io::Result<()> {
        self.greeted = true;
        if first.first().is_none_or(u8::is_ascii_uppercase) {
            return Ok(());
        }
        let sentence = "it sent bytes that are neither gRPC nor HTTP";
        self.collector.refuse(Refusal::Garbage, &self.peer, sentence);
        Err(io::Error::new(io::ErrorKind::InvalidData, sentence))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
        })?;
        if !self.greeted {
            let first = buffer.filled().get(before..).unwrap_or_default().to_vec();
            self.greet(&first)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
