/* What NCCL must know of CUDA: whether a stream is being captured.
 *
 * libnccl.so.2 stands alone, for programs without CUDA. Where the simulated CUDA is in the process too, its
 * librehearsal.so.1 is loaded, and is asked by the functions that ../cuda/core/captures.h declares. */
#include <dlfcn.h>
#include <errno.h>

#include "../cuda/core/capture_hooks.h"
#include "simulator.h"

static _Atomic(sim_capture_of_t *) capture_of;
static _Atomic(sim_capture_operation_t *) capture_operation;

/* Before each communicator is made: by then a program that uses CUDA has loaded it. Not opened, only found. */
void streams_look_for_cuda(void) {
  if (atomic_load(&capture_of)) return;
  int before = errno;
  void *core = dlopen(SIM_CORE_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
  if (core) {
    atomic_store(&capture_operation, (sim_capture_operation_t *)dlsym(core, "sim_capture_operation"));
    atomic_store(&capture_of, (sim_capture_of_t *)dlsym(core, "sim_capture_of"));
  } else {
    dlerror();
  }
  errno = before;
}

uint64_t stream_capture(cudaStream_t stream) {
  sim_capture_of_t *ask = atomic_load_explicit(&capture_of, memory_order_acquire);
  return ask ? ask(stream) : 0;
}

ncclResult_t stream_capture_operation(cudaStream_t stream, void (*perform)(void *),
                                      void (*release)(void *), void *data) {
  sim_capture_operation_t *add = atomic_load(&capture_operation);
  if (add == NULL) return ncclInternalError;
  return add(stream, perform, release, data) == 0 ? ncclSuccess : ncclUnhandledCudaError;
}
