/* What the tap adds to look-ups by dlsym: of a name it has nothing to do with, and of one it wraps.
 *
 *   dlsym_cost CALLS ROUNDS
 *
 * Prints medians of the rounds; run it once plain and once under LD_PRELOAD and compare. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double measure(void *library, const char *name, long calls) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (long i = 0; i < calls; i++)
    if (!dlsym(library, name)) exit(1);
  clock_gettime(CLOCK_MONOTONIC, &b);
  return ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / calls;
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
  long calls = argc > 1 ? atol(argv[1]) : 0;
  int rounds = argc > 2 ? atoi(argv[2]) : 5;
  void *nccl = dlopen("libnccl.so.2", RTLD_NOW), *libc = dlopen("libc.so.6", RTLD_NOW);
  if (calls < 1000 || rounds < 1 || rounds > 64 || !nccl || !libc) {
    fprintf(stderr, "usage: dlsym_cost CALLS(>= 1000) ROUNDS(1..64)\n");
    return 2;
  }
  double unrelated[64], wrapped[64];
  for (int i = 0; i < rounds; i++) {
    unrelated[i] = measure(libc, "getpid", calls);
    wrapped[i] = measure(nccl, "ncclAllReduce", calls);
  }
  printf("dlsym, ns: unrelated name %.1f, wrapped name %.1f\n", median(unrelated, rounds),
         median(wrapped, rounds));
  return 0;
}
