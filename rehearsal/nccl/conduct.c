/* How the simulated NCCL behaves: NCCLTAP_REHEARSAL_NCCL_VERSION, _HANG_AFTER, _FAIL_AFTER, _CALL_NS and
 * _ERRNO, as ../common/environment.h explains them; read once, when the library is loaded. */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "../common/environment.h"
#include "simulator.h"

static long version, hang_after, fail_after, call_ns, error_number;
static _Atomic long operations;

static void forget_parent(void) {
  counts_forget_parent();
  conduct_forget_parent();
  group_forget_parent();
}

__attribute__((constructor)) static void read_settings(void) {
  version = environment_number(SETTING_NCCL_VERSION);
  hang_after = environment_number(SETTING_HANG_AFTER);
  fail_after = environment_number(SETTING_FAIL_AFTER);
  call_ns = environment_number(SETTING_CALL_NS);
  error_number = environment_number(SETTING_ERRNO);
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
