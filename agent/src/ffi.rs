//! C types: the arguments of NCCL's and CUDA's functions, each with what the tap reads of it.
//!
//! Every argument type of the table in `nccltap_proto::functions` is a transparent wrapper here, so
//! a wrapper function has exactly the C prototype of the function it stands for.
#![allow(unsafe_code)]

mod copies;

use copies::{ContextBox, DeviceBox};
use nccltap_proto::record::{NO_DATATYPE, NO_PEER};
use std::ffi::{c_char, c_int, c_void};

/// `ncclSuccess` (nccl.h).
pub(crate) const SUCCESS: c_int = 0;
/// `ncclSystemError` (nccl.h): what a call gets when there is no NCCL to pass it on to.
pub(crate) const SYSTEM_ERROR: c_int = 2;
/// `cudaErrorInitializationError` (driver_types.h), `CUDA_ERROR_NOT_INITIALIZED` (cuda.h) and `hipErrorNotInitialized`,
/// which agree: what a call gets when there is no CUDA, or no HIP.
pub(crate) const CUDA_INITIALIZATION_ERROR: c_int = 3;
/// `cudaStreamLegacy` (driver_types.h), which is also what stream 0 stands for. It cannot be captured.
pub(crate) const LEGACY_STREAM: usize = 1;
/// `cudaStreamPerThread` (driver_types.h).
pub(crate) const PER_THREAD_STREAM: usize = 2;
/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM` (cuda.h).
pub(crate) const PER_THREAD_LOOK_UP: u64 = 2;

/// An `ncclComm_t`.
pub(crate) type CommunicatorHandle = *mut c_void;

/// What the arguments of one call say. Each function fills in what it has; a field that no code
/// reads afterwards costs nothing, since everything is inlined.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) count: usize,
    pub(crate) datatype: u8,
    pub(crate) reduction: c_int,
    pub(crate) peer: c_int,
    pub(crate) communicator: CommunicatorHandle,
    pub(crate) stream: *mut c_void,
    /// Where NCCL puts new communicators, and how many.
    pub(crate) created: *mut CommunicatorHandle,
    pub(crate) created_count: c_int,
    pub(crate) parent: CommunicatorHandle,
    pub(crate) ranks: c_int,
    pub(crate) rank: c_int,
    pub(crate) color: c_int,
    pub(crate) ids: *const UniqueId,
    pub(crate) id_count: c_int,
    pub(crate) config: *const ConfigHead,
    /// A `cudaGraph_t`, a child of it, and where CUDA puts a new one.
    pub(crate) graph: *mut c_void,
    pub(crate) child: *mut c_void,
    pub(crate) new_graph: *const *mut c_void,
    /// A `cudaGraphNode_t`, and where CUDA puts a new one.
    pub(crate) node: *mut c_void,
    pub(crate) new_node: *const *mut c_void,
    pub(crate) node_params: *const c_void,
    /// What is there instead, where CUDA 12 has one argument less.
    pub(crate) early_node_params: *const c_void,
    /// A `cudaGraphExec_t`, and where CUDA puts a new one.
    pub(crate) executable: *mut c_void,
    pub(crate) new_executable: *const *mut c_void,
    pub(crate) instantiate_flags: u64,
    pub(crate) instantiate_params: *const u64,
    /// A function of the driver, looked up by name: where CUDA puts it, in which version, for which stream 0.
    pub(crate) driver_name: *const c_char,
    pub(crate) driver_function: *mut usize,
    pub(crate) driver_version: u32,
    pub(crate) look_up_flags: u64,
    /// A kernel that is launched, by whatever handle, and the addresses of its arguments.
    pub(crate) kernel: *const c_void,
    pub(crate) kernel_arguments: *const *const c_void,
    /// The GPUs of a copy, as devices or as contexts.
    pub(crate) copied_from: usize,
    pub(crate) copied_to: usize,
    /// The name of a kernel, mangled, a function that stands for one, and where CUDA puts a handle of one.
    pub(crate) kernel_name: *const c_char,
    pub(crate) host_function: *const c_void,
    pub(crate) new_kernel: *mut *mut c_void,
}

impl Call {
    /// A call of which nothing is known yet.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
            datatype: NO_DATATYPE,
            reduction: 0,
            peer: NO_PEER,
            communicator: std::ptr::null_mut(),
            stream: std::ptr::null_mut(),
            created: std::ptr::null_mut(),
            created_count: 0,
            parent: std::ptr::null_mut(),
            ranks: 0,
            rank: -1,
            color: 0,
            ids: std::ptr::null(),
            id_count: 0,
            config: std::ptr::null(),
            graph: std::ptr::null_mut(),
            child: std::ptr::null_mut(),
            new_graph: std::ptr::null(),
            node: std::ptr::null_mut(),
            new_node: std::ptr::null(),
            node_params: std::ptr::null(),
            early_node_params: std::ptr::null(),
            executable: std::ptr::null_mut(),
            new_executable: std::ptr::null(),
            instantiate_flags: 0,
            instantiate_params: std::ptr::null(),
            driver_name: std::ptr::null(),
            driver_function: std::ptr::null_mut(),
            driver_version: 0,
            look_up_flags: 0,
            kernel: std::ptr::null(),
            kernel_arguments: std::ptr::null(),
            copied_from: 0,
            copied_to: 0,
            kernel_name: std::ptr::null(),
            host_function: std::ptr::null(),
            new_kernel: std::ptr::null_mut(),
        }
    }
}

/// An argument tells the call what it knows.
pub(crate) trait Argument {
    fn note(&self, call: &mut Call);
}

macro_rules! arguments {
    ($($(#[doc = $doc:literal])+ $name:ident($type:ty) $( = |$value:ident, $call:ident| $note:expr )?;)*) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(crate) struct $name($type);

        impl Argument for $name {
            #[inline(always)]
            fn note(&self, _call: &mut Call) {
                $( let ($value, $call) = (self.0, _call); $note; )?
            }
        }
    )* };
}

arguments! {
    /// A buffer: passed on, never read.
    Buffer(*mut c_void);
    /// Something only NCCL understands.
    Opaque(*mut c_void);
    /// A number the tap has no use for.
    Int(c_int);
    /// A size the tap has no use for.
    Size(usize);
    /// CUDA devices, for `ncclCommInitAll`.
    Devices(*const c_int);
    /// Elements.
    Count(usize) = |value, call| call.count = value;
    /// `ncclDataType_t`.
    Datatype(c_int) = |value, call| call.datatype = u8::try_from(value).unwrap_or(NO_DATATYPE);
    /// `ncclRedOp_t`.
    Reduction(c_int) = |value, call| call.reduction = value;
    /// The other side of a point-to-point call.
    Peer(c_int) = |value, call| call.peer = value;
    /// The root of a rooted collective.
    Root(c_int) = |value, call| call.peer = value;
    /// The communicator of the call.
    Communicator(CommunicatorHandle) = |value, call| call.communicator = value;
    /// The communicator that a new one is made from.
    Parent(CommunicatorHandle) = |value, call| { call.communicator = value; call.parent = value };
    /// `cudaStream_t`.
    Stream(*mut c_void) = |value, call| call.stream = value;
    /// Where NCCL puts a new communicator.
    NewCommunicator(*mut CommunicatorHandle) = |value, call| { call.created = value; call.created_count = 1 };
    /// Where `ncclCommInitAll` puts new communicators.
    NewCommunicators(*mut CommunicatorHandle) = |value, call| call.created = value;
    /// Size of the group of a new communicator.
    RankCount(c_int) = |value, call| call.ranks = value;
    /// The same as a `size_t`, as oneCCL has it.
    LongRankCount(usize) = |value, call| call.ranks = c_int::try_from(value).unwrap_or(0);
    /// Rank in a new communicator.
    Rank(c_int) = |value, call| call.rank = value;
    /// Colour of a split.
    Color(c_int) = |value, call| call.color = value;
    /// How many unique ids follow.
    IdCount(c_int) = |value, call| call.id_count = value;
    /// Unique ids, by pointer.
    UniqueIds(*const UniqueId) = |value, call| call.ids = value;
    /// `ncclConfig_t`.
    Config(*const ConfigHead) = |value, call| call.config = value;
    /// `cudaStream_t` of a function for which 0 is the default stream of the calling thread.
    ThreadStream(*mut c_void) = |value, call| {
        call.stream = if value.is_null() { PER_THREAD_STREAM as *mut c_void } else { value }
    };
    /// `cudaGraph_t`.
    Graph(*mut c_void) = |value, call| call.graph = value;
    /// `cudaGraph_t` that becomes part of another.
    ChildGraph(*mut c_void) = |value, call| call.child = value;
    /// Where CUDA puts a new graph.
    NewGraph(*const *mut c_void) = |value, call| call.new_graph = value;
    /// `cudaGraphNode_t`.
    Node(*mut c_void) = |value, call| call.node = value;
    /// Where CUDA puts a new node.
    NewNode(*const *mut c_void) = |value, call| call.new_node = value;
    /// `cudaGraphNodeParams`.
    NodeParams(*const c_void) = |value, call| call.node_params = value;
    /// `cudaGraphNodeParams` in CUDA 12, a count from CUDA 13 on.
    EarlyNodeParams(*const c_void) = |value, call| call.early_node_params = value;
    /// `cudaGraphExec_t`.
    Executable(*mut c_void) = |value, call| call.executable = value;
    /// Where CUDA puts a new executable.
    NewExecutable(*const *mut c_void) = |value, call| call.new_executable = value;
    /// Flags of an instantiation; up to CUDA 11, in one of the functions, a pointer.
    InstantiateFlags(u64) = |value, call| call.instantiate_flags = value;
    /// `cudaGraphInstantiateParams`, which begins with the flags.
    InstantiateParams(*const u64) = |value, call| call.instantiate_params = value;
    /// The name of a function of the driver, without its version.
    DriverName(*const c_char) = |value, call| call.driver_name = value;
    /// Where CUDA puts the address of a function of the driver.
    DriverFunction(*mut usize) = |value, call| call.driver_function = value;
    /// The release of CUDA whose form of a function is asked for, e.g. 12040 for 12.4.
    DriverVersion(c_int) = |value, call| call.driver_version = u32::try_from(value).unwrap_or(0);
    /// `CUdriverProcAddress_flags` and `cudaGetDriverEntryPointFlags`, which agree.
    LookUpFlags(u64) = |value, call| call.look_up_flags = value;
    /// The same of a function for which 0 means the default stream of the calling thread.
    ThreadLookUpFlags(u64) = |value, call| {
        call.look_up_flags = if value == 0 { PER_THREAD_LOOK_UP } else { value }
    };
    /// `dim3`.
    Dimensions(Dim3);
    /// A kernel that is launched: a function that stands for it, a `cudaKernel_t`, or a `CUfunction`.
    LaunchedKernel(*const c_void) = |value, call| call.kernel = value;
    /// The addresses of a kernel's arguments.
    KernelArguments(*const *const c_void) = |value, call| call.kernel_arguments = value;
    /// `cudaLaunchConfig_t` and `CUlaunchConfig`.
    LaunchConfiguration(*const LaunchHead) = |value, call| call.stream = LaunchHead::stream(value);
    /// The same of a function for which stream 0 is the default stream of the calling thread.
    ThreadLaunchConfiguration(*const LaunchHead) = |value, call| {
        let stream = LaunchHead::stream(value);
        call.stream = if stream.is_null() { PER_THREAD_STREAM as *mut c_void } else { stream }
    };
    /// The mangled name of a kernel.
    KernelName(*const c_char) = |value, call| call.kernel_name = value;
    /// A function of a library that stands for a kernel, or another handle of one.
    HostFunction(*const c_void) = |value, call| call.host_function = value;
    /// Bytes of a copy.
    Bytes(usize) = |value, call| call.copies(value);
    /// The device that a copy goes to.
    ToDevice(c_int) = |value, call| call.copies_to_device(value);
    /// The device that a copy comes from.
    FromDevice(c_int) = |value, call| call.copies_from_device(value);
    /// The context that a copy goes to.
    ToContext(*mut c_void) = |value, call| call.copied_to = value as usize;
    /// The context that a copy comes from.
    FromContext(*mut c_void) = |value, call| call.copies_from_context(value as usize);
    /// `cudaMemcpy3DPeerParms`.
    DeviceCopy(*const DeviceBox) = |value, call| DeviceBox::note(value, call);
    /// `CUDA_MEMCPY3D_PEER`.
    ContextCopy(*const ContextBox) = |value, call| ContextBox::note(value, call);
    /// Where CUDA puts a handle of a kernel.
    NewKernel(*mut *mut c_void) = |value, call| call.new_kernel = value;
}

/// `dim3`: passed by value.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Dim3([u32; 3]);

/// The head of `cudaLaunchConfig_t` and `CUlaunchConfig`, which agree as far as this.
#[repr(C)]
pub(crate) struct LaunchHead {
    _grid_and_block: [u32; 6],
    _shared: usize,
    stream: *mut c_void,
}

const _: () = assert!(std::mem::offset_of!(LaunchHead, stream) == 32);

impl LaunchHead {
    /// The stream of a launch, null where there is no configuration, which CUDA will say.
    #[inline(always)]
    fn stream(configuration: *const Self) -> *mut c_void {
        if configuration.is_null() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's own argument, which CUDA reads next.
        unsafe { (*configuration).stream }
    }
}

/// `ncclUniqueId`: 128 bytes, passed by value.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct UniqueId(pub(crate) [u8; 128]);

const _: () = assert!(size_of::<UniqueId>() == 128);

impl Argument for UniqueId {
    #[inline(always)]
    fn note(&self, call: &mut Call) {
        call.ids = self;
        call.id_count = 1;
    }
}

/// `onecclUniqueId`: 4096 bytes, passed by value. It is as long as so many of NCCL's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LongUniqueId([UniqueId; 32]);

const _: () = assert!(size_of::<LongUniqueId>() == 4096);

impl Argument for LongUniqueId {
    #[inline(always)]
    fn note(&self, call: &mut Call) {
        call.ids = self.0.as_ptr();
        call.id_count = self.0.len() as c_int;
    }
}

/// The head of `ncclConfig_t` (nccl.h, 2.27 and later); older releases have less of it.
#[repr(C)]
pub(crate) struct ConfigHead {
    size: usize,
    magic: u32,
    version: u32,
    _numbers: [c_int; 4],
    _net_name: *const c_char,
    _more_numbers: [c_int; 2],
    name: *const c_char,
}

const _: () = assert!(std::mem::offset_of!(ConfigHead, name) == 48);

impl ConfigHead {
    /// `NCCL_API_MAGIC`.
    const MAGIC: u32 = 0xcafe_beef;

    /// The name that the application gives the new communicator, cut to 63 bytes, if it gives one.
    ///
    /// # Safety
    /// `config` is null or what a caller passes to NCCL as its configuration.
    pub(crate) unsafe fn name(config: *const Self) -> Vec<u8> {
        if config.is_null() {
            return Vec::new();
        }
        // SAFETY: every release begins with size, magic and version; what lies behind them is read
        // only where these say that it is there.
        unsafe {
            let (size, magic) = (&raw const (*config).size, &raw const (*config).magic);
            if magic.read() != Self::MAGIC || size.read() < size_of::<Self>() {
                return Vec::new();
            }
            let name = (&raw const (*config).name).read();
            if name.is_null() || (&raw const (*config).version).read() < 22_700 {
                return Vec::new();
            }
            std::ffi::CStr::from_ptr(name).to_bytes().iter().copied().take(63).collect()
        }
    }
}

/// The effective user of this process.
pub(crate) fn user_id() -> u32 {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() }
}

/// The calling thread, as the kernel numbers it.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: gettid cannot fail.
    unsafe { libc::gettid() as u32 }
}
