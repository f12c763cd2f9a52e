/* ending HOW: calls, and ends at once: return, exit, _exit, quick_exit, thread (exit from a thread other
 * than main), atexit (calls once more while exiting), abort. */
#include <pthread.h>

#include "host.h"

static ncclComm_t comm;

static void call_once_more(void) { all_reduce(comm, 41); }

static void *exit_from_thread(void *unused) {
  (void)unused;
  exit(7);
}

int main(int argc, char **argv) {
  MUST(argc == 2);
  const char *how = argv[1];
  comm = communicator('e', 2, 0);
  if (strcmp(how, "atexit") == 0) MUST(atexit(call_once_more) == 0);
  for (int i = 0; i < 2000; i++) all_reduce(comm, 40);
  if (strcmp(how, "exit") == 0) exit(7);
  if (strcmp(how, "_exit") == 0) _exit(7);
  if (strcmp(how, "quick_exit") == 0) quick_exit(7);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "thread") == 0) {
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, exit_from_thread, NULL) == 0);
    pause();
  }
  return 7;
}
