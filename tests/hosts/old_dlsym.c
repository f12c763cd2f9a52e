/* Refers to dlsym and dlopen by the version glibc had before 2.34, as a binary from an older system. */
#include <dlfcn.h>

#include "host.h"

#ifdef __x86_64__
__asm__(".symver dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver dlopen, dlopen@GLIBC_2.2.5");
#endif

int main(void) {
  void *library = dlopen("libnccl.so.2", RTLD_NOW);
  MUST(library != NULL);
  __typeof__(&ncclCommInitRank) init_rank = dlsym(library, "ncclCommInitRank");
  __typeof__(&ncclAllReduce) reduce = dlsym(library, "ncclAllReduce");
  ncclComm_t comm;
  MUST(init_rank(&comm, 2, id_of('v'), 1) == ncclSuccess);
  for (int i = 0; i < 100; i++) {
    MUST(reduce(NULL, NULL, 512, ncclFloat16, ncclSum, comm, NULL) == ncclSuccess);
  }
  return 0;
}
