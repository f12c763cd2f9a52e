/* One behaviour of the simulated CUDA's graphs per argument; tests/graphs.rs names and runs them. */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_runtime.h"
#include "nccl.h"

#define OK(call) assert((call) == 0)

static ncclComm_t comm;
static cudaStream_t stream;

static void begin(void) {
  ncclUniqueId id;
  memset(&id, 'a', sizeof id);
  OK(ncclCommInitRank(&comm, 2, id, 0));
  OK(cudaStreamCreateWithFlags(&stream, 1));
}

static void all_reduce(size_t count, cudaStream_t on) {
  OK(ncclAllReduce(NULL, NULL, count, ncclBfloat16, ncclSum, comm, on));
}

/* A graph of `operations` AllReduce of `count` elements. */
static cudaGraph_t captured(int operations, size_t count) {
  cudaGraph_t graph;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < operations; i++) all_reduce(count, stream);
  OK(cudaStreamEndCapture(stream, &graph));
  return graph;
}

static cudaGraphExec_t instantiated(cudaGraph_t graph) {
  cudaGraphExec_t executable;
  OK(cudaGraphInstantiate(&executable, graph, 0));
  return executable;
}

static void launch(cudaGraphExec_t executable, int times) {
  for (int i = 0; i < times; i++) OK(cudaGraphLaunch(executable, stream));
}

static void replay(void) {
  all_reduce(8, stream);
  cudaGraph_t graph = captured(3, 8);
  cudaGraphExec_t executable = instantiated(graph);
  OK(cudaGraphDestroy(graph));
  OK(cudaGraphUpload(executable, stream));
  launch(executable, 5);
  OK(cudaGraphExecDestroy(executable));
  assert(cudaGraphLaunch(executable, stream) == cudaErrorInvalidValue);
}

static void never_launched(void) { instantiated(captured(2, 8)); }

static void every_way(void) {
  cudaGraph_t graph;
  enum cudaStreamCaptureStatus status;
  unsigned long long id, again;
  cudaGraph_t capturing;
  size_t dependencies;
  OK(cudaStreamBeginCapture_ptsz(NULL, cudaStreamCaptureModeRelaxed));
  all_reduce(1, cudaStreamPerThread);
  OK(cudaStreamGetCaptureInfo_v2_ptsz(NULL, &status, &id, &capturing, NULL, &dependencies));
  assert(status == cudaStreamCaptureStatusActive && id != 0 && capturing && dependencies == 1);
  OK(cudaStreamGetCaptureInfo(cudaStreamPerThread, &status, &again));
  assert(again == id);
  OK(cudaStreamEndCapture_ptsz(NULL, &graph));
  assert(graph == capturing);
  cudaGraphExec_t executable;
  cudaGraphInstantiateParams parameters = {0};
  OK(cudaGraphInstantiateWithParams_ptsz(&executable, graph, &parameters));
  OK(cudaGraphLaunch_ptsz(executable, NULL));
  OK(cudaGraphInstantiateWithFlags(&executable, graph, 8));
  OK(cudaGraphLaunch(executable, stream));
  OK(cudaGraphInstantiateWithParams(&executable, graph, &parameters));
  OK(cudaGraphLaunch(executable, stream));
}

static void capture_to_graph(void) {
  cudaGraph_t graph, same;
  OK(cudaGraphCreate(&graph, 0));
  OK(cudaStreamBeginCaptureToGraph(stream, graph, NULL, NULL, 0, cudaStreamCaptureModeGlobal));
  all_reduce(1, stream);
  OK(cudaStreamEndCapture(stream, &same));
  assert(same == graph);
  OK(cudaStreamBeginCaptureToGraph(stream, graph, NULL, NULL, 0, cudaStreamCaptureModeGlobal));
  all_reduce(2, stream);
  OK(cudaStreamEndCapture(stream, &same));
  launch(instantiated(graph), 2);
}

static void children_and_clones(void) {
  cudaGraph_t inner = captured(1, 1), outer, clone;
  cudaGraphNode_t node;
  OK(cudaGraphCreate(&outer, 0));
  OK(cudaGraphAddChildGraphNode(&node, outer, NULL, 0, inner));
  OK(cudaGraphAddChildGraphNode(&node, outer, NULL, 0, inner));
  OK(cudaGraphDestroy(inner));
  OK(cudaGraphClone(&clone, outer));
  OK(cudaGraphDestroy(outer));
  launch(instantiated(clone), 3);
}

