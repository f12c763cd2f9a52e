//! Holds the table of wrapped functions against what releases of NCCL (`agent/nccl-api`) and of CUDA's runtime and
//! driver (`agent/cuda-api`) have.

use nccltap_proto::functions::{Function, Library};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the tap leaves alone, and why. A pattern that ends in `*` stands for all names it begins.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("ncclCommCount", "asks, moves nothing"),
    ("ncclCommCuDevice", "asks, moves nothing"),
    ("ncclCommUserRank", "asks, moves nothing"),
    ("ncclCommGetAsyncError", "asks, moves nothing; called in tight loops"),
    ("ncclCommGetUniqueId", "asks, moves nothing"),
    ("ncclCommMemStats", "asks, moves nothing"),
    ("ncclCommQueryProperties", "asks, moves nothing"),
    ("ncclCommRegister", "registers memory; operations on it are recorded as ever"),
    ("ncclCommDeregister", "registers memory"),
    ("ncclCommWindowRegister", "registers memory; operations on it are recorded as ever"),
    ("ncclCommWindowDeregister", "registers memory"),
    ("ncclWinGetUserPtr", "asks, moves nothing"),
    ("ncclMemAlloc", "memory: other tools that wrap allocation have hung vLLM"),
    ("ncclMemFree", "memory: other tools that wrap allocation have hung vLLM"),
    ("ncclRedOpCreatePreMulSum", "makes a reduction; the operation that uses it is recorded"),
    ("ncclRedOpDestroy", "ends a reduction"),
    ("ncclSignal", "carries no payload"),
    ("ncclWaitSignal", "carries no payload"),
    ("ncclGetErrorString", "text"),
    ("ncclGetLastError", "text"),
    ("ncclResetDebugInit*", "logging"),
    ("ncclSetEncryption", "configures; moves nothing"),
    ("ncclParam*", "parameters of the library"),
    ("ncclDevCommDestroy", "the end of what ncclDevCommCreate announces"),
    ("ncclTeam*", "arithmetic on ranks, for device code"),
    ("ncclGet*Pointer", "addresses for device code"),
    ("ncclGet*DeviceLeInfo", "addresses for device code"),
    ("ncclLsaBarrierCreateRequirement", "sizes resources of device code"),
    ("ncclGinBarrierCreateRequirement", "sizes resources of device code"),
    ("ncclGinInboxA2ACreateRequirement", "sizes resources of device code"),
    ("ncclGinOutboxCreateRequirement", "sizes resources of device code"),
    ("ncclLLA2A*", "sizes resources of device code"),
];

/// The same of HIP's.
const LEFT_ALONE_OF_HIP: &[(&str, &str)] = &[
    ("hip*MultiDevice", "several devices by one thread"),
    ("hipModuleGetFunctionCount", "asks"),
    ("hipLibraryGetKernelCount", "asks"),
    ("hipGraphUpload", "prepares a launch; carries nothing out"),
    ("hipGraphCreate", "a new graph holds nothing"),
    ("hipGraphAddDependencies", "order within a graph"),
    ("hipGraphRemoveDependencies", "order within a graph"),
    ("hipGraphAddEmptyNode", "no operation of RCCL is in such a node"),
    ("hipGraphAddEvent*Node", "no operation of RCCL is in such a node"),
    ("hipGraphAddExternalSemaphores*Node", "no operation of RCCL is in such a node"),
    ("hipGraphAddHostNode", "no operation of RCCL is in such a node"),
    ("hipGraphAddKernelNode", "RCCL's kernels get into graphs by capture, not by hand"),
    ("hipGraphAddMem*", "no operation of RCCL is in such a node; memory"),
    ("hipGraphAddBatchMemOpNode", "no operation of RCCL is in such a node; memory"),
    ("hipGraphGet*", "asks"),
    ("hipGraphExecGetFlags", "asks"),
    ("hipGraphNodeGet*", "asks"),
    ("hipGraphDebugDotPrint", "writes a file"),
    ("hipGraphKernelNode*", "one kernel of a graph: which operation it is part of is not known"),
    ("hipGraphMem*Node*", "memory"),
    ("hipGraphBatchMemOpNode*", "memory"),
    ("hipGraphHostNode*", "a function of the host"),
    ("hipGraphEvent*Node*", "events"),
    ("hipGraphExternalSemaphores*Node*", "semaphores"),
    ("hipGraphNodeSetEnabled", "one kernel of a graph: which operation it is part of is not known"),
    ("hipGraphExecEvent*NodeSetEvent", "events"),
    ("hipGraphExecExternalSemaphores*NodeSetParams", "semaphores"),
    ("hipGraphExecHostNodeSetParams", "a function of the host"),
    ("hipGraphExecKernelNodeSetParams", "one kernel: which operation it is part of is not known"),
    ("hipGraphExecMem*NodeSetParams*", "memory"),
    ("hipGraphExecBatchMemOpNodeSetParams", "memory"),
    ("hipGraphReleaseUserObject", "life of the application's objects"),
    ("hipGraphRetainUserObject", "life of the application's objects"),
    ("hipStreamGetCaptureInfo*", "asks"),
    ("hipStreamIsCapturing*", "asks"),
    ("hipStreamUpdateCaptureDependencies", "order within a graph"),
    ("hipThreadExchangeStreamCaptureMode", "what else is allowed during a capture"),
    ("hipDevice*Graph*", "memory"),
];

