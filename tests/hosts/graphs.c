/* graphs CORNER: one behaviour of programs that use CUDA graphs; tests/graphs.rs names and explains them. */
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cuda.h"

static ncclComm_t comm;
static cudaStream_t stream;

static void replay(void) {
  for (int i = 0; i < 2; i++) all_reduce_on(comm, 128 * 4096, stream);
  begin_capture(stream);
  for (int i = 0; i < 65; i++) all_reduce_on(comm, 4096, stream);
  MUST(ncclAllGather(NULL, NULL, 64128, ncclFloat16, comm, stream) == ncclSuccess);
  MUST(ncclBcast(NULL, 9, ncclInt64, 1, comm, stream) == ncclSuccess);
  cudaGraph_t graph = end_capture(stream);
  cudaGraphExec_t executable = instantiated(graph);
  MUST(cudaGraphDestroy(graph) == cudaSuccess);
  MUST(cudaGraphUpload(executable, stream) == cudaSuccess);
  launch(executable, stream, 127);
  MUST(cudaGraphExecDestroy(executable) == cudaSuccess);
  all_reduce_on(comm, 4096, stream);
}

static void discarded(void) {
  instantiated(captured(comm, stream, 3, 8));
  MUST(cudaGraphDestroy(captured(comm, stream, 3, 8)) == cudaSuccess);
  cudaGraphExec_t uploaded = instantiated(captured(comm, stream, 3, 8));
  for (int i = 0; i < 5; i++) MUST(cudaGraphUpload(uploaded, stream) == cudaSuccess);
}

static void without_nccl(void) {
  launch(instantiated(captured(comm, stream, 0, 0)), stream, 5);
}

static void updated(void) {
  cudaGraphExec_t executable = instantiated(captured(comm, stream, 2, 8));
  cudaGraphExecUpdateResultInfo info;
  launch(executable, stream, 3);
  MUST(cudaGraphExecUpdate(executable, captured(comm, stream, 2, 16), &info) == cudaSuccess);
  launch(executable, stream, 5);
  MUST(cudaGraphExecUpdate(executable, captured(comm, stream, 1, 32), &info) != cudaSuccess);
  launch(executable, stream, 7);
}

static void children_and_clones(void) {
  cudaGraph_t inner = captured(comm, stream, 2, 8), outer = captured(comm, stream, 1, 3), clone;
  cudaGraphNode_t first, second, gone;
  MUST(cudaGraphAddChildGraphNode(&first, outer, NULL, 0, inner) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&second, outer, &first, 1, inner) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&gone, outer, NULL, 0, inner) == cudaSuccess);
  MUST(cudaGraphDestroyNode(gone) == cudaSuccess);
  MUST(cudaGraphDestroy(inner) == cudaSuccess);
  MUST(cudaGraphClone(&clone, outer) == cudaSuccess);
  launch(instantiated(outer), stream, 2);
  MUST(cudaGraphDestroy(outer) == cudaSuccess);
  launch(instantiated(clone), stream, 3);
}

static void node_with_a_graph(void) {
  cudaGraph_t inner = captured(comm, stream, 2, 8), outer;
  cudaGraphNode_t node;
  struct cudaGraphNodeParams parameters = {.type = cudaGraphNodeTypeGraph};
  parameters.graph.graph = inner;
  MUST(cudaGraphCreate(&outer, 0) == cudaSuccess);
#if CUDART_VERSION < 13000
  MUST(cudaGraphAddNode(&node, outer, NULL, 0, &parameters) == cudaSuccess);
  MUST(cudaGraphAddNode_v2(&node, outer, NULL, NULL, 0, &parameters) == cudaSuccess);
#else
  MUST(cudaGraphAddNode(&node, outer, NULL, NULL, 0, &parameters) == cudaSuccess);
  MUST(cudaGraphAddNode(&node, outer, NULL, NULL, 0, &parameters) == cudaSuccess);
#endif
  launch(instantiated(outer), stream, 3);
}

