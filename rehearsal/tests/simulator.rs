//! The simulated NCCL behaves as NCCL does, and counts what it was asked.

use nccltap_rehearsal::counts::{Counts, CountsError, Row};
use nccltap_rehearsal::{COUNTS_DIRECTORY, FILES, Installed, SWITCH, install};
use object::{Object, ObjectSymbol};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The simulator, installed, and the program that shows its behaviours.
struct Stage {
    directory: TempDir,
    installed: Installed,
    program: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let installed = install(&directory.path().join("lib")).unwrap();
        let program = directory.path().join("behaviour");
        std::fs::create_dir(directory.path().join("counts")).unwrap();
        let compiled = Command::new("cc")
            .args(["-O1", "-pthread", "-D_GNU_SOURCE", "-o"])
            .arg(&program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/behaviour.c"))
            .arg("-I")
            .arg(installed.header.parent().unwrap())
            .arg(&installed.library)
            .status()
            .unwrap();
        assert!(compiled.success());
        Self { directory, installed, program }
    }

    fn command(&self, behaviour: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(behaviour)
            .env("LD_LIBRARY_PATH", self.installed.library.parent().unwrap())
            .env(SWITCH.0, SWITCH.1)
            .env(COUNTS_DIRECTORY, self.directory.path().join("counts"));
        command
    }

    fn show(&self, behaviour: &str) -> Counts {
        succeed(&mut self.command(behaviour));
        self.counts().unwrap()
    }

    fn counts(&self) -> Result<Counts, CountsError> {
        Counts::read(&self.directory.path().join("counts"))
    }

    /// Starts the behaviour and waits for the line it prints.
    fn start(&self, command: &mut Command) -> Child {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line}");
        child
    }
}

/// The bytes of the simulated NCCL.
fn nccl() -> &'static [u8] {
    FILES.iter().find(|file| file.name == "libnccl.so.2").unwrap().bytes
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn row<'a>(counts: &'a Counts, function: &str) -> &'a Row {
    let mut rows = counts.rows().map(|(_, row)| row).filter(|row| row.function == function);
    let row = rows.next().unwrap_or_else(|| panic!("{function} was not asked"));
    assert!(rows.next().is_none(), "{function} has several rows");
    row
}

#[test]
fn every_function_has_a_weak_name_and_a_strong_twin_at_the_same_address() {
    let library = object::File::parse(nccl()).unwrap();
    let names: BTreeMap<_, _> = library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| (symbol.name().unwrap(), (symbol.address(), symbol.is_weak())))
        .collect();
    let (weak, strong): (Vec<_>, Vec<_>) = names.iter().partition(|(_, (_, weak))| *weak);
    assert_eq!((weak.len(), strong.len()), (53, 53));
    for (name, (address, _)) in weak {
        assert_eq!(names[format!("p{name}").as_str()], (*address, false), "{name}");
    }
}

#[test]
fn nccl_reaches_its_own_functions_through_the_linkage_table() {
    use object::read::elf::{ElfFile64, FileHeader};
    let library = ElfFile64::<object::Endianness>::parse(nccl()).unwrap();
    let header = library.elf_header();
    assert!(header.is_little_endian());
    let symbols = library.elf_dynamic_symbol_table();
    let mut own: Vec<_> = library
        .dynamic_relocations()
        .unwrap()
        .filter_map(|(_, relocation)| match relocation.target() {
            object::RelocationTarget::Symbol(index) => {
                let symbol = symbols.symbol(index).unwrap();
                let name = symbols.symbol_name(library.endian(), symbol).unwrap();
                std::str::from_utf8(name).ok().filter(|name| name.starts_with("nccl"))
            }
            _ => None,
        })
        .collect();
    own.sort_unstable();
    assert_eq!(own, ["ncclBroadcast", "ncclGetUniqueId", "ncclGroupEnd", "ncclGroupStart"]);
}

#[test]
fn wrong_arguments_get_nccls_answers() {
    let stage = Stage::new();
    for behaviour in ["arguments", "group_without_start"] {
        stage.show(behaviour);
    }
}

#[test]
fn an_error_in_a_group_comes_back_at_its_end_and_nothing_is_launched() {
    let counts = Stage::new().show("error_in_group");
    let rows = counts.rows().map(|(_, row)| row).filter(|row| row.function == "ncclAllReduce");
    let mut sums: Vec<_> = rows.map(|row| (row.rank, row.failed, row.discarded)).collect();
    sums.sort_unstable();
    assert_eq!(sums, [(-1, 1, 0), (0, 0, 1)]);
}

#[test]
fn communicators_appear_when_nccl_makes_them_appear() {
    let stage = Stage::new();
    for behaviour in
        ["init_in_group", "split_in_group", "split_without_colour", "shrink", "nonblocking"]
    {
        stage.show(behaviour);
    }
}

