//! The libraries there are, and what becomes of functions of theirs that are not simulated: the table.

use super::objects::{self, Object};
use std::hash::{Hash, Hasher};

/// What a stub does.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Stub {
    /// Ends the process with one line that names the function, its library and the caller.
    Ends,
    /// Returns this number at once.
    Returns(i32),
}

/// For functions whose names match `names` (`*` stands for anything), because of `reason`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: &'static str,
    pub(super) stub: Stub,
    #[allow(dead_code)]
    pub(super) reason: &'static str,
}

/// A kind of library.
#[derive(Debug)]
pub(super) struct Kind {
    /// The beginning of its name, up to the version; that of `libcudart.so.12` is `libcudart.so.`.
    pub(super) library: &'static str,
    /// How its functions' names begin, leading underscores aside.
    pub(super) prefixes: &'static [&'static str],
    /// What of it is simulated.
    pub(super) simulated: fn(version: &str) -> Option<Object>,
    /// For the rest: the first rule that matches. Where none does, the stub ends the process.
    pub(super) rules: &'static [Rule],
}

impl Hash for Kind {
    /// The same in every process: of what is simulated, the objects count and not where the function is
    /// that chooses them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { library, prefixes, simulated, rules } = self;
        (library, prefixes, ["12", "13"].map(simulated), rules).hash(state);
    }
}

const fn rule(names: &'static str, stub: Stub, reason: &'static str) -> Rule {
    Rule { names, stub, reason }
}

const OUTPUTS: &str = "somebody reads what it writes, and it would stay unwritten";
const COMPUTES: &str =
    "computes on the device, where nothing is computed, or sets what nobody reads";
const OBSERVES: &str = "observes or annotates the device, on which nothing happens";
const DOES_NOT_KNOW: &str =
    "NVML says so of features that a device lacks: NVML_ERROR_NOT_SUPPORTED";

/// Of libraries that compute: what has outputs ends the process, the rest does nothing.
const MATHEMATICS: &[Rule] = &[
    rule("*ufferSize*", Stub::Ends, OUTPUTS),
    rule("*WorkspaceSize*", Stub::Ends, OUTPUTS),
    rule("*Get*", Stub::Ends, OUTPUTS),
    rule("*Query*", Stub::Ends, OUTPUTS),
    rule("*", Stub::Returns(0), COMPUTES),
];

const OBSERVERS: &[Rule] = &[rule("*", Stub::Returns(0), OBSERVES)];

fn mathematics(_: &str) -> Option<Object> {
    Some(objects::MATHEMATICS)
}

fn nothing(_: &str) -> Option<Object> {
    None
}

fn runtime(version: &str) -> Option<Object> {
    match version {
        "12" => Some(objects::RUNTIME_12),
        "13" => Some(objects::RUNTIME_13),
        _ => None,
    }
}

