//! With rendezvous, ranks wait for each other and their data are right.
#![allow(missing_docs)]

use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::{COUNTS_DIRECTORY, SWITCH, install};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

fn program() -> &'static (TempDir, PathBuf) {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let installed = install(&directory.path().join("lib")).unwrap();
        let program = directory.path().join("rendezvous");
        let compiled = Command::new("cc")
            .args(["-O1", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rendezvous.c"))
            .arg("-I")
            .arg(installed.header.parent().unwrap())
            .args([&installed.library, &installed.cuda_runtime])
            .status()
            .unwrap();
        assert!(compiled.success());
        (directory, program)
    })
}

/// The ranks of one run; those that still run when it is dropped are killed.
struct Ranks {
    directory: TempDir,
    children: Vec<Child>,
}

impl Ranks {
    fn start(behaviour: &str, ranks: usize) -> Self {
        let (lib, program) = program();
        let directory = tempfile::tempdir().unwrap();
        let children = (0..ranks)
            .map(|rank| {
                Command::new(program)
                    .args([behaviour, &rank.to_string(), &ranks.to_string()])
                    .env("LD_LIBRARY_PATH", lib.path().join("lib"))
                    .env(SWITCH.0, SWITCH.1)
                    .env("NCCLTAP_REHEARSAL_SAID", "1")
                    .env("NCCLTAP_REHEARSAL_RENDEZVOUS", directory.path())
                    .env(COUNTS_DIRECTORY, directory.path())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        Self { directory, children }
    }

    fn line(&mut self, rank: usize) -> String {
        let mut line = String::new();
        BufReader::new(self.children[rank].stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn succeed(mut self) {
        for child in &mut self.children {
            assert!(child.wait().unwrap().success());
        }
    }

    /// Ranks inside an AllReduce: asked, and not returned.
    fn waiting(&self) -> usize {
        let counts = Counts::read(self.directory.path()).unwrap();
        let rows = counts.rows().map(|(_, row)| row);
        rows.filter(|row| row.function == "ncclAllReduce" && row.asked > row.returned).count()
    }

    fn await_waiting(&mut self, ranks: usize) {
        while self.waiting() < ranks {
            assert!(self.children.iter_mut().all(|child| child.try_wait().unwrap().is_none()));
            std::thread::yield_now();
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn every_rank_gets_the_right_data() {
    for ranks in 2..=4 {
        for behaviour in ["all_reduce", "every_collective", "types"] {
            Ranks::start(behaviour, ranks).succeed();
        }
    }
}

#[test]
fn sends_and_receives_of_a_group_go_on_at_a_time() {
    for ranks in 2..=4 {
        Ranks::start("ring", ranks).succeed();
    }
}

#[test]
fn launches_of_graphs_move_data_too() {
    Ranks::start("graph", 3).succeed();
}

#[test]
fn a_split_gives_each_colour_its_own_ranks_in_the_order_of_their_keys() {
    for ranks in 2..=4 {
        Ranks::start("split", ranks).succeed();
    }
}

#[test]
fn a_rank_that_is_late_makes_the_others_wait() {
    let mut ranks = Ranks::start("one_by_one", 3);
    assert!((0..3).all(|rank| ranks.line(rank) == "asks\n"));
    ranks.await_waiting(2);
    ranks.children[2].stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!((0..3).all(|rank| ranks.line(rank) == "done\n"));
    ranks.succeed();
}

#[test]
fn a_rank_that_is_killed_leaves_the_others_waiting() {
    let mut ranks = Ranks::start("one_by_one", 3);
    assert!((0..3).all(|rank| ranks.line(rank) == "asks\n"));
    ranks.await_waiting(2);
    ranks.children[2].kill().unwrap();
    ranks.children[2].wait().unwrap();
    assert_eq!(ranks.waiting(), 2);
    assert!(ranks.children[..2].iter_mut().all(|child| child.try_wait().unwrap().is_none()));
}