/// The same of oneCCL's.
const LEFT_ALONE_OF_ONECCL: &[(&str, &str)] = &[
    ("onecclCommCount", "asks, moves nothing"),
    ("onecclCommDevice", "asks, moves nothing"),
    ("onecclCommUserRank", "asks, moves nothing"),
    ("onecclCommGetAsyncError", "asks, moves nothing"),
    ("onecclExtractVersionComponents", "arithmetic"),
    ("onecclSetDevice", "chooses the device of the thread"),
    ("onecclMem*", "memory"),
    ("onecclComm*egister", "registers memory; operations on it are recorded as ever"),
    ("onecclRedOp*", "makes or ends a reduction; the operation that uses it is recorded"),
    ("onecclGetErrorString", "text"),
    ("onecclGetLastError", "text"),
    ("oneccl*DebugInit", "logging"),
    ("onecclDevCommDestroy", "the end of what onecclDevCommCreate announces"),
    ("onecclGet*DevicePointer", "addresses for device code"),
    ("onecclCommInitAll", "declared, and not implemented as yet"),
];

/// What the tap leaves alone of RCCL's, beside those that NCCL has too.
const LEFT_ALONE_OF_RCCL: &[(&str, &str)] =
    &[("msccl*", "loads and runs schedules that are not NCCL's; no engine calls it")];

/// Functions of the table that RCCL has and NCCL has not.
const RCCL_ALONE: [Function; 4] = [
    Function::ncclAllToAll,
    Function::ncclAllToAllv,
    Function::ncclAllReduceWithBias,
    Function::ncclAlltoAllv,
];

/// What the tap leaves alone of the CUDA runtime's functions for graphs, capture and kernels, and why.
const LEFT_ALONE_OF_CUDA: &[(&str, &str)] = &[
    ("cudaLaunchCooperativeKernelMultiDevice", "several devices by one thread; gone in CUDA 13"),
    ("cudaLibraryGetKernelCount", "asks"),
    ("cudaGraphUpload*", "prepares a launch; carries nothing out"),
    ("cudaGraphCreate", "a new graph holds nothing"),
    ("cudaGraphAdd*Dependencies*", "order within a graph"),
    ("cudaGraphRemoveDependencies*", "order within a graph"),
    ("cudaGraphAddEmptyNode", "no operation of NCCL is in such a node"),
    ("cudaGraphAddEvent*Node", "no operation of NCCL is in such a node"),
    ("cudaGraphAddExternalSemaphores*Node", "no operation of NCCL is in such a node"),
    ("cudaGraphAddHostNode", "no operation of NCCL is in such a node"),
    ("cudaGraphAddKernelNode", "NCCL's kernels get into graphs by capture, not by hand"),
    ("cudaGraphAddMem*", "no operation of NCCL is in such a node; memory"),
    ("cudaGraphGet*", "asks"),
    ("cudaGraphExecGet*", "asks"),
    ("cudaGraphNodeGetContainingGraph", "asks"),
    ("cudaGraphNodeGetDepend*", "asks"),
    ("cudaGraphNodeGetEnabled", "asks"),
    ("cudaGraphNodeGet*Id", "asks"),
    ("cudaGraphNodeGetType", "asks"),
    ("cudaGraphE*NodeGet*", "asks"),
    ("cudaGraphHostNodeGetParams", "asks"),
    ("cudaGraphDebugDotPrint*", "writes a file"),
    ("cudaGraphConditionalHandleCreate*", "makes a value; the node that uses it is followed"),
    ("cudaGraphKernelNode*", "one kernel of a graph: which operation it is part of is not known"),
    ("cudaGraphMem*Node*", "memory"),
    ("cudaGraphHostNodeSetParams", "a function of the host"),
    ("cudaGraphEvent*NodeSetEvent", "events"),
    ("cudaGraphExternalSemaphores*NodeSetParams", "semaphores"),
    (
        "cudaGraphNodeSetEnabled",
        "one kernel of a graph: which operation it is part of is not known",
    ),
    ("cudaGraphExecEvent*NodeSetEvent", "events"),
    ("cudaGraphExecExternalSemaphores*NodeSetParams", "semaphores"),
    ("cudaGraphExecHostNodeSetParams", "a function of the host"),
    ("cudaGraphExecKernelNodeSetParams", "one kernel: which operation it is part of is not known"),
    ("cudaGraphExecMem*NodeSetParams*", "memory"),
    ("cudaGraphReleaseUserObject", "life of the application's objects"),
    ("cudaGraphRetainUserObject", "life of the application's objects"),
    ("cudaStreamGetCaptureInfo*", "asks"),
    ("cudaStreamIsCapturing*", "asks"),
    ("cudaStreamUpdateCaptureDependencies*", "order within a graph"),
    ("cudaThreadExchangeStreamCaptureMode", "what else is allowed during a capture"),
    ("cudaDevice*Graph*", "memory"),
];

