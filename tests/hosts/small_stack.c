/* Uses NCCL from a thread with a stack of 64 KiB only, from its first communicator on. */
#include <pthread.h>

#include "host.h"

static void *run(void *unused) {
  (void)unused;
  ncclComm_t comm = communicator('s', 2, 0);
  for (int i = 0; i < 100; i++) all_reduce(comm, 1);
  return NULL;
}

int main(void) {
  pthread_attr_t attributes;
  pthread_t thread;
  MUST(pthread_attr_init(&attributes) == 0);
  MUST(pthread_attr_setstacksize(&attributes, 64 * 1024) == 0);
  MUST(pthread_create(&thread, &attributes, run, NULL) == 0);
  MUST(pthread_join(thread, NULL) == 0);
  return 0;
}