const fn computes(library: &'static str, prefixes: &'static [&'static str]) -> Kind {
    Kind { library, prefixes, simulated: mathematics, rules: MATHEMATICS }
}

/// Every library of NVIDIA's that a wheel may ask for. Of two whose prefixes match a function, the
/// longer prefix counts.
pub(super) const KINDS: &[Kind] = &[
    Kind { library: "libcudart.so.", prefixes: &["cuda"], simulated: runtime, rules: &[] },
    Kind {
        library: "libcuda.so.",
        prefixes: &["cu"],
        simulated: |_| Some(objects::DRIVER),
        rules: &[],
    },
    Kind {
        library: "libnvidia-ml.so.",
        prefixes: &["nvml"],
        simulated: |_| Some(objects::NVML),
        rules: &[rule("*", Stub::Returns(3), DOES_NOT_KNOW)],
    },
    Kind {
        library: "libnccl.so.",
        prefixes: &["nccl", "pnccl"],
        simulated: |_| Some(objects::NCCL),
        rules: &[],
    },
    computes("libcublas.so.", &["cublas"]),
    computes("libcublasLt.so.", &["cublasLt"]),
    computes("libcudnn.so.", &["cudnn"]),
    computes("libcudnn_adv.so.", &[]),
    computes("libcudnn_cnn.so.", &[]),
    computes("libcudnn_engines_precompiled.so.", &[]),
    computes("libcudnn_engines_runtime_compiled.so.", &[]),
    computes("libcudnn_graph.so.", &[]),
    computes("libcudnn_heuristic.so.", &[]),
    computes("libcudnn_ops.so.", &[]),
    computes("libcusparse.so.", &["cusparse"]),
    computes("libcusparseLt.so.", &["cusparseLt"]),
    computes("libcusolver.so.", &["cusolver"]),
    computes("libcufft.so.", &["cufft"]),
    computes("libcurand.so.", &["curand"]),
    computes("libnvrtc.so.", &["nvrtc"]),
    computes("libnvJitLink.so.", &["nvJitLink"]),
    Kind {
        library: "libcupti.so.",
        prefixes: &["cupti"],
        simulated: mathematics,
        rules: &[rule("*Get*", Stub::Ends, OUTPUTS), rule("*", Stub::Returns(0), OBSERVES)],
    },
    Kind {
        library: "libnvToolsExt.so.",
        prefixes: &["nvtx"],
        simulated: nothing,
        rules: OBSERVERS,
    },
    Kind { library: "libcufile.so.", prefixes: &["cuFile"], simulated: nothing, rules: &[] },
    Kind { library: "libnvshmem_host.so.", prefixes: &["nvshmem"], simulated: nothing, rules: &[] },
];

impl Kind {
    /// The kind of the library of this name, and the version in it.
    pub(super) fn of_library(name: &str) -> Option<(&'static Self, &str)> {
        KINDS.iter().find_map(|kind| {
            let version = name.strip_prefix(kind.library)?;
            Some((kind, version))
                .filter(|_| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        })
    }

    /// The kind of library that has a function of this name.
    pub(super) fn of_function(name: &str) -> Option<&'static Self> {
        let name = name.trim_start_matches('_');
        let matches = |prefix: &&str| {
            name.strip_prefix(*prefix)
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
        };
        KINDS
            .iter()
            .filter_map(|kind| {
                let longest = kind
                    .prefixes
                    .iter()
                    .filter(|prefix| matches(prefix))
                    .map(|it| it.len())
                    .max()?;
                Some((longest, kind))
            })
            .max_by_key(|(length, _)| *length)
            .map(|(_, kind)| kind)
    }

    /// What a stub of this function does.
    pub(super) fn stub(&self, function: &str) -> Stub {
        let rule = self.rules.iter().find(|rule| matches(rule.names, function));
        rule.map_or(Stub::Ends, |rule| rule.stub)
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, rest)) => name.strip_prefix(begin).is_some_and(|name| {
            (0..=name.len())
                .any(|skipped| name.get(skipped..).is_some_and(|name| matches(rest, name)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library_of(function: &str) -> Option<&'static str> {
        Kind::of_function(function).map(|kind| kind.library)
    }

    #[test]
    fn a_function_belongs_to_the_library_with_the_longest_prefix() {
        assert_eq!(library_of("cuMemAlloc_v2"), Some("libcuda.so."));
        assert_eq!(library_of("__cudaRegisterFunction"), Some("libcudart.so."));
        assert_eq!(library_of("cublasLtMatmul"), Some("libcublasLt.so."));
        assert_eq!(library_of("cublasSgemm_v2"), Some("libcublas.so."));
        assert_eq!(library_of("pncclAllReduce"), Some("libnccl.so."));
        assert_eq!(library_of("cudnn_frontend"), None);
        assert_eq!(library_of("custom"), None);
    }

    #[test]
    fn what_has_outputs_ends_the_process_and_what_computes_does_nothing() {
        let stub = |function: &str| Kind::of_function(function).map(|kind| kind.stub(function));
        assert_eq!(stub("cublasSgemm_v2"), Some(Stub::Returns(0)));
        assert_eq!(stub("cusolverDnDgetrf_bufferSize"), Some(Stub::Ends));
        assert_eq!(stub("cudnnGetConvolutionForwardAlgorithm_v7"), Some(Stub::Ends));
        assert_eq!(stub("nvmlDeviceGetFanSpeed"), Some(Stub::Returns(3)));
        assert_eq!(stub("cudaGraphicsMapResources"), Some(Stub::Ends));
    }

    #[test]
    fn a_librarys_name_tells_kind_and_version() {
        let of = |name| Kind::of_library(name).map(|(kind, version)| (kind.library, version));
        assert_eq!(of("libcudart.so.12"), Some(("libcudart.so.", "12")));
        assert_eq!(of("libcublasLt.so.13"), Some(("libcublasLt.so.", "13")));
        assert_eq!(of("libc.so.6"), None);
    }

    #[test]
    fn every_rule_has_a_reason() {
        for kind in KINDS {
            assert!(kind.rules.iter().all(|rule| !rule.reason.is_empty()), "{}", kind.library);
        }
    }
}
