//! The third door: functions of the CUDA driver that a caller asks CUDA for by name, from the driver with
//! `cuGetProcAddress`, or from the runtime with `cudaGetDriverEntryPoint`.
//!
//! A runtime that is linked statically asks for every function of the driver so, some six hundred, once; so does
//! cuda-python. The call is passed on as it is, and where the answer is a function of the table, its wrapper is put in
//! its place. What is none of ours costs the comparison of a few letters.
//!
//! `libcudart.so` asks too, and is not met here: it took `cuGetProcAddress` by `dlsym`, and libraries get no wrappers
//! of the driver (`libraries::is_under_library`).
#![allow(unsafe_code)]

use crate::faults::{self, Fault};
use crate::ffi::{Call, PER_THREAD_LOOK_UP};
use crate::hook;
use crate::resolve::{elf, libraries};
use crate::shield::{Unseen, shielded};
use nccltap_proto::functions::{Function, Library};
use nccltap_proto::ringfile::DOOR_DLSYM;
use std::ffi::{CStr, c_void};

/// How names begin of functions that capture, make or launch graphs. A name that begins so and is not in the table is
/// a form of them that the tap does not know.
const FOR_GRAPHS: [&str; 6] = [
    "cuGraphLaunch",
    "cuGraphInstantiate",
    "cuGraphExecUpdate",
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGetProcAddress",
];

/// How names begin that may be in the table.
const WRAPPED: [&[u8]; 7] = [
    b"cuGraph",
    b"cuStream",
    b"cuLaunch",
    b"cuModuleGetF",
    b"cuLibraryGetK",
    b"cuKernelGetF",
    b"cuMemcpy",
];

/// A capture for another API of graphics, whose result is no graph.
const NO_GRAPH: &str = "ToCig";

/// Whether a function that is called so captures, makes or launches graphs.
pub(crate) fn is_for_graphs(name: &[u8]) -> bool {
    let has = |part: &str| name.windows(part.len()).any(|window| window == part.as_bytes());
    FOR_GRAPHS.iter().any(|start| name.starts_with(start.as_bytes())) && !has(NO_GRAPH)
}

/// CUDA has found a function of the driver for a caller: puts the wrapper in its place, if there is one.
///
/// # Safety
/// CUDA has taken the call, so its name is a C string, and the place of its answer is valid.
#[cold]
#[inline(never)]
pub(crate) unsafe fn found(library: usize, call: &Call) {
    if call.driver_name.is_null() || call.driver_function.is_null() {
        return;
    }
    // SAFETY: by the contract of this function.
    let (name, real) = unsafe { (CStr::from_ptr(call.driver_name), *call.driver_function) };
    let name = name.to_bytes();
    if !(WRAPPED.iter().any(|start| name.starts_with(start)) || is_for_graphs(name)) {
        return;
    }
    // What was found through a wrapper of this door is one already.
    if real == 0 || elf::is_own(real) {
        return;
    }
    let _unseen = Unseen::new();
    let wrapper = shielded(|| {
        let version = match call.driver_version {
            0 => libraries::version(library),
            version => version,
        };
        let per_thread = call.look_up_flags & PER_THREAD_LOOK_UP != 0;
        let exported = |name: &str| elf::definition_beside(real, name.as_bytes()) == Some(real);
        let function = which(name, version, per_thread, &exported)?;
        libraries::wrapped(hook::index_of(function), real as *mut c_void, DOOR_DLSYM)
    });
    match wrapper.flatten() {
        // SAFETY: by the contract of this function.
        Some(wrapper) => unsafe { *call.driver_function = wrapper },
        None if is_for_graphs(name) => faults::count(Fault::DriverGraphs),
        None => {}
    }
}

/// Which function of the table CUDA gives who asks for `name` in the form of a release: the one that is `exported` with
/// the address that was given, or else, since the driver may give others, the one that its documentation says.
fn which(
    name: &[u8],
    version: u32,
    per_thread: bool,
    exported: &dyn Fn(&str) -> bool,
) -> Option<Function> {
    let forms = || Function::ALL.iter().copied().filter(|function| is_form_of(*function, name));
    forms().find(|function| exported(function.name())).or_else(|| {
        forms()
            .filter(|form| since(*form) <= version && (per_thread || !is_per_thread(*form)))
            .max_by_key(|form| (since(*form), is_per_thread(*form)))
    })
}

