/* The one lock, and what happens once per process: loading, and being forked. */
#include <stdio.h>
#include <stdlib.h>

#include "../../common/environment.h"
#include "internal.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_id;

void lock(void) { pthread_mutex_lock(&mutex); }
void unlock(void) { pthread_mutex_unlock(&mutex); }

uint64_t next_id(void) { return ++last_id; }

void *must(void *memory) {
  if (memory) return memory;
  fputs("nccltap rehearsal: out of memory\n", stderr);
  abort();
}

static void forget_parent(void) {
  record_forget_parent();
  unlock();
}

/* Every simulated CUDA library needs this one. */
__attribute__((constructor)) static void begin(void) {
  rehearsal_required(SIM_CORE_LIBRARY);
  pthread_atfork(lock, unlock, forget_parent);
}
