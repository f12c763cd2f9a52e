//! THE TABLE: every function the tap wraps, of NCCL and oneCCL, and of the graphs, kernels and copies between
//! GPUs of CUDA and HIP.
//!
//! One row is one function: the number that stands for it in records, its C prototype as `nccl.h`,
//! `cuda_runtime_api.h` or `cuda.h` has it, and what it means to us. Everything else follows from the rows:
//! the exported symbols, the wrappers and the `dlsym` names of the agent, the operation names of
//! the collector, the coverage tests against real releases of NCCL and CUDA.
//!
//! Argument types say what the tap reads of an argument: `Count`, `Datatype`, `Reduction`, `Peer`
//! and `Root` go into the record, `Communicator` and `Stream` too, a `Buffer` is passed on unread.
//!
//! Where releases of CUDA disagree about a prototype, the row has the longest: what a shorter one
//! has no use for travels in registers that it does not read.
//!
//! Numbers are part of the wire contract: a new row takes the next free number, and a number is
//! never given to another function.

use crate::Path;

/// Calls `$use_rows!` with all rows of the table.
///
/// The macro that receives the rows decides what they become; see [`Function`] here and the hooks
/// of the agent.
#[macro_export]
macro_rules! wrapped_functions {
    ($use_rows:ident) => { $use_rows! {
        // Operations: calls that move data between ranks.
        // number, name, arguments, meaning, first release of its library that has it
         1 ncclAllReduce(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, comm: Communicator, stream: Stream) = Operation(AllReduce), "2.0";
         2 ncclBroadcast(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream) = Operation(Broadcast), "2.2";
         3 ncclBcast(buff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream) = Operation(Broadcast), "2.0";
         4 ncclReduce(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, root: Root, comm: Communicator, stream: Stream) = Operation(Reduce), "2.0";
         5 ncclAllGather(sendbuff: Buffer, recvbuff: Buffer, sendcount: Count, datatype: Datatype, comm: Communicator, stream: Stream) = Operation(AllGather), "2.0";
         6 ncclReduceScatter(sendbuff: Buffer, recvbuff: Buffer, recvcount: Count, datatype: Datatype, op: Reduction, comm: Communicator, stream: Stream) = Operation(ReduceScatter), "2.0";
         7 ncclAlltoAll(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, comm: Communicator, stream: Stream) = Operation(AlltoAll), "2.28";
         8 ncclGather(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream) = Operation(Gather), "2.28";
         9 ncclScatter(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream) = Operation(Scatter), "2.28";
        10 ncclSend(sendbuff: Buffer, count: Count, datatype: Datatype, peer: Peer, comm: Communicator, stream: Stream) = Operation(Send), "2.7";
        11 ncclRecv(recvbuff: Buffer, count: Count, datatype: Datatype, peer: Peer, comm: Communicator, stream: Stream) = Operation(Recv), "2.7";
        12 ncclPutSignal(localbuff: Buffer, count: Count, datatype: Datatype, peer: Peer, window: Opaque, offset: Size, signal: Int, context: Int, flags: Int, comm: Communicator, stream: Stream) = Operation(PutSignal), "2.29";
        13 ncclAllReduceConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, comm: Communicator, stream: Stream, config: Opaque) = Operation(AllReduce), "2.31";
        14 ncclBroadcastConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream, config: Opaque) = Operation(Broadcast), "2.31";
        15 ncclReduceConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, root: Root, comm: Communicator, stream: Stream, config: Opaque) = Operation(Reduce), "2.31";
        16 ncclAllGatherConfig(sendbuff: Buffer, recvbuff: Buffer, sendcount: Count, datatype: Datatype, comm: Communicator, stream: Stream, config: Opaque) = Operation(AllGather), "2.31";
        17 ncclReduceScatterConfig(sendbuff: Buffer, recvbuff: Buffer, recvcount: Count, datatype: Datatype, op: Reduction, comm: Communicator, stream: Stream, config: Opaque) = Operation(ReduceScatter), "2.31";
        18 ncclAlltoAllConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, comm: Communicator, stream: Stream, config: Opaque) = Operation(AlltoAll), "2.31";
        19 ncclGatherConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream, config: Opaque) = Operation(Gather), "2.31";
        20 ncclScatterConfig(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, stream: Stream, config: Opaque) = Operation(Scatter), "2.31";

        // Groups: operations between start and end are launched together, at the end.
        21 ncclGroupStart() = GroupStart, "2.0";
        22 ncclGroupEnd() = GroupEnd, "2.0";
        23 ncclGroupSimulateEnd(estimate: Opaque) = GroupSimulateEnd, "2.22";

        // Communicators: born.
        24 ncclCommInitRank(newcomm: NewCommunicator, nranks: RankCount, id: UniqueId, rank: Rank) = Create, "2.0";
        25 ncclCommInitRankConfig(newcomm: NewCommunicator, nranks: RankCount, id: UniqueId, rank: Rank, config: Config) = Create, "2.14";
        26 ncclCommInitRankScalable(newcomm: NewCommunicator, nranks: RankCount, rank: Rank, ids: IdCount, id: UniqueIds, config: Config) = Create, "2.23";
        27 ncclCommInitAll(newcomms: NewCommunicators, devices: RankCount, list: Devices) = Create, "2.0";
        28 ncclCommSplit(comm: Parent, color: Color, key: Int, newcomm: NewCommunicator, config: Config) = Create, "2.18";
        29 ncclCommShrink(comm: Parent, exclude: Opaque, excluded: Int, newcomm: NewCommunicator, config: Config, flags: Int) = Create, "2.27";
        30 ncclCommGrow(comm: Parent, nranks: RankCount, id: UniqueIds, rank: Rank, newcomm: NewCommunicator, config: Config) = Create, "2.29";

        // Communicators: changed, and ended.
        31 ncclCommFinalize(comm: Communicator) = Manage, "2.14";
        32 ncclCommDestroy(comm: Communicator) = Destroy, "2.0";
        33 ncclCommAbort(comm: Communicator) = Destroy, "2.4";
        34 ncclCommRevoke(comm: Communicator, flags: Int) = Manage, "2.28";
        35 ncclCommSuspend(comm: Communicator, flags: Int) = Manage, "2.29";
        36 ncclCommResume(comm: Communicator) = Manage, "2.29";

        // Asked before any communicator exists: shows that a door works on a machine with no GPU.
        37 ncclGetUniqueId(id: Opaque) = Query, "2.0";
        38 ncclGetVersion(version: Opaque) = Query, "2.0";

        // From here on kernels may send by themselves, which no wrapper can see.
        39 ncclDevCommCreate(comm: Communicator, requirements: Opaque, devcomm: Opaque) = Manage, "2.28";

        // CUDA graphs, captured. The forms that end in _ptsz take stream 0 for that of the thread.
        40 cudaStreamBeginCapture(stream: Stream, mode: Int) = BeginCapture, "10.1";
        41 cudaStreamBeginCapture_ptsz(stream: ThreadStream, mode: Int) = BeginCapture, "10.1";
        42 cudaStreamBeginCaptureToGraph(stream: Stream, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, mode: Int) = BeginCaptureToGraph, "12.3";
        43 cudaStreamBeginCaptureToGraph_ptsz(stream: ThreadStream, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, mode: Int) = BeginCaptureToGraph, "12.3";
        44 cudaStreamBeginRecaptureToGraph(stream: Stream, mode: Int, graph: Graph, callback: Opaque) = BeginCapture, "13.3";
        45 cudaStreamBeginRecaptureToGraph_ptsz(stream: ThreadStream, mode: Int, graph: Graph, callback: Opaque) = BeginCapture, "13.3";
        46 cudaStreamEndCapture(stream: Stream, graph: NewGraph) = EndCapture, "10.0";
        47 cudaStreamEndCapture_ptsz(stream: ThreadStream, graph: NewGraph) = EndCapture, "10.0";

        // CUDA graphs, put together.
        48 cudaGraphClone(clone: NewGraph, graph: Graph) = GraphClone, "10.0";
        49 cudaGraphAddChildGraphNode(node: NewNode, graph: Graph, dependencies: Opaque, count: Size, child: ChildGraph) = GraphAddChild, "10.0";
        50 cudaGraphAddNode(node: NewNode, graph: Graph, dependencies: Opaque, edges_or_count: Size, count_or_params: EarlyNodeParams, params: NodeParams) = GraphAddNode, "12.2";
        51 cudaGraphAddNode_v2(node: NewNode, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, params: NodeParams) = GraphAddNode, "12.3";
        52 cudaGraphDestroyNode(node: Node) = GraphDestroyNode, "10.0";
        53 cudaGraphDestroy(graph: Graph) = GraphDestroy, "10.0";

        // CUDA graphs, made executable and launched.
        54 cudaGraphInstantiate(executable: NewExecutable, graph: Graph, flags_or_node: InstantiateFlags, log: Opaque, log_size: Size) = Instantiate, "10.0";
        55 cudaGraphInstantiateWithFlags(executable: NewExecutable, graph: Graph, flags: InstantiateFlags) = Instantiate, "11.4";
        56 cudaGraphInstantiateWithParams(executable: NewExecutable, graph: Graph, params: InstantiateParams) = Instantiate, "12.0";
        57 cudaGraphInstantiateWithParams_ptsz(executable: NewExecutable, graph: Graph, params: InstantiateParams) = Instantiate, "12.0";
        58 cudaGraphExecUpdate(executable: Executable, graph: Graph, node_or_info: Opaque, result: Opaque) = ExecutableUpdate, "10.2";
        59 cudaGraphExecChildGraphNodeSetParams(executable: Executable, node: Node, child: ChildGraph) = ExecutableSetChild, "11.1";
        60 cudaGraphExecNodeSetParams(executable: Executable, node: Node, params: NodeParams) = ExecutableSetNode, "12.2";
        61 cudaGraphExecDestroy(executable: Executable) = ExecutableDestroy, "10.0";
        62 cudaGraphLaunch(executable: Executable, stream: Stream) = GraphLaunch, "10.0";
        63 cudaGraphLaunch_ptsz(executable: Executable, stream: ThreadStream) = GraphLaunch, "10.0";

        // CUDA graphs inside graphs, changed where they are.
        64 cudaGraphNodeSetParams(node: Node, params: NodeParams) = GraphSetNode, "12.2";
        65 cudaGraphChildGraphNodeGetGraph(node: Node, graph: NewGraph) = GraphOfNode, "10.0";
        66 cudaGraphNodeGetParams(node: Node, params: NodeParams) = GraphOfNode, "13.2";
        67 cudaGraphNodeFindInClone(found: NewNode, node: Node, clone: Graph) = GraphFindNode, "10.0";

        // The way from the runtime to functions of the driver.
        68 cudaGetDriverEntryPoint(name: DriverName, found: DriverFunction, flags: LookUpFlags, result: Opaque) = DriverLookUp, "11.3";
        69 cudaGetDriverEntryPoint_ptsz(name: DriverName, found: DriverFunction, flags: ThreadLookUpFlags, result: Opaque) = DriverLookUp, "11.3";
        70 cudaGetDriverEntryPointByVersion(name: DriverName, found: DriverFunction, version: DriverVersion, flags: LookUpFlags, result: Opaque) = DriverLookUp, "12.5";
        71 cudaGetDriverEntryPointByVersion_ptsz(name: DriverName, found: DriverFunction, version: DriverVersion, flags: ThreadLookUpFlags, result: Opaque) = DriverLookUp, "12.5";

        // The same of the driver, for programs that use it without the runtime, or with one inside.
        72 cuGetProcAddress(name: DriverName, found: DriverFunction, version: DriverVersion, flags: LookUpFlags) = DriverLookUp, "11.3";
        73 cuGetProcAddress_v2(name: DriverName, found: DriverFunction, version: DriverVersion, flags: LookUpFlags, result: Opaque) = DriverLookUp, "12.0";
        74 cuStreamBeginCapture(stream: Stream) = BeginCapture, "10.0";
        75 cuStreamBeginCapture_ptsz(stream: ThreadStream) = BeginCapture, "10.0";
        76 cuStreamBeginCapture_v2(stream: Stream, mode: Int) = BeginCapture, "10.1";
        77 cuStreamBeginCapture_v2_ptsz(stream: ThreadStream, mode: Int) = BeginCapture, "10.1";
        78 cuStreamBeginCaptureToGraph(stream: Stream, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, mode: Int) = BeginCaptureToGraph, "12.3";
        79 cuStreamBeginCaptureToGraph_ptsz(stream: ThreadStream, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, mode: Int) = BeginCaptureToGraph, "12.3";
        80 cuStreamBeginRecaptureToGraph(stream: Stream, mode: Int, graph: Graph, callback: Opaque, data: Opaque) = BeginCapture, "13.3";
        81 cuStreamBeginRecaptureToGraph_ptsz(stream: ThreadStream, mode: Int, graph: Graph, callback: Opaque, data: Opaque) = BeginCapture, "13.3";
        82 cuStreamEndCapture(stream: Stream, graph: NewGraph) = EndCapture, "10.0";
        83 cuStreamEndCapture_ptsz(stream: ThreadStream, graph: NewGraph) = EndCapture, "10.0";
        84 cuGraphClone(clone: NewGraph, graph: Graph) = GraphClone, "10.0";
        85 cuGraphNodeFindInClone(found: NewNode, node: Node, clone: Graph) = GraphFindNode, "10.0";
        86 cuGraphAddChildGraphNode(node: NewNode, graph: Graph, dependencies: Opaque, count: Size, child: ChildGraph) = GraphAddChild, "10.0";
        87 cuGraphAddNode(node: NewNode, graph: Graph, dependencies: Opaque, count: Size, params: NodeParams) = GraphAddNode, "12.2";
        88 cuGraphAddNode_v2(node: NewNode, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, params: NodeParams) = GraphAddNode, "12.3";
        89 cuGraphAddNode_v3(node: NewNode, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, params: NodeParams) = GraphAddNode, "13.4";
        90 cuGraphNodeSetParams(node: Node, params: NodeParams) = GraphSetNode, "12.2";
        91 cuGraphNodeSetParams_v2(node: Node, params: NodeParams) = GraphSetNode, "13.4";
        92 cuGraphChildGraphNodeGetGraph(node: Node, graph: NewGraph) = GraphOfNode, "10.0";
        93 cuGraphNodeGetParams(node: Node, params: NodeParams) = GraphOfNode, "13.2";
        94 cuGraphDestroyNode(node: Node) = GraphDestroyNode, "10.0";
        95 cuGraphDestroy(graph: Graph) = GraphDestroy, "10.0";
        96 cuGraphInstantiate(executable: NewExecutable, graph: Graph, flags_or_node: InstantiateFlags, log: Opaque, log_size: Size) = Instantiate, "10.0";
        97 cuGraphInstantiate_v2(executable: NewExecutable, graph: Graph, flags_or_node: InstantiateFlags, log: Opaque, log_size: Size) = Instantiate, "11.0";
        98 cuGraphInstantiateWithFlags(executable: NewExecutable, graph: Graph, flags: InstantiateFlags) = Instantiate, "11.4";
        99 cuGraphInstantiateWithParams(executable: NewExecutable, graph: Graph, params: InstantiateParams) = Instantiate, "12.0";
       100 cuGraphInstantiateWithParams_ptsz(executable: NewExecutable, graph: Graph, params: InstantiateParams) = Instantiate, "12.0";
       101 cuGraphExecUpdate(executable: Executable, graph: Graph, node: Opaque, result: Opaque) = ExecutableUpdate, "10.2";
       102 cuGraphExecUpdate_v2(executable: Executable, graph: Graph, info: Opaque) = ExecutableUpdate, "12.0";
       103 cuGraphExecChildGraphNodeSetParams(executable: Executable, node: Node, child: ChildGraph) = ExecutableSetChild, "11.1";
       104 cuGraphExecNodeSetParams(executable: Executable, node: Node, params: NodeParams) = ExecutableSetNode, "12.2";
       105 cuGraphExecDestroy(executable: Executable) = ExecutableDestroy, "10.0";
       106 cuGraphLaunch(executable: Executable, stream: Stream) = GraphLaunch, "10.0";
       107 cuGraphLaunch_ptsz(executable: Executable, stream: ThreadStream) = GraphLaunch, "10.0";

        // Kernels, named: by what nvcc puts into a library's start, and by who asks for one.
       108 __cudaRegisterFunction(binary: Opaque, function: HostFunction, device_function: Opaque, name: KernelName, thread_limit: Int, thread: Opaque, block: Opaque, block_dim: Opaque, grid_dim: Opaque, warp_size: Opaque) = KernelRegistered, "7.0";
       109 __cudaGetKernel(kernel: NewKernel, function: HostFunction) = KernelOfFunction, "12.1";
       110 cudaGetKernel(kernel: NewKernel, function: HostFunction) = KernelOfFunction, "12.1";
       111 cudaGetFuncBySymbol(function: NewKernel, symbol: HostFunction) = KernelOfFunction, "11.0";
       112 cudaLibraryGetKernel(kernel: NewKernel, library: Opaque, name: KernelName) = KernelFound, "12.8";
       113 cuModuleGetFunction(function: NewKernel, module: Opaque, name: KernelName) = KernelFound, "2.0";
       114 cuLibraryGetKernel(kernel: NewKernel, library: Opaque, name: KernelName) = KernelFound, "12.0";
       115 cuKernelGetFunction(function: NewKernel, kernel: HostFunction) = KernelOfFunction, "12.0";

        // Kernels, launched: the most frequent calls of all. Those that are not on the list of kernels
        // (kernels.rs) reach no wrapper.
       116 cudaLaunchKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: Stream) = KernelLaunch, "7.0";
       117 cudaLaunchKernel_ptsz(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: ThreadStream) = KernelLaunch, "7.0";
       118 cudaLaunchCooperativeKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: Stream) = KernelLaunch, "9.0";
       119 cudaLaunchCooperativeKernel_ptsz(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: ThreadStream) = KernelLaunch, "9.0";
       120 __cudaLaunchKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: Stream) = KernelLaunch, "12.1";
       121 __cudaLaunchKernel_ptsz(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: ThreadStream) = KernelLaunch, "12.1";
       122 cudaLaunchKernelExC(configuration: LaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments) = KernelLaunchEx, "11.8";
       123 cudaLaunchKernelExC_ptsz(configuration: ThreadLaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments) = KernelLaunchEx, "11.8";
       124 cuLaunchKernel(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: Stream, arguments: KernelArguments, extra: Opaque) = KernelLaunch, "4.0";
       125 cuLaunchKernel_ptsz(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: ThreadStream, arguments: KernelArguments, extra: Opaque) = KernelLaunch, "7.0";
       126 cuLaunchKernelEx(configuration: LaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments, extra: Opaque) = KernelLaunchEx, "11.8";
       127 cuLaunchKernelEx_ptsz(configuration: ThreadLaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments, extra: Opaque) = KernelLaunchEx, "11.8";
       128 cuLaunchCooperativeKernel(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: Stream, arguments: KernelArguments) = KernelLaunch, "9.0";
       129 cuLaunchCooperativeKernel_ptsz(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: ThreadStream, arguments: KernelArguments) = KernelLaunch, "9.0";

        // Copies that name both GPUs. The runtime names devices, the driver contexts.
       130 cudaMemcpyPeer(to: Buffer, to_device: ToDevice, from: Buffer, from_device: FromDevice, bytes: Bytes) = PeerCopy(Copy), "4.0";
       131 cudaMemcpyPeerAsync(to: Buffer, to_device: ToDevice, from: Buffer, from_device: FromDevice, bytes: Bytes, stream: Stream) = PeerCopy(Copy), "4.0";
       132 cudaMemcpy3DPeer(copy: DeviceCopy) = PeerCopy(Copy), "4.0";
       133 cudaMemcpy3DPeer_ptds(copy: DeviceCopy) = PeerCopy(Copy), "7.0";
       134 cudaMemcpy3DPeerAsync(copy: DeviceCopy, stream: Stream) = PeerCopy(Copy), "4.0";
       135 cudaMemcpy3DPeerAsync_ptsz(copy: DeviceCopy, stream: ThreadStream) = PeerCopy(Copy), "7.0";
       136 cuMemcpyPeer(to: Buffer, to_context: ToContext, from: Buffer, from_context: FromContext, bytes: Bytes) = PeerCopy(Copy), "4.0";
       137 cuMemcpyPeer_ptds(to: Buffer, to_context: ToContext, from: Buffer, from_context: FromContext, bytes: Bytes) = PeerCopy(Copy), "7.0";
       138 cuMemcpyPeerAsync(to: Buffer, to_context: ToContext, from: Buffer, from_context: FromContext, bytes: Bytes, stream: Stream) = PeerCopy(Copy), "4.0";
       139 cuMemcpyPeerAsync_ptsz(to: Buffer, to_context: ToContext, from: Buffer, from_context: FromContext, bytes: Bytes, stream: ThreadStream) = PeerCopy(Copy), "7.0";
       140 cuMemcpy3DPeer(copy: ContextCopy) = PeerCopy(Copy), "4.0";
       141 cuMemcpy3DPeer_ptds(copy: ContextCopy) = PeerCopy(Copy), "7.0";
       142 cuMemcpy3DPeerAsync(copy: ContextCopy, stream: Stream) = PeerCopy(Copy), "4.0";
       143 cuMemcpy3DPeerAsync_ptsz(copy: ContextCopy, stream: ThreadStream) = PeerCopy(Copy), "7.0";

        // Operations that only RCCL has, which is AMD's NCCL. How much goes to whom in AllToAllv is in arrays.
       144 ncclAllToAll(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, comm: Communicator, stream: Stream) = Operation(AlltoAll), "2.7";
       145 ncclAllToAllv(sendbuff: Buffer, sendcounts: Opaque, senddispls: Opaque, recvbuff: Buffer, recvcounts: Opaque, recvdispls: Opaque, datatype: Datatype, comm: Communicator, stream: Stream) = Operation(AlltoAllv), "2.7";
       146 ncclAllReduceWithBias(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, comm: Communicator, stream: Stream, bias: Buffer) = Operation(AllReduce), "2.27";
       147 ncclAlltoAllv(sendbuff: Buffer, sendcounts: Opaque, senddispls: Opaque, recvbuff: Buffer, recvcounts: Opaque, recvdispls: Opaque, datatype: Datatype, comm: Communicator, stream: Stream) = Operation(AlltoAllv), "2.28";

        // Intel's oneCCL, by its C API: NCCL's functions under another prefix. What they call a stream is a queue of SYCL.
       148 onecclAllReduce(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, comm: Communicator, queue: Opaque) = Operation(AllReduce), "2021.17";
       149 onecclBroadcast(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, queue: Opaque) = Operation(Broadcast), "2021.17";
       150 onecclReduce(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, op: Reduction, root: Root, comm: Communicator, queue: Opaque) = Operation(Reduce), "2021.17";
       151 onecclAllGather(sendbuff: Buffer, recvbuff: Buffer, sendcount: Count, datatype: Datatype, comm: Communicator, queue: Opaque) = Operation(AllGather), "2021.17";
       152 onecclReduceScatter(sendbuff: Buffer, recvbuff: Buffer, recvcount: Count, datatype: Datatype, op: Reduction, comm: Communicator, queue: Opaque) = Operation(ReduceScatter), "2021.17";
       153 onecclAllToAll(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, comm: Communicator, queue: Opaque) = Operation(AlltoAll), "2021.17";
       154 onecclAllToAllV(sendbuff: Buffer, sendcounts: Opaque, recvbuff: Buffer, recvcounts: Opaque, datatype: Datatype, comm: Communicator, queue: Opaque) = Operation(AlltoAllv), "2022.0";
       155 onecclScatter(sendbuff: Buffer, recvbuff: Buffer, count: Count, datatype: Datatype, root: Root, comm: Communicator, queue: Opaque) = Operation(Scatter), "2022.0";
       156 onecclSend(sendbuff: Buffer, count: Count, datatype: Datatype, peer: Peer, comm: Communicator, queue: Opaque) = Operation(Send), "2021.17";
       157 onecclRecv(recvbuff: Buffer, count: Count, datatype: Datatype, peer: Peer, comm: Communicator, queue: Opaque) = Operation(Recv), "2021.17";
       158 onecclGroupStart() = GroupStart, "2021.17";
       159 onecclGroupEnd() = GroupEnd, "2021.17";
       160 onecclCommInitRank(newcomm: NewCommunicator, nranks: LongRankCount, id: LongUniqueId, rank: Rank) = Create, "2021.17";
       161 onecclCommInitRankConfig(newcomm: NewCommunicator, nranks: LongRankCount, id: LongUniqueId, rank: Rank, config: Opaque) = Create, "2021.17";
       162 onecclCommSplit(comm: Parent, color: Color, key: Int, newcomm: NewCommunicator, config: Opaque) = Create, "2021.17";
       163 onecclCommFinalize(comm: Communicator) = Manage, "2021.17";
       164 onecclCommDestroy(comm: Communicator) = Destroy, "2021.17";
       165 onecclCommAbort(comm: Communicator) = Destroy, "2021.17";
       166 onecclGetUniqueId(id: Opaque) = Query, "2021.17";
       167 onecclGetVersion(version: Opaque) = Query, "2021.17";
       168 onecclDevCommCreate(comm: Communicator, requirements: Opaque, devcomm: Opaque) = Manage, "2022.2";

        // AMD's HIP: CUDA's graphs, kernels and copies under another prefix. The forms that end in _spt take stream 0 for
        // that of the thread.
       169 hipStreamBeginCapture(stream: Stream, mode: Int) = BeginCapture, "4.3";
       170 hipStreamBeginCapture_spt(stream: ThreadStream, mode: Int) = BeginCapture, "5.3";
       171 hipStreamBeginCaptureToGraph(stream: Stream, graph: Graph, dependencies: Opaque, edges: Opaque, count: Size, mode: Int) = BeginCaptureToGraph, "6.1";
       172 hipStreamEndCapture(stream: Stream, graph: NewGraph) = EndCapture, "4.3";
       173 hipStreamEndCapture_spt(stream: ThreadStream, graph: NewGraph) = EndCapture, "5.3";
       174 hipGraphClone(clone: NewGraph, graph: Graph) = GraphClone, "5.0";
       175 hipGraphAddChildGraphNode(node: NewNode, graph: Graph, dependencies: Opaque, count: Size, child: ChildGraph) = GraphAddChild, "5.0";
       176 hipGraphAddNode(node: NewNode, graph: Graph, dependencies: Opaque, count: Size, params: NodeParams) = GraphAddNode, "6.1";
       177 hipGraphNodeSetParams(node: Node, params: NodeParams) = GraphSetNode, "6.3";
       178 hipGraphChildGraphNodeGetGraph(node: Node, graph: NewGraph) = GraphOfNode, "5.0";
       179 hipGraphNodeFindInClone(found: NewNode, node: Node, clone: Graph) = GraphFindNode, "5.0";
       180 hipGraphDestroyNode(node: Node) = GraphDestroyNode, "5.0";
       181 hipGraphDestroy(graph: Graph) = GraphDestroy, "4.3";
       182 hipGraphInstantiate(executable: NewExecutable, graph: Graph, error_node: Opaque, log: Opaque, log_size: Size) = Instantiate, "4.3";
       183 hipGraphInstantiateWithFlags(executable: NewExecutable, graph: Graph, flags: InstantiateFlags) = Instantiate, "5.0";
       184 hipGraphInstantiateWithParams(executable: NewExecutable, graph: Graph, params: Opaque) = Instantiate, "6.1";
       185 hipGraphExecUpdate(executable: Executable, graph: Graph, node: Opaque, result: Opaque) = ExecutableUpdate, "5.0";
       186 hipGraphExecChildGraphNodeSetParams(executable: Executable, node: Node, child: ChildGraph) = ExecutableSetChild, "5.0";
       187 hipGraphExecNodeSetParams(executable: Executable, node: Node, params: NodeParams) = ExecutableSetNode, "6.3";
       188 hipGraphExecDestroy(executable: Executable) = ExecutableDestroy, "4.3";
       189 hipGraphLaunch(executable: Executable, stream: Stream) = GraphLaunch, "4.3";
       190 hipGraphLaunch_spt(executable: Executable, stream: ThreadStream) = GraphLaunch, "5.3";
       191 __hipRegisterFunction(binary: Opaque, function: HostFunction, device_function: Opaque, name: KernelName, thread_limit: Int, thread: Opaque, block: Opaque, block_dim: Opaque, grid_dim: Opaque, warp_size: Opaque) = KernelRegistered, "3.0";
       192 hipModuleGetFunction(function: NewKernel, module: Opaque, name: KernelName) = KernelFound, "1.6";
       193 hipLibraryGetKernel(kernel: NewKernel, library: Opaque, name: KernelName) = KernelFound, "7.1";
       194 hipGetFuncBySymbol(function: NewKernel, symbol: HostFunction) = KernelOfFunction, "6.2";
       195 hipLaunchKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: Stream) = KernelLaunch, "3.0";
       196 hipLaunchKernel_spt(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: ThreadStream) = KernelLaunch, "5.3";
       197 hipLaunchCooperativeKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Int, stream: Stream) = KernelLaunch, "3.0";
       198 hipLaunchCooperativeKernel_spt(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Int, stream: ThreadStream) = KernelLaunch, "5.3";
       199 hipExtLaunchKernel(kernel: LaunchedKernel, grid: Dimensions, block: Dimensions, arguments: KernelArguments, shared: Size, stream: Stream, start: Opaque, stop: Opaque, flags: Int) = KernelLaunch, "3.0";
       200 hipLaunchKernelExC(configuration: LaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments) = KernelLaunchEx, "7.0";
       201 hipModuleLaunchKernel(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: Stream, arguments: KernelArguments, extra: Opaque) = KernelLaunch, "1.6";
       202 hipModuleLaunchCooperativeKernel(kernel: LaunchedKernel, grid_x: Int, grid_y: Int, grid_z: Int, block_x: Int, block_y: Int, block_z: Int, shared: Int, stream: Stream, arguments: KernelArguments) = KernelLaunch, "5.5";
       203 hipDrvLaunchKernelEx(configuration: LaunchConfiguration, kernel: LaunchedKernel, arguments: KernelArguments, extra: Opaque) = KernelLaunchEx, "7.0";
       204 hipMemcpyPeer(to: Buffer, to_device: ToDevice, from: Buffer, from_device: FromDevice, bytes: Bytes) = PeerCopy(Copy), "1.6";
       205 hipMemcpyPeerAsync(to: Buffer, to_device: ToDevice, from: Buffer, from_device: FromDevice, bytes: Bytes, stream: Stream) = PeerCopy(Copy), "1.6";
       206 hipMemcpy3DPeer(copy: DeviceCopy) = PeerCopy(Copy), "7.1";
       207 hipMemcpy3DPeerAsync(copy: DeviceCopy, stream: Stream) = PeerCopy(Copy), "7.1";
    } };
}

