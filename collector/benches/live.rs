//! How new the page is at 100,000 operations a second, and what it costs the collector to be looked at.
//!
//! `cargo bench -p nccltap --bench live [-- OPERATIONS_PER_SECOND [SECONDS]]` lets ranks that pretend to serve
//! send over the Unix socket, and listens to the events. *Age* is the time since the newest call was acknowledged of which
//! a listener, or the text on the page in Chromium, knows: when a snapshot arrives, and just before the next one does.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Collector;
use support::browser::{Browser, browser};
use support::engine::Shape;
use support::job::Job;

/// How many calls were acknowledged, and when.
type Sent = Arc<Mutex<VecDeque<(Instant, u64)>>>;

fn main() {
    let numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.collect();
    let rate = numbers.first().copied().unwrap_or(100_000);
    let lasts = Duration::from_secs(numbers.get(1).copied().unwrap_or(10));
    for shape in [Shape { tensor: 4, stages: 2 }, Shape { tensor: 8, stages: 8 }] {
        measure(shape, rate, lasts);
    }
}

fn measure(shape: Shape, rate: u64, lasts: Duration) {
    let collector = Collector::start();
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Sent::default());
    let serving = serve(&collector, shape, rate, Arc::clone(&over), Arc::clone(&sent));
    std::thread::sleep(Duration::from_secs(2));
    let ranks = shape.tensor * shape.stages;
    for listeners in [0, 1, 10] {
        let ends = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..listeners)
            .map(|_| {
                let (http, ends, sent) =
                    (collector.http.clone(), Arc::clone(&ends), Arc::clone(&sent));
                std::thread::spawn(move || listen(&http, &ends, &sent))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        let (before, calls) = (processor_time(collector.pid()), newest(&sent));
        let began = Instant::now();
        std::thread::sleep(lasts);
        let wall = began.elapsed().as_secs_f64();
        let spent = (processor_time(collector.pid()) - before).as_secs_f64() / wall;
        let came = (newest(&sent) - calls) as f64 / wall;
        ends.store(true, Relaxed);
        let heard: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("ages")).collect();
        let all = |of: fn(&Heard) -> &Vec<f64>| heard.iter().flat_map(of).copied().collect();
        let bytes: u64 = heard.iter().map(|heard| heard.bytes).sum();
        print!(
            "{ranks} ranks, {came:.0} calls/s, {listeners} listeners: {:.1} % of a core",
            spent * 100.0
        );
        if listeners > 0 {
            let (new, old): (Vec<f64>, Vec<f64>) = (all(|h| &h.arriving), all(|h| &h.leaving));
            let per = bytes / heard.iter().map(|h| h.leaving.len() as u64 + 1).sum::<u64>().max(1);
            print!("; events of {per} bytes; age arriving {}, leaving {}", told(new), told(old));
        }
        println!();
    }
    if let Some(name) = browser() {
        let ages = on_the_page(name, &collector, &sent, lasts);
        println!("{ranks} ranks, text on the page in Chromium: age {}", told(ages));
    }
    over.store(true, Relaxed);
    serving.join().expect("it served");
}

/// Steps of all ranks, as many as make up the rate.
fn serve(
    collector: &Collector,
    shape: Shape,
    rate: u64,
    over: Arc<AtomicBool>,
    sent: Sent,
) -> std::thread::JoinHandle<()> {
    let socket = collector.socket.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut job = Job::start(&socket, shape).await;
            let (began, before) = (Instant::now(), job.sent);
            while !over.load(Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                if job.sent - before > due {
                    tokio::time::sleep(Duration::from_micros(500)).await;
                    continue;
                }
                job.step(1, 9).await;
                let mut sent = sent.lock().expect("the counts");
                sent.push_back((Instant::now(), job.sent));
                if sent.len() > 100_000 {
                    sent.pop_front();
                }
            }
        });
    })
}

fn newest(sent: &Sent) -> u64 {
    sent.lock().expect("the counts").back().map_or(0, |(_, count)| *count)
}

/// Seconds since the collector had acknowledged `seen` calls.
fn age(sent: &Sent, seen: u64, now: Instant) -> Option<f64> {
    let sent = sent.lock().expect("the counts");
    let at = sent.partition_point(|(_, count)| *count <= seen).checked_sub(1)?;
    Some(now.saturating_duration_since(sent[at].0).as_secs_f64())
}

#[derive(Default)]
struct Heard {
    arriving: Vec<f64>,
    leaving: Vec<f64>,
    bytes: u64,
}

fn listen(http: &str, ends: &AtomicBool, sent: &Sent) -> Heard {
    let mut stream = TcpStream::connect(http).expect("HTTP answers");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream);
    let (mut heard, mut line) = (Heard::default(), String::new());
    let mut before = None;
    while !ends.load(Relaxed) {
        line.clear();
        lines.read_line(&mut line).expect("an event");
        let now = Instant::now();
        let Some(data) = line.strip_prefix("data: ") else { continue };
        heard.bytes += data.len() as u64;
        let live: Value = serde_json::from_str(data).expect("a snapshot");
        let seen = live["accounting"]["seen"].as_u64().expect("a count");
        heard.leaving.extend(before.and_then(|before| age(sent, before, now)));
        heard.arriving.extend(age(sent, seen, now));
        before = Some(seen);
    }
    heard
}

/// What a person reads, at any moment.
fn on_the_page(name: &str, collector: &Collector, sent: &Sent, lasts: Duration) -> Vec<f64> {
    let mut page = Browser::start(name);
    page.look(1280, 900, false);
    page.open(&format!("http://{}/", collector.http));
    page.until("document.querySelector('.tiles > div:nth-child(6)')?.innerText.includes(' made')");
    let began = Instant::now();
    let mut ages = Vec::new();
    while began.elapsed() < lasts {
        let text = page.value("document.querySelector('.tiles > div:nth-child(6)').innerText");
        let now = Instant::now();
        let digits = text.as_str().and_then(|text| text.split("of ").nth(1)).unwrap_or_default();
        let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
        ages.extend(digits.parse().ok().and_then(|made| age(sent, made, now)));
        std::thread::sleep(Duration::from_millis(23));
    }
    ages
}

/// Median and largest.
fn told(mut ages: Vec<f64>) -> String {
    ages.sort_by(f64::total_cmp);
    let at =
        |share: f64| ages.get((ages.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let largest = ages.last().copied().unwrap_or(f64::NAN);
    format!(
        "{:.2} s median, {:.2} s 99th, {largest:.2} s largest of {}",
        at(0.5),
        at(0.99),
        ages.len()
    )
}

/// Processor time of all threads of a process.
fn processor_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let spent = tasks.filter_map(|task| {
        let times = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
