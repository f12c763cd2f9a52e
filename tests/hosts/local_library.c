/* Opens a library that is linked to NCCL with RTLD_LOCAL, as Python opens torch; then NCCL itself, as
 * pynccl does: one copy, reached by two ways. */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv) {
  MUST(argc == 2);
  void *torch = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  MUST(torch != NULL);
  void (*torch_init)(char, int, int) = dlsym(torch, "torch_init");
  void (*torch_all_reduce)(size_t) = dlsym(torch, "torch_all_reduce");
  void (*torch_broadcast)(size_t) = dlsym(torch, "torch_broadcast");
  MUST(torch_init && torch_all_reduce && torch_broadcast);
  torch_init('t', 2, 0);
  for (int i = 0; i < 300; i++) torch_all_reduce(64);
  for (int i = 0; i < 200; i++) torch_broadcast(7);

  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  MUST(library != NULL);
  __typeof__(&ncclCommInitRank) init_rank = dlsym(library, "ncclCommInitRank");
  __typeof__(&ncclAllReduce) reduce = dlsym(library, "ncclAllReduce");
  ncclComm_t comm;
  MUST(init_rank(&comm, 2, id_of('p'), 0) == ncclSuccess);
  for (int i = 0; i < 100; i++) {
    MUST(reduce(NULL, NULL, 64, ncclBfloat16, ncclSum, comm, NULL) == ncclSuccess);
  }
  return 0;
}
