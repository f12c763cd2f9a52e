/* Streams, events and stream capture. */
#include "runtime.h"

EXPORT cudaError_t cudaStreamCreate(cudaStream_t *stream) { return note(sim_stream_create(0, 0, stream)); }

EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  return note(sim_stream_create(flags, 0, stream));
}

EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
  return note(sim_stream_create(flags, priority, stream));
}

EXPORT cudaError_t cudaStreamDestroy(cudaStream_t stream) { return note(sim_stream_destroy(stream)); }

EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *priority = facts.priority;
  return note(error);
}

EXPORT cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned *flags) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *flags = facts.flags;
  return note(error);
}

EXPORT cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long *id) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *id = facts.id;
  return note(error);
}

EXPORT cudaError_t cudaStreamGetDevice(cudaStream_t stream, int *device) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *device = facts.device;
  return note(error);
}

EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return note(sim_stream_finish(stream)); }

EXPORT cudaError_t cudaStreamQuery(cudaStream_t stream) { return note(sim_stream_finish(stream)); }

EXPORT cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  (void)flags;
  return note(sim_stream_wait(stream, event));
}

EXPORT cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void *data,
                                         unsigned flags) {
  (void)flags;
  int error = sim_capture_of(stream) ? SIM_CAPTURE_UNSUPPORTED : sim_stream_finish(stream);
  if (error == SIM_SUCCESS) callback(stream, cudaSuccess, data);
  return note(error);
}

EXPORT cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  return note(sim_do_host(stream, function, data));
}

EXPORT cudaError_t cudaEventCreate(cudaEvent_t *event) { return note(sim_event_create(0, event)); }

EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  return note(sim_event_create(flags, event));
}

EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event) { return note(sim_event_destroy(event)); }

EXPORT cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return note(sim_event_record(event, stream, 0));
}

EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  return note(sim_event_record(event, stream, flags));
}

EXPORT cudaError_t cudaEventQuery(cudaEvent_t event) { return note(sim_event_finish(event)); }

EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t event) { return note(sim_event_finish(event)); }

EXPORT cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return note(sim_event_elapsed(start, end, milliseconds));
}

EXPORT cudaError_t cudaEventElapsedTime_v2(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return note(sim_event_elapsed(start, end, milliseconds));
}

/* ---- Capture. Dependencies are not modelled: the simulator executes nodes in the order in which they came. */

EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  return note(sim_capture_begin(stream, NULL, (int)mode));
}

EXPORT cudaError_t cudaStreamBeginCapture_ptsz(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  return cudaStreamBeginCapture(PER_THREAD(stream), mode);
}

EXPORT cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph,
                                                 const cudaGraphNode_t *dependencies,
                                                 const cudaGraphEdgeData *dependency_data,
                                                 size_t dependency_count, enum cudaStreamCaptureMode mode) {
  (void)dependencies, (void)dependency_data, (void)dependency_count;
  return note(graph ? sim_capture_begin(stream, graph, (int)mode) : SIM_INVALID_VALUE);
}

EXPORT cudaError_t cudaStreamBeginCaptureToGraph_ptsz(cudaStream_t stream, cudaGraph_t graph,
                                                      const cudaGraphNode_t *dependencies,
                                                      const cudaGraphEdgeData *dependency_data,
                                                      size_t dependency_count, enum cudaStreamCaptureMode mode) {
  return cudaStreamBeginCaptureToGraph(PER_THREAD(stream), graph, dependencies, dependency_data,
                                       dependency_count, mode);
}

EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  return note(sim_capture_end(stream, graph));
}

EXPORT cudaError_t cudaStreamEndCapture_ptsz(cudaStream_t stream, cudaGraph_t *graph) {
  return cudaStreamEndCapture(PER_THREAD(stream), graph);
}

/* What a caller wants to know of a capture: anything may be NULL. */
static cudaError_t capture_info(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                cudaGraph_t *graph, const cudaGraphNode_t **dependencies,
                                const cudaGraphEdgeData **edges, size_t *dependency_count) {
  struct sim_capture_facts facts;
  int error = sim_capture_facts(stream, &facts);
  if (error != SIM_SUCCESS) return note(error);
  if (status == NULL) return note(SIM_INVALID_VALUE);
  *status = (enum cudaStreamCaptureStatus)facts.status;
  if (facts.status != SIM_CAPTURE_ACTIVE) return cudaSuccess;
  if (id) *id = facts.id;
  if (graph) *graph = facts.graph;
  if (dependencies) *dependencies = facts.dependencies;
  if (edges) *edges = NULL;
  if (dependency_count) *dependency_count = facts.dependency_count;
  return cudaSuccess;
}

EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  return capture_info(stream, status, NULL, NULL, NULL, NULL, NULL);
}

EXPORT cudaError_t cudaStreamIsCapturing_ptsz(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  return cudaStreamIsCapturing(PER_THREAD(stream), status);
}

#if CUDART_VERSION < 13000

EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                            unsigned long long *id) {
  return capture_info(stream, status, id, NULL, NULL, NULL, NULL);
}

EXPORT cudaError_t cudaStreamGetCaptureInfo_ptsz(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                                 unsigned long long *id) {
  return capture_info(PER_THREAD(stream), status, id, NULL, NULL, NULL, NULL);
}

EXPORT cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                               unsigned long long *id, cudaGraph_t *graph,
                                               const cudaGraphNode_t **dependencies, size_t *dependency_count) {
  return capture_info(stream, status, id, graph, dependencies, NULL, dependency_count);
}

EXPORT cudaError_t cudaStreamGetCaptureInfo_v2_ptsz(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                                    unsigned long long *id, cudaGraph_t *graph,
                                                    const cudaGraphNode_t **dependencies,
                                                    size_t *dependency_count) {
  return capture_info(PER_THREAD(stream), status, id, graph, dependencies, NULL, dependency_count);
}

#define GET_CAPTURE_INFO_WITH_EDGES cudaStreamGetCaptureInfo_v3
#define GET_CAPTURE_INFO_WITH_EDGES_PTSZ cudaStreamGetCaptureInfo_v3_ptsz
#else
#define GET_CAPTURE_INFO_WITH_EDGES cudaStreamGetCaptureInfo
#define GET_CAPTURE_INFO_WITH_EDGES_PTSZ cudaStreamGetCaptureInfo_ptsz
#endif

EXPORT cudaError_t GET_CAPTURE_INFO_WITH_EDGES(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                               unsigned long long *id, cudaGraph_t *graph,
                                               const cudaGraphNode_t **dependencies,
                                               const cudaGraphEdgeData **edges, size_t *dependency_count) {
  return capture_info(stream, status, id, graph, dependencies, edges, dependency_count);
}

EXPORT cudaError_t GET_CAPTURE_INFO_WITH_EDGES_PTSZ(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                                    unsigned long long *id, cudaGraph_t *graph,
                                                    const cudaGraphNode_t **dependencies,
                                                    const cudaGraphEdgeData **edges, size_t *dependency_count) {
  return capture_info(PER_THREAD(stream), status, id, graph, dependencies, edges, dependency_count);
}

static cudaError_t update_dependencies(cudaStream_t stream) {
  return note(sim_capture_of(stream) ? SIM_SUCCESS : SIM_ILLEGAL_STATE);
}

#if CUDART_VERSION < 13000

EXPORT cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t *dependencies,
                                                       size_t dependency_count, unsigned flags) {
  (void)dependencies, (void)dependency_count, (void)flags;
  return update_dependencies(stream);
}

EXPORT cudaError_t cudaStreamUpdateCaptureDependencies_v2(cudaStream_t stream, cudaGraphNode_t *dependencies,
                                                          const cudaGraphEdgeData *edges,
                                                          size_t dependency_count, unsigned flags) {
  (void)dependencies, (void)edges, (void)dependency_count, (void)flags;
  return update_dependencies(stream);
}

#else

EXPORT cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t *dependencies,
                                                       const cudaGraphEdgeData *edges, size_t dependency_count,
                                                       unsigned flags) {
  (void)dependencies, (void)edges, (void)dependency_count, (void)flags;
  return update_dependencies(stream);
}

#endif

EXPORT cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
  int exchanged = mode ? (int)*mode : -1;
  int error = sim_capture_exchange_mode(&exchanged);
  if (error == SIM_SUCCESS) *mode = (enum cudaStreamCaptureMode)exchanged;
  return note(error);
}
