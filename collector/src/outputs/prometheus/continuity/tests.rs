use super::*;
use crate::collector::{Collector, OpenStream};
use crate::outputs::prometheus::gather::samples;
use crate::outputs::prometheus::samples::{Value, Values};
use crate::outputs::prometheus::table::{Kind, Metric};
use nccltap_proto::record::Record;
use nccltap_proto::v1::{self, agent_message::Message};
use std::ops::Range;

/// A process with one AllReduce on each of so many communicators, connected for as long as its stream is open.
fn start(collector: &Collector, pid: u32, communicators: Range<u32>) -> OpenStream {
    let process = v1::Process { host: "node".into(), pid, ..Default::default() };
    let hello = v1::Hello { process: Some(process), ..Default::default() };
    let (stream, _) = collector.hello(hello, 0).unwrap();
    take(collector, &stream, communicators, 0);
    stream
}

fn take(collector: &Collector, stream: &OpenStream, communicators: Range<u32>, first: u64) {
    let facts = |id: u32| v1::Communicator {
        id,
        handle: u64::from(id) + 1,
        group: u64::from(id) + 1,
        ranks: 2,
        ..Default::default()
    };
    let calls = communicators.clone().flat_map(|id| {
        let communicator = u64::from(id) + 1;
        let record =
            Record { communicator, start: 1, end: 2, count: 4, function: 1, ..Record::default() };
        record.to_words().into_iter().flat_map(u64::to_le_bytes)
    });
    let records: Vec<u8> = calls.collect();
    let report = v1::Report {
        batches: vec![v1::Batch { records: records.into(), first, ..Default::default() }],
        communicators: communicators.map(facts).collect(),
        ..Default::default()
    };
    collector.take(stream.followed(), Message::Report(report), 0, false);
}

fn end(collector: &Collector, stream: OpenStream) {
    collector.take(stream.followed(), Message::Goodbye(v1::Goodbye { last: None }), 0, false);
}

fn counters(samples: &Samples) -> BTreeMap<(Metric, Values), u64> {
    let counters = Metric::ALL.iter().filter(|metric| metric.kind() == Kind::Counter);
    let of = |metric: &Metric| {
        let metric = *metric;
        samples.of(metric).filter_map(move |(labels, value)| match value {
            Value::Count(count) => Some(((metric, labels.clone()), *count)),
            _ => None,
        })
    };
    counters.flat_map(of).collect()
}

fn operations(samples: &Samples) -> u64 {
    let counters = counters(samples);
    counters.iter().filter(|((metric, _), _)| *metric == Metric::Operations).map(|(_, n)| n).sum()
}

fn no_counter_fell(before: &Samples, after: &Samples) {
    let after = counters(after);
    for (series, count) in counters(before) {
        if let Some(now) = after.get(&series) {
            assert!(*now >= count, "{series:?} fell from {count} to {now}");
        }
    }
}

#[test]
fn past_the_bound_series_are_folded_and_no_counter_ever_falls() {
    let (collector, mut continuity) = (Collector::new(8), Continuity::default());
    let now = Instant::now();
    let _one = start(&collector, 1, 0..3000);
    let before = samples(&collector, &mut continuity, None, now);
    // The second process arrives with other groups; the third with those of the first.
    let _two = start(&collector, 2, 3000..6000);
    let _three = start(&collector, 3, 0..3000);
    let after = samples(&collector, &mut continuity, None, now);
    assert_eq!(after.of(Metric::Operations).count(), SERIES + 1);
    assert_eq!(operations(&after), 9000);
    let folded: Vec<_> = after.of(Metric::SeriesFolded).collect();
    assert_eq!(folded[0].1, &Value::Level((6000 - SERIES) as f64));
    let after_all = counters(&after);
    assert!(counters(&before).keys().all(|series| after_all.contains_key(series)));
    no_counter_fell(&before, &after);
}

#[test]
fn ten_thousand_communicators_at_once_have_no_more_series_than_the_bound() {
    let (collector, mut continuity) = (Collector::new(8), Continuity::default());
    let now = Instant::now();
    let streams = [0..4000, 4000..8000, 8000..10_000];
    let streams: Vec<_> =
        (1..).zip(streams).map(|(pid, range)| start(&collector, pid, range)).collect();
    let all = samples(&collector, &mut continuity, None, now);
    // Each combination has five metrics at most, and the index is of group and rank alone.
    assert!(all.len() <= 6 * (SERIES + 1) + 64, "{}", all.len());
    assert_eq!(operations(&all), 10_000);
    drop(streams);
}

