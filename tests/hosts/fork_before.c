/* Forks before NCCL is used; parent and child each make a communicator and call. */
#include <sys/wait.h>

#include "host.h"

int main(void) {
  pid_t child = fork();
  MUST(child >= 0);
  ncclComm_t comm = communicator('f', 2, child == 0);
  for (int i = 0; i < 400; i++) all_reduce(comm, 16);
  if (child == 0) _exit(0);
  int status;
  MUST(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
