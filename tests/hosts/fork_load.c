/* fork_load N: N children, each of which makes its first communicator while another thread of it forks.
 * The grandchildren load a library, make a communicator, call once, and end. A child that hangs is
 * ended by an alarm. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "host.h"

enum { GRANDCHILDREN = 6 };

static _Atomic int ready;

static void *fork_again_and_again(void *unused) {
  ready = 1;
  for (int i = 0; i < GRANDCHILDREN; i++) {
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
      alarm(20);
      void *library = dlopen("libm.so.6", RTLD_NOW);
      MUST(library != NULL);
      all_reduce(communicator('g', 2, 1), 2);
      _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
  }
  return unused;
}

static void be_a_child(void) {
  alarm(20);
  pthread_t thread;
  MUST(pthread_create(&thread, NULL, fork_again_and_again, NULL) == 0);
  while (!ready) continue;
  ncclComm_t comm = communicator('c', 2, 0);
  for (int i = 0; i < 10; i++) all_reduce(comm, 1);
  MUST(pthread_join(thread, NULL) == 0);
  exit(0);
}

int main(int argc, char **argv) {
  for (long i = argument(argc, argv, 1); i > 0; i--) {
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) be_a_child();
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
  }
  return 0;
}
