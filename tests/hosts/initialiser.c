/* A library whose initialiser makes a communicator, calls, and forks: whoever loads it holds the loader's
 * lock all the while. */
#include <sys/wait.h>

#include "host.h"

__attribute__((constructor)) static void initialise(void) {
  ncclComm_t comm = communicator('i', 2, 0);
  all_reduce(comm, 1);
  pid_t child = fork();
  MUST(child >= 0);
  if (child == 0) {
    alarm(20);
    all_reduce(communicator('j', 2, 1), 2);
    _exit(0);
  }
  int status;
  MUST(waitpid(child, &status, 0) == child && status == 0);
  all_reduce(comm, 3);
}
