/* Makes its first communicator on a thread that is to be cancelled at its next cancellation point. NCCL
 * has none on the way, so the call must come back; the thread ends where it asks to. */
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

static _Atomic int came_back;

static void *call(void *unused) {
  (void)unused;
  MUST(pthread_cancel(pthread_self()) == 0);
  ncclComm_t comm = communicator('e', 2, 0);
  all_reduce(comm, 5);
  came_back = 1;
  pthread_testcancel();
  return NULL;
}

int main(void) {
  /* The simulated NCCL opens its files when it is first asked, and that is a cancellation point. */
  MUST(ncclAllReduce(NULL, NULL, 1, ncclInt8, ncclSum, NULL, NULL) == ncclInvalidArgument);
  pthread_t thread;
  void *end;
  MUST(pthread_create(&thread, NULL, call, NULL) == 0);
  MUST(pthread_join(thread, &end) == 0);
  MUST(came_back && end == PTHREAD_CANCELED);
  ncclComm_t comm = communicator('f', 2, 0);
  for (int i = 0; i < 10; i++) all_reduce(comm, 5);
  return 0;
}
