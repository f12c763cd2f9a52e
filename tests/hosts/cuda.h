/* What the host programs with CUDA graphs share, beside host.h. */
#ifndef CUDA_H_
#define CUDA_H_

#include "host.h"

#include "cuda_runtime.h"

/* A stream that does not wait for the legacy stream. */
static inline cudaStream_t new_stream(void) {
  cudaStream_t stream;
  MUST(cudaStreamCreateWithFlags(&stream, 1) == cudaSuccess);
  return stream;
}

static inline void all_reduce_on(ncclComm_t comm, size_t count, cudaStream_t stream) {
  MUST(ncclAllReduce(NULL, NULL, count, ncclBfloat16, ncclSum, comm, stream) == ncclSuccess);
}

static inline void begin_capture(cudaStream_t stream) {
  MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
}

static inline cudaGraph_t end_capture(cudaStream_t stream) {
  cudaGraph_t graph = NULL;
  MUST(cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph);
  return graph;
}

/* A graph of so many AllReduce of `count` elements. */
static inline cudaGraph_t captured(ncclComm_t comm, cudaStream_t stream, int operations, size_t count) {
  begin_capture(stream);
  for (int i = 0; i < operations; i++) all_reduce_on(comm, count, stream);
  return end_capture(stream);
}

static inline cudaGraphExec_t instantiated(cudaGraph_t graph) {
  cudaGraphExec_t executable = NULL;
  MUST(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess && executable);
  return executable;
}

static inline void launch(cudaGraphExec_t executable, cudaStream_t stream, int times) {
  for (int i = 0; i < times; i++) MUST(cudaGraphLaunch(executable, stream) == cudaSuccess);
}

#endif
