//! Runs a row under `nccltap rehearse`.

use super::prediction::{self, trace_folder};
use super::rows::{Layout, Row, Way};
use super::verdict::{Verdict, truth};
use crate::artifacts::built;
use crate::tally::Tally;
use nccltap_rehearsal::COUNTS_DIRECTORY;
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a row may take, engine start included: `NCCLTAP_MATRIX_TIMEOUT` seconds, 900 when unset.
pub(super) fn patience() -> Duration {
    let seconds = std::env::var("NCCLTAP_MATRIX_TIMEOUT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(900))
}

/// How long a server may take to end after it was asked to.
const END_WITHIN: Duration = Duration::from_secs(90);

/// A server's ranks have come to rest when they called nothing for so long.
pub(super) const REST: Duration = Duration::from_secs(1);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs a row with everything it writes in `folder`, and gives what came of it and what was
/// reported.
pub fn run(row: &Row, folder: &Path) -> (Verdict, Tally) {
    let began = Instant::now();
    let done = attempt(row, folder);
    let seconds = began.elapsed().as_secs();
    match done {
        Ok((report, truth, resident)) => {
            let report = Tally::of_report(&report);
            let verdict = Verdict::of(row.name(), seconds, resident, &report, &truth);
            (verdict.beside(prediction::check(row, folder)), report)
        }
        Err(why) => (Verdict::failed(row.name(), seconds, why), Tally::default()),
    }
}

type Done = (String, Tally, String);

fn attempt(row: &Row, folder: &Path) -> Result<Done, String> {
    let place = Place::new(folder)?;
    match row.way {
        Way::Offline { requests, output } => {
            let command = generate(row, &place, (requests, output), &[], &[]);
            let mut rehearsal = Rehearsal::start(command, &place)?;
            generated(&mut rehearsal, &place, (requests, output))?;
        }
        Way::Served { requests } => served(row, &place, requests)?,
    }
    place.done()
}

/// Where a row leaves what it writes.
pub(super) struct Place<'a> {
    folder: &'a Path,
}

impl<'a> Place<'a> {
    /// The folder, with nothing of an earlier run in it.
    pub(super) fn new(folder: &'a Path) -> Result<Self, String> {
        let _ = fs::remove_dir_all(folder);
        let place = Self { folder };
        for inside in [place.counts(), trace_folder(folder)] {
            fs::create_dir_all(inside).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(place)
    }

    /// What a run has left: the report, the simulator's account, and what it took of memory.
    pub(super) fn done(&self) -> Result<Done, String> {
        let report = fs::read_to_string(self.report())
            .map_err(|error| format!("there is no report: {error}"))?;
        let counts = Counts::read(&self.counts()).map_err(|error| error.to_string())?;
        let cuda = Graphs::read(&self.counts()).map_err(|error| error.to_string())?;
        Ok((report, truth(&counts, &cuda), self.resident()))
    }

    pub(super) fn counts(&self) -> PathBuf {
        self.folder.join("counts")
    }

    fn report(&self) -> PathBuf {
        self.folder.join("report.json")
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output.txt")
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.output()).unwrap_or_default()).into_owned()
    }

    /// What the closing line of the rehearsal says of memory.
    fn resident(&self) -> String {
        let said = self.said();
        let line = said.lines().rfind(|line| line.starts_with("REHEARSAL: ")).unwrap_or_default();
        let part = line.split("at most ").nth(1).and_then(|rest| rest.split(" resident").next());
        part.unwrap_or_default().to_owned()
    }
}

/// A program that has the engine in it, with further arguments for the engine and options for the rehearsal.
pub(super) fn generate(
    row: &Row,
    place: &Place,
    (requests, output): (u32, u32),
    further: &[(&str, u32)],
    options: &[&str],
) -> Command {
    let mut arguments = json!({
        "model": "{model}",
        "tensor_parallel_size": row.layout.tensor,
        "pipeline_parallel_size": row.layout.pipeline,
        "enable_expert_parallel": row.layout.experts,
        "enforce_eager": !row.graphs,
        "disable_custom_all_reduce": !row.custom,
    });
    for (name, value) in further {
        arguments[*name] = json!(value);
    }
    let mut command = rehearse(row, place, options);
    command.arg("python").arg(script("generate.py"));
    command.args([output.to_string(), requests.to_string(), arguments.to_string()]);
    command
}

/// Waits for that program's end, and for every token.
pub(super) fn generated(
    rehearsal: &mut Rehearsal,
    place: &Place,
    (requests, output): (u32, u32),
) -> Result<(), String> {
    let ended = rehearsal.wait(patience())?;
    let generated = format!("generated{}", format!(" {output}").repeat(requests as usize));
    if !ended.success() || !place.said().lines().any(|line| line == generated) {
        return Err(format!("it ended with {ended}; see {}", place.output().display()));
    }
    Ok(())
}

