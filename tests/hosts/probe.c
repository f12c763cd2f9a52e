/* Is NCCL there? As programs ask that use it only if it is: linked to nothing, it must not find it. With
<<<<<<< HEAD
 * an argument it opens that library, which is linked to NCCL, locally first; then what it finds must
 * work. */
=======
 * an argument it opens that library locally first, and still must not. */
>>>>>>> collector
#include <dlfcn.h>

#include "host.h"

<<<<<<< HEAD
static void look(const char *where, void *handle) {
  __typeof__(&ncclGetVersion) get_version = dlsym(handle, "ncclGetVersion");
  int version = 0;
  if (get_version) MUST(get_version(&version) == ncclSuccess && version > 0);
  printf("%s: %s\n", where, get_version ? "there" : "absent");
}

int main(int argc, char **argv) {
  if (argc > 1) MUST(dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) != NULL);
  look("default", RTLD_DEFAULT);
  look("next", RTLD_NEXT);
  look("program", dlopen(NULL, RTLD_NOW));
=======
int main(int argc, char **argv) {
  if (argc > 1) MUST(dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) != NULL);
  void *self = dlopen(NULL, RTLD_NOW);
  printf("default: %s\n", dlsym(RTLD_DEFAULT, "ncclAllReduce") ? "there" : "absent");
  printf("next: %s\n", dlsym(RTLD_NEXT, "ncclAllReduce") ? "there" : "absent");
  printf("program: %s\n", dlsym(self, "ncclAllReduce") ? "there" : "absent");
>>>>>>> collector
  return 0;
}
