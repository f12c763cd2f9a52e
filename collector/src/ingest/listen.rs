//! The sockets a collector listens on.

use super::connection::{CONNECTIONS, Connection};
use crate::collector::Collector;
use crate::refusals::Refusal;
use nccltap_proto::address::Address;
use rustix::fs::{FileType, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};

/// How long a TCP peer may be silent before the kernel asks whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Why a collector cannot listen on an address.
#[derive(Debug)]
pub struct ListenError {
    address: String,
    reason: String,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.reason)
    }
}

impl std::error::Error for ListenError {}

fn refuse(address: impl fmt::Display, reason: impl fmt::Display) -> ListenError {
    ListenError { address: address.to_string(), reason: reason.to_string() }
}

/// A socket that is listening.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket; its file is removed when this is dropped.
    Unix(UnixListener, SocketFile),
    /// A TCP socket.
    Tcp(TcpListener, SocketAddr),
}

/// The file of a Unix socket, removed when this is dropped unless another took its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on `address`. A TCP address beyond this machine needs `has_token`.
    pub fn bind(address: &Address, has_token: bool) -> Result<Self, ListenError> {
        match address {
            Address::Unix(path) => bind_unix(path),
            Address::Tcp { host, port } => {
                bind_tcp(host, *port, has_token).map_err(|reason| refuse(address, reason))
            }
        }
    }

    /// Where it listens: the address asked for, with the port that was given.
    pub fn address(&self) -> Address {
        match self {
            Self::Unix(_, file) => Address::Unix(file.path.clone()),
            Self::Tcp(_, at) => {
                let host = match at {
                    SocketAddr::V4(at) => at.ip().to_string(),
                    SocketAddr::V6(at) => format!("[{}]", at.ip()),
                };
                Address::Tcp { host, port: at.port() }
            }
        }
    }
}

fn bind_tcp(host: &str, port: u16, has_token: bool) -> Result<Listener, String> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let at = (name, port)
        .to_socket_addrs()
        .map_err(|error| format!("{host} has no address: {error}"))?
        .next()
        .ok_or_else(|| format!("{host} has no address"))?;
    if !at.ip().is_loopback() && !has_token {
        return Err(
            "an address beyond this machine needs a shared secret; give --token-file FILE \
                    and set NCCLTAP_TOKEN to its content for the workers"
                .to_owned(),
        );
    }
    let socket = std::net::TcpListener::bind(at).map_err(|error| error.to_string())?;
    socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    let at = socket.local_addr().map_err(|error| error.to_string())?;
    let socket = TcpListener::from_std(socket).map_err(|error| error.to_string())?;
    Ok(Listener::Tcp(socket, at))
}

fn bind_unix(path: &Path) -> Result<Listener, ListenError> {
    let at = format!("unix:{}", path.display());
    let refuse = |reason: String| refuse(&at, reason);
    private_parent(path).map_err(&refuse)?;
    remove_stale(path).map_err(&refuse)?;
    let bind = || -> io::Result<(UnixListener, u64)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Linux gives the file of the socket the mode the socket has when it is bound.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 1024)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok((UnixListener::from_std(socket.into())?, inode))
    };
    let (socket, inode) = bind().map_err(|error| refuse(error.to_string()))?;
    Ok(Listener::Unix(socket, SocketFile { path: path.to_owned(), inode }))
}

/// Makes the directory of a socket, for this user only, or checks that nobody else can put a
/// socket of his own in its place.
fn private_parent(path: &Path) -> Result<(), String> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent) {
        Ok(()) => {}
        Err(error) => return Err(format!("{} cannot be made: {error}", parent.display())),
    }
    let owner = std::fs::metadata(parent)
        .map_err(|error| format!("{} cannot be read: {error}", parent.display()))?;
    let me = rustix::process::geteuid().as_raw();
    let sticky = owner.mode() & 0o1000 != 0;
    if (owner.uid() != me && owner.uid() != 0) || (owner.mode() & 0o022 != 0 && !sticky) {
        return Err(format!(
            "{} belongs to another user or can be written by others; choose another directory",
            parent.display()
        ));
    }
    Ok(())
}

/// Removes the socket of a collector that is gone.
fn remove_stale(path: &Path) -> Result<(), String> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if FileType::from_raw_mode(there.mode()) != FileType::Socket {
        return Err("a file that is not a socket is in the way; remove it or choose another path"
            .to_owned());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err("a collector is listening there already; use it, stop it, or give another \
                      --listen"
            .to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .map_err(|error| format!("the socket of a dead collector is in the way: {error}"))
        }
        Err(error) => Err(format!("a socket is in the way and cannot be tried: {error}")),
    }
}

/// Accepts connections from `listener` and hands them over until `stop` changes.
pub async fn accept(
    listener: Listener,
    collector: Arc<Collector>,
    slots: Arc<Semaphore>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    mut stop: watch::Receiver<bool>,
) {
    let path: Arc<Path> = match &listener {
        Listener::Unix(_, file) => file.path.as_path().into(),
        Listener::Tcp(..) => Path::new("").into(),
    };
    loop {
        let next = async {
            let permit = match Arc::clone(&slots).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    let sentence =
                        format!("{CONNECTIONS} connections are open, as many as may be; it waits");
                    collector.refuse(Refusal::Full, &"a further connection", &sentence);
                    Arc::clone(&slots).acquire_owned().await.ok()?
                }
            };
            let accepted = match &listener {
                Listener::Unix(socket, _) => socket.accept().await.map(|(stream, _)| {
                    permitted(&stream, &path, &collector).then(|| {
                        Connection::unix(stream, Arc::clone(&path), Arc::clone(&collector), permit)
                    })
                }),
                Listener::Tcp(socket, _) => socket.accept().await.map(|(stream, from)| {
                    let _ = prepare(&stream);
                    Some(Connection::tcp(stream, from, Arc::clone(&collector), permit))
                }),
            };
            Some(accepted)
        };
        let next = tokio::select! {
            next = next => next,
            _ = stop.changed() => return,
        };
        match next {
            None => return,
            Some(Ok(None)) => {}
            Some(Ok(Some(connection))) => {
                if accepted.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => {
                // Out of file descriptors, most likely: others may be closed soon.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Small answers go out at once, and a peer whose host has died is noticed.
fn prepare(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_nodelay};
    set_tcp_nodelay(stream, true)?;
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, KEEPALIVE_AFTER)
}

/// Whether the peer runs as this user or as root.
fn permitted(stream: &tokio::net::UnixStream, path: &Path, collector: &Collector) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let uid = stream.peer_cred().map(|peer| peer.uid());
    if uid.as_ref().is_ok_and(|uid| *uid == me || *uid == 0) {
        return true;
    }
    let who = format!("a peer on unix:{}", path.display());
    let uid = uid.map_or_else(|_| "unknown".to_owned(), |uid| uid.to_string());
    let sentence = format!("it runs as user {uid}, this collector as {me}");
    collector.refuse(Refusal::User, &who, &sentence);
    false
}