/* Nodes of executables and of graphs that are given another graph. */
static void children_set(void) {
  cudaGraph_t two = captured(comm, stream, 2, 8), other = captured(comm, stream, 2, 16), outer;
  cudaGraphNode_t first, second;
  MUST(cudaGraphCreate(&outer, 0) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&first, outer, NULL, 0, two) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&second, outer, NULL, 0, two) == cudaSuccess);
  cudaGraphExec_t executable = instantiated(outer);
  launch(executable, stream, 1);
  MUST(cudaGraphExecChildGraphNodeSetParams(executable, first, other) == cudaSuccess);
  launch(executable, stream, 10);
  /* A graph of another shape is refused, and nothing changes. */
  MUST(cudaGraphExecChildGraphNodeSetParams(executable, first, captured(comm, stream, 1, 32)) != cudaSuccess);
  launch(executable, stream, 100);
  struct cudaGraphNodeParams parameters = {.type = cudaGraphNodeTypeGraph};
  parameters.graph.graph = other;
  MUST(cudaGraphExecNodeSetParams(executable, second, &parameters) == cudaSuccess);
  launch(executable, stream, 1000);
  /* The graph has not changed with its executable. */
  launch(instantiated(outer), stream, 1);
  parameters.graph.graph = captured(comm, stream, 1, 64);
  MUST(cudaGraphNodeSetParams(second, &parameters) == cudaSuccess);
  launch(instantiated(outer), stream, 1);
}

/* The graph inside a node, which is changed where it is. */
static void child_opened(void) {
  cudaGraph_t inner = captured(comm, stream, 1, 8), outer, inside, same;
  cudaGraphNode_t node;
  MUST(cudaGraphCreate(&outer, 0) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&node, outer, NULL, 0, inner) == cudaSuccess);
#if CUDART_VERSION < 13000
  MUST(cudaGraphChildGraphNodeGetGraph(node, &inside) == cudaSuccess);
#else
  struct cudaGraphNodeParams parameters;
  MUST(cudaGraphNodeGetParams(node, &parameters) == cudaSuccess);
  inside = parameters.graph.graph;
#endif
  MUST(cudaStreamBeginCaptureToGraph(stream, inside, NULL, NULL, 0, cudaStreamCaptureModeGlobal) == cudaSuccess);
  all_reduce_on(comm, 16, stream);
  MUST(cudaStreamEndCapture(stream, &same) == cudaSuccess && same == inside);
  launch(instantiated(outer), stream, 3);
  launch(instantiated(inner), stream, 5);
}

/* A node of a clone is given another graph, once it has been asked for. */
static void child_of_clone_set(void) {
  cudaGraph_t inner = captured(comm, stream, 1, 8), outer, clone;
  cudaGraphNode_t node, found;
  MUST(cudaGraphCreate(&outer, 0) == cudaSuccess);
  MUST(cudaGraphAddChildGraphNode(&node, outer, NULL, 0, inner) == cudaSuccess);
  MUST(cudaGraphClone(&clone, outer) == cudaSuccess);
  cudaGraphExec_t executable = instantiated(clone);
  MUST(cudaGraphNodeFindInClone(&found, node, clone) == cudaSuccess);
  MUST(cudaGraphExecChildGraphNodeSetParams(executable, found, captured(comm, stream, 1, 16)) == cudaSuccess);
  launch(executable, stream, 3);
  MUST(cudaGraphDestroyNode(found) == cudaSuccess);
  launch(instantiated(clone), stream, 5);
  launch(instantiated(outer), stream, 7);
}

/* The node is one of a graph that was launched into a capture: whose handle nobody was told. */
static void unknown_child_set(void) {
  cudaGraphExec_t inner = instantiated(captured(comm, stream, 1, 8));
  begin_capture(stream);
  launch(inner, stream, 1);
  cudaGraph_t graph = end_capture(stream);
  cudaGraphNode_t node;
  size_t one = 1;
  MUST(cudaGraphGetNodes(graph, &node, &one) == cudaSuccess && one == 1);
  cudaGraphExec_t executable = instantiated(graph);
  launch(executable, stream, 2);
  MUST(cudaGraphExecChildGraphNodeSetParams(executable, node, captured(comm, stream, 1, 16)) == cudaSuccess);
  launch(executable, stream, 3);
}

static void instantiated_again(void) {
  cudaGraph_t graph = captured(comm, stream, 1, 8), same;
  cudaGraphExec_t before = instantiated(graph);
  MUST(cudaStreamBeginCaptureToGraph(stream, graph, NULL, NULL, 0, cudaStreamCaptureModeGlobal) == cudaSuccess);
  all_reduce_on(comm, 16, stream);
  MUST(cudaStreamEndCapture(stream, &same) == cudaSuccess && same == graph);
  cudaGraphExec_t after = instantiated(graph);
  launch(before, stream, 3);
  launch(after, stream, 5);
}

