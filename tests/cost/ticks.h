/* The processor's own clock. */
#ifndef TICKS_H
#define TICKS_H
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

/* How long a tick of __rdtsc is, measured over a tenth of a second. */
static double ns_per_tick(void) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  uint64_t start = __rdtsc();
  do clock_gettime(CLOCK_MONOTONIC, &b);
  while ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec) < 1e8);
  return ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / (__rdtsc() - start);
}

#endif
