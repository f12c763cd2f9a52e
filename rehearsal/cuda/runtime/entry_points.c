/* The way from the runtime to the driver's functions. */
#include <dlfcn.h>

#include "../core/entry_points.h"
#include "runtime.h"

enum { ENTRY_POINT_SUCCESS = 0, ENTRY_POINT_NOT_FOUND = 1 };

static cudaError_t find(const char *name, void **function, int *result) {
  *function = sim_driver_function(name);
  if (result) *result = *function ? ENTRY_POINT_SUCCESS : ENTRY_POINT_NOT_FOUND;
  return note(*function || result ? SIM_SUCCESS : SIM_NOT_FOUND);
}

EXPORT cudaError_t cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags,
                                           int *result) {
  (void)flags;
  return find(name, function, result);
}

EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                                    unsigned long long flags, int *result) {
  (void)version, (void)flags;
  return find(name, function, result);
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
