/* Forks while NCCL is in use. The child goes on with the communicator it inherited, then with one of
 * its own; a grandchild does the same. The parent goes on too. */
#include <sys/wait.h>

#include "host.h"

static void call(ncclComm_t comm, int calls) {
  for (int i = 0; i < calls; i++) all_reduce(comm, 32);
}

static void fork_and_call(ncclComm_t inherited, int generations) {
  pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    call(inherited, 5);
    ncclComm_t own = communicator((char)('0' + generations), 3, generations);
    call(own, 77);
    if (generations > 1) fork_and_call(own, generations - 1);
    _exit(0);
  }
  int status;
  MUST(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
  ncclComm_t comm = communicator('f', 2, 0);
  call(comm, 1000);
  fork_and_call(comm, 2);
  call(comm, 3);
  return 0;
}
