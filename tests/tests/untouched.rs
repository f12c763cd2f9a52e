//! What the host must not notice: results, errno, presence of NCCL, files, threads, time.

use nccltap_tests::{Linkage, Stage, hosts, rings};
use std::fs;

#[test]
fn results_and_errno_are_what_nccl_left() {
    let program = hosts::program("results", Linkage::Lazy);
    for settings in
        [&[][..], &[("NCCLTAP_REHEARSAL_FAIL_AFTER", "3")], &[("NCCLTAP_REHEARSAL_ERRNO", "42")]]
    {
        let stage = Stage::new();
        let _collector = stage.collector();
        let mut plain = stage.untapped(&program);
        let mut tapped = stage.tapped(&program);
        for (name, value) in settings {
            plain = plain.env(name, value);
            tapped = tapped.env(name, value);
        }
        let (plain, tapped) = (plain.run().succeeded(), tapped.run().succeeded());
        assert!(plain.stdout.contains("AllReduce: no error"));
        assert_eq!(plain.stdout, tapped.stdout, "{settings:?}");
    }
}

#[test]
fn results_and_errno_are_what_nccl_left_when_there_is_no_collector_and_no_place_for_rings() {
    let program = hosts::program("results", Linkage::Lazy);
    let stage = Stage::new();
    let plain = stage.untapped(&program).run().succeeded();
    let alone = stage.tapped(&program).run().succeeded();
    assert_eq!(plain.stdout, alone.stdout);
    let nowhere = stage.tapped(&program).env("NCCLTAP_RING_DIR", "/proc").run().succeeded();
    assert_eq!(plain.stdout, nowhere.stdout);
    let off = stage.tapped(&program).env("NCCLTAP_OFF", "1").run().succeeded();
    assert_eq!(plain.stdout, off.stdout);
    assert_eq!(rings::files(&stage.rings_directory()), [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_program_that_asks_for_nccl_where_there_is_none_is_told_so() {
    let program = hosts::program("probe", Linkage::None);
    let stage = Stage::new();
    let plain = stage.untapped(&program).run().succeeded();
    let tapped = stage.tapped(&program).run().succeeded();
    assert_eq!(plain.stdout, "default: absent\nnext: absent\nprogram: absent\n");
    assert_eq!(plain.stdout, tapped.stdout);
}

/// With NCCL in the process but out of the program's sight, the tap's own names may be found: what
/// is found must then work.
#[test]
fn what_a_program_finds_of_an_nccl_out_of_its_sight_works() {
    let program = hosts::program("probe", Linkage::None);
    let stage = Stage::new();
    stage.tapped(&program).arg(hosts::library("torchlike")).run().succeeded();
}

#[test]
fn a_process_that_never_uses_nccl_has_no_thread_no_file_and_the_same_output() {
    let threads =
        "import os; print(len(os.listdir('/proc/self/task')), len(os.listdir('/proc/self/fd')))";
    for arguments in [
        &["/bin/true"][..],
        &["/bin/sh", "-c", "echo a; exit 3"],
        &["/usr/bin/env", "python3", "-c", threads],
    ] {
        let stage = Stage::new();
        let (program, rest) = arguments.split_first().unwrap();
        let run = |mut host: nccltap_tests::Host| {
            for argument in rest {
                host = host.arg(argument);
            }
            let ended = host.run();
            (ended.status, ended.stdout, ended.stderr)
        };
        let plain = run(stage.untapped(program));
        let tapped = run(stage.tapped(program));
        assert_eq!(plain, tapped, "{arguments:?}");
        let left: Vec<_> = fs::read_dir(stage.rings_directory()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_thread_allocates_for_its_calls_what_it_would_without_the_tap() {
    let program = hosts::program("allocations", Linkage::Lazy);
    let stage = Stage::new();
    let _collector = stage.collector();
    let plain = stage.untapped(&program).run().succeeded();
    let tapped = stage.tapped(&program).run().succeeded();
    assert!(!plain.stdout.is_empty());
    assert_eq!(plain.stdout, tapped.stdout);
}