/// Whether the driver gives this function to who asks for `name`.
fn is_form_of(function: Function, name: &[u8]) -> bool {
    if function.library() != Library::CudaDriver {
        return false;
    }
    let per_thread = PER_THREAD.iter().find_map(|suffix| function.name().strip_suffix(suffix));
    let base = per_thread.unwrap_or(function.name());
    let base = match base.rsplit_once("_v") {
        Some((base, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => base,
    };
    base.as_bytes() == name || function.name().as_bytes() == name
}

/// How names end of functions for which stream 0 is the calling thread's: with a stream, and without one.
const PER_THREAD: [&str; 2] = ["_ptsz", "_ptds"];

fn is_per_thread(function: Function) -> bool {
    PER_THREAD.iter().any(|suffix| function.name().ends_with(suffix))
}

/// The first release that has a function, as CUDA writes versions: 12040 for 12.4.
fn since(function: Function) -> u32 {
    let mut parts = function.since().split('.').map(|part| part.parse().unwrap_or(0));
    parts.next().unwrap_or(0) * 1000 + parts.next().unwrap_or(0) * 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_documentation(name: &str, version: u32, per_thread: bool) -> Option<&'static str> {
        which(name.as_bytes(), version, per_thread, &|_| false).map(Function::name)
    }

    /// The versions that `libcudart.so` of CUDA 12 and 13 asks for, and the forms that cudaTypedefs.h names for them.
    #[test]
    fn who_asks_for_a_version_gets_the_form_of_that_version() {
        for (name, version, per_thread, form) in [
            ("cuGraphLaunch", 10000, false, "cuGraphLaunch"),
            ("cuGraphLaunch", 10000, true, "cuGraphLaunch_ptsz"),
            ("cuGraphInstantiate", 10000, false, "cuGraphInstantiate"),
            ("cuGraphInstantiate", 11000, false, "cuGraphInstantiate_v2"),
            ("cuGraphInstantiateWithFlags", 11040, true, "cuGraphInstantiateWithFlags"),
            ("cuGraphExecUpdate", 10020, false, "cuGraphExecUpdate"),
            ("cuGraphExecUpdate", 12000, false, "cuGraphExecUpdate_v2"),
            ("cuGraphAddNode", 12020, false, "cuGraphAddNode"),
            ("cuGraphAddNode", 12030, false, "cuGraphAddNode_v2"),
            ("cuGraphAddNode", 13040, false, "cuGraphAddNode_v3"),
            ("cuStreamBeginCapture", 10000, true, "cuStreamBeginCapture_ptsz"),
            ("cuStreamBeginCapture", 10010, false, "cuStreamBeginCapture_v2"),
            ("cuStreamBeginCapture", 13050, true, "cuStreamBeginCapture_v2_ptsz"),
            ("cuMemcpyPeer", 4000, false, "cuMemcpyPeer"),
            ("cuMemcpyPeer", 7000, true, "cuMemcpyPeer_ptds"),
            ("cuMemcpyPeerAsync", 7000, true, "cuMemcpyPeerAsync_ptsz"),
            ("cuGetProcAddress", 11030, false, "cuGetProcAddress"),
            ("cuGetProcAddress", 12000, false, "cuGetProcAddress_v2"),
        ] {
            let found = by_documentation(name, version, per_thread);
            assert_eq!(found, Some(form), "{name} {version} {per_thread}");
        }
        assert_eq!(by_documentation("cuGraphAddNode", 12010, false), None);
        assert_eq!(by_documentation("cuGraphDebugDotPrint", 12010, false), None);
    }

    #[test]
    fn an_address_that_the_driver_exports_says_more_than_a_version() {
        let exported = |name: &str| name == "cuGraphExecUpdate";
        let found = which(b"cuGraphExecUpdate", 13000, false, &exported);
        assert_eq!(found.map(Function::name), Some("cuGraphExecUpdate"));
    }

    #[test]
    fn forms_that_a_later_cuda_may_bring_are_known_for_what_they_do() {
        for name in ["cuGraphLaunch_v2", "cuStreamBeginCapture_v3_ptsz", "cuGetProcAddress_v3"] {
            assert!(is_for_graphs(name.as_bytes()), "{name}");
        }
        for name in
            ["cuGraphUpload", "cuStreamBeginCaptureToCig", "cuMemAlloc_v2", "cudaGraphLaunch"]
        {
            assert!(!is_for_graphs(name.as_bytes()), "{name}");
        }
    }
}
