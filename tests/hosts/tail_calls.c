/* Calls two copies of NCCL through two libraries that are linked to one each and only jump on. */
#include <dlfcn.h>

#include "host.h"

struct library {
  ncclComm_t comm;
  ncclResult_t (*all_gather)(size_t, ncclComm_t);
};

static struct library open_library(const char *path, char id) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  MUST(handle != NULL);
  ncclComm_t (*init)(char) = (ncclComm_t (*)(char))dlsym(handle, "tail_init");
  return (struct library){init(id), (ncclResult_t (*)(size_t, ncclComm_t))dlsym(handle, "tail_all_gather")};
}

int main(int argc, char **argv) {
  MUST(argc == 3);
  struct library first = open_library(argv[1], '1'), second = open_library(argv[2], '2');
  for (int i = 0; i < 50; i++) {
    MUST(first.all_gather(10, first.comm) == ncclSuccess);
    MUST(second.all_gather(20, second.comm) == ncclSuccess);
  }
  return 0;
}
