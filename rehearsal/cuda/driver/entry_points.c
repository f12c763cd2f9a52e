/* The way to all functions by name. */
#include "../core/entry_points.h"

#include <string.h>

#include "driver.h"

enum { ADDRESS_FOUND = 0, ADDRESS_NOT_FOUND = 1 };
enum { PER_THREAD_DEFAULT_STREAM = 2 };
enum { SECOND_FORM_SINCE = 12000 };

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found);

static void *function_of(const char *name, int version, int per_thread);

EXPORT CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
  *function = function_of(name, version, (flags & PER_THREAD_DEFAULT_STREAM) != 0);
  return *function ? SIM_SUCCESS : SIM_NOT_FOUND;
}

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found) {
  CUresult result = cuGetProcAddress(name, function, version, flags);
  if (found) *found = result == SIM_SUCCESS ? ADDRESS_FOUND : ADDRESS_NOT_FOUND;
  return result;
}

/* What belongs to graphs is found without dlsym, as all is in NVIDIA's: the driver asks nobody where its own
 * functions are. */
static void *function_of(const char *name, int version, int per_thread) {
  if (strcmp(name, "cuGetProcAddress") == 0)
    return version < SECOND_FORM_SINCE ? (void *)cuGetProcAddress : (void *)cuGetProcAddress_v2;
  void *function = graph_function(name, version, per_thread);
  return function ? function : sim_driver_function(name);
}
