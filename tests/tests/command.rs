//! `nccltap run`, `recover`, `doctor` and `demo`, with the tap in a host.

use nccltap_tests::artifacts::built;
use nccltap_tests::tally::Counter;
use nccltap_tests::{Host, Linkage, Stage, Tally, eventually, hosts};
use rustix::process::{Pid, Signal};

/// `nccltap` with these arguments, the simulated NCCL in reach.
fn nccltap(stage: &Stage, arguments: &[&str]) -> Host {
    let host = stage.untapped(&built().command).env("NCCLTAP_LIBRARY", &built().tap);
    arguments.iter().fold(host, |host, argument| host.arg(argument))
}

#[test]
fn run_counts_every_call_of_a_command_and_its_children_and_keeps_the_recording() {
    let stage = Stage::new();
    let rows = stage.path().join("rows.json");
    let record = stage.path().join("run.rec");
    let burst = hosts::program("burst", Linkage::Lazy);
    let script = "for n in 100 200 300; do \"$0\" $n & done; wait; exit 3";
    let run = nccltap(&stage, &["run", "--report"])
        .arg(&rows)
        .arg("--record")
        .arg(&record)
        .arg("--")
        .arg("sh")
        .arg("-c")
        .arg(script)
        .arg(&burst)
        .run();
    assert_eq!(run.status.code(), Some(3), "{}", run.stderr);
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(truth.total(), 600);
    let reported = Tally::of_report(&std::fs::read_to_string(rows).unwrap());
    assert_eq!(reported.differences(&truth), "");
    assert!(run.stderr.contains("made 301 = seen 301 + dropped 0"), "{}", run.stderr);

    let replayed = nccltap(&stage, &["report", "--format", "json"]).arg(&record).run().succeeded();
    assert_eq!(Tally::of_report(&replayed.stdout).differences(&truth), "");
}

#[test]
fn run_serves_live_counts_while_the_command_runs() {
    let stage = Stage::new();
    let burst = hosts::program("burst", Linkage::Lazy);
    let run = nccltap(&stage, &["run", "--quiet", "--http", "127.0.0.1:0", "--"]);
    let mut run = run.arg(&burst).arg("100").start();
    run.wait_for_line("done");
    let said = run.said();
    let address =
        said.split("live counts at ").nth(1).and_then(|rest| rest.split("/metrics").next());
    let address = address.unwrap_or_else(|| panic!("no address: {said}"));
    let truth = stage.ground_truth(Counter::CarriedOut);
    assert_eq!(truth.total(), 100);
    eventually(|| {
        let report = nccltap(&stage, &["report", "--format", "json", "--collector", address]).run();
        match Tally::of_report(&report.succeeded().stdout).differences(&truth).as_str() {
            "" => Ok(()),
            differences => Err(differences.to_owned()),
        }
    });
    run.go_on();
    assert!(run.finish().status.success());
}

#[test]
fn run_reports_what_a_killed_command_had_not_sent_and_names_its_last_call() {
    let stage = Stage::new();
    let rows = stage.path().join("rows.json");
    let run = nccltap(&stage, &["run", "--report"]).arg(&rows).arg("--");
    let run =
        run.arg(hosts::program("hang", Linkage::Lazy)).env("NCCLTAP_REHEARSAL_HANG_AFTER", "10");
    let run = run.start();
    let pid = hangs(&stage);
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let run = run.finish();
    assert_eq!(run.status.code(), Some(128 + 9), "{}", run.stderr);
    assert!(run.stderr.contains("it died inside ncclReduceScatter"), "{}", run.stderr);
    let truth = stage.ground_truth(Counter::Returned);
    assert_eq!(truth.total(), 9);
    let reported = Tally::of_report(&std::fs::read_to_string(rows).unwrap());
    assert_eq!(reported.differences(&truth), "");
}

/// Waits until the host `hang` is inside the call that never returns. Gives its pid.
fn hangs(stage: &Stage) -> Pid {
    eventually(|| {
        let counts = stage.counts();
        let hanging = counts.processes.iter().find(|it| it.asked("ncclReduceScatter") == 1);
        let pid = hanging.and_then(|process| Pid::from_raw(process.pid.cast_signed()));
        pid.ok_or_else(|| "it does not hang yet".to_owned())
    })
}