static void launch_inside_capture(void) {
  cudaGraphExec_t inner = instantiated(captured(2, 1));
  cudaGraph_t outer;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  launch(inner, 1);
  OK(cudaStreamEndCapture(stream, &outer));
  launch(instantiated(outer), 4);
}

static void update(void) {
  cudaGraphExec_t executable = instantiated(captured(1, 1));
  launch(executable, 2);
  cudaGraphExecUpdateResultInfo info;
  OK(cudaGraphExecUpdate(executable, captured(1, 2), &info));
  launch(executable, 3);
  assert(cudaGraphExecUpdate(executable, captured(2, 3), &info) == cudaErrorGraphExecUpdateFailure);
  assert(info.result != 0);
  launch(executable, 1);
}

static void conditional(void) {
  cudaGraph_t graph, same;
  cudaGraphNode_t node;
  OK(cudaGraphCreate(&graph, 0));
  for (unsigned value = 0; value < 2; value++) {
    cudaGraphConditionalHandle handle;
    OK(cudaGraphConditionalHandleCreate(&handle, graph, value, cudaGraphCondAssignDefault));
    struct cudaGraphNodeParams parameters = {.type = cudaGraphNodeTypeConditional};
    parameters.conditional.handle = handle;
    parameters.conditional.size = 1;
    OK(cudaGraphAddNode(&node, graph, NULL, 0, &parameters));
    OK(cudaStreamBeginCaptureToGraph(stream, parameters.conditional.phGraph_out[0], NULL, NULL, 0,
                                     cudaStreamCaptureModeGlobal));
    all_reduce(value + 1, stream);
    OK(cudaStreamEndCapture(stream, &same));
  }
  launch(instantiated(graph), 2);
}

static void forked_streams(void) {
  cudaStream_t other;
  cudaEvent_t fork, join;
  cudaGraph_t graph;
  OK(cudaStreamCreate(&other));
  OK(cudaEventCreate(&fork));
  OK(cudaEventCreate(&join));
  for (int joined = 0; joined < 2; joined++) {
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(other, fork, 0));
    all_reduce(1, other);
    OK(cudaEventRecord(join, other));
    assert(cudaEventQuery(join) == cudaErrorCapturedEvent);
    if (joined) OK(cudaStreamWaitEvent(stream, join, 0));
    if (!joined) assert(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);
  }
  OK(cudaStreamEndCapture(stream, &graph));
  enum cudaStreamCaptureStatus status;
  OK(cudaStreamIsCapturing(other, &status));
  assert(status == cudaStreamCaptureStatusNone);
  launch(instantiated(graph), 2);
}

static void groups(void) {
  cudaGraph_t graph;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  OK(ncclGroupStart());
  OK(ncclSend(NULL, 4, ncclInt8, 1, comm, stream));
  OK(ncclRecv(NULL, 4, ncclInt8, 1, comm, stream));
  OK(ncclGroupEnd());
  OK(ncclBcast(NULL, 9, ncclInt8, 0, comm, stream));
  OK(ncclGroupStart());
  OK(ncclSend(NULL, 5, ncclInt8, 1, comm, stream));
  ncclSimInfo_t estimate = NCCL_SIM_INFO_INITIALIZER;
  OK(ncclGroupSimulateEnd(&estimate));
  OK(cudaStreamEndCapture(stream, &graph));
  launch(instantiated(graph), 7);
}