/// What a wrapped function means to the tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Moves data between ranks.
    Operation(Operation),
    /// Opens a group.
    GroupStart,
    /// Closes a group and launches what is in it.
    GroupEnd,
    /// Closes a group without launching what is in it.
    GroupSimulateEnd,
    /// Makes one communicator or several.
    Create,
    /// Acts on a communicator and leaves it in being.
    Manage,
    /// Ends a communicator.
    Destroy,
    /// Asks NCCL something.
    Query,
    /// A stream's work goes to a new graph from here on, or to one whose content it replaces.
    BeginCapture,
    /// A stream's work is added to a graph from here on.
    BeginCaptureToGraph,
    /// A capture ends, and gives its graph.
    EndCapture,
    /// Copies a graph.
    GraphClone,
    /// Adds a copy of a graph to a graph, as one of its nodes.
    GraphAddChild,
    /// Adds a node to a graph, which may be a graph, or a condition with graphs in it.
    GraphAddNode,
    /// Gives one node of a graph new parameters, which may be another graph.
    GraphSetNode,
    /// Tells the graph inside a node, which whoever asks may change from then on.
    GraphOfNode,
    /// Tells which node of a clone stands for a node of the graph that was cloned.
    GraphFindNode,
    /// Takes a node out of its graph.
    GraphDestroyNode,
    /// Ends a graph. What was made executable of it goes on.
    GraphDestroy,
    /// Makes an executable of a graph as it stands.
    Instantiate,
    /// Puts what another graph holds into an executable.
    ExecutableUpdate,
    /// Puts what another graph holds into one node of an executable.
    ExecutableSetChild,
    /// Gives one node of an executable new parameters, which may be another graph.
    ExecutableSetNode,
    /// Ends an executable.
    ExecutableDestroy,
    /// Carries out everything an executable holds, once.
    GraphLaunch,
    /// Finds a function of the CUDA driver by its name.
    DriverLookUp,
    /// A library says which kernel one of its functions stands for. Gives no result.
    KernelRegistered,
    /// Finds a kernel by its name.
    KernelFound,
    /// Finds another handle of a kernel.
    KernelOfFunction,
    /// Launches a kernel, which is the first argument.
    KernelLaunch,
    /// Launches a kernel, which is the second argument.
    KernelLaunchEx,
    /// Moves data from one GPU to another, beside NCCL.
    PeerCopy(Operation),
}

