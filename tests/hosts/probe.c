/* Is NCCL there? As programs ask that use it only if it is: linked to nothing, it must not find it. With
 * an argument it opens that library locally first, and still must not. */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv) {
  if (argc > 1) MUST(dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) != NULL);
  void *self = dlopen(NULL, RTLD_NOW);
  printf("default: %s\n", dlsym(RTLD_DEFAULT, "ncclAllReduce") ? "there" : "absent");
  printf("next: %s\n", dlsym(RTLD_NEXT, "ncclAllReduce") ? "there" : "absent");
  printf("program: %s\n", dlsym(self, "ncclAllReduce") ? "there" : "absent");
  return 0;
}
