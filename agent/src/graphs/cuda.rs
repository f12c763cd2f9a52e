//! What CUDA says of a stream, and what the structures say that callers pass to it.
//!
//! The driver is asked before the runtime: the runtime keeps the last error of a thread, which the
//! host may yet ask for with `cudaGetLastError`, and the driver keeps none. NCCL itself asks the
//! same question at the same moment. Structures of the driver begin as those of the runtime do.
#![allow(unsafe_code)]

use crate::ffi::{Call, LEGACY_STREAM};
use crate::resolve::{libraries, lookup};
use nccltap_proto::functions::Library;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// What a stream does with the work it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It carries it out.
    Executes,
    /// It adds it to the graph of this capture.
    Captures(u64),
    /// It captured, and what it captured is void.
    Invalidated,
    /// It cannot be told.
    Unknown,
}

/// `cudaStreamCaptureStatus` and `CUstreamCaptureStatus`.
const NONE: c_int = 0;
const ACTIVE: c_int = 1;
const INVALIDATED: c_int = 2;

/// `cuStreamGetCaptureInfo`, in whatever form there is. 0 until looked for, 1 where there is none.
static DRIVER: AtomicUsize = AtomicUsize::new(0);
const NO_DRIVER: usize = 1;

/// The copy of the runtime on which a capture began last, and one more. 0 before there was one.
static RUNTIME: AtomicUsize = AtomicUsize::new(0);

/// `cuStreamGetCaptureInfo` and `cudaStreamGetCaptureInfo`: all forms begin with stream, status and id, and have three
/// to seven arguments. CUDA takes null where nobody wants an answer.
type Ask = unsafe extern "C-unwind" fn(
    *mut c_void,
    *mut c_int,
    *mut u64,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// `cudaPeekAtLastError` and `cudaGetLastError`.
type LastError = unsafe extern "C-unwind" fn() -> c_int;

/// A capture has begun through this copy of CUDA: finds what later answers for streams. Now, since later the caller
/// may hold locks that the loader's must not wait for.
pub(crate) fn meet(library: usize) {
    let of_driver = libraries::kind_at(library) == Some(Library::CudaDriver);
    if !of_driver {
        RUNTIME.store(library + 1, Release);
    }
    if DRIVER.load(Acquire) <= NO_DRIVER {
        let found = match lookup::in_object(c"libcuda.so.1", c"cuStreamGetCaptureInfo") {
            0 if of_driver => [libraries::CAPTURE_INFO]
                .into_iter()
                .chain(libraries::LATER_CAPTURE_INFO)
                .find_map(|form| libraries::cuda_getter(library, form))
                .unwrap_or(0),
            found => found,
        };
        DRIVER.store(if found == 0 { NO_DRIVER } else { found }, Release);
    }
}

/// What a stream does now. Leaves no error behind that the host could see.
pub(crate) fn status(stream: *mut c_void) -> Status {
    // The legacy stream cannot be captured; to ask while another stream captures is an error.
    if stream as usize <= LEGACY_STREAM {
        return Status::Executes;
    }
    let (mut status, mut id) = (NONE, 0);
    let answered = match DRIVER.load(Acquire) {
        0 | NO_DRIVER => ask_runtime(stream, &mut status, &mut id),
        // SAFETY: the address of such a function.
        driver => unsafe { ask(driver, stream, &mut status, &mut id) },
    };
    match status {
        _ if !answered => Status::Unknown,
        NONE => Status::Executes,
        ACTIVE => Status::Captures(id),
        INVALIDATED => Status::Invalidated,
        _ => Status::Unknown,
    }
}

/// Asks the runtime. To ask sets no error but where the stream is none, which NCCL is about to find too;
/// such an error is taken away again, so that the host finds the one that was there before, if none was.
fn ask_runtime(stream: *mut c_void, status: &mut c_int, id: &mut u64) -> bool {
    let Some(library) = RUNTIME.load(Acquire).checked_sub(1) else { return false };
    let getter = |name| libraries::cuda_getter(library, name);
    let (Some(asked), Some(peek), Some(take)) = (
        getter(libraries::CAPTURE_INFO),
        getter(libraries::PEEK_AT_LAST_ERROR),
        getter(libraries::GET_LAST_ERROR),
    ) else {
        return false;
    };
    // SAFETY: the prototypes of the functions that were looked up.
    unsafe {
        let peek = std::mem::transmute::<usize, LastError>(peek);
        let take = std::mem::transmute::<usize, LastError>(take);
        let waiting = peek();
        let answered = ask(asked, stream, status, id);
        if !answered && waiting == 0 {
            take();
        }
        answered
    }
}

/// Asks `function` what a stream captures. False when it does not say.
///
/// # Safety
/// `function` is the address of one of those that [`Ask`] describes.
unsafe fn ask(function: usize, stream: *mut c_void, status: &mut c_int, id: &mut u64) -> bool {
    let null = std::ptr::null_mut();
    // SAFETY: by the contract of this function; the places are valid.
    unsafe {
        std::mem::transmute::<usize, Ask>(function)(stream, status, id, null, null, null, null) == 0
    }
}

/// What a node is made of, where that is graphs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeOf {
    /// Something else.
    Other,
    /// A copy of a graph.
    Copy(u64),
    /// A graph that belongs to the node from now on.
    Owned(u64),
    /// Graphs that the GPU chooses from.
    Condition(Vec<u64>),
}

