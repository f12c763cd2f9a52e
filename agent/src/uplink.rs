//! The stream to the collector: connect, say Hello, report, reconnect.

use crate::descriptors;
use crate::drain::{self, Drain};
use crate::faults::{self, Fault};
use crate::ffi;
use crate::life::Agent;
use hyper_util::rt::TokioIo;
use nccltap_proto::MAX_MESSAGE_BYTES;
use nccltap_proto::address::Address;
use nccltap_proto::v1::agent_message::Message as ToCollector;
use nccltap_proto::v1::collector_message::Message as FromCollector;
use nccltap_proto::v1::tap_client::TapClient;
use nccltap_proto::v1::{AgentMessage, CollectorMessage};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Time between looks at the rings, while there is traffic.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// The same, while there is none. A ring must hold what a thread records in this time.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for a connection, and for the collector's Welcome.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// First wait before a new attempt; it doubles up to the longest.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Reports that may wait for the network. Whatever else there is waits in the rings.
const REPORTS_WAITING: usize = 2;

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
    // Not `enable_all`: where some other crate of the build asks for it, that has a signal driver.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    match runtime {
        Ok(runtime) => {
            // Never taken down: see `drain::panicked`.
            let runtime = ManuallyDrop::new(runtime);
            runtime.block_on(keep_connected(agent));
        }
        Err(_) => faults::count(Fault::NoThread),
    }
}

async fn keep_connected(agent: &'static Agent) {
    let mut drain = Drain::new(agent);
    let mut backoff = SHORTEST_BACKOFF;
    let mut met_collector = false;
    loop {
        let ended = stream(agent, &mut drain).await;
        descriptors::forget_socket();
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
        tokio::select! {
            () = sleep(backoff + spread) => {}
            () = agent.exit.asked() => {}
        }
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
async fn stream(agent: &'static Agent, drain: &mut Drain) -> Ended {
    let Ok(Ok(channel)) = timeout(CONNECT_PATIENCE, connect(&agent.settings.collector)).await
    else {
        return Ended::NoCollector;
    };
    let opened = Instant::now();
    let broken = || Ended::Broken { lived: opened.elapsed() };
    let mut client = TapClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reports, waiting) = mpsc::channel::<AgentMessage>(REPORTS_WAITING);
    if reports.try_send(message(ToCollector::Hello(drain.hello()))).is_err() {
        return broken();
    }
    let answers = match timeout(CONNECT_PATIENCE, client.stream(ReceiverStream::new(waiting))).await
    {
        Ok(Ok(answers)) => answers,
        Ok(Err(_)) => {
            faults::count(Fault::Refused);
            return broken();
        }
        Err(_) => return broken(),
    };
    let mut answers = answers.into_inner();
    match timeout(CONNECT_PATIENCE, answers.message()).await {
        Ok(Ok(Some(CollectorMessage { message: Some(FromCollector::Welcome(welcome)) }))) => {
            drain.welcomed(&welcome.rings);
        }
        Ok(Err(_)) => {
            faults::count(Fault::Refused);
            return broken();
        }
        _ => return broken(),
    }

    let mut pause = SHORTEST_PAUSE;
    loop {
        if !descriptors::are_intact() {
            faults::count(Fault::DescriptorsClosed);
            drain::stop_for_good();
        }
        let ending = agent.exit.is_asked();
        if ending && drain.is_drained() {
            return say_goodbye(drain, reports, answers).await;
        }
        // A report is made only when there is room for it, so that none waits outside the rings.
        if let Ok(room) = reports.try_reserve() {
            match drain.report() {
                Some((report, more)) => {
                    let busy = !report.batches.is_empty();
                    room.send(message(ToCollector::Report(report)));
                    pause = if busy { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    if more {
                        tokio::task::yield_now().await;
                    }
                }
                None => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        let mut next = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(CollectorMessage {
                        message: Some(FromCollector::Acknowledgement(acknowledgement)),
                    })) => drain.taken(&acknowledgement.rings),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) if ending => return Ended::Unfinished,
                    Ok(None) => return broken(),
                    Err(_) => return broken(),
                },
                () = &mut next => break,
                () = agent.exit.asked(), if !ending => break,
            }
        }
    }
}

/// Says that nothing follows, and waits until the collector has closed the stream.
async fn say_goodbye(
    drain: &mut Drain,
    reports: mpsc::Sender<AgentMessage>,
    mut answers: tonic::Streaming<CollectorMessage>,
) -> Ended {
    if reports.send(message(ToCollector::Goodbye(drain.goodbye()))).await.is_err() {
        return Ended::Unfinished;
    }
    drop(reports);
    while let Ok(Some(_)) = answers.message().await {}
    Ended::InGoodOrder
}

fn message(message: ToCollector) -> AgentMessage {
    AgentMessage { message: Some(message) }
}

async fn connect(address: &Address) -> Result<Channel, tonic::transport::Error> {
    let endpoint = |uri: String| -> Result<Endpoint, tonic::transport::Error> {
        Ok(Endpoint::from_shared(uri)?
            .connect_timeout(CONNECT_PATIENCE)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true))
    };
    match address {
        Address::Tcp { host, port } => endpoint(format!("http://{host}:{port}"))?.connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { own_socket(&path).await.map(TokioIo::new) }
            });
            // The name is never looked up; HTTP/2 wants one.
            endpoint("http://nccltap".to_owned())?.connect_with_connector(connector).await
        }
    }
}

/// Connects to a socket, if this user or root made it: what a process does is not told to others.
async fn own_socket(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(path).await?;
    let owner = socket.peer_cred()?.uid();
    if owner != ffi::user_id() && owner != 0 {
        faults::count(Fault::ForeignCollector);
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    descriptors::note_socket(socket.as_raw_fd());
    Ok(socket)
}
