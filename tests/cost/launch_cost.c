/* What a launch of a CUDA graph takes, by the size of the graph. What the tap adds is the difference to a run
 * without it.
 *
 *   launch_cost LAUNCHES [OPERATIONS]
 *
 * One line per size of graph, in ticks of the time stamp counter, reading it included. With OPERATIONS: launches
 * one graph of so many, so often, and says nothing, for an instruction count. */
#define _GNU_SOURCE
#include "cuda_runtime.h"
#include "nccl.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

static uint64_t now(void) {
  _mm_lfence();
  uint64_t ticks = __rdtsc();
  _mm_lfence();
  return ticks;
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  long launches = argc > 1 ? atol(argv[1]) : 100000;
  ncclUniqueId id;
  ncclComm_t comm;
  cudaStream_t stream;
  ncclGetUniqueId(&id);
  if (ncclCommInitRank(&comm, 2, id, 0) || cudaStreamCreateWithFlags(&stream, 1)) return 1;
  uint64_t *times = calloc(launches + 1, sizeof *times);
  static const int sizes[] = {0, 1, 65, 160};
  for (int s = 0; s < 4; s++) {
    int size = argc > 2 ? atoi(argv[2]) : sizes[s];
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal)) return 1;
    for (int i = 0; i < size; i++) ncclAllReduce(NULL, NULL, 1 + i, ncclBfloat16, ncclSum, comm, stream);
    if (cudaStreamEndCapture(stream, &graph) || cudaGraphInstantiate(&executable, graph, 0)) return 1;
    for (long i = 0; i < launches; i++) {
      if (argc > 2) {
        cudaGraphLaunch(executable, stream);
        continue;
      }
      for (int pause = 0; pause < 100; pause++) _mm_pause();
      uint64_t start = now();
      cudaGraphLaunch(executable, stream);
      times[i] = now() - start;
    }
    if (argc > 2) return 0;
    qsort(times, launches, sizeof *times, ascending);
    printf("  %3d operations: p50 %5lu p99 %5lu ticks\n", size, times[launches / 2], times[launches * 99 / 100]);
  }
  return 0;
}
