//! Conclusions, each in a sentence.

use crate::outputs::processes::{LibraryView, ProcessView};
use crate::outputs::text::grouped;
use nccltap_proto::Function;
use nccltap_proto::faults::Fault;
use nccltap_proto::uplink;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What decides whether all-reduces go through NCCL.
const PATH_SETTINGS: &str = "to have all-reduces go through NCCL, vLLM takes --disable-custom-all-reduce, \
    VLLM_ALLREDUCE_USE_SYMM_MEM=0, VLLM_ALLREDUCE_USE_FLASHINFER=0 and, in the compilation config, \
    fuse_allreduce_rms=false; it is slower so";

/// Launches of communication kernels that were recorded by themselves, or captured.
fn kernel_launches(process: &ProcessView) -> u64 {
    let launches = Function::ALL.iter().filter(|function| function.launches_kernel());
    launches.filter_map(|function| process.calls.get(function.name())).sum()
}

/// What a finding means for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Something is missed.
    Bad,
}

/// One conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub grade: Grade,
    /// The conclusion, and what to do.
    pub sentence: String,
}

/// Conclusions, in the order in which they were drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds what is as it should be.
    pub fn good(&mut self, sentence: impl Into<String>) {
        self.0.push(Finding { grade: Grade::Good, sentence: sentence.into() });
    }

    /// Adds what is worth knowing.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.0.push(Finding { grade: Grade::Note, sentence: sentence.into() });
    }

    /// Adds what is missed.
    pub fn bad(&mut self, sentence: impl Into<String>) {
        self.0.push(Finding { grade: Grade::Bad, sentence: sentence.into() });
    }

    /// Whether nothing is missed.
    pub fn all_well(&self) -> bool {
        self.0.iter().all(|finding| finding.grade != Grade::Bad)
    }

    /// A line per finding.
    pub fn text(&self) -> String {
        let line = |finding: &Finding| {
            let mark = match finding.grade {
                Grade::Good => "ok  ",
                Grade::Note => "note",
                Grade::Bad => "MISS",
            };
            format!("{mark}  {}\n", finding.sentence)
        };
        self.0.iter().map(line).collect()
    }

    /// What reached the tap in one process.
    pub fn process(&mut self, process: &ProcessView) {
        let who = format!("{} (pid {})", first_words(&process.command_line), process.pid);
        let sums = &process.accounting;
        let (calls, operations) =
            (grouped(sums.seen - sums.marks.min(sums.seen)), grouped(sums.operations));
        self.good(format!(
            "{who}: {calls} calls reached the tap, {operations} operations among them"
        ));
        for library in &process.libraries {
            self.library(&who, library);
        }
        let launches = &process.launches;
        if launches.with_operations > 0 {
            let (launches, operations) =
                (grouped(launches.with_operations), grouped(sums.graph_operations));
            self.good(format!(
                "{who}: {launches} launches of CUDA graphs, {operations} operations in them"
            ));
        }
        if launches.unknown > 0 {
            let unknown = grouped(launches.unknown);
            self.bad(format!(
                "{who}: {unknown} launches of CUDA graphs of which it is not known what they carry out: \
                 they were made in a way that preloading cannot see, or are more than the tap has room for"
            ));
        }
        let kernels = kernel_launches(process);
        if kernels > 0 {
            self.good(format!(
                "{who}: {} launches of kernels that move data beside NCCL were recorded; docs/coverage.md says what \
                 is known of each path",
                grouped(kernels)
            ));
            self.note(format!("{who}: {PATH_SETTINGS}"));
        }
        match sums.marks {
            0 if sums.operations > 0 => self.note(format!(
                "{who}: its engine does not mark its steps, so their phases are inferred; the Python package \
                 nccltap, which `nccltap run` brings along, marks those of vLLM and SGLang"
            )),
            0 => {}
            marks => self.good(format!("{who}: its engine marks its steps: {} marks", grouped(marks))),
        }
        if process.libraries.is_empty() {
            self.bad(format!("{who}: the tap is there, and no copy of NCCL was called through it"));
        }
        if sums.dropped + sums.unrecorded > 0 {
            let lost = grouped(sums.dropped + sums.unrecorded);
            self.bad(format!("{who}: {lost} calls were not recorded; raise NCCLTAP_RING_RECORDS"));
        }
        for setting in &process.settings_problems {
            self.bad(format!("{who}: {} is not in force: {}", setting.name, setting.problem));
        }
        if process.faults.contains_key(Fault::DriverGraphs.name()) {
            self.bad(format!(
                "{who}: it has taken a form of the CUDA driver's functions for graphs that this tap does not \
                 know: graphs that it captures and launches so are not seen; use a newer nccltap"
            ));
        }
        for (fault, count) in &process.faults {
            if fault == Fault::NoUplink.name() {
                self.bad(format!(
                    "{who}: {} is not beside the tap, cannot be loaded or is of another version: \
                     nothing is sent while the process runs; put the file of the same build there",
                    uplink::LIBRARY
                ));
                continue;
            }
            self.note(format!("{who}: the tap stepped around {fault}: {}", grouped(*count)));
        }
        for call in &process.in_flight {
            let function = call.function.as_deref().unwrap_or("an unknown function");
            self.note(format!("{who}: {function} has not come back"));
        }
    }

    /// The doors of one copy of NCCL.
    fn library(&mut self, who: &str, library: &LibraryView) {
        let name = match library.kind.as_str() {
            "NCCL" => version_name,
            _ => cuda_version_name,
        };
        let by_name = match library.kind.as_str() {
            "CUDA driver" => {
                "by dlsym or cuGetProcAddress, as a runtime does that is linked statically"
            }
            _ => "by dlsym, as vLLM's pynccl does",
        };
        let version =
            library.version.map_or_else(String::new, |version| format!(" {}", name(version)));
        let at = format!("{who}: {}{version} at {}", library.kind, library.path);
        for (door, functions) in
            [("by linkage table, as PyTorch calls it", &library.plt), (by_name, &library.dlsym)]
        {
            if !functions.is_empty() {
                self.good(format!("{at}, {door}: {}", functions.join(" ")));
            }
        }
        if library.plt.is_empty() && library.dlsym.is_empty() {
            self.note(format!("{at}: no function of it was reached"));
        }
    }

    /// Whether NCCL and the GPUs of a process are simulated. `switched_on` says whether its
    /// environment lets simulated libraries work.
    pub fn simulator(&mut self, who: &str, libraries: &BTreeSet<PathBuf>, switched_on: bool) {
        let (name, value) = nccltap_rehearsal::SWITCH;
        if let Some(library) = libraries.first() {
            self.note(format!(
                "{who}: its GPUs are SIMULATED, by {}; what is counted there is a rehearsal",
                library.display()
            ));
        } else if switched_on {
            self.note(format!(
                "{who}: {name}={value} is in its environment, so an NCCL that is SIMULATED would \
                 work in it; only `nccltap rehearse` should set it"
            ));
        }
    }

    /// Libraries of a process that send between GPUs unseen.
    pub fn unseen(&mut self, who: &str, libraries: &BTreeMap<&'static str, PathBuf>) {
        for (name, path) in libraries {
            self.note(format!(
                "{who}: {} is loaded; what {name} sends, where it is used, stands in no count",
                path.display()
            ));
        }
    }

    /// Copies of NCCL that are in a process, and of which the tap knows nothing.
    pub fn copies(
        &mut self,
        who: &str,
        mapped: &BTreeSet<PathBuf>,
        reached: &BTreeSet<PathBuf>,
        tap_is_there: bool,
    ) {
        for path in mapped.difference(reached) {
            let path = path.display();
            if tap_is_there {
                self.note(format!(
                    "{who}: {path} is loaded and was never called through the tap; if it is used, \
                     it is opened in a way that preloading cannot see (dlmopen, RTLD_DEEPBIND)"
                ));
            } else {
                self.bad(format!("{who}: {path} is loaded and the tap is not"));
            }
        }
    }
}

