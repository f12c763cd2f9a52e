/* Streams, events, capture, graphs, and the way to all functions by name. */
#include "../core/entry_points.h"
#include "driver.h"

EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned flags) { return sim_stream_create(flags, 0, stream); }

EXPORT CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  return sim_stream_create(flags, priority, stream);
}

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) { return sim_stream_destroy(stream); }

EXPORT CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *context = context_of(facts.device);
  return error;
}

EXPORT CUresult cuStreamGetPriority(CUstream stream, int *priority) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *priority = facts.priority;
  return error;
}

EXPORT CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *flags = facts.flags;
  return error;
}

EXPORT CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *id = facts.id;
  return error;
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) { return sim_stream_finish(stream); }

EXPORT CUresult cuStreamQuery(CUstream stream) { return sim_stream_finish(stream); }

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  (void)flags;
  return sim_stream_wait(stream, event);
}

/* Waiting for and writing values in memory: a value that is waited for is taken to be there. */
EXPORT CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags) {
  (void)flags;
  struct sim_fill fill = {.to = (void *)address, .value = value, .element_bytes = 4, .width = 1, .height = 1};
  return sim_do_fill(stream, &fill);
}

EXPORT CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags) {
  (void)stream, (void)address, (void)value, (void)flags;
  return SIM_SUCCESS;
}

EXPORT CUresult cuEventCreate(CUevent *event, unsigned flags) { return sim_event_create(flags, event); }

EXPORT CUresult cuEventDestroy_v2(CUevent event) { return sim_event_destroy(event); }

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) { return sim_event_record(event, stream, 0); }

EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  return sim_event_record(event, stream, flags);
}

EXPORT CUresult cuEventQuery(CUevent event) { return sim_event_finish(event); }

EXPORT CUresult cuEventSynchronize(CUevent event) { return sim_event_finish(event); }

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  return sim_event_elapsed(start, end, milliseconds);
}

EXPORT CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
  return sim_event_elapsed(start, end, milliseconds);
}

/* ---- Capture. */

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) { return sim_capture_begin(stream, NULL, mode); }

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) { return sim_capture_end(stream, graph); }

EXPORT CUresult cuThreadExchangeStreamCaptureMode(int *mode) { return sim_capture_exchange_mode(mode); }

static CUresult capture_info(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                             const CUgraphNode **dependencies, size_t *dependency_count) {
  struct sim_capture_facts facts;
  int error = sim_capture_facts(stream, &facts);
  if (error != SIM_SUCCESS) return error;
  *status = facts.status;
  if (facts.status != SIM_CAPTURE_ACTIVE) return SIM_SUCCESS;
  if (id) *id = facts.id;
  if (graph) *graph = facts.graph;
  if (dependencies) *dependencies = facts.dependencies;
  if (dependency_count) *dependency_count = facts.dependency_count;
  return SIM_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream stream, int *status) {
  return capture_info(stream, status, NULL, NULL, NULL, NULL);
}

EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                                          const CUgraphNode **dependencies, size_t *dependency_count) {
  return capture_info(stream, status, id, graph, dependencies, dependency_count);
}

EXPORT CUresult cuStreamGetCaptureInfo_v3(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                                          const CUgraphNode **dependencies, const void **edges,
                                          size_t *dependency_count) {
  if (edges) *edges = NULL;
  return capture_info(stream, status, id, graph, dependencies, dependency_count);
}

/* ---- Graphs. */

EXPORT CUresult cuGraphCreate(CUgraph *graph, unsigned flags) {
  (void)flags;
  return sim_graph_create(graph);
}

EXPORT CUresult cuGraphDestroy(CUgraph graph) { return sim_graph_destroy(graph); }

EXPORT CUresult cuGraphClone(CUgraph *clone, CUgraph graph) { return sim_graph_clone(graph, clone); }

EXPORT CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  return sim_graph_nodes(graph, nodes, count);
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode node, int *type) { return sim_node_type(node, type); }

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags) {
  return sim_executable_create(graph, flags, executable);
}

EXPORT CUresult cuGraphUpload(CUgraphExec executable, CUstream stream) {
  return sim_executable_upload(executable, stream);
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return sim_executable_launch(executable, stream);
}

EXPORT CUresult cuGraphLaunch_ptsz(CUgraphExec executable, CUstream stream) {
  return sim_executable_launch(executable, PER_THREAD(stream));
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) { return sim_executable_destroy(executable); }

/* ---- Functions by name. */

enum { ADDRESS_FOUND = 0, ADDRESS_NOT_FOUND = 1 };

EXPORT CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  (void)version, (void)flags;
  *function = sim_driver_function(name);
  return *function ? SIM_SUCCESS : SIM_NOT_FOUND;
}

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found) {
  CUresult result = cuGetProcAddress(name, function, version, flags);
  if (found) *found = result == SIM_SUCCESS ? ADDRESS_FOUND : ADDRESS_NOT_FOUND;
  return result;
}
