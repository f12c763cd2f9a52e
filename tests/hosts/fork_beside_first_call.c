/* Forks while another thread makes the first communicator of the process, at ever another moment of
 * it. Neither side may hang: the child has a copy of whatever locks were held. */
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "host.h"

static void *make_and_call(void *unused) {
  (void)unused;
  all_reduce(communicator('k', 2, 0), 3);
  return NULL;
}

static void must_end_well(pid_t child) {
  int status;
  MUST(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void fork_after(long nanoseconds) {
  pthread_t thread;
  MUST(pthread_create(&thread, NULL, make_and_call, NULL) == 0);
  struct timespec moment = {0, nanoseconds};
  nanosleep(&moment, NULL);
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    all_reduce(communicator('c', 2, 0), 4);
    _exit(0);
  }
  must_end_well(child);
  MUST(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv) {
  long rounds = argument(argc, argv, 1);
  for (long i = 0; i < rounds; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(30);
      fork_after(i % 60 * 8000);
      _exit(0);
    }
    must_end_well(child);
  }
  return 0;
}
