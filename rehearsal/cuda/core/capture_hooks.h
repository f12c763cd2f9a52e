/* What the simulated NCCL asks of the simulated CUDA; found by name in the library below, where it is loaded. */
#ifndef CAPTURE_HOOKS_H_
#define CAPTURE_HOOKS_H_

#include <stdint.h>

#define SIM_CORE_LIBRARY "librehearsal.so.1"

/* Id of the capture that the stream is in, 0 for none. */
typedef uint64_t sim_capture_of_t(void *stream);

/* Makes an operation part of the graph that the stream captures: each execution of the node calls
 * perform(data); release(data) is called once, when no graph and no executable holds it any more. Returns 0, or
 * the CUDA error number. */
typedef int sim_capture_operation_t(void *stream, void (*perform)(void *), void (*release)(void *),
                                    void *data);

#endif