/// The head of `cudaGraphNodeParams` (driver_types.h), as far as it matters here.
#[repr(C)]
struct NodeParams {
    kind: c_int,
    _reserved: [c_int; 3],
    node: NodeUnion,
}

#[repr(C)]
union NodeUnion {
    child: ChildNode,
    condition: ConditionNode,
    _room: [u64; 29],
}

/// `cudaChildGraphNodeParams`.
#[derive(Clone, Copy)]
#[repr(C)]
struct ChildNode {
    graph: u64,
    ownership: c_int,
}

/// `cudaConditionalNodeParams`.
#[derive(Clone, Copy)]
#[repr(C)]
struct ConditionNode {
    _handle: u64,
    _kind: c_int,
    size: u32,
    bodies: *const u64,
}

const _: () = assert!(std::mem::offset_of!(NodeParams, node) == 16);
const _: () = assert!(std::mem::offset_of!(ConditionNode, bodies) == 16);

/// `cudaGraphNodeTypeGraph`.
const GRAPH_NODE: c_int = 4;
/// `cudaGraphNodeTypeConditional`.
const CONDITIONAL_NODE: c_int = 13;
/// `cudaGraphChildGraphOwnershipMove`.
const MOVED: c_int = 1;
/// A `switch` with more branches than this is not believed.
const MOST_BODIES: u32 = 65_536;

/// From this release of the runtime on, `cudaGraphAddNode` has an argument more.
const EDGES_SINCE: u32 = 13_000;

/// What the node is made of that this call has made, or changed.
///
/// # Safety
/// CUDA has taken the call, so its parameters are valid.
pub(crate) unsafe fn node_of(library: usize, call: &Call) -> NodeOf {
    let early = !call.early_node_params.is_null() && libraries::version(library) < EDGES_SINCE;
    let params = if early { call.early_node_params } else { call.node_params };
    if params.is_null() {
        return NodeOf::Other;
    }
    // SAFETY: by the contract of this function; which part of the union is in use, its kind says, and
    // CUDA has filled in the bodies.
    unsafe {
        let params = &*params.cast::<NodeParams>();
        match params.kind {
            // HIP has no more than the graph there.
            GRAPH_NODE
                if params.node.child.ownership == MOVED
                    && libraries::kind_at(library) != Some(Library::Hip) =>
            {
                NodeOf::Owned(params.node.child.graph)
            }
            GRAPH_NODE => NodeOf::Copy(params.node.child.graph),
            CONDITIONAL_NODE => {
                let ConditionNode { size, bodies, .. } = params.node.condition;
                if bodies.is_null() || size > MOST_BODIES {
                    return NodeOf::Other;
                }
                NodeOf::Condition(std::slice::from_raw_parts(bodies, size as usize).to_vec())
            }
            _ => NodeOf::Other,
        }
    }
}

/// `cudaGraphInstantiateFlagDeviceLaunch`.
const DEVICE_LAUNCH: u64 = 4;
/// Flags are small numbers; what is larger is a pointer of CUDA 11.
const MOST_FLAGS: u64 = 0xffff;

/// Whether the GPU may launch by itself what this call has made executable.
///
/// # Safety
/// CUDA has taken the call, so its parameters are valid.
pub(crate) unsafe fn launches_by_device(call: &Call) -> bool {
    let flags = match call.instantiate_params.is_null() {
        true => call.instantiate_flags,
        // SAFETY: by the contract of this function; the structure begins with the flags.
        false => unsafe { call.instantiate_params.read() },
    };
    flags <= MOST_FLAGS && flags & DEVICE_LAUNCH != 0
}