/// A library whose functions the tap wraps. Several copies of each can be in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// `libnccl.so`, and AMD's `librccl.so`, which has the same functions.
    Nccl,
    /// `libcudart.so`.
    CudaRuntime,
    /// `libcuda.so`, under the runtime.
    CudaDriver,
    /// `libccl.so`.
    OneCcl,
    /// `libamdhip64.so`.
    Hip,
}

impl Library {
    /// Every library.
    pub const ALL: [Self; 5] =
        [Self::Nccl, Self::CudaRuntime, Self::CudaDriver, Self::OneCcl, Self::Hip];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nccl => "NCCL",
            Self::CudaRuntime => "CUDA runtime",
            Self::CudaDriver => "CUDA driver",
            Self::OneCcl => "oneCCL",
            Self::Hip => "HIP",
        }
    }

    /// How the names of its files begin.
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nccl => &["libnccl", "librccl"],
            Self::CudaRuntime => &["libcudart"],
            Self::CudaDriver => &["libcuda.so"],
            Self::OneCcl => &["libccl.so"],
            Self::Hip => &["libamdhip64"],
        }
    }

    /// Whether a file of this name, without its directory, is one of its copies.
    pub fn is_file(self, name: &[u8]) -> bool {
        self.files().iter().any(|start| name.starts_with(start.as_bytes()))
    }
}

