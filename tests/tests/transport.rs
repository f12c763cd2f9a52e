//! How host and collector find each other, and what they do about strangers.

use nccltap_tests::{Collector, Linkage, Stage, eventually};

/// A collector that listens on TCP too, and asks for the token `open sesame` there.
fn on_tcp(stage: &Stage) -> Collector {
    let token = stage.path().join("token");
    std::fs::write(&token, "open sesame\n").unwrap();
    let token = token.to_str().unwrap();
    stage.collector_with(&["--listen", "tcp:127.0.0.1:0", "--token-file", token])
}

#[test]
fn over_tcp_with_the_token_every_call_is_counted() {
    let stage = Stage::new();
    let collector = on_tcp(&stage);
    let host = stage
        .host("burst", Linkage::Lazy)
        .arg("10000")
        .env("NCCLTAP_COLLECTOR", &collector.addresses[1])
        .env("NCCLTAP_TOKEN", "open sesame");
    host.run().succeeded();
    assert_eq!(stage.ledger_equals_ground_truth(&collector).total(), 10_000);
}

#[test]
fn over_tcp_without_the_token_nothing_is_taken_and_the_host_goes_on() {
    let stage = Stage::new();
    let collector = on_tcp(&stage);
    let host = stage
        .host("burst", Linkage::Lazy)
        .arg("1000")
        .env("NCCLTAP_COLLECTOR", &collector.addresses[1])
        .env("NCCLTAP_TOKEN", "guess");
    let mut host = host.start();
    host.wait_for_line("done");
    eventually(|| match collector.metric("nccltap_streams_refused_total", &[]) {
        refused if refused >= 1.0 => Ok(()),
        _ => Err("no stream was refused".to_owned()),
    });
    host.go_on();
    host.finish().succeeded();
    assert_eq!(collector.rows().total(), 0);
    assert_eq!(stage.ground_truth(nccltap_tests::tally::Counter::Returned).total(), 1000);
}

#[test]
fn a_setting_that_cannot_be_used_is_told_once_and_its_default_is_in_force() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage
        .host("burst", Linkage::Lazy)
        .arg("100")
        .env("NCCLTAP_RINGS", "many")
        .env("NCCLTAP_RING_RECORDS", "-1");
    let host = host.run().succeeded();
    let process = collector.ended(host.pid);
    process.is_accounted_for();
    assert_eq!(process.accounting.seen, 101);
    let mut told: Vec<_> = process.settings_problems.iter().map(|it| it.name.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["NCCLTAP_RINGS", "NCCLTAP_RING_RECORDS"]);
    assert_eq!(process.faults["setting_refused"], 2);
}

#[test]
fn a_tap_that_is_off_does_nothing() {
    let stage = Stage::new();
    let collector = stage.collector();
    let host = stage.host("burst", Linkage::Lazy).arg("100").env("NCCLTAP_OFF", "1");
    host.run().succeeded();
    let other = stage.host("burst", Linkage::Lazy).arg("50").run().succeeded();
    collector.ended(other.pid);
    assert_eq!(collector.processes().len(), 1);
    assert_eq!(collector.rows().total(), 50);
}