/* Until CUDA has given the handles of a graph and of an executable out again, to others. */
static void handles_reused(void) {
  uintptr_t graphs[512], executables[512];
  int reused_graph = 0, reused_executable = 0;
  for (int i = 0; i < 512; i++) {
    cudaGraph_t graph = captured(comm, stream, 1, 1 + i % 7);
    cudaGraphExec_t executable = instantiated(graph);
    launch(executable, stream, 1 + i % 3);
    graphs[i] = (uintptr_t)graph;
    executables[i] = (uintptr_t)executable;
    for (int j = 0; j < i; j++) {
      reused_graph |= graphs[j] == graphs[i];
      reused_executable |= executables[j] == executables[i];
    }
    MUST(cudaGraphDestroy(graph) == cudaSuccess);
    MUST(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
  MUST(reused_graph && reused_executable);
}

/* Captures that fail: not joined, void before they end, ended where none is. */
static void failed(void) {
  cudaStream_t other = new_stream();
  cudaEvent_t fork;
  cudaGraph_t graph;
  MUST(cudaEventCreate(&fork) == cudaSuccess);
  begin_capture(stream);
  MUST(cudaEventRecord(fork, stream) == cudaSuccess);
  MUST(cudaStreamWaitEvent(other, fork, 0) == cudaSuccess);
  all_reduce_on(comm, 1, other);
  MUST(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);
  begin_capture(stream);
  all_reduce_on(comm, 2, stream);
  MUST(cudaStreamSynchronize(stream) != cudaSuccess);
  MUST(ncclAllReduce(NULL, NULL, 3, ncclInt8, ncclSum, comm, stream) == ncclUnhandledCudaError);
  MUST(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  MUST(cudaStreamEndCapture(stream, &graph) == cudaErrorIllegalState);
  all_reduce_on(comm, 4, stream);
  launch(instantiated(captured(comm, stream, 1, 5)), stream, 2);
}

/* A capture that one thread may not end, and another does. */
static void *end_elsewhere(void *unused) {
  cudaGraph_t graph;
  MUST(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureWrongThread);
  return unused;
}

static void wrong_thread(void) {
  pthread_t thread;
  begin_capture(stream);
  all_reduce_on(comm, 2, stream);
  pthread_create(&thread, NULL, end_elsewhere, NULL);
  pthread_join(thread, NULL);
  cudaGraph_t graph;
  /* Some releases leave the capture void, others let it go on: both must be counted right. */
  if (cudaStreamEndCapture(stream, &graph) == cudaSuccess) launch(instantiated(graph), stream, 3);
  all_reduce_on(comm, 4, stream);
}

static void forked_stream(void) {
  cudaStream_t other = new_stream(), apart = new_stream();
  cudaEvent_t fork, join;
  MUST(cudaEventCreate(&fork) == cudaSuccess && cudaEventCreate(&join) == cudaSuccess);
  begin_capture(stream);
  MUST(cudaEventRecord(fork, stream) == cudaSuccess);
  MUST(cudaStreamWaitEvent(other, fork, 0) == cudaSuccess);
  all_reduce_on(comm, 8, other);
  all_reduce_on(comm, 16, stream);
  /* On a stream that is no part of it: carried out now. */
  all_reduce_on(comm, 32, apart);
  all_reduce_on(comm, 64, NULL);
  MUST(cudaEventRecord(join, other) == cudaSuccess);
  MUST(cudaStreamWaitEvent(stream, join, 0) == cudaSuccess);
  cudaGraphExec_t executable = instantiated(end_capture(stream));
  all_reduce_on(comm, 8, other);
  /* On any stream. */
  launch(executable, stream, 2);
  launch(executable, other, 3);
  launch(executable, NULL, 5);
  launch(executable, cudaStreamPerThread, 7);
}

static void every_way(void) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaGraphInstantiateParams parameters = {0};
  MUST(cudaStreamBeginCapture_ptsz(NULL, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  all_reduce_on(comm, 1, cudaStreamPerThread);
  MUST(cudaStreamEndCapture_ptsz(NULL, &graph) == cudaSuccess);
  MUST(cudaGraphInstantiateWithParams_ptsz(&executable, graph, &parameters) == cudaSuccess);
  MUST(cudaGraphLaunch_ptsz(executable, NULL) == cudaSuccess);
  MUST(cudaGraphInstantiateWithFlags(&executable, graph, 1) == cudaSuccess);
  launch(executable, stream, 2);
  MUST(cudaGraphInstantiateWithParams(&executable, graph, &parameters) == cudaSuccess);
  launch(executable, stream, 4);
  MUST(cudaGraphCreate(&graph, 0) == cudaSuccess);
  MUST(cudaStreamBeginCaptureToGraph_ptsz(NULL, graph, NULL, NULL, 0, cudaStreamCaptureModeGlobal) == cudaSuccess);
  all_reduce_on(comm, 2, cudaStreamPerThread);
  MUST(cudaStreamEndCapture_ptsz(NULL, &graph) == cudaSuccess);
  launch(instantiated(graph), stream, 8);
}

static void launched_inside_a_capture(void) {
  cudaGraphExec_t inner = instantiated(captured(comm, stream, 2, 8));
  launch(inner, stream, 1);
  begin_capture(stream);
  launch(inner, stream, 2);
  all_reduce_on(comm, 16, stream);
  launch(instantiated(end_capture(stream)), stream, 5);
}

static void groups(void) {
  ncclSimInfo_t estimate = NCCL_SIM_INFO_INITIALIZER;
  begin_capture(stream);
  MUST(ncclGroupStart() == ncclSuccess);
  for (int peer = 0; peer < 4; peer++)
    if (peer != 1) MUST(ncclRecv(NULL, 64, ncclFloat16, peer, comm, stream) == ncclSuccess);
  MUST(ncclGroupEnd() == ncclSuccess);
  MUST(ncclGroupStart() == ncclSuccess);
  MUST(ncclSend(NULL, 5, ncclInt8, 3, comm, stream) == ncclSuccess);
  MUST(ncclGroupSimulateEnd(&estimate) == ncclSuccess);
  MUST(ncclGroupStart() == ncclSuccess);
  MUST(ncclSend(NULL, 7, ncclInt8, 3, comm, stream) == ncclSuccess);
  MUST(ncclRecv(NULL, 7, ncclInt8, 99, comm, stream) != ncclSuccess);
  MUST(ncclGroupEnd() != ncclSuccess);
  launch(instantiated(end_capture(stream)), stream, 6);
}

static void condition(cudaGraph_t graph, unsigned value, size_t count) {
  cudaGraphConditionalHandle handle;
  cudaGraphNode_t node;
  cudaGraph_t same;
  MUST(cudaGraphConditionalHandleCreate(&handle, graph, value, cudaGraphCondAssignDefault) == cudaSuccess);
  struct cudaGraphNodeParams parameters = {.type = cudaGraphNodeTypeConditional};
  parameters.conditional.handle = handle;
  parameters.conditional.type = cudaGraphCondTypeIf;
  parameters.conditional.size = 1;
#if CUDART_VERSION < 13000
  MUST(cudaGraphAddNode(&node, graph, NULL, 0, &parameters) == cudaSuccess);
#else
  MUST(cudaGraphAddNode(&node, graph, NULL, NULL, 0, &parameters) == cudaSuccess);
#endif
  MUST(cudaStreamBeginCaptureToGraph(stream, parameters.conditional.phGraph_out[0], NULL, NULL, 0,
                                     cudaStreamCaptureModeGlobal) == cudaSuccess);
  all_reduce_on(comm, count, stream);
  MUST(cudaStreamEndCapture(stream, &same) == cudaSuccess);
}

static void conditional(void) {
  cudaGraph_t graph = captured(comm, stream, 1, 8);
  condition(graph, 0, 8);
  condition(graph, 1, 16);
  launch(instantiated(graph), stream, 3);
}

static void launched_by_device(void) {
  cudaGraphExec_t executable;
  cudaGraph_t graph = captured(comm, stream, 1, 8);
  MUST(cudaGraphInstantiateWithFlags(&executable, graph, 4) == cudaSuccess);
  launch(executable, stream, 3);
  MUST(cudaGraphInstantiateWithFlags(&executable, captured(comm, stream, 1, 16), 4) == cudaSuccess);
}

static void *capture_and_launch(void *argument) {
  long number = (long)argument;
  cudaStream_t own = new_stream();
  for (int round = 0; round < 50; round++) {
    cudaGraph_t graph = captured(comm, own, 1 + round % 4, 10 * number + round % 3);
    all_reduce_on(comm, 1000 + number, own);
    cudaGraphExec_t executable = instantiated(graph);
    MUST(cudaGraphDestroy(graph) == cudaSuccess);
    launch(executable, own, 1 + round % 5);
    MUST(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
  return NULL;
}

static void threads(void) {
  pthread_t thread[4];
  for (long i = 0; i < 4; i++) pthread_create(&thread[i], NULL, capture_and_launch, (void *)(i + 1));
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

/* A child makes a communicator and graphs of its own, and launches what it has inherited, as no real CUDA lets it. */
static void forks(void) {
  cudaGraphExec_t inherited = instantiated(captured(comm, stream, 1, 8));
  launch(inherited, stream, 1);
  pid_t child = fork();
  if (child == 0) {
    comm = communicator('c', 2, 0);
    cudaGraphExec_t own = instantiated(captured(comm, stream, 2, 16));
    launch(own, stream, 3);
    exit(0);
  }
  int status;
  MUST(waitpid(child, &status, 0) == child && status == 0);
  launch(inherited, stream, 2);
}

static void inherited(void) {
  cudaGraphExec_t executable = instantiated(captured(comm, stream, 1, 8));
  pid_t child = fork();
  if (child == 0) {
    launch(executable, stream, 5);
    exit(0);
  }
  int status;
  MUST(waitpid(child, &status, 0) == child && status == 0);
}

/* Handles of communicators are given out again: what was captured stays the first one's. */
static void communicator_destroyed(void) {
  cudaGraphExec_t executable = instantiated(captured(comm, stream, 1, 8));
  launch(executable, stream, 3);
  ncclComm_t before = comm;
  MUST(ncclCommDestroy(comm) == ncclSuccess);
  for (char id = 'b'; id < 'z'; id++) {
    comm = communicator(id, 2, 0);
    all_reduce_on(comm, 8, stream);
    if (comm == before) break;
    MUST(ncclCommDestroy(comm) == ncclSuccess);
  }
  launch(executable, stream, 2);
  launch(instantiated(captured(comm, stream, 1, 8)), stream, 4);
}

/* More different graphs than can be described. */
static void too_many(void) {
  for (int i = 1; i <= 4100; i++) {
    cudaGraph_t graph = captured(comm, stream, 1, i);
    cudaGraphExec_t executable = instantiated(graph);
    launch(executable, stream, 1);
    MUST(cudaGraphDestroy(graph) == cudaSuccess);
    MUST(cudaGraphExecDestroy(executable) == cudaSuccess);
  }
}

/* The error of an earlier call waits for whoever asks, whatever NCCL is asked meanwhile. */
static void last_error(void) {
  cudaStream_t apart = new_stream();
  cudaGraph_t nothing;
  begin_capture(stream);
  MUST(cudaStreamEndCapture(apart, &nothing) != cudaSuccess);
  all_reduce_on(comm, 8, apart);
  all_reduce_on(comm, 8, NULL);
  all_reduce_on(comm, 8, stream);
  printf("%d\n", cudaGetLastError());
  all_reduce_on(comm, 8, apart);
  all_reduce_on(comm, 8, NULL);
  printf("%d\n", cudaGetLastError());
  end_capture(stream);
  printf("%d\n", cudaGetLastError());
}

/* Launches until it is killed. What it has launched it writes down, first begun, then done. */
static void until_killed(const char *path) {
  cudaGraphExec_t executables[4];
  for (int i = 0; i < 4; i++) executables[i] = instantiated(captured(comm, stream, 3, 1 + i));
  volatile uint64_t *witness = NULL;
  FILE *file = fopen(path, "w+");
  MUST(file && ftruncate(fileno(file), 64) == 0);
  witness = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
  MUST(witness != MAP_FAILED);
  say("launching");
  for (uint64_t i = 0;; i++) {
    witness[0] = i + 1;
    launch(executables[i % 4], stream, 1);
    witness[1] = i + 1;
    for (volatile int pause = 0; pause < 2000; pause++) continue;
  }
}

#define CORNER(name) {#name, name}
static const struct {
  const char *name;
  void (*play)(void);
} corners[] = {
    CORNER(replay),        CORNER(discarded),  CORNER(without_nccl),
    CORNER(updated),       CORNER(children_and_clones),
    CORNER(node_with_a_graph),
    CORNER(children_set),  CORNER(child_opened),
    CORNER(child_of_clone_set),
    CORNER(unknown_child_set),
    CORNER(instantiated_again),
    CORNER(handles_reused),
    CORNER(failed),        CORNER(wrong_thread),
    CORNER(forked_stream), CORNER(every_way),  CORNER(launched_inside_a_capture),
    CORNER(groups),        CORNER(conditional),
    CORNER(launched_by_device),
    CORNER(threads),       CORNER(forks),      CORNER(inherited),
    CORNER(communicator_destroyed),
    CORNER(too_many),      CORNER(last_error),
};

int main(int argc, char **argv) {
  MUST(argc >= 2);
  comm = communicator('g', 4, 1);
  stream = new_stream();
  if (argc == 3 && strcmp(argv[1], "until_killed") == 0) until_killed(argv[2]);
  for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
    if (strcmp(corners[i].name, argv[1]) == 0) {
      corners[i].play();
      return 0;
    }
  }
  MUST(!"a corner of this name");
}
