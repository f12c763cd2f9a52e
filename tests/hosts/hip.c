/* hip CORNER: an engine on AMD's GPUs, with RCCL and HIP; tests/hip.rs names and explains the corners. */
#include "host.h"

#include <dlfcn.h>

#include "hip/hip.h"

#define CUSTOM(type) \
  "_ZN4vllm26cross_device_reduce_1stageI" type "Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii"

static const hip_dim3 one = {1, 1, 1};
static hipStream_t stream;
static char *memory[2];
static struct { _Alignas(64) char code; } stubs[8];
static int registered;

static const void *kernel(const char *name) {
  const char *stub = &stubs[registered++].code;
  __hipRegisterFunction(NULL, stub, (char *)name, name, -1, NULL, NULL, NULL, NULL, NULL);
  return stub;
}

/* vLLM's arguments: six, of which the last two are rank and packs of 16 bytes. */
static void reduce(const void *function, int bytes) {
  char data[8], signals[64];
  void *null = NULL;
  int rank = 1, packs = bytes / 16;
  void *arguments[] = {data, signals, &null, &null, &rank, &packs};
  MUST(hipLaunchKernel(function, one, one, arguments, 0, stream) == hipSuccess);
}

static void all_reduces(ncclComm_t comm, int times) {
  for (int i = 0; i < times; i++) {
    MUST(ncclAllReduce(NULL, NULL, 4096, ncclBfloat16, ncclSum, comm, stream) == ncclSuccess);
  }
}

static void copies(int times) {
  for (int i = 0; i < times; i++) {
    MUST(hipMemcpyPeerAsync(memory[1], 1, memory[0], 0, 512, stream) == hipSuccess);
  }
}

static hipGraph_t captured(ncclComm_t comm, const void *function) {
  hipGraph_t graph;
  MUST(hipStreamBeginCapture(stream, hipStreamCaptureModeThreadLocal) == hipSuccess);
  all_reduces(comm, 65);
  for (int i = 0; i < 7; i++) reduce(function, 8192);
  copies(2);
  MUST(hipStreamEndCapture(stream, &graph) == hipSuccess);
  return graph;
}

static void launch(hipGraphExec_t executable, int times) {
  for (int i = 0; i < times; i++) MUST(hipGraphLaunch(executable, stream) == hipSuccess);
}

/* Decode: what is captured once is carried out by each launch, of the graph or of one that it is part of. */
static void graphs(void) {
  ncclComm_t comm = communicator('h', 2, 1);
  const void *function = kernel(CUSTOM("14__hip_bfloat16"));
  all_reduces(comm, 3);
  hipGraph_t graph = captured(comm, function), clone, parent;
  hipGraphExec_t executable, of_parent;
  MUST(hipGraphInstantiate(&executable, graph, NULL, NULL, 0) == hipSuccess);
  launch(executable, 127);
  MUST(hipGraphClone(&clone, graph) == hipSuccess && hipGraphCreate(&parent, 0) == hipSuccess);
  hipGraphNode_t node;
  for (int i = 0; i < 2; i++) MUST(hipGraphAddChildGraphNode(&node, parent, NULL, 0, clone) == hipSuccess);
  MUST(hipGraphInstantiateWithFlags(&of_parent, parent, 0) == hipSuccess);
  launch(of_parent, 10);
  MUST(hipGraphExecDestroy(executable) == hipSuccess && hipGraphDestroy(graph) == hipSuccess);
}

/* The stream of the thread. */
static void own_stream(void) {
  ncclComm_t comm = communicator('h', 2, 1);
  hipStream_t own = (hipStream_t)2;
  hipGraph_t graph;
  hipGraphExec_t executable;
  MUST(hipStreamBeginCapture_spt(NULL, hipStreamCaptureModeThreadLocal) == hipSuccess);
  MUST(ncclAllReduce(NULL, NULL, 64, ncclBfloat16, ncclSum, comm, own) == ncclSuccess);
  MUST(hipStreamEndCapture_spt(NULL, &graph) == hipSuccess);
  MUST(hipGraphInstantiate(&executable, graph, NULL, NULL, 0) == hipSuccess);
  for (int i = 0; i < 5; i++) MUST(hipGraphLaunch_spt(executable, NULL) == hipSuccess);
}

static void kernels(void) {
  communicator('h', 2, 1);
  const void *function = kernel(CUSTOM("14__hip_bfloat16"));
  const void *other = kernel("_ZN4vllm15rms_norm_kernelI14__hip_bfloat16EEvPT_PKS2_S5_fii");
  for (int i = 0; i < 11; i++) reduce(function, 8192);
  for (int i = 0; i < 50; i++) MUST(hipLaunchKernel(other, one, one, NULL, 0, stream) == hipSuccess);
  /* One that the program asks for by name, as Triton does. */
  hipFunction_t found;
  MUST(hipModuleGetFunction(&found, NULL, CUSTOM("6__half")) == hipSuccess);
  char data[8], signals[64];
  void *null = NULL;
  int rank = 1, packs = 64;
  void *arguments[] = {data, signals, &null, &null, &rank, &packs};
  for (int i = 0; i < 5; i++) {
    MUST(hipModuleLaunchKernel(found, 1, 1, 1, 1, 1, 1, 0, stream, arguments, NULL) == hipSuccess);
  }
}

/* Without a communicator; some by a function that is looked up. */
static void peer_copies(void) {
  copies(4);
  MUST(hipMemcpyPeer(memory[1], 1, memory[1], 1, 512) == hipSuccess);
  MUST(hipMemcpyPeerAsync(memory[1], 99, memory[0], 0, 512, stream) == hipErrorInvalidDevice);
  void *hip = dlopen("libamdhip64.so.7", RTLD_NOW | RTLD_NOLOAD);
  MUST(hip);
  __typeof__(&hipMemcpyPeer) copy = (__typeof__(&hipMemcpyPeer))dlsym(hip, "hipMemcpyPeer");
  MUST(copy);
  for (int i = 0; i < 3; i++) MUST(copy(memory[0], 0, memory[1], 1, 1024) == hipSuccess);
}

int main(int argc, char **argv) {
  static const struct { const char *name; void (*run)(void); } corners[] = {
      {"graphs", graphs}, {"own_stream", own_stream}, {"kernels", kernels}, {"peer_copies", peer_copies},
  };
  MUST(argc > 1);
  for (int device = 0; device < 2; device++) {
    MUST(hipSetDevice(device) == hipSuccess && hipMalloc((void **)&memory[device], 4096) == hipSuccess);
  }
  MUST(hipStreamCreateWithFlags(&stream, hipStreamNonBlocking) == hipSuccess);
  for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
    if (strcmp(argv[1], corners[i].name) == 0) {
      corners[i].run();
      return 0;
    }
  }
  return 98;
}
