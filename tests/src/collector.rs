//! `nccltap serve`, run for one test, and asked.

use crate::artifacts::built;
use crate::tally::Tally;
use crate::wait::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A collector. Killed when dropped.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    /// Where it takes streams, as `NCCLTAP_COLLECTOR` wants it: the Unix socket, and what more it was
    /// told to listen on.
    pub addresses: Vec<String>,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    log: PathBuf,
}

impl Collector {
    /// Starts a collector that listens on `socket` and looks for rings in `rings`, with its output
    /// in `directory`, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(socket: &Path, rings: &Path, directory: &Path, arguments: &[&str]) -> Self {
        let log = directory.join("collector.stderr");
        let out = directory.join("collector.stdout");
        let mut child = Command::new(&built().command)
            .arg("serve")
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .args(["--http", "127.0.0.1:0", "--recover-dir"])
            .arg(rings)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("the test's directory can be written"))
            .stderr(File::create(&log).expect("the test's directory can be written"))
            .spawn()
            .expect("nccltap can be run");
        let (http, addresses) = eventually(|| {
            let printed = fs::read_to_string(&out).unwrap_or_default();
            if let Some(ready) = printed.lines().find_map(ready_line) {
                return Ok(ready);
            }
            if let Ok(Some(status)) = child.try_wait() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                panic!("the collector ended ({status}): {said}");
            }
            Err("the collector is not ready".to_owned())
        });
        Self { child, addresses, http, log }
    }

    /// The rows of the report, from its API.
    ///
    /// # Panics
    /// When there are none.
    pub fn rows(&self) -> Tally {
        Tally::of_report(&self.get("/api/v1/report?format=json"))
    }

    /// The rows themselves, as `nccltap report --format json` prints them.
    ///
    /// # Panics
    /// When there are none.
    pub fn report_rows(&self) -> Vec<serde_json::Value> {
        let text = self.get("/api/v1/report?format=json");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not rows ({error}): {text}"))
    }

    /// What it knows of each process.
    ///
    /// # Panics
    /// When it does not say.
    pub fn processes(&self) -> Vec<Process> {
        let text = self.get("/api/v1/processes");
        let overview: Overview = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("not processes ({error}): {text}"));
        overview.processes
    }

    /// What it knows of the process with this pid, once that has ended and all is taken of it.
    pub fn ended(&self, pid: u32) -> Process {
        eventually(|| {
            let processes = self.processes();
            match processes.into_iter().find(|process| process.pid == pid) {
                Some(process) if process.life != "running" => Ok(process),
                found => Err(format!("process {pid} has not ended: {found:?}\n{}", self.log())),
            }
        })
    }

    /// The rows that `nccltap report --format json` prints.
    ///
    /// # Panics
    /// When the report fails.
    pub fn report(&self) -> Tally {
        let output = Command::new(&built().command)
            .args(["report", "--collector", &self.addresses[0], "--format", "json"])
            .output()
            .expect("nccltap can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the report failed: {said}{}", self.log());
        Tally::of_report(&String::from_utf8_lossy(&output.stdout))
    }

    /// What `nccltap report` prints for people.
    ///
    /// # Panics
    /// When the report fails.
    pub fn text_report(&self) -> String {
        let output = Command::new(&built().command)
            .args(["report", "--collector", &self.addresses[0]])
            .output()
            .expect("nccltap can be run");
        assert!(output.status.success(), "the report failed: {}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The body of an answer to an HTTP GET.
    ///
    /// # Panics
    /// When there is none, or it is not 200.
    pub fn get(&self, path: &str) -> String {
        let answer = self.try_get(path).unwrap_or_else(|error| {
            panic!("GET {path}: {error}; the collector says: {}", self.log())
        });
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }

    fn try_get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Sum of a metric over all its series whose labels hold all of `labels`, each `name="value"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get("/metrics");
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        series
            .filter_map(|line| {
                line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok())
            })
            .sum()
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the collector runs");
    }

    /// Kills it at once, as a crash would.
    pub fn crash(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not end with 0.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = eventually(|| match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err("the collector has not ended".to_owned()),
        });
        assert!(status.success(), "the collector ended with {status}: {}", self.log());
    }
}

#[derive(Deserialize)]
struct Overview {
    processes: Vec<Process>,
}

/// What a collector says of a process, as far as tests look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// `running`, `ended` or `recovered`.
    pub life: String,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// Where its calls have gone.
    pub accounting: Accounting,
    /// Calls per function.
    pub calls: BTreeMap<String, u64>,
    /// Launches of graphs.
    pub launches: Launches,
    /// Operations in conditional nodes of graphs that were launched.
    pub conditional: BTreeMap<String, u64>,
    /// Copies of NCCL and of the CUDA runtime.
    pub libraries: Vec<Library>,
    /// Communicators, in order of creation.
    pub communicators: Vec<Communicator>,
    /// Trouble the tap stepped around.
    pub faults: BTreeMap<String, u64>,
    /// Calls that were inside NCCL.
    pub in_flight: Vec<InFlight>,
    /// Records that came again and were discarded.
    pub repeated: u64,
    /// Settings whose value was not taken.
    pub settings_problems: Vec<SettingProblem>,
}

/// Launches of graphs, by what is in them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Launches {
    /// Operations of NCCL.
    pub with_operations: u64,
    /// None.
    pub without: u64,
    /// It is not known.
    pub unknown: u64,
    /// They went to graphs under capture.
    pub captured: u64,
    /// Different contents.
    pub manifests: u64,
}

/// A setting whose value was not taken.
#[derive(Clone, Debug, Deserialize)]
pub struct SettingProblem {
    /// Environment variable.
    pub name: String,
}

/// Where the calls of a process have gone.
#[derive(Clone, Debug, Deserialize)]
pub struct Accounting {
    /// Calls made under the tap.
    pub made: u64,
    /// Calls the collector counts.
    pub seen: u64,
    /// Calls that found their ring full.
    pub dropped: u64,
    /// Calls that found no ring.
    pub unrecorded: u64,
    /// Calls recorded that never arrived.
    pub lost: u64,
    /// Calls recorded that have not arrived yet.
    pub pending: u64,
    /// Operations that were captured.
    pub captured_operations: u64,
    /// Operations that launches of graphs carried out.
    pub graph_operations: u64,
    /// Whether the sums agree.
    pub balanced: bool,
}

/// A copy of a library.
#[derive(Clone, Debug, Deserialize)]
pub struct Library {
    /// `NCCL` or `CUDA runtime`.
    pub kind: String,
    /// Its file.
    pub path: String,
    /// As ncclGetVersion gives it.
    pub version: Option<u32>,
    /// Functions reached by a linkage table.
    pub plt: Vec<String>,
    /// Functions reached by dlsym.
    pub dlsym: Vec<String>,
}

/// A communicator.
#[derive(Clone, Debug, Deserialize)]
pub struct Communicator {
    /// The name the application gave it.
    pub name: String,
    /// Copy of NCCL.
    pub library: u32,
    /// Whether it was destroyed.
    pub destroyed: bool,
}

/// A call that was inside NCCL.
#[derive(Clone, Debug, Deserialize)]
pub struct InFlight {
    /// The function.
    pub function: Option<String>,
    /// NCCL's count argument.
    pub elements: u64,
    /// Rank in its communicator.
    pub rank: Option<i32>,
}

impl Process {
    /// Requires that every call it made is accounted for, and none is missing.
    ///
    /// # Panics
    /// When one is.
    pub fn is_accounted_for(&self) {
        let sums = &self.accounting;
        assert!(sums.balanced, "{self:?}");
        assert_eq!(sums.made, sums.seen + sums.dropped + sums.unrecorded, "{self:?}");
        assert_eq!((sums.lost, sums.pending), (0, 0), "{self:?}");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a collector listens, from the line it prints when it is ready.
fn ready_line(line: &str) -> Option<(SocketAddr, Vec<String>)> {
    let mut parts = line.strip_prefix("listening http=")?.split(" collector=");
    let http = parts.next()?.parse().ok()?;
    let addresses: Vec<String> = parts.map(str::to_owned).collect();
    (!addresses.is_empty()).then_some((http, addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_says_where() {
        let line = "listening http=127.0.0.1:4711 collector=unix:/a b/c.sock collector=tcp:h:1";
        let (http, addresses) = ready_line(line).unwrap();
        assert_eq!(http.port(), 4711);
        assert_eq!(addresses, ["unix:/a b/c.sock", "tcp:h:1"]);
        assert_eq!(ready_line("listening http=127.0.0.1:4711"), None);
        assert_eq!(ready_line("starting"), None);
    }
}
