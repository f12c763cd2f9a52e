/* A program with a CUDA runtime inside, which takes the driver's functions by name. As a program, whatever it calls
 * of its runtime nobody else can see; as a library, the runtime's functions are exported and called through the linkage
 * table, as happens where a static runtime's names were not hidden. With an argument, plays in that library. */
#include "driver.h"

static struct driver driver;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  return (cudaError_t)driver.cuStreamBeginCapture_v2(stream, (int)mode);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  return (cudaError_t)driver.cuStreamEndCapture(stream, graph);
}

cudaError_t cudaGraphAddChildGraphNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                       size_t dependency_count, cudaGraph_t child) {
  return (cudaError_t)driver.cuGraphAddChildGraphNode(node, graph, dependencies, dependency_count, child);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
  return (cudaError_t)driver.cuGraphInstantiateWithFlags(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return (cudaError_t)driver.cuGraphLaunch(executable, stream);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return (cudaError_t)driver.cuGraphDestroy(graph); }

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return (cudaError_t)driver.cuGraphExecDestroy(executable);
}

/* 1 of 3 and 2 of 8, 5 times; and between captures, 1 of 7 that is carried out. */
void play(void);
void play(void) {
  driver = driver_by_name();
  int (*create)(void **, unsigned) = (int (*)(void **, unsigned))dlsym(driver_library(), "cuStreamCreate");
  ncclComm_t comm = communicator('s', 4, 1);
  cudaStream_t stream;
  MUST(create && create(&stream, 1) == 0);
  cudaGraph_t inner = captured(comm, stream, 2, 8), outer = captured(comm, stream, 1, 3);
  cudaGraphNode_t node;
  all_reduce_on(comm, 7, stream);
  MUST(cudaGraphAddChildGraphNode(&node, outer, NULL, 0, inner) == cudaSuccess);
  cudaGraphExec_t executable = instantiated(outer);
  MUST(cudaGraphDestroy(inner) == cudaSuccess && cudaGraphDestroy(outer) == cudaSuccess);
  launch(executable, stream, 5);
  MUST(cudaGraphExecDestroy(executable) == cudaSuccess);
}

int main(int argc, char **argv) {
  if (argc == 1) {
    play();
    return 0;
  }
  void *library = dlopen(argv[1], RTLD_NOW);
  MUST(library);
  void (*play_there)(void) = (void (*)(void))dlsym(library, "play");
  MUST(play_there);
  play_there();
  return 0;
}
