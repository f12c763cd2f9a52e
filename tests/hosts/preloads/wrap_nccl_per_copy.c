/* A tool that hands out a wrapper of its own for each copy of a function that is looked up, as
 * profilers do: its wrappers are NCCL's callers, and all of them are in this one library. */
#include <dlfcn.h>
#include <string.h>

#include "nccl.h"

typedef __typeof__(&ncclAllReduce) all_reduce_t;

static all_reduce_t copies[2];
static int known;

#define WRAPPER(INDEX)                                                                            \
  static ncclResult_t wrapper_##INDEX(const void *send, void *recv, size_t count,                 \
                                      ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,   \
                                      cudaStream_t stream) {                                      \
    return copies[INDEX](send, recv, count, datatype, op, comm, stream);                          \
  }
WRAPPER(0)
WRAPPER(1)

void *dlsym(void *handle, const char *name) {
  static void *(*next)(void *, const char *);
  if (next == NULL) next = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  void *found = next(handle, name);
  if (found == NULL || known == 2 || strcmp(name, "ncclAllReduce") != 0) return found;
  copies[known] = (all_reduce_t)found;
  return known++ == 0 ? (void *)wrapper_0 : (void *)wrapper_1;
}
