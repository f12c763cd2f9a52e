/* What the host programs have of CUDA's driver: the prototypes of cuda.h, and several doors to the functions. */
#ifndef DRIVER_H_
#define DRIVER_H_

#include <dlfcn.h>
#include <stdint.h>

#include "cuda.h"

/* Name, name without version, version as cudaTypedefs.h gives it, arguments. */
#define DRIVER_FUNCTIONS(F)                                                                        \
  F(cuStreamBeginCapture_v2, "cuStreamBeginCapture", 10010, (void *, int))                         \
  F(cuStreamBeginCaptureToGraph, "cuStreamBeginCaptureToGraph", 12030,                             \
    (void *, void *, const void *, const void *, size_t, int))                                     \
  F(cuStreamEndCapture, "cuStreamEndCapture", 10000, (void *, void **))                            \
  F(cuGraphClone, "cuGraphClone", 10000, (void **, void *))                                        \
  F(cuGraphDestroy, "cuGraphDestroy", 10000, (void *))                                             \
  F(cuGraphDestroyNode, "cuGraphDestroyNode", 10000, (void *))                                     \
  F(cuGraphAddChildGraphNode, "cuGraphAddChildGraphNode", 10000,                                   \
    (void **, void *, const void *, size_t, void *))                                               \
  F(cuGraphAddNode, "cuGraphAddNode", 12020, (void **, void *, const void *, size_t, void *))      \
  F(cuGraphAddNode_v2, "cuGraphAddNode", 12030,                                                    \
    (void **, void *, const void *, const void *, size_t, void *))                                 \
  F(cuGraphInstantiate_v2, "cuGraphInstantiate", 11000, (void **, void *, void **, char *, size_t)) \
  F(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", 11040,                             \
    (void **, void *, unsigned long long))                                                         \
  F(cuGraphInstantiateWithParams, "cuGraphInstantiateWithParams", 12000, (void **, void *, void *)) \
  F(cuGraphExecUpdate, "cuGraphExecUpdate", 10020, (void *, void *, void **, int *))               \
  F(cuGraphExecUpdate_v2, "cuGraphExecUpdate", 12000, (void *, void *, void *))                    \
  F(cuGraphExecChildGraphNodeSetParams, "cuGraphExecChildGraphNodeSetParams", 11010,               \
    (void *, void *, void *))                                                                      \
  F(cuGraphExecDestroy, "cuGraphExecDestroy", 10000, (void *))                                     \
  F(cuGraphLaunch, "cuGraphLaunch", 10000, (void *, void *))

#define DECLARE(name, base, since, arguments) int name arguments;
DRIVER_FUNCTIONS(DECLARE)

#define MEMBER(name, base, since, arguments) int(*name) arguments;
struct driver {
  DRIVER_FUNCTIONS(MEMBER)
};

typedef int get_proc_address(const char *name, void **function, int version, uint64_t flags);
typedef int get_proc_address_v2(const char *name, void **function, int version, uint64_t flags, int *found);

static inline void *driver_library(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  MUST(library);
  return library;
}

/* Takes all functions by dlsym, as ctypes does. */
static inline struct driver driver_by_dlsym(void) {
  struct driver driver;
  void *library = driver_library();
#define BY_DLSYM(name, base, since, arguments) \
  MUST((driver.name = (int(*) arguments)dlsym(library, #name)));
  DRIVER_FUNCTIONS(BY_DLSYM)
  return driver;
}

/* Asks the driver for all functions by name, as a runtime does that is linked statically, and cuda-python. */
static inline struct driver driver_by_name(void) {
  struct driver driver;
  void *get = NULL;
  get_proc_address_v2 *first = (get_proc_address_v2 *)dlsym(driver_library(), "cuGetProcAddress_v2");
  int found;
  MUST(first && first("cuGetProcAddress", &get, 12000, 0, &found) == 0 && get);
#define BY_NAME(name, base, since, arguments) \
  MUST(((get_proc_address_v2 *)get)(base, (void **)&driver.name, since, 0, &found) == 0 && found == 0);
  DRIVER_FUNCTIONS(BY_NAME)
  return driver;
}

/* The same as in CUDA 11.3. */
static inline struct driver driver_by_old_name(void) {
  struct driver driver;
  get_proc_address *get = (get_proc_address *)dlsym(driver_library(), "cuGetProcAddress");
  MUST(get);
#define BY_OLD_NAME(name, base, since, arguments) MUST(get(base, (void **)&driver.name, since, 1) == 0);
  DRIVER_FUNCTIONS(BY_OLD_NAME)
  return driver;
}

#endif