/// An operation that moves data, by NCCL's name without the prefix.
///
/// `ncclBcast` is a `Broadcast`, and each `*Config` form is the operation it configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Every rank gets the reduction of all ranks' data.
    AllReduce,
    /// Every rank gets the root's data.
    Broadcast,
    /// The root gets the reduction of all ranks' data.
    Reduce,
    /// Every rank gets all ranks' data.
    AllGather,
    /// Every rank gets one part of the reduction of all ranks' data.
    ReduceScatter,
    /// Every rank gets one part of every rank's data.
    AlltoAll,
    /// The same with parts of different sizes, which no argument says.
    AlltoAllv,
    /// The root gets all ranks' data.
    Gather,
    /// Every rank gets one part of the root's data.
    Scatter,
    /// This rank's half of a point-to-point transfer to a peer.
    Send,
    /// This rank's half of a point-to-point transfer from a peer.
    Recv,
    /// A one-sided write into a peer's window.
    PutSignal,
    /// A copy from one GPU's memory to another's, by CUDA. Not one of NCCL's.
    Copy,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::AllReduce,
        Self::Broadcast,
        Self::Reduce,
        Self::AllGather,
        Self::ReduceScatter,
        Self::AlltoAll,
        Self::AlltoAllv,
        Self::Gather,
        Self::Scatter,
        Self::Send,
        Self::Recv,
        Self::PutSignal,
        Self::Copy,
    ];

    /// Whether a call says how much it moves.
    pub const fn says_its_size(self) -> bool {
        !matches!(self, Self::AlltoAllv)
    }

    /// NCCL's name without the prefix, e.g. `AllReduce`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "AllReduce",
            Self::Broadcast => "Broadcast",
            Self::Reduce => "Reduce",
            Self::AllGather => "AllGather",
            Self::ReduceScatter => "ReduceScatter",
            Self::AlltoAll => "AlltoAll",
            Self::AlltoAllv => "AlltoAllv",
            Self::Gather => "Gather",
            Self::Scatter => "Scatter",
            Self::Send => "Send",
            Self::Recv => "Recv",
            Self::PutSignal => "PutSignal",
            Self::Copy => "Copy",
        }
    }
}

