//! A real Prometheus server that scrapes a collector, and is asked.

use crate::collector::Collector;
use crate::wait::eventually;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often it scrapes and evaluates its rules.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// A Prometheus server. Killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

/// One series of an answer, with its value at the time of the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Prometheus {
    /// Starts a server that scrapes `collector` and has these `rules`, with its files in `directory`. `None`, and
    /// a line that says so, where Prometheus is not installed.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(
        collector: &Collector,
        rules: &str,
        directory: &Path,
        options: &[&str],
    ) -> Option<Self> {
        let folder = directory.join("prometheus");
        fs::create_dir_all(&folder).expect("the test's directory can be written");
        let configuration = format!(
            "global: {{scrape_interval: {0}ms, scrape_timeout: {0}ms, evaluation_interval: {0}ms}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: nccltap\n  static_configs: [{{targets: ['{1}']}}]\n",
            INTERVAL.as_millis(),
            collector.http
        );
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the test's directory can be written");
            path
        };
        put("rules.yml", rules);
        let configuration = put("prometheus.yml", &configuration);
        // Prometheus does not say which port it took, so it is given one that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("there is a free port");
        let log = folder.join("log");
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the test's directory can be written"))
            .spawn();
        let child = match started {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: no Prometheus here (Debian: apt-get install prometheus)");
                return None;
            }
            other => other.expect("prometheus starts"),
        };
        let server = Self { child, address };
        eventually(|| match server.request("GET /-/ready", "") {
            Ok(answer) if answer.contains(" 200 ") => Ok(()),
            _ => Err(format!(
                "Prometheus is not ready: {}",
                fs::read_to_string(&log).unwrap_or_default()
            )),
        });
        Some(server)
    }

    /// What a query gives now, in order of the labels.
    ///
    /// # Panics
    /// When Prometheus refuses it.
    pub fn query(&self, query: &str) -> Vec<Sample> {
        let answer = self
            .request("POST /api/v1/query", &format!("query={}", encoded(query)))
            .unwrap_or_else(|error| panic!("Prometheus does not answer to {query}: {error}"));
        let body = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, body)| body);
        let answer: Answer =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{query}: {error} in {body}"));
        let Some(data) = answer.data else { panic!("{query}: {body}") };
        let mut samples = data.samples(query);
        samples.sort_by(|one, other| one.labels.cmp(&other.labels));
        samples
    }

    /// The one value that a query gives, if it gives one.
    pub fn value(&self, query: &str) -> Option<f64> {
        match self.query(query).as_slice() {
            [one] => Some(one.value),
            _ => None,
        }
    }

    /// Waits until `query` has given this value, and no other, for a second.
    pub fn settles(&self, query: &str, value: f64) {
        let least = format!("min_over_time(({query})[1s:200ms])");
        let most = format!("max_over_time(({query})[1s:200ms])");
        eventually(|| {
            let found = (self.value(&least), self.value(&most));
            match found == (Some(value), Some(value)) {
                true => Ok(()),
                false => Err(format!("{query} is between {found:?}, not {value}")),
            }
        });
    }

    fn request(&self, what: &str, form: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let length = form.len();
        write!(
            stream,
            "{what} HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A text as it stands in a form.
fn encoded(text: &str) -> String {
    let mut form = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => form.push(byte.into()),
            _ => drop(write!(form, "%{byte:02X}")),
        }
    }
    form
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "resultType", content = "result")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(f64, String)>,
}

impl Data {
    fn samples(self, query: &str) -> Vec<Sample> {
        let number = |text: &str| {
            text.parse().unwrap_or_else(|error| panic!("{query} gives `{text}`: {error}"))
        };
        match self {
            Self::Scalar((_, text)) => {
                vec![Sample { labels: BTreeMap::new(), value: number(&text) }]
            }
            Self::Vector(all) => all
                .into_iter()
                .map(|Series { metric, value }| {
                    // A native histogram has no value.
                    let value = value.map_or(f64::NAN, |(_, text)| number(&text));
                    Sample { labels: metric, value }
                })
                .collect(),
        }
    }
}
