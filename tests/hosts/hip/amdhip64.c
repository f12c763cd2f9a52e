/* A simulated HIP, over the core that the simulated CUDA libraries share, and with its account. */
#include "hip.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define API __attribute__((visibility("default")))
#define OWN(stream) ((stream) == SIM_STREAM_DEFAULT ? SIM_STREAM_PER_THREAD : (stream))
enum { RELEASE = 70100000, KERNELS = 64 };

static __thread hipError_t last;

static hipError_t note(int error) {
  if (error != SIM_SUCCESS) last = error;
  return error;
}

API hipError_t hipRuntimeGetVersion(int *version) { return *version = RELEASE, hipSuccess; }
API hipError_t hipPeekAtLastError(void) { return last; }

API hipError_t hipGetLastError(void) {
  hipError_t error = last;
  last = hipSuccess;
  return error;
}

API hipError_t hipSetDevice(int device) { return note(sim_device_select(device)); }

API hipError_t hipMalloc(void **pointer, size_t bytes) {
  *pointer = sim_allocate(bytes, SIM_DEVICE);
  return note(*pointer ? SIM_SUCCESS : SIM_OUT_OF_MEMORY);
}

API hipError_t hipStreamCreateWithFlags(hipStream_t *stream, unsigned flags) {
  return note(sim_stream_create(flags, 0, stream));
}

/* ---- Graphs. */

API hipError_t hipStreamBeginCapture(hipStream_t stream, int mode) {
  return note(sim_capture_begin(stream, NULL, mode));
}

API hipError_t hipStreamBeginCapture_spt(hipStream_t stream, int mode) {
  return note(sim_capture_begin(OWN(stream), NULL, mode));
}

API hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t *graph) {
  return note(sim_capture_end(stream, graph));
}

API hipError_t hipStreamEndCapture_spt(hipStream_t stream, hipGraph_t *graph) {
  return note(sim_capture_end(OWN(stream), graph));
}

API hipError_t hipStreamGetCaptureInfo(hipStream_t stream, int *status, unsigned long long *id) {
  struct sim_capture_facts facts;
  int error = sim_capture_facts(stream, &facts);
  if (error != SIM_SUCCESS) return note(error);
  *status = facts.status;
  if (id) *id = facts.id;
  return hipSuccess;
}

API hipError_t hipGraphCreate(hipGraph_t *graph, unsigned flags) {
  (void)flags;
  return note(sim_graph_create(graph));
}

API hipError_t hipGraphClone(hipGraph_t *clone, hipGraph_t graph) { return note(sim_graph_clone(graph, clone)); }
API hipError_t hipGraphDestroy(hipGraph_t graph) { return note(sim_graph_destroy(graph)); }

API hipError_t hipGraphAddChildGraphNode(hipGraphNode_t *node, hipGraph_t graph, const hipGraphNode_t *dependencies,
                                         size_t count, hipGraph_t child) {
  (void)dependencies, (void)count;
  return note(sim_graph_add_child(graph, child, node));
}

API hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t *executable, hipGraph_t graph, unsigned long long flags) {
  return note(sim_executable_create(graph, flags, executable));
}

API hipError_t hipGraphInstantiate(hipGraphExec_t *executable, hipGraph_t graph, hipGraphNode_t *error_node, char *log,
                                   size_t log_size) {
  (void)error_node, (void)log, (void)log_size;
  return note(sim_executable_create(graph, 0, executable));
}

API hipError_t hipGraphExecUpdate(hipGraphExec_t executable, hipGraph_t graph, hipGraphNode_t *node, int *result) {
  (void)node;
  return note(*result = sim_executable_update(executable, graph));
}

API hipError_t hipGraphExecDestroy(hipGraphExec_t executable) { return note(sim_executable_destroy(executable)); }

API hipError_t hipGraphLaunch(hipGraphExec_t executable, hipStream_t stream) {
  return note(sim_executable_launch(executable, stream));
}

API hipError_t hipGraphLaunch_spt(hipGraphExec_t executable, hipStream_t stream) {
  return note(sim_executable_launch(executable, OWN(stream)));
}

/* ---- Kernels. A handle is the function that stands for one, or the place of its name here. */

static struct { const void *handle; const char *name; } kernels[KERNELS];
static int used;

static const void *enter(const void *handle, const char *name) {
  if (used == KERNELS) abort();
  kernels[used].handle = handle ? handle : &kernels[used];
  kernels[used].name = name;
  return kernels[used++].handle;
}

static hipError_t launch(const void *handle, void **arguments, hipStream_t stream) {
  struct sim_kernel kernel = {.identity = handle, .arguments = arguments, .grid = {1, 1, 1}, .block = {1, 1, 1}};
  for (int i = 0; i < used; i++) {
    if (kernels[i].handle == handle) kernel.name = kernels[i].name;
  }
  return note(sim_do_kernel(stream, &kernel));
}

API void __hipRegisterFunction(void **modules, const void *function, char *device_function, const char *name,
                               unsigned limit, void *thread, void *block, void *block_dim, void *grid_dim,
                               int *warp_size) {
  (void)modules, (void)device_function, (void)limit, (void)thread, (void)block, (void)block_dim, (void)grid_dim;
  (void)warp_size;
  enter(function, name);
}

API hipError_t hipLaunchKernel(const void *function, hip_dim3 grid, hip_dim3 block, void **arguments, size_t shared,
                               hipStream_t stream) {
  (void)grid, (void)block, (void)shared;
  return launch(function, arguments, stream);
}

API hipError_t hipModuleGetFunction(hipFunction_t *function, hipModule_t module, const char *name) {
  (void)module;
  *function = (void *)enter(NULL, name);
  return hipSuccess;
}

API hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                     hipStream_t stream, void **arguments, void **extra) {
  (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z, (void)shared, (void)extra;
  return launch(function, arguments, stream);
}

/* ---- Copies. */

static struct sim_peer_copy between(void *to, int to_device, const void *from, int from_device, size_t bytes) {
  struct sim_copy line = {.to = to, .from = from, .width = bytes, .height = 1, .kind = SIM_DEVICE_TO_DEVICE};
  return (struct sim_peer_copy){line, from_device, to_device};
}

API hipError_t hipMemcpyPeer(void *to, int to_device, const void *from, int from_device, size_t bytes) {
  struct sim_peer_copy copy = between(to, to_device, from, from_device, bytes);
  return note(sim_peer_copy_now(&copy));
}

API hipError_t hipMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                                  hipStream_t stream) {
  struct sim_peer_copy copy = between(to, to_device, from, from_device, bytes);
  return note(sim_do_peer_copy(stream, &copy));
}
