/* Is interrupted by a timer a thousand times a second while it calls; its handler must run in a thread of
 * the program, and its calls must come back as ever. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "host.h"

static _Atomic int handled, elsewhere;
static pthread_t program;

static void handle(int signal) {
  (void)signal;
  if (!pthread_equal(pthread_self(), program)) elsewhere = 1;
  handled++;
}

int main(void) {
  program = pthread_self();
  ncclComm_t comm = communicator('i', 2, 0);
  struct sigaction action = {.sa_handler = handle};
  MUST(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval every = {{0, 1000}, {0, 1000}};
  MUST(setitimer(ITIMER_REAL, &every, NULL) == 0);
  while (handled < 300) {
    all_reduce(comm, 2);
    for (volatile int i = 0; i < 20000; i++) continue;
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  MUST(setitimer(ITIMER_REAL, &never, NULL) == 0);
  MUST(!elsewhere);
  return 0;
}