#[test]
fn run_hands_signals_on_to_its_command() {
    let stage = Stage::new();
    let burst = hosts::program("burst", Linkage::Lazy);
    let mut run = nccltap(&stage, &["run", "--"]).arg(&burst).arg("100").start();
    run.wait_for_line("done");
    run.signal(Signal::TERM);
    let ended = run.finish();
    assert_eq!(ended.status.code(), Some(128 + 15));
    assert!(ended.stderr.contains("made 101 = seen 101 + dropped 0"), "{}", ended.stderr);
}

#[test]
fn recover_reads_what_a_killed_process_left_and_names_its_last_call() {
    let stage = Stage::new();
    let host = stage.host("hang", Linkage::Lazy).env("NCCLTAP_REHEARSAL_HANG_AFTER", "10");
    let host = host.start();
    let pid = host.pid;
    hangs(&stage);
    host.kill();
    let recover = nccltap(&stage, &["recover", "--format", "json", "--remove"]);
    let recovered = recover.arg(stage.rings_directory()).run().succeeded();
    let recovered: serde_json::Value = serde_json::from_str(&recovered.stdout).unwrap();
    assert_eq!(recovered["rows"][0]["pid"], pid);
    assert_eq!(recovered["rows"][0]["count"], 9);
    let in_flight = &recovered["processes"][0]["in_flight"][0];
    assert_eq!(in_flight["function"], "ncclReduceScatter");
    assert_eq!(in_flight["elements"], 4242);
    assert_eq!(std::fs::read_dir(stage.rings_directory()).unwrap().count(), 0);
}

#[test]
fn the_doctor_names_both_doors_of_a_command_and_of_a_running_process() {
    let stage = Stage::new();
    let burst = hosts::program("burst", Linkage::Lazy);
    let doctor = nccltap(&stage, &["doctor", "--"]).arg(&burst).arg("10").run();
    let said = doctor.stdout;
    assert!(doctor.status.success(), "{said}");
    assert!(said.contains("by linkage table"), "{said}");
    assert!(said.contains("ncclAllReduce"), "{said}");

    let _collector = stage.collector();
    let mut host = stage.host("burst", Linkage::Lazy).arg("10").start();
    host.wait_for_line("done");
    let pid = host.pid.to_string();
    let doctor = nccltap(&stage, &["doctor", "--pid", &pid]).run();
    let said = doctor.stdout;
    assert!(doctor.status.success(), "{said}");
    assert!(said.contains("the tap is in process"), "{said}");
    assert!(said.contains("hears process"), "{said}");
    host.go_on();
    host.finish().succeeded();

    let mut bare = stage.untapped(hosts::program("burst", Linkage::Lazy)).arg("10").start();
    bare.wait_for_line("done");
    let doctor = nccltap(&stage, &["doctor", "--pid", &bare.pid.to_string()]).run();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(doctor.stdout.contains("MISS  the tap is not in process"), "{}", doctor.stdout);
    bare.go_on();
    bare.finish().succeeded();
}

#[test]
fn a_tap_without_its_uplink_is_told_of_by_run_and_doctor_and_counted_all_the_same() {
    let stage = Stage::new();
    let tap = stage.path().join("libnccltap.so");
    std::fs::copy(&built().tap, &tap).unwrap();
    let burst = hosts::program("burst", Linkage::Lazy);
    let command = |arguments: &[&str]| {
        nccltap(&stage, arguments).env("NCCLTAP_LIBRARY", &tap).arg(&burst).arg("100").run()
    };
    let run = command(&["run", "--"]);
    assert!(run.status.success(), "{}", run.stderr);
    let warning =
        format!("warning: {}/libnccltap_uplink.so cannot be read", stage.path().display());
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
    assert!(run.stderr.contains("made 101 = seen 101 + dropped 0"), "{}", run.stderr);

    let doctor = command(&["doctor", "--"]);
    assert_eq!(doctor.status.code(), Some(1));
    let sentence = "libnccltap_uplink.so is not beside the tap, cannot be loaded";
    for said in ["libnccltap_uplink.so cannot be read", sentence, "ncclAllReduce"] {
        assert!(doctor.stdout.contains(said), "{}", doctor.stdout);
    }
}

#[test]
fn the_demo_agrees_with_the_simulator() {
    let stage = Stage::new();
    let demo = nccltap(&stage, &["demo", "--pace", "0"]).run().succeeded();
    let verdict = "The simulator counts 19,200 operations by itself, the collector 19,200: equal";
    assert!(demo.stdout.contains(verdict), "{}", demo.stdout);
}