#[test]
fn a_handle_is_used_again_after_its_communicator_is_destroyed() {
    let stage = Stage::new();
    for behaviour in ["handle_reuse", "destroy_in_group"] {
        stage.show(behaviour);
    }
}

#[test]
fn a_call_of_nccl_to_itself_is_not_counted() {
    let counts = Stage::new().show("bcast");
    assert_eq!(row(&counts, "ncclBcast").asked, 7);
    assert_eq!(row(&counts, "ncclBroadcast").asked, 1);
    let counts = Stage::new().show("init_all");
    assert_eq!(row(&counts, "ncclCommInitAll").asked, 1);
    let asked = ["ncclGetUniqueId", "ncclGroupStart", "ncclGroupEnd"];
    assert!(asked.iter().all(|function| counts.processes[0].asked(function) == 0));
}

#[test]
fn a_row_says_who_asked_for_what() {
    let counts = Stage::new().show("bcast");
    let row = row(&counts, "ncclBcast");
    let identity = [b'a'; 128].iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    assert_eq!(row.communicator, identity);
    assert_eq!((row.ranks, row.rank, row.count, row.datatype, row.peer), (2, 0, 9, 4, 1));
    assert_eq!((row.asked, row.returned, row.failed, row.discarded), (7, 7, 0, 0));
}

#[test]
fn a_child_has_the_identity_that_its_ranks_can_derive() {
    let counts = Stage::new().show("split_in_group");
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let mut bytes = fnv(&[b'a'; 128]).to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(5i32.to_le_bytes());
    assert_eq!(row(&counts, "ncclAllReduce").communicator, fnv(&bytes));
}

#[test]
fn an_operation_in_a_simulated_group_is_marked_as_discarded() {
    let counts = Stage::new().show("simulated_group");
    let row = row(&counts, "ncclAllReduce");
    assert_eq!((row.asked, row.returned, row.discarded), (2, 2, 1));
}

#[test]
fn calls_of_many_threads_are_counted_exactly() {
    let counts = Stage::new().show("threads");
    let rows: Vec<_> =
        counts.processes[0].rows.iter().filter(|row| row.function == "ncclAllReduce").collect();
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| row.asked == 2000 && row.returned == 2000));
}

#[test]
fn a_fork_child_counts_for_itself() {
    let counts = Stage::new().show("forks");
    let by_process: Vec<_> = counts
        .processes
        .iter()
        .map(|process| {
            let mut rows = process.rows.iter().filter(|row| row.function == "ncclAllReduce");
            let row = rows.next().unwrap();
            assert!(rows.next().is_none());
            (row.count, row.asked)
        })
        .collect();
    assert_eq!(by_process, [(1, 2), (2, 1)]);
}

#[test]
fn counts_outlive_sigkill() {
    let stage = Stage::new();
    let mut child = stage.start(&mut stage.command("until_killed"));
    child.kill().unwrap();
    child.wait().unwrap();
    let counts = stage.counts().unwrap();
    let row = row(&counts, "ncclAllReduce");
    assert!(row.returned >= 1);
    assert!(row.asked == row.returned || row.asked == row.returned + 1, "{row:?}");
}

#[test]
fn a_call_that_hangs_is_asked_and_never_returned() {
    let stage = Stage::new();
    let mut child = stage.start(stage.command("hang").env("NCCLTAP_REHEARSAL_HANG_AFTER", "2"));
    let hanging = loop {
        let counts = stage.counts().unwrap();
        let row = counts.rows().map(|(_, row)| row).find(|row| row.count == 2).cloned();
        match row {
            Some(row) if row.asked == 1 => break row,
            _ => assert!(child.try_wait().unwrap().is_none()),
        }
    };
    assert_eq!(hanging.returned, 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_call_can_be_made_to_fail_and_to_set_errno() {
    let stage = Stage::new();
    succeed(
        stage
            .command("failure")
            .env("NCCLTAP_REHEARSAL_FAIL_AFTER", "2")
            .env("NCCLTAP_REHEARSAL_ERRNO", "42"),
    );
    let counts = stage.counts().unwrap();
    let row = row(&counts, "ncclAllReduce");
    assert_eq!((row.returned, row.failed), (3, 1));
}

#[test]
fn the_version_can_be_chosen() {
    let stage = Stage::new();
    assert_eq!(succeed(&mut stage.command("version")).stdout, b"22105\n");
    let newer = succeed(stage.command("version").env("NCCLTAP_REHEARSAL_NCCL_VERSION", "23203"));
    assert_eq!(newer.stdout, b"23203\n");
}

#[test]
fn a_table_that_is_full_is_refused_rather_than_short() {
    let stage = Stage::new();
    succeed(&mut stage.command("too_many_kinds"));
    assert!(matches!(stage.counts(), Err(CountsError::Overflow { .. })));
}
