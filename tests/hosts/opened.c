/* Opens NCCL and takes its functions by dlsym, as ctypes does; with an argument, by dlvsym after it. */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : "libnccl.so.2";
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  MUST(library != NULL);
  __typeof__(&ncclCommInitRank) init_rank = dlsym(library, "ncclCommInitRank");
  __typeof__(&ncclAllReduce) reduce = dlsym(library, "ncclAllReduce");
  __typeof__(&ncclBcast) bcast = dlsym(library, "ncclBcast");
  MUST(init_rank && reduce && bcast);
  MUST(dlsym(library, "ncclNoSuchFunction") == NULL && strstr(dlerror(), "ncclNoSuchFunction"));
  MUST(dlvsym(library, "ncclAllReduce", "NO_SUCH_VERSION") == NULL);
  ncclComm_t comm;
  MUST(init_rank(&comm, 2, id_of('d'), 0) == ncclSuccess);
  for (int i = 0; i < 1000; i++) {
    MUST(reduce(NULL, NULL, 4096, ncclBfloat16, ncclSum, comm, NULL) == ncclSuccess);
  }
  for (int i = 0; i < 100; i++) MUST(bcast(NULL, 128, ncclInt64, 0, comm, NULL) == ncclSuccess);
  return 0;
}
