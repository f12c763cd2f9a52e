/* fork_race N: forks N times while other threads are in the middle of calls. Each child makes a
 * communicator, calls, and ends. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "host.h"

static _Atomic int stop;

static void pace(void) {
  for (volatile int i = 0; i < 20000; i++) continue;
}

static void *call(void *comm) {
  while (!stop) {
    all_reduce(comm, 1);
    pace();
  }
  return NULL;
}

int main(int argc, char **argv) {
  long forks = argument(argc, argv, 1);
  ncclComm_t comm = communicator('r', 2, 0);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) MUST(pthread_create(&threads[i], NULL, call, comm) == 0);
  for (long i = 0; i < forks; i++) {
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
      ncclComm_t own = communicator('c', 2, 1);
      for (int k = 0; k < 10; k++) all_reduce(own, 2);
      _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
  }
  stop = 1;
  for (int i = 0; i < 2; i++) MUST(pthread_join(threads[i], NULL) == 0);
  return 0;
}
