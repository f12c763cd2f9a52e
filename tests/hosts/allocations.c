/* Prints how often this thread allocates while it calls NCCL, once each kind of call was made. The
 * allocator is this program's own, so that whatever a library asks for on this thread is seen. */
#include "host.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static __thread volatile long allocations;

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  allocations++;
  return __libc_realloc(old, size);
}

int posix_memalign(void **place, size_t alignment, size_t size) {
  allocations++;
  *place = __libc_memalign(alignment, size);
  return *place == NULL;
}

static void each_kind_of_call(ncclComm_t one, ncclComm_t other) {
  all_reduce(one, 64);
  all_reduce(other, 64);
  MUST(ncclGroupStart() == ncclSuccess);
  all_reduce(one, 128);
  all_reduce(other, 128);
  MUST(ncclGroupEnd() == ncclSuccess);
}

int main(void) {
  ncclComm_t one = communicator('a', 2, 0), other = communicator('b', 2, 1);
  each_kind_of_call(one, other);
  long before = allocations;
  void *volatile seen = malloc(1);
  MUST(allocations == before + 1);
  free(seen);
  for (int i = 0; i < 100000; i++) each_kind_of_call(one, other);
  printf("%ld\n", allocations - before);
  return 0;
}
