/* The way from the runtime to the driver's functions: as NVIDIA's does, it takes cuGetProcAddress by dlsym, and asks
 * that for the rest. */
#include <dlfcn.h>
#include <errno.h>

#include "runtime.h"

enum { ENTRY_POINT_SUCCESS = 0, ENTRY_POINT_NOT_FOUND = 1 };

typedef int get_proc_address(const char *name, void **function, int version, uint64_t flags, int *found);

static cudaError_t find(const char *name, void **function, unsigned version, unsigned long long flags, int *result) {
  int before = errno;
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  get_proc_address *get = driver ? (get_proc_address *)dlsym(driver, "cuGetProcAddress_v2") : NULL;
  dlerror();
  errno = before;
  *function = NULL;
  if (get) get(name, function, (int)version, flags, NULL);
  if (result) *result = *function ? ENTRY_POINT_SUCCESS : ENTRY_POINT_NOT_FOUND;
  return note(*function || result ? SIM_SUCCESS : SIM_NOT_FOUND);
}

enum { LEGACY = 1, PER_THREAD_DEFAULT = 2 };

static unsigned long long per_thread(unsigned long long flags) {
  return flags & (LEGACY | PER_THREAD_DEFAULT) ? flags : flags | PER_THREAD_DEFAULT;
}

EXPORT cudaError_t cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags,
                                           int *result) {
  return find(name, function, CUDART_VERSION, flags, result);
}

EXPORT cudaError_t cudaGetDriverEntryPoint_ptsz(const char *name, void **function, unsigned long long flags,
                                                int *result) {
  return find(name, function, CUDART_VERSION, per_thread(flags), result);
}

EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                                    unsigned long long flags, int *result) {
  return find(name, function, version, flags, result);
}

EXPORT cudaError_t cudaGetDriverEntryPointByVersion_ptsz(const char *name, void **function, unsigned version,
                                                         unsigned long long flags, int *result) {
  return find(name, function, version, per_thread(flags), result);
}

/* Symbols of device code: their addresses are those of their host twins. */
EXPORT cudaError_t cudaGetSymbolAddress(void **pointer, const void *symbol) {
  *pointer = (void *)symbol;
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetSymbolSize(size_t *bytes, const void *symbol) {
  (void)symbol;
  *bytes = 8;
  return cudaSuccess;
}