/// A server that is started again and again, with new communicators each time, for hours.
#[test]
fn ten_thousand_communicators_created_and_destroyed_leave_no_series_behind() {
    let (collector, mut continuity) = (Collector::new(4096), Continuity::default());
    let mut now = Instant::now();
    let mut before: Option<Samples> = None;
    let mut most = 0;
    for pid in 0..25u32 {
        let stream = start(&collector, pid + 1, pid * 400..(pid + 1) * 400);
        let running = samples(&collector, &mut continuity, None, now);
        end(&collector, stream);
        now += KEPT_FOR / 2;
        let ended = samples(&collector, &mut continuity, None, now);
        if let Some(before) = &before {
            no_counter_fell(before, &running);
        }
        no_counter_fell(&running, &ended);
        most = most.max(ended.of(Metric::Operations).count());
        let folded = ended.of(Metric::SeriesFolded).next().unwrap().1;
        assert_eq!(folded, &Value::Level(0.0), "at process {pid}");
        before = Some(ended);
    }
    // Those of the process that runs, and of those that ended within the last five minutes.
    assert!((800..=1600).contains(&most), "{most}");
    now += 2 * KEPT_FOR;
    samples(&collector, &mut continuity, None, now);
    let last = samples(&collector, &mut continuity, None, now);
    assert_eq!(last.of(Metric::Operations).count(), 0);
    assert_eq!(last.of(Metric::GroupOperationIndex).count(), 0);
    // What was made is accounted for all the same.
    let records: u64 = counters(&last)
        .iter()
        .filter(|((metric, labels), _)| {
            *metric == Metric::Records && labels.last().is_some_and(|fate| fate == "seen")
        })
        .map(|(_, count)| count)
        .sum();
    assert_eq!(records, 10_000);
    assert!(continuity.gone.is_empty() && continuity.admitted.own.is_empty());
}

#[test]
fn a_counter_that_a_retired_process_shares_with_a_running_one_goes_on() {
    let (collector, mut continuity) = (Collector::new(8), Continuity::default());
    let start_time = Instant::now();
    // Launches of graphs are counted by job and host, and so are shared.
    let shared = |samples: &Samples| {
        let captured = samples.of(Metric::CapturedOperations).next();
        captured.map(|(_, value)| value.clone())
    };
    let captured = |stream: &OpenStream, count: u64| {
        let record =
            Record { start: 1, end: 2, count: 4, function: 1, depth: 0x80, ..Record::default() };
        let bytes: Vec<u8> = (0..count)
            .flat_map(|_| record.to_words().into_iter().flat_map(u64::to_le_bytes))
            .collect();
        let batch = v1::Batch { records: bytes.into(), first: 1, ..Default::default() };
        let report = v1::Report { batches: vec![batch], ..Default::default() };
        collector.take(stream.followed(), Message::Report(report), 0, false);
    };
    let old = start(&collector, 1, 0..1);
    captured(&old, 7);
    let new = start(&collector, 2, 1..2);
    captured(&new, 2);
    let both = samples(&collector, &mut continuity, None, start_time);
    assert_eq!(shared(&both), Some(Value::Count(9)));
    end(&collector, old);
    samples(&collector, &mut continuity, None, start_time);
    for minutes in [6, 12, 60] {
        let now = start_time + Duration::from_secs(60 * minutes);
        let later = samples(&collector, &mut continuity, None, now);
        assert_eq!(later.of(Metric::Operations).count(), 1, "after {minutes} minutes");
        assert_eq!(shared(&later), Some(Value::Count(9)), "after {minutes} minutes");
    }
}

#[test]
fn a_process_that_was_away_for_long_comes_back_with_all_it_counted_and_nothing_twice() {
    let (collector, mut continuity) = (Collector::new(8), Continuity::default());
    let start_time = Instant::now();
    let stream = start(&collector, 1, 0..10);
    let process = stream.followed().lock().facts().clone();
    let _other = start(&collector, 2, 10..11);
    drop(stream);
    samples(&collector, &mut continuity, None, start_time);
    let away = samples(&collector, &mut continuity, None, start_time + 2 * KEPT_FOR);
    assert_eq!(operations(&away), 1);
    let hello = v1::Hello { process: Some(process), ..Default::default() };
    let (_back, _) = collector.hello(hello, 0).unwrap();
    let back = samples(&collector, &mut continuity, None, start_time + 3 * KEPT_FOR);
    assert_eq!(operations(&back), 11);
    assert!(continuity.retired.is_empty());
}
