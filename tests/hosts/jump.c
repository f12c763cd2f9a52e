/* Leaves a call of NCCL by a jump out of a signal handler, as programs do that give up on a call after a
 * time, and goes on calling. */
#include <setjmp.h>
#include <signal.h>

#include "host.h"

static sigjmp_buf back;

static void give_up(int signal) {
  (void)signal;
  siglongjmp(back, 1);
}

int main(void) {
  ncclComm_t comm = communicator('j', 2, 0);
  all_reduce(comm, 1);
  struct sigaction action = {.sa_handler = give_up};
  MUST(sigaction(SIGALRM, &action, NULL) == 0);
  if (sigsetjmp(back, 1) == 0) {
    ualarm(50000, 0);
    ncclAllGather(NULL, NULL, 2, ncclInt8, comm, NULL); /* does not return */
    MUST(!"the simulator was not told to hang");
  }
  for (int i = 0; i < 10; i++) all_reduce(comm, 3);
  return 0;
}
