/* Calls NCCL while a thread ends: from the destructors of thread-specific data, several rounds of them,
 * after the thread's other state may be gone. */
#include <pthread.h>

#include "host.h"

static pthread_key_t key;
static ncclComm_t comm;

static void at_thread_exit(void *round) {
  all_reduce(comm, 100 + (size_t)round);
  if ((long)round < 3) pthread_setspecific(key, (void *)((long)round + 1));
}

static void *run(void *unused) {
  (void)unused;
  MUST(pthread_setspecific(key, (void *)1L) == 0);
  all_reduce(comm, 100);
  return NULL;
}

int main(void) {
  MUST(pthread_key_create(&key, at_thread_exit) == 0);
  comm = communicator('d', 2, 0);
  for (int i = 0; i < 50; i++) {
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, run, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
