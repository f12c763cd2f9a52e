/* steady RATE SECONDS [THREADS]: that many calls a second for so long in each thread. Prints the calls
 * made, and the longest and the 99.9th percentile of a call in nanoseconds. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "host.h"

enum { MOST_THREADS = 16, BUCKETS = 64 * 8 };

static ncclComm_t comm;
static long rate, seconds;

struct thread {
  pthread_t id;
  long calls;
  uint64_t longest;
  uint64_t buckets[BUCKETS]; /* of the logarithm, eight to a doubling */
};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int bucket_of(uint64_t ns) {
  if (ns < 8) return (int)ns;
  int log = 63 - __builtin_clzll(ns);
  return log * 8 + (int)(ns >> (log - 3) & 7);
}

static uint64_t top_of(int bucket) {
  if (bucket < 8) return (uint64_t)bucket;
  int log = bucket / 8;
  return ((uint64_t)(bucket % 8 + 9) << (log - 3)) - 1;
}

/* Calls come in bursts of what is due, so that the rate is kept on a machine that is busy. */
static void *run(void *argument) {
  struct thread *thread = argument;
  uint64_t start = now_ns(), end = start + (uint64_t)seconds * 1000000000u, now;
  while ((now = now_ns()) < end) {
    long due = (long)((double)(now - start) * 1e-9 * (double)rate);
    if (thread->calls >= due) {
      struct timespec nap = {0, 50000};
      nanosleep(&nap, NULL);
      continue;
    }
    for (; thread->calls < due; thread->calls++) {
      uint64_t before = now_ns();
      all_reduce(comm, 4096);
      uint64_t took = now_ns() - before;
      if (took > thread->longest) thread->longest = took;
      thread->buckets[bucket_of(took)]++;
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  static struct thread threads[MOST_THREADS];
  rate = argument(argc, argv, 1);
  seconds = argument(argc, argv, 2);
  long count = argc > 3 ? argument(argc, argv, 3) : 1;
  MUST(count <= MOST_THREADS);
  comm = communicator('s', 2, 0);
  say("calling");
  for (long i = 0; i < count; i++) {
    MUST(pthread_create(&threads[i].id, NULL, run, &threads[i]) == 0);
  }
  struct thread all = {0};
  for (long i = 0; i < count; i++) {
    MUST(pthread_join(threads[i].id, NULL) == 0);
    all.calls += threads[i].calls;
    if (threads[i].longest > all.longest) all.longest = threads[i].longest;
    for (int k = 0; k < BUCKETS; k++) all.buckets[k] += threads[i].buckets[k];
  }
  uint64_t seen = 0;
  int p999 = 0;
  while (p999 < BUCKETS && (seen += all.buckets[p999]) * 1000 < (uint64_t)all.calls * 999) p999++;
  printf("calls %ld longest_ns %llu p999_ns %llu\n", all.calls, (unsigned long long)all.longest,
         (unsigned long long)top_of(p999));
  return 0;
}
