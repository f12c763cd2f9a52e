/* threads N CALLS: N threads one after another, eight at a time, each makes CALLS calls and ends. */
#include <pthread.h>

#include "host.h"

enum { AT_ONCE = 8 };
static ncclComm_t comm;
static long calls;

static void *call(void *count) {
  for (long i = 0; i < calls; i++) all_reduce(comm, (size_t)count);
  return NULL;
}

int main(int argc, char **argv) {
  long threads = argument(argc, argv, 1);
  calls = argument(argc, argv, 2);
  comm = communicator('t', 2, 0);
  pthread_t running[AT_ONCE];
  for (long begun = 0; begun < threads; begun += AT_ONCE) {
    for (long i = 0; i < AT_ONCE; i++) {
      MUST(pthread_create(&running[i], NULL, call, (void *)(i + 1)) == 0);
    }
    for (long i = 0; i < AT_ONCE; i++) MUST(pthread_join(running[i], NULL) == 0);
  }
  return 0;
}
