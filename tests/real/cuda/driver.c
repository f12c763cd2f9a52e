/* Stands in for libcuda.so.1 under a real CUDA runtime: says which functions it is asked for, in which version, for
 * which stream 0, and through which object. It can do nothing, so the runtime finds no device. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { DRIVER_VERSION = 13050, NO_DEVICE = 100 };

static int initialise(unsigned flags) { return flags != 0; }
static int nothing(void) { return NO_DEVICE; }

int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) {
  *version = DRIVER_VERSION;
  return 0;
}

int cuGetExportTable(const void **table, const void *id);
int cuGetExportTable(const void **table, const void *id) { return (void)table, (void)id, NO_DEVICE; }

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found);
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found) {
  Dl_info caller = {0};
  dladdr(__builtin_return_address(0), &caller);
  const char *file = caller.dli_fname ? strrchr(caller.dli_fname, '/') : NULL;
  fprintf(stderr, "%s %d %lu through %s\n", name, version, (unsigned long)flags, file ? file + 1 : "?");
  if (found) *found = 0;
  *function = strcmp(name, "cuInit") == 0               ? (void *)initialise
              : strcmp(name, "cuDriverGetVersion") == 0 ? (void *)cuDriverGetVersion
              : strcmp(name, "cuGetProcAddress") == 0   ? (void *)cuGetProcAddress_v2
                                                        : (void *)nothing;
  return 0;
}
