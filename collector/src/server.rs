//! A running collector: its sockets, and everything behind them.

use crate::collector::Collector;
use crate::ingest::listen::{self, ListenError, Listener};
use crate::ingest::{CONNECTIONS, TapService, Token};
use crate::outputs::http;
use crate::outputs::prometheus::expected::Expected;
use crate::recovery::Recovery;
use nccltap_proto::address::Address;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server as TonicServer;

/// Bytes a peer may send before they are read.
const WINDOW: u32 = 2 << 20;

/// Largest frame of HTTP/2.
const FRAME: u32 = 1 << 20;

/// How long a stop waits for connections to close.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Where and how a collector serves.
#[derive(Debug)]
pub struct Settings {
    /// Where agents reach it.
    pub listen: Vec<Address>,
    /// Where HTTP clients reach it, besides these addresses.
    pub http: Option<SocketAddr>,
    /// What TCP peers must know.
    pub token: Option<Token>,
    /// What each engine step must do, where a model is named.
    pub expected: Option<Expected>,
}

/// Why a collector cannot serve.
#[derive(Debug)]
pub enum StartError {
    /// A collector address cannot be listened on.
    Listen(ListenError),
    /// The HTTP address cannot be listened on.
    Http(SocketAddr, std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => write!(f, "{error}"),
            Self::Http(at, error) => write!(
                f,
                "cannot listen on {at} for HTTP: {error}; choose another address with --http"
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// A collector that is serving.
#[derive(Debug)]
pub struct Server {
    /// Where agents reach it.
    pub addresses: Vec<Address>,
    /// Where HTTP clients reach it.
    pub http: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts serving `collector`, and looking after dead processes by `recovery`.
    pub async fn start(
        collector: Arc<Collector>,
        recovery: Recovery,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let Settings { listen, http, token, expected } = settings;
        let token = token.map(Arc::new);
        let (stop, stopping) = watch::channel(false);
        let listeners = listen
            .iter()
            .map(|address| Listener::bind(address, token.is_some()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Listen)?;
        let addresses = listeners.iter().map(Listener::address).collect();
        let http = match http {
            None => None,
            Some(at) => {
                let failed = |error| StartError::Http(at, error);
                let socket = TcpListener::bind(at).await.map_err(failed)?;
                let at = socket.local_addr().map_err(failed)?;
                Some((socket, at))
            }
        };

        let mut tasks = Vec::new();
        let (accepted, incoming) = mpsc::channel(64);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        for listener in listeners {
            tasks.push(tokio::spawn(listen::accept(
                listener,
                Arc::clone(&collector),
                Arc::clone(&slots),
                accepted.clone(),
                stopping.clone(),
            )));
        }
        drop(accepted);

        let api = http::router(Arc::clone(&collector), expected, stopping.clone());
        let service = TapService::new(
            Arc::clone(&collector),
            recovery.clone(),
            token.clone(),
            stopping.clone(),
        );
        let routes = tonic::service::Routes::from(
            http::guarded(api.clone(), collector, token)
                .fallback(|| async { (axum::http::StatusCode::NOT_FOUND, "no such route\n") }),
        )
        .add_service(service.into_server());
        let serving = TonicServer::builder()
            .accept_http1(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME)
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopped(stopping.clone()));
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("the collector sockets are closed: {error}");
            }
        }));

        let http = http.map(|(socket, at)| {
            let serving =
                axum::serve(socket, api).with_graceful_shutdown(stopped(stopping.clone()));
            tasks.push(tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!("the HTTP socket is closed: {error}");
                }
            }));
            at
        });
        tasks.push(tokio::spawn(recovery.run(stopping)));
        Ok(Self { addresses, http, stop, tasks })
    }

    /// Closes the sockets and ends the streams. What was acknowledged is kept; what was not, the
    /// agents keep.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.changed().await;
}