/// The same of the driver.
const LEFT_ALONE_OF_DRIVER: &[(&str, &str)] = &[
    ("cuLaunchCooperativeKernelMultiDevice", "several devices by one thread; deprecated"),
    ("cuLibraryGetKernelCount", "asks"),
    ("cuModuleGetFunctionCount", "asks"),
    ("cuGraphUpload*", "prepares a launch; carries nothing out"),
    ("cuGraphCreate", "a new graph holds nothing"),
    ("cuGraphAddDependencies*", "order within a graph"),
    ("cuGraphRemoveDependencies*", "order within a graph"),
    ("cuGraphAddEmptyNode", "no operation of NCCL is in such a node"),
    ("cuGraphAddEvent*Node", "no operation of NCCL is in such a node"),
    ("cuGraphAddExternalSemaphores*Node", "no operation of NCCL is in such a node"),
    ("cuGraphAddHostNode", "no operation of NCCL is in such a node"),
    ("cuGraphAddKernelNode*", "NCCL's kernels get into graphs by capture, not by hand"),
    ("cuGraphAddMem*", "no operation of NCCL is in such a node; memory"),
    ("cuGraphAddBatchMemOpNode", "no operation of NCCL is in such a node; memory"),
    ("cuGraphGet*", "asks"),
    ("cuGraphExecGet*", "asks"),
    ("cuGraphNodeGetContainingGraph", "asks"),
    ("cuGraphNodeGetDepend*", "asks"),
    ("cuGraphNodeGetEnabled", "asks"),
    ("cuGraphNodeGet*Id", "asks"),
    ("cuGraphNodeGetType", "asks"),
    ("cuGraphDebugDotPrint", "writes a file"),
    ("cuGraphConditionalHandleCreate*", "makes a value; the node that uses it is followed"),
    ("cuGraphKernelNode*", "one kernel of a graph: which operation it is part of is not known"),
    ("cuGraphMem*Node*", "memory"),
    ("cuGraphBatchMemOpNode*", "memory"),
    ("cuGraphHostNode*", "a function of the host"),
    ("cuGraphEvent*Node*", "events"),
    ("cuGraphExternalSemaphores*Node*", "semaphores"),
    ("cuGraphNodeSetEnabled", "one kernel of a graph: which operation it is part of is not known"),
    ("cuGraphExecEvent*NodeSetEvent", "events"),
    ("cuGraphExecExternalSemaphores*NodeSetParams", "semaphores"),
    ("cuGraphExecHostNodeSetParams", "a function of the host"),
    ("cuGraphExecKernelNodeSetParams*", "one kernel: which operation it is part of is not known"),
    ("cuGraphExecMem*NodeSetParams", "memory"),
    ("cuGraphExecBatchMemOpNodeSetParams", "memory"),
    ("cuGraphReleaseUserObject", "life of the application's objects"),
    ("cuGraphRetainUserObject", "life of the application's objects"),
    ("cuStreamBeginCaptureToCig*", "for an API of graphics; its result is no graph"),
    ("cuStreamEndCaptureToCig*", "for an API of graphics; its result is no graph"),
    ("cuStreamGetCaptureInfo*", "asks"),
    ("cuStreamIsCapturing*", "asks"),
    ("cuStreamUpdateCaptureDependencies*", "order within a graph"),
    ("cuThreadExchangeStreamCaptureMode", "what else is allowed during a capture"),
    ("cuDevice*Graph*", "memory"),
];

