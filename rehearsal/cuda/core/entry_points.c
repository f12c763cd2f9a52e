#include "entry_points.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

#include "internal.h"

/* A name without version means the newest of its functions: cuMemAlloc is cuMemAlloc_v2. */
void *sim_driver_function(const char *name) {
  static const char *const versions[] = {"_v4", "_v3", "_v2", ""};
  int before = errno;
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  void *function = NULL;
  for (size_t i = 0; driver && function == NULL && i < sizeof versions / sizeof *versions; i++) {
    char versioned[128];
    int length = snprintf(versioned, sizeof versioned, "%s%s", name, versions[i]);
    if (length > 0 && (size_t)length < sizeof versioned) function = dlsym(driver, versioned);
  }
  dlerror();
  errno = before;
  return function;
}