macro_rules! define_functions {
    ($($id:literal $name:ident ( $($argument:ident : $type:ident),* ) = $meaning:ident $( ( $operation:ident ) )?, $since:literal;)*) => {
        /// A function of the table, by its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types)]
        #[repr(u16)]
        pub enum Function { $(
            #[doc = concat!("`", stringify!($name), "`, since ", $since, ".")]
            $name = $id,
        )* }

        impl Function {
            /// Every function, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The function with this number, or `None`.
            pub const fn from_id(id: u16) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }

            /// Its name, e.g. `ncclAllReduce`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What the function means to the tap.
            pub const fn meaning(self) -> Meaning {
                match self { $(Self::$name => Meaning::$meaning $( (Operation::$operation) )?,)* }
            }

            /// First release of its library that has it.
            pub const fn since(self) -> &'static str {
                match self { $(Self::$name => $since,)* }
            }
        }
    };
}
wrapped_functions!(define_functions);

impl Function {
    /// The number that stands for the function in records.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The library that has it.
    pub const fn library(self) -> Library {
        match self.name().as_bytes() {
            [b'n', ..] => Library::Nccl,
            [b'o', ..] => Library::OneCcl,
            [b'h', ..] | [b'_', b'_', b'h', ..] => Library::Hip,
            [b'c', b'u', b'd', b'a', ..] | [b'_', b'_', b'c', b'u', b'd', b'a', ..] => {
                Library::CudaRuntime
            }
            _ => Library::CudaDriver,
        }
    }

