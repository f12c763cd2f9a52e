/* graphs_opened NCCL CUDA...: captures and launches with each CUDA runtime in turn, all of whose functions are
 * taken by dlsym, as Python's ctypes does. */
#include <dlfcn.h>

#include "cuda.h"

#define TAKE(library, name) __typeof__(name) *take_##name = (__typeof__(name) *)dlsym(library, #name); \
  MUST(take_##name)

int main(int argc, char **argv) {
  MUST(argc >= 3);
  void *cuda[8] = {NULL};
  for (int i = 2; i < argc; i++) MUST((cuda[i] = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL)));
  void *nccl = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  MUST(nccl);
  TAKE(nccl, ncclCommInitRank);
  TAKE(nccl, ncclAllReduce);
  ncclComm_t comm;
  MUST(take_ncclCommInitRank(&comm, 2, id_of('d'), 0) == ncclSuccess);
  for (int i = 2; i < argc; i++) {
    TAKE(cuda[i], cudaStreamCreateWithFlags);
    TAKE(cuda[i], cudaStreamBeginCapture);
    TAKE(cuda[i], cudaStreamEndCapture);
    TAKE(cuda[i], cudaGraphInstantiate);
    TAKE(cuda[i], cudaGraphDestroy);
    TAKE(cuda[i], cudaGraphLaunch);
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    MUST(take_cudaStreamCreateWithFlags(&stream, 1) == cudaSuccess);
    MUST(take_cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    for (int n = 0; n < i; n++)
      MUST(take_ncclAllReduce(NULL, NULL, 10 + i, ncclInt8, ncclSum, comm, stream) == ncclSuccess);
    MUST(take_cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    MUST(take_cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    MUST(take_cudaGraphDestroy(graph) == cudaSuccess);
    for (int n = 0; n < 10 + i; n++) MUST(take_cudaGraphLaunch(executable, stream) == cudaSuccess);
  }
  return 0;
}