static void errors(void) {
  cudaGraph_t graph = NULL;
  assert(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  assert(cudaGetLastError() == cudaErrorStreamCaptureUnsupported && cudaGetLastError() == cudaSuccess);
  assert(cudaStreamEndCapture(stream, &graph) == cudaErrorIllegalState);
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  assert(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaErrorIllegalState);
  all_reduce(1, stream);
  assert(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  assert(ncclAllReduce(NULL, NULL, 1, ncclInt8, ncclSum, comm, stream) == ncclUnhandledCudaError);
  assert(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && graph == NULL);
  void *memory;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  assert(cudaMalloc(&memory, 8) == cudaErrorStreamCaptureUnsupported);
  assert(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  OK(cudaMalloc(&memory, 8));
  OK(cudaStreamEndCapture(stream, &graph));
  assert(cudaGraphInstantiate((cudaGraphExec_t *)&memory, NULL, 0) == cudaErrorInvalidValue);
}

static int calls;
static void call(void *data) { calls += *(int *)data; }

static void host_functions_and_copies(void) {
  int one = 1, from = 42, to = 0;
  cudaGraph_t graph;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  OK(cudaLaunchHostFunc(stream, call, &one));
  OK(cudaMemcpyAsync(&to, &from, sizeof to, cudaMemcpyHostToHost, stream));
  OK(cudaStreamEndCapture(stream, &graph));
  assert(calls == 0 && to == 0);
  size_t nodes;
  OK(cudaGraphGetNodes(graph, NULL, &nodes));
  assert(nodes == 2);
  launch(instantiated(graph), 3);
  assert(calls == 3 && to == 42);
}

static void user_objects(void) {
  int one = 1;
  cudaUserObject_t object;
  OK(cudaUserObjectCreate(&object, &one, call, 1, 1));
  cudaGraph_t graph = captured(1, 1);
  OK(cudaGraphRetainUserObject(graph, object, 1, cudaGraphUserObjectMove));
  cudaGraphExec_t executable = instantiated(graph);
  OK(cudaGraphDestroy(graph));
  assert(calls == 0);
  OK(cudaGraphExecDestroy(executable));
  assert(calls == 1);
}

/* A kernel as nvcc registers it. */
static void reduce_kernel(void) {}

static void kernels(void) {
  void **binary = __cudaRegisterFatBinary(NULL);
  __cudaRegisterFunction(binary, (const char *)reduce_kernel, NULL, "_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii", -1, NULL,
                         NULL, NULL, NULL, NULL);
  int rank = 0, packs = 512;
  void *pointer = NULL, *arguments[] = {&pointer, &pointer, &pointer, &pointer, &rank, &packs};
  dim3 one = {1, 1, 1};
  cudaGraph_t graph;
  OK(cudaLaunchKernel((const void *)reduce_kernel, one, one, arguments, 0, stream));
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < 2; i++) OK(cudaLaunchKernel((const void *)reduce_kernel, one, one, arguments, 0, stream));
  OK(cudaStreamEndCapture(stream, &graph));
  launch(instantiated(graph), 5);
}

static void *launch_often(void *executable) {
  cudaStream_t own;
  OK(cudaStreamCreate(&own));
  for (int i = 0; i < 10000; i++) OK(cudaGraphLaunch(executable, own));
  return NULL;
}

static void threads(void) {
  cudaGraphExec_t executable = instantiated(captured(2, 1));
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, launch_often, executable);
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

static void until_killed(void) {
  cudaGraphExec_t executable = instantiated(captured(1, 1));
  launch(executable, 10);
  puts("launched");
  fflush(stdout);
  for (;;) pause();
}

static void forks(void) {
  cudaGraphExec_t executable = instantiated(captured(1, 1));
  launch(executable, 1);
  pid_t child = fork();
  if (child == 0) {
    launch(executable, 5);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  launch(executable, 1);
}

static void memory_limit(void) {
  void *half, *too_much, *rest;
  size_t free_bytes, total;
  OK(cudaMemGetInfo(&free_bytes, &total));
  OK(cudaMalloc(&half, total / 2));
  assert(cudaMalloc(&too_much, total / 2) == cudaErrorMemoryAllocation && too_much == NULL);
  assert(strcmp(cudaGetErrorString(cudaGetLastError()), "out of memory") == 0);
  OK(cudaMemGetInfo(&free_bytes, &total));
  OK(cudaMalloc(&rest, free_bytes));
  OK(cudaMemGetInfo(&free_bytes, &total));
  assert(free_bytes == 0);
  OK(cudaFree(half));
  assert(cudaFree(half) == cudaErrorInvalidValue);
  printf("%zu\n", total >> 20);
}

#define BEHAVIOUR(name) {#name, name}
static const struct {
  const char *name;
  void (*show)(void);
} behaviours[] = {
    BEHAVIOUR(replay),         BEHAVIOUR(never_launched),      BEHAVIOUR(every_way),
    BEHAVIOUR(update),         BEHAVIOUR(children_and_clones), BEHAVIOUR(launch_inside_capture),
    BEHAVIOUR(conditional),    BEHAVIOUR(forked_streams),      BEHAVIOUR(groups),
    BEHAVIOUR(errors),         BEHAVIOUR(capture_to_graph),    BEHAVIOUR(host_functions_and_copies),
    BEHAVIOUR(user_objects),   BEHAVIOUR(kernels),             BEHAVIOUR(threads),
    BEHAVIOUR(until_killed),   BEHAVIOUR(forks),               BEHAVIOUR(memory_limit),
};

int main(int argc, char **argv) {
  for (size_t i = 0; argc == 2 && i < sizeof behaviours / sizeof *behaviours; i++) {
    if (strcmp(behaviours[i].name, argv[1]) == 0) {
      begin();
      behaviours[i].show();
      return 0;
    }
  }
  fprintf(stderr, "no such behaviour\n");
  return 2;
}
