/* How the simulator behaves, told by environment variables that are read once, when it is loaded:
 *
 *   NCCLSIM_VERSION     what ncclGetVersion says                      (22105)
 *   NCCLSIM_HANG_AFTER  this data-moving call of the process, counted from 1, never returns
 *   NCCLSIM_FAIL_AFTER  this data-moving call returns ncclInternalError
 *   NCCLSIM_CALL_NS     every data-moving call keeps the processor busy for so long, in nanoseconds
 *   NCCLSIM_ERRNO       every data-moving call leaves this in errno
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "simulator.h"

static long version = 22105, hang_after, fail_after, call_ns, error_number;
static _Atomic long operations;

static long setting(const char *name, long unset) {
  const char *value = getenv(name);
  return value && *value ? strtol(value, NULL, 10) : unset;
}

static void forget_parent(void) {
  counts_forget_parent();
  conduct_forget_parent();
  group_forget_parent();
}

__attribute__((constructor)) static void read_settings(void) {
  version = setting("NCCLSIM_VERSION", version);
  hang_after = setting("NCCLSIM_HANG_AFTER", 0);
  fail_after = setting("NCCLSIM_FAIL_AFTER", 0);
  call_ns = setting("NCCLSIM_CALL_NS", 0);
  error_number = setting("NCCLSIM_ERRNO", 0);
  pthread_atfork(NULL, NULL, forget_parent);
}

void conduct_forget_parent(void) { atomic_store(&operations, 0); }

int conduct_version(void) { return (int)version; }

static long elapsed_ns(const struct timespec *since) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec - since->tv_sec) * 1000000000L + now.tv_nsec - since->tv_nsec;
}

ncclResult_t conduct_operation(void) {
  if (call_ns) {
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (elapsed_ns(&start) < call_ns) continue;
  }
  if (error_number) errno = (int)error_number;
  if (!hang_after && !fail_after) return ncclSuccess;
  long number = atomic_fetch_add(&operations, 1) + 1;
  if (number == hang_after) {
    for (;;) pause();
  }
  return number == fail_after ? ncclInternalError : ncclSuccess;
}
