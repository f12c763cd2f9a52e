/* Is NCCL there? As programs ask that use it only if it is: linked to nothing, it must not find it. With
 * an argument it opens that library, which is linked to NCCL, locally first; then what it finds must
 * work. */
#include <dlfcn.h>

#include "host.h"

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
  return 0;
}