fn served(row: &Row, place: &Place, requests: u32) -> Result<(), String> {
    let port = free_port()?;
    let mut command = rehearse(row, place, &[]);
    command.args(if row.engine.starts_with("sglang") { sglang(row) } else { vllm(row)? });
    command.args(["--host", "127.0.0.1"]);
    if !row.custom {
        command.arg("--disable-custom-all-reduce");
    }
    command.args(["--port", &port.to_string()]);
    let mut rehearsal = Rehearsal::start(command, place)?;
    rehearsal.until(patience(), || answers(port))?;
    let load = Command::new("python3")
        .arg(script("load.py"))
        .args([port.to_string(), requests.to_string()])
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if !load.status.success() {
        let said = String::from_utf8_lossy(&load.stdout).into_owned();
        return Err(format!("the requests failed: {}", said.lines().next().unwrap_or("no word")));
    }
    rehearsal.rest(place)?;
    rehearsal.interrupt();
    // How a server ends that was interrupted is its own affair.
    rehearsal.wait(END_WITHIN).map(|_| ())
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("there is no free port: {error}"))
}

/// vLLM's server.
fn vllm(row: &Row) -> Result<Vec<String>, String> {
    let Layout { tensor, pipeline, data, .. } = row.layout;
    let mut command = words("vllm serve {model} --max-model-len 2048");
    command.extend(words(&format!("--tensor-parallel-size {tensor}")));
    command.extend(words(&format!("--pipeline-parallel-size {pipeline}")));
    if data > 1 {
        command.extend(words(&format!("--data-parallel-size {data}")));
    }
    if row.layout.experts {
        command.push("--enable-expert-parallel".to_owned());
    }
    if !row.graphs {
        command.push("--enforce-eager".to_owned());
    }
    if row.nodes > 1 {
        let meet = format!("--master-addr 127.0.0.1 --master-port {}", free_port()?);
        command.extend(words(&format!("--nnodes {} --node-rank {{node}} {meet}", row.nodes)));
    }
    Ok(command)
}

/// SGLang's server.
fn sglang(row: &Row) -> Vec<String> {
    let Layout { tensor, pipeline, .. } = row.layout;
    let mut command = words("python -m sglang.launch_server --model-path {model}");
    command.extend(words(&format!("--tp-size {tensor} --pp-size {pipeline}")));
    if !row.graphs {
        command.push("--disable-cuda-graph".to_owned());
    }
    command
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn rehearse(row: &Row, place: &Place, options: &[&str]) -> Command {
    let mut command = Command::new(&built().command);
    command
        .env("NCCLTAP_LIBRARY", &built().tap)
        .env(COUNTS_DIRECTORY, place.counts())
        .args(["rehearse", "--quiet", "--engine", row.engine, "--model-config", row.model])
        .args(["--nodes", &row.nodes.to_string()])
        .args(["--gpus-per-node", &row.gpus_per_node().to_string(), "--report"])
        .arg(place.report());
    // The engine's own log of its steps, from which `prediction` predicts.
    command.env("PYTHONPATH", script("trace")).env("SCHEDULE_TRACE", trace_folder(place.folder));
    if let Some(version) = row.version {
        command.env("VLLM_USE_V1", if version { "1" } else { "0" });
    }
    if row.agrees_on_the_cpu() {
        command.env("VLLM_DISABLE_NCCL_FOR_DP_SYNCHRONIZATION", "1");
    }
    command.args(options).arg("--");
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix").join(name)
}

/// Whether a server says that it is well.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split_whitespace().nth(1) == Some("200"))
}

/// A rehearsal that runs; nothing of it is left when it is dropped.
pub(super) struct Rehearsal {
    child: Child,
}

impl Rehearsal {
    pub(super) fn start(mut command: Command, place: &Place) -> Result<Self, String> {
        let output = File::create(place.output()).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("nccltap cannot be run: {error}"))?;
        Ok(Self { child })
    }

    /// Waits for the end.
    fn wait(&mut self, within: Duration) -> Result<ExitStatus, String> {
        let mut ended = None;
        let child = &mut self.child;
        wait_until(within, || {
            ended = child.try_wait().map_err(|error| error.to_string())?;
            Ok(ended.is_some())
        })?;
        ended.ok_or_else(|| "it did not end".to_owned())
    }

    /// Waits until something holds, as long as the command runs.
    pub(super) fn until(
        &mut self,
        within: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let child = &mut self.child;
        wait_until(within, || match child.try_wait() {
            Ok(None) => Ok(holds()),
            Ok(Some(ended)) => Err(format!("it ended with {ended} before it served")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Waits until no rank calls any more: simulated ranks do not wait for each other.
    fn rest(&mut self, place: &Place) -> Result<(), String> {
        let total = || {
            let (counts, cuda) = (Counts::read(&place.counts()), Graphs::read(&place.counts()));
            Some(truth(&counts.ok()?, &cuda.ok()?).total())
        };
        let mut last = (total(), Instant::now());
        self.until(patience(), || {
            let now = total();
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() >= REST
        })
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn interrupt(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if let Some(group) = self.pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn wait_until(
    within: Duration,
    mut holds: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let deadline = Instant::now() + within;
    while !holds()? {
        if Instant::now() >= deadline {
            return Err(format!("it took longer than {} s", within.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