    /// Whether it launches a kernel. Only launches of [communication kernels](crate::kernels) are recorded.
    pub const fn launches_kernel(self) -> bool {
        matches!(self.meaning(), Meaning::KernelLaunch | Meaning::KernelLaunchEx)
    }

    /// The operation, if the function moves data.
    pub const fn operation(self) -> Option<Operation> {
        match self.meaning() {
            Meaning::Operation(operation) | Meaning::PeerCopy(operation) => Some(operation),
            _ => None,
        }
    }

    /// Whether its operation waits for the end of the group it is called in.
    pub const fn is_grouped(self) -> bool {
        matches!(self.meaning(), Meaning::Operation(_))
    }

    /// The way its operation takes.
    pub const fn path(self) -> Path {
        match (self.library(), self.meaning()) {
            (Library::OneCcl, _) => Path::OneCcl,
            (_, Meaning::PeerCopy(_)) => Path::PeerCopy,
            _ => Path::Nccl,
        }
    }

    /// Whether a call that gave this result was taken: it will be carried out, or has been.
    pub const fn is_taken(self, result: i32) -> bool {
        match self.library() {
            // `ncclInProgress`: a nonblocking communicator works on it.
            Library::Nccl => matches!(result, 0 | 7),
            // `onecclInProgress`.
            Library::OneCcl => matches!(result, 0 | 6),
            Library::CudaRuntime | Library::CudaDriver | Library::Hip => result == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_one_without_gaps_and_lead_back_to_their_function() {
        for (index, function) in Function::ALL.iter().enumerate() {
            assert_eq!(usize::from(function.id()), index + 1, "{}", function.name());
            assert_eq!(Function::from_id(function.id()), Some(*function));
        }
        assert_eq!(Function::from_id(0), None);
        assert_eq!(Function::from_id(Function::ALL.len() as u16 + 1), None);
    }

    #[test]
    fn the_library_of_a_function_is_in_its_name() {
        for function in Function::ALL {
            let prefix = match function.library() {
                Library::Nccl => "nccl",
                Library::CudaRuntime => "cuda",
                Library::CudaDriver => "cu",
                Library::OneCcl => "oneccl",
                Library::Hip => "hip",
            };
            let public = function.name().trim_start_matches("__");
            let rest = public.strip_prefix(prefix).unwrap_or_default();
            assert!(
                rest.starts_with(|first: char| first.is_ascii_uppercase()),
                "{}",
                function.name()
            );
        }
    }

    #[test]
    fn every_operation_is_reached_by_some_function() {
        for operation in Operation::ALL {
            assert!(
                Function::ALL.iter().any(|f| f.operation() == Some(operation)),
                "{operation:?}"
            );
        }
    }
}
