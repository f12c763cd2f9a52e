/* What the parts of the simulated libcudart know of each other. */
#ifndef RUNTIME_H_
#define RUNTIME_H_

#include "../core/core.h"
#include "cuda_runtime.h"

/* Notes an error for cudaGetLastError, and gives it back. */
cudaError_t note(int error);

/* Names that end in _ptsz are for programs that were compiled with per-thread default streams: to them
 * the stream 0 is the own stream of the calling thread. */
#define EXPORT __attribute__((visibility("default")))
#define PER_THREAD(stream) ((stream) == SIM_STREAM_DEFAULT ? SIM_STREAM_PER_THREAD : (stream))

#endif