/// `22105` as `2.21.5`; before 2.9, `2804` as `2.8.4`.
pub fn version_name(version: u32) -> String {
    let thousand = if version >= 10_000 { 10_000 } else { 1_000 };
    let (major, rest) = (version / thousand, version % thousand);
    format!("{major}.{}.{}", rest / 100, rest % 100)
}

/// `12040` as `12.4`.
fn cuda_version_name(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn first_words(command_line: &str) -> String {
    let words: Vec<&str> = command_line.split_whitespace().take(4).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_as_nccl_names_them() {
        assert_eq!(version_name(22105), "2.21.5");
        assert_eq!(version_name(2804), "2.8.4");
    }

    #[test]
    fn a_simulator_is_told_of_and_nothing_is_said_where_there_is_none() {
        let mut findings = Findings::default();
        findings.simulator("pid 7", &BTreeSet::new(), false);
        assert_eq!(findings.text(), "");
        findings.simulator("pid 7", &BTreeSet::new(), true);
        findings.simulator("pid 8", &BTreeSet::from(["/s/librehearsal.so.1".into()]), true);
        let text = findings.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("note  pid 7: NCCLTAP_REHEARSAL=1 is in its environment"));
        assert!(lines[1].starts_with("note  pid 8: its GPUs are SIMULATED, by /s/librehearsal"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_copy_that_is_loaded_without_the_tap_is_missed() {
        let mapped = BTreeSet::from(["/a/libnccl.so.2".into(), "/b/libnccl.so.2".into()]);
        let reached = BTreeSet::from(["/a/libnccl.so.2".into()]);
        let mut findings = Findings::default();
        findings.copies("x", &mapped, &mapped, true);
        assert_eq!(findings.text(), "");
        findings.copies("x", &mapped, &reached, true);
        assert!(findings.all_well() && findings.text().contains("/b/libnccl.so.2"));
        findings.copies("x", &mapped, &reached, false);
        assert!(!findings.all_well());
    }
}
