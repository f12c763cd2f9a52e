/* Cancels a thread that is inside NCCL. The thread must end as cancelled, its cleanup must run, and the
 * rest of the program must go on. */
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

static ncclComm_t comm;
static _Atomic int entered, cleaned;

static void clean(void *unused) {
  (void)unused;
  cleaned = 1;
}

static void *call(void *unused) {
  (void)unused;
  pthread_cleanup_push(clean, NULL);
  entered = 1;
  ncclAllGather(NULL, NULL, 6, ncclInt8, comm, NULL); /* does not return */
  pthread_cleanup_pop(0);
  return NULL;
}

int main(void) {
  comm = communicator('z', 2, 0);
  all_reduce(comm, 5);
  pthread_t thread;
  MUST(pthread_create(&thread, NULL, call, NULL) == 0);
  while (!entered) usleep(1000);
  usleep(50000);
  MUST(pthread_cancel(thread) == 0);
  void *end;
  MUST(pthread_join(thread, &end) == 0);
  MUST(end == PTHREAD_CANCELED && cleaned);
  for (int i = 0; i < 10; i++) all_reduce(comm, 5);
  return 0;
}
