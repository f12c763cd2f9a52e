/* Two copies of NCCL in one process, each opened by its path; each communicator is used with the copy
 * that made it. */
#include <dlfcn.h>

#include "host.h"

struct copy {
  __typeof__(&ncclCommInitRank) init_rank;
  __typeof__(&ncclAllReduce) all_reduce;
  ncclComm_t comm;
};

static struct copy open_copy(const char *path, char id) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  MUST(library != NULL);
  struct copy copy = {dlsym(library, "ncclCommInitRank"), dlsym(library, "ncclAllReduce"), NULL};
  MUST(copy.init_rank(&copy.comm, 2, id_of(id), 0) == ncclSuccess);
  return copy;
}

static void call(struct copy *copy, size_t count) {
  MUST(copy->all_reduce(NULL, NULL, count, ncclBfloat16, ncclSum, copy->comm, NULL) == ncclSuccess);
}

int main(int argc, char **argv) {
  MUST(argc == 3);
  struct copy first = open_copy(argv[1], '1'), second = open_copy(argv[2], '2');
  MUST(first.all_reduce != second.all_reduce);
  for (int i = 0; i < 100; i++) {
    call(&first, 10);
    call(&second, 20);
    call(&second, 20);
  }
  return 0;
}
