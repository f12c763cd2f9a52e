/* What the tap adds to a call of ncclAllReduce, measured in one run against the direct call.
 *
 * The direct call goes to pncclAllReduce, the strong twin of the same function, by a pointer from
 * dlsym: a name the tap does not wrap. Rounds of direct and tapped calls alternate, so that both
 * meet the same disturbances of a shared machine.
 *
 *   call_cost CALLS ROUNDS
 *
 * One line per way of calling: nanoseconds per call, the time of reading the clock subtracted.
 * "warm": one call per microsecond. "cold": 4 MiB are walked before each call, as the Python
 * between two calls of an engine does. */
#define _GNU_SOURCE
#include "nccl.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

typedef ncclResult_t (*all_reduce_t)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t,
                                     ncclComm_t, cudaStream_t);

enum { COLD_BYTES = 4 << 20, LINE = 64 };
static volatile uint8_t cold_memory[COLD_BYTES];
static ncclComm_t communicator;
static double ticks_per_ns;

static uint64_t now(void) {
  _mm_lfence();
  uint64_t ticks = __rdtsc();
  _mm_lfence();
  return ticks;
}

static void calibrate(void) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  uint64_t start = now();
  do clock_gettime(CLOCK_MONOTONIC, &b);
  while ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec) < 5e7);
  ticks_per_ns = (now() - start) / ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec));
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Times `calls` single calls; NULL times nothing but the clock. */
static void measure(all_reduce_t call, int cold, size_t calls, uint64_t *times) {
  static char buffer[64];
  for (size_t i = 0; i < calls; i++) {
    if (cold) {
      for (size_t at = 0; at < COLD_BYTES; at += LINE) cold_memory[at]++;
    } else {
      uint64_t until = __rdtsc() + (uint64_t)(1000 * ticks_per_ns);
      while (__rdtsc() < until) _mm_pause();
    }
    uint64_t start = now();
    if (call) call(buffer, buffer, 4096, ncclBfloat16, ncclSum, communicator, NULL);
    times[i] = now() - start;
  }
  qsort(times, calls, sizeof *times, ascending);
}

static ncclResult_t through_plt(const void *send, void *recv, size_t count, ncclDataType_t type,
                                ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return ncclAllReduce(send, recv, count, type, op, comm, stream);
}

static double at(const uint64_t *times, size_t calls, double share) {
  return times[(size_t)((calls - 1) * share)] / ticks_per_ns;
}

static double median(double *values, int count) {
  for (int i = 1; i < count; i++)
    for (int j = i; j > 0 && values[j - 1] > values[j]; j--) {
      double swap = values[j];
      values[j] = values[j - 1];
      values[j - 1] = swap;
    }
  return values[count / 2];
}

int main(int argc, char **argv) {
  size_t calls = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
  int rounds = argc > 2 ? atoi(argv[2]) : 5;
  if (calls < 1000 || rounds < 1 || rounds > 64) {
    fprintf(stderr, "usage: call_cost CALLS(>= 1000) ROUNDS(1..64)\n");
    return 2;
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);

  ncclUniqueId id;
  ncclGetUniqueId(&id);
  if (ncclCommInitRank(&communicator, 2, id, 0) != ncclSuccess) return 1;
  /* After the communicator: the tap's own thread keeps the other cores. */
  sched_setaffinity(0, sizeof cpus, &cpus);
  calibrate();

  void *library = dlopen("libnccl.so.2", RTLD_NOW);
  if (!library) return 1;
  struct {
    const char *name;
    all_reduce_t call;
  } ways[] = {
      {"clock alone", NULL},
      {"direct", (all_reduce_t)dlsym(library, "pncclAllReduce")},
      {"linkage table", through_plt},
      {"dlsym", (all_reduce_t)dlsym(library, "ncclAllReduce")},
  };
  enum { WAYS = sizeof ways / sizeof ways[0], SHARES = 4 };
  const double shares[SHARES] = {0.5, 0.9, 0.99, 0.999};
  uint64_t *times = malloc(calls * sizeof *times);
  if (!times) return 1;

  for (int cold = 0; cold < 2; cold++) {
    size_t many = cold ? calls / 20 : calls;
    static double seen[WAYS][SHARES][64];
    for (int round = 0; round < rounds; round++)
      for (int way = 0; way < WAYS; way++) {
        measure(ways[way].call, cold, many, times);
        for (int s = 0; s < SHARES; s++) seen[way][s][round] = at(times, many, shares[s]);
      }
    double clock = 0, direct[SHARES] = {0};
    printf("%s, %zu calls x %d rounds, medians of the rounds, ns\n", cold ? "cold" : "warm", many, rounds);
    for (int way = 0; way < WAYS; way++) {
      double value[SHARES];
      for (int s = 0; s < SHARES; s++) value[s] = median(seen[way][s], rounds);
      if (way == 0) clock = value[0];
      if (way == 1) memcpy(direct, value, sizeof direct);
      printf("  %-14s p50 %7.1f  p90 %7.1f  p99 %7.1f  p99.9 %8.1f", ways[way].name,
             value[0] - (way ? clock : 0), value[1] - (way ? clock : 0),
             value[2] - (way ? clock : 0), value[3] - (way ? clock : 0));
      if (way > 1)
        printf("   added p50 %6.1f  p99 %6.1f", value[0] - direct[0], value[2] - direct[2]);
      printf("\n");
    }
  }
  return 0;
}
