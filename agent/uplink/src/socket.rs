//! The socket of a stream, whose number the caller knows for as long as it is open.

use nccltap_proto::uplink::Host;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket that tells when it is opened and when it is closed. The runtime closes it by itself when the
/// other side is gone; whoever watched over the number then would take that for the host's doing.
pub(crate) struct Socket<S: AsRawFd> {
    inner: S,
    host: Host,
}

impl<S: AsRawFd> Socket<S> {
    pub(crate) fn new(inner: S, host: Host) -> Self {
        (host.socket_opened)(inner.as_raw_fd());
        Self { inner, host }
    }
}

impl<S: AsRawFd> Drop for Socket<S> {
    fn drop(&mut self) {
        (self.host.socket_closing)(self.inner.as_raw_fd());
    }
}

impl<S: AsyncRead + AsRawFd + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsRawFd + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