/// Whether `name` is what `pattern` says: a `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(tail) => tail.is_empty() || name.ends_with(tail),
    }
}

/// Names that releases of a library export, each with the releases that do.
fn exported(library: Library) -> BTreeMap<String, Vec<String>> {
    listed(match library {
        Library::Nccl => "nccl-api",
        Library::CudaRuntime => "cuda-api",
        Library::CudaDriver => "cuda-api/driver",
        Library::OneCcl => "oneccl-api",
        Library::Hip => "hip-api",
    })
}

/// The names in the lists of a folder, each with the releases whose list has it.
fn listed(lists: &str) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join(lists);
    for list in std::fs::read_dir(lists).unwrap().map(|entry| entry.unwrap().path()) {
        if list.extension().is_some_and(|extension| extension == "txt") {
            let release = list.file_stem().unwrap().to_string_lossy().into_owned();
            for name in std::fs::read_to_string(&list).unwrap().lines() {
                names.entry(name.to_owned()).or_default().push(release.clone());
            }
        }
    }
    names
}

fn left_alone(library: Library) -> &'static [(&'static str, &'static str)] {
    match library {
        Library::Nccl => LEFT_ALONE,
        Library::CudaRuntime => LEFT_ALONE_OF_CUDA,
        Library::CudaDriver => LEFT_ALONE_OF_DRIVER,
        Library::OneCcl => LEFT_ALONE_OF_ONECCL,
        Library::Hip => LEFT_ALONE_OF_HIP,
    }
}

fn release(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn whatever_a_library_exports_is_wrapped_or_left_alone_for_a_reason() {
    for library in Library::ALL {
        let exported = exported(library);
        assert!(exported.len() > 30, "the lists of {} are there", library.name());
        for (name, releases) in &exported {
            let wrapped = Function::ALL.iter().any(|function| function.name() == name);
            let alone = left_alone(library).iter().any(|(pattern, _)| matches(pattern, name));
            assert!(
                wrapped != alone,
                "{name} (in {} {}) must be in proto/src/functions.rs or left alone in {}",
                library.name(),
                releases.join(", "),
                file!(),
            );
        }
    }
}

#[test]
fn whatever_rccl_has_beside_nccl_is_wrapped_or_left_alone_for_a_reason() {
    let [nccl, rccl] = ["nccl-api", "nccl-api/rccl"].map(listed);
    assert!(rccl.len() > 30, "the list is there");
    for name in rccl.keys() {
        let wrapped = Function::ALL.iter().any(|function| function.name() == name);
        let mut alone = LEFT_ALONE.iter().chain(LEFT_ALONE_OF_RCCL);
        assert!(wrapped != alone.any(|(pattern, _)| matches(pattern, name)), "{name} of RCCL");
    }
    for function in RCCL_ALONE {
        assert!(!nccl.contains_key(function.name()), "{} is NCCL's too", function.name());
    }
}

#[test]
fn what_is_left_alone_is_exported_by_some_release() {
    for library in Library::ALL {
        let exported = exported(library);
        for (pattern, _) in left_alone(library) {
            assert!(exported.keys().any(|name| matches(pattern, name)), "{pattern}");
        }
    }
}

/// Of some releases there is no list, so a function may appear in a later one than it names.
#[test]
fn every_function_of_the_table_is_exported_since_the_release_it_names() {
    for library in Library::ALL {
        let exported = exported(library);
        let listed: BTreeSet<_> = exported.values().flatten().map(|text| release(text)).collect();
        let has =
            |function: &&Function| function.library() == library && !RCCL_ALONE.contains(function);
        for function in Function::ALL.iter().filter(has) {
            let releases = exported.get(function.name());
            let first = releases.and_then(|all| all.iter().map(|text| release(text)).min());
            let expected = listed.iter().find(|listed| **listed >= release(function.since()));
            assert_eq!(first.as_ref(), expected, "{}", function.name());
        }
    }
}

#[test]
fn a_pattern_stands_for_the_names_it_describes() {
    for (pattern, name, is) in [
        ("ncclGet*Pointer", "ncclGetLsaDevicePointer", true),
        ("ncclGet*Pointer", "ncclGetVersion", false),
        ("cudaGraphE*NodeGet*", "cudaGraphEventWaitNodeGetEvent", true),
        ("cudaGraphE*NodeGet*", "cudaGraphLaunch", false),
        ("cudaGraphUpload*", "cudaGraphUpload", true),
        ("cudaGraphCreate", "cudaGraphCreated", false),
    ] {
        assert_eq!(matches(pattern, name), is, "{pattern} {name}");
    }
}
