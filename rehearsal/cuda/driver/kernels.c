/* Modules, functions and launches. A kernel is its name. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "steering.h"

/* Every function that was asked for, once per name: the handles of functions and kernels are these names. They are
 * kept for the life of the process; there are as many as an engine has kernels. */
static char **names;
static size_t count, room;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *function_named(const char *name) {
  pthread_mutex_lock(&mutex);
  char *found = NULL;
  for (size_t i = 0; i < count && found == NULL; i++) {
    if (strcmp(names[i], name) == 0) found = names[i];
  }
  if (found == NULL) {
    if (count == room) {
      room = room ? room * 2 : 64;
      names = realloc(names, room * sizeof *names);
      if (names == NULL) abort();
    }
    found = names[count++] = strdup(name);
  }
  pthread_mutex_unlock(&mutex);
  return found;
}

static char module; /* all modules are this one */

EXPORT CUresult cuModuleLoad(void **loaded, const char *path) {
  (void)path;
  *loaded = &module;
  return SIM_SUCCESS;
}

EXPORT CUresult cuModuleLoadData(void **loaded, const void *image) {
  (void)image;
  *loaded = &module;
  return SIM_SUCCESS;
}

EXPORT CUresult cuModuleLoadDataEx(void **loaded, const void *image, unsigned count_of_options, int *options,
                                   void **values) {
  (void)count_of_options, (void)options, (void)values;
  return cuModuleLoadData(loaded, image);
}

EXPORT CUresult cuModuleLoadFatBinary(void **loaded, const void *image) { return cuModuleLoadData(loaded, image); }

EXPORT CUresult cuModuleUnload(void *loaded) {
  (void)loaded;
  return SIM_SUCCESS;
}

EXPORT CUresult cuModuleGetLoadingMode(int *mode) {
  *mode = 2; /* lazy */
  return SIM_SUCCESS;
}

EXPORT CUresult cuModuleGetFunction(void **function, void *of, const char *name) {
  (void)of;
  *function = function_named(name);
  return SIM_SUCCESS;
}

/* A variable of a module: a place of its own size for all. */
enum { GLOBAL_BYTES = 1 << 20 };

EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *bytes, void *of, const char *name) {
  (void)of, (void)name;
  static _Atomic CUdeviceptr place;
  if (place == 0) place = (CUdeviceptr)sim_allocate(GLOBAL_BYTES, SIM_MANAGED);
  if (pointer) *pointer = place;
  if (bytes) *bytes = 8;
  return place ? SIM_SUCCESS : SIM_OUT_OF_MEMORY;
}

EXPORT CUresult cuLibraryLoadData(void **library, const void *code, int *jit_options, void **jit_values,
                                  unsigned jit_count, int *options, void **values, unsigned option_count) {
  (void)jit_options, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)option_count;
  return cuModuleLoadData(library, code);
}

EXPORT CUresult cuLibraryLoadFromFile(void **library, const char *path, int *jit_options, void **jit_values,
                                      unsigned jit_count, int *options, void **values, unsigned option_count) {
  (void)jit_options, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)option_count;
  return cuModuleLoad(library, path);
}

EXPORT CUresult cuLibraryUnload(void *library) { return cuModuleUnload(library); }

EXPORT CUresult cuLibraryGetKernel(void **kernel, void *library, const char *name) {
  return cuModuleGetFunction(kernel, library, name);
}

EXPORT CUresult cuLibraryGetModule(void **of, void *library) {
  *of = library;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr *pointer, size_t *bytes, void *library, const char *name) {
  return cuModuleGetGlobal_v2(pointer, bytes, library, name);
}

EXPORT CUresult cuKernelGetFunction(void **function, void *kernel) {
  *function = kernel;
  return SIM_SUCCESS;
}

EXPORT CUresult cuKernelGetName(const char **name, void *kernel) {
  *name = kernel;
  return SIM_SUCCESS;
}

EXPORT CUresult cuFuncGetName(const char **name, void *function) {
  *name = function;
  return SIM_SUCCESS;
}

EXPORT CUresult cuFuncGetModule(void **of, void *function) {
  (void)function;
  *of = &module;
  return SIM_SUCCESS;
}

/* CUfunction_attribute. */
enum { THREADS_PER_BLOCK = 0, REGISTERS = 4, PTX_VERSION = 5, BINARY_VERSION = 6, MAX_DYNAMIC_SHARED = 8 };

EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, void *function) {
  (void)function;
  switch (attribute) {
    case THREADS_PER_BLOCK: *value = 1024; break;
    case REGISTERS: *value = 32; break;
    case PTX_VERSION: case BINARY_VERSION: *value = sim_gpu()->major * 10 + sim_gpu()->minor; break;
    case MAX_DYNAMIC_SHARED: *value = sim_gpu()->shared_per_block_kib * 1024; break;
    default: *value = 0;
  }
  return SIM_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(void *function, int attribute, int value) {
  (void)function, (void)attribute, (void)value;
  return SIM_SUCCESS;
}

EXPORT CUresult cuFuncSetCacheConfig(void *function, int config) {
  (void)function, (void)config;
  return SIM_SUCCESS;
}

EXPORT CUresult cuFuncLoad(void *function) {
  (void)function;
  return SIM_SUCCESS;
}

EXPORT CUresult cuKernelGetAttribute(int *value, int attribute, void *kernel, CUdevice device) {
  (void)device;
  return cuFuncGetAttribute(value, attribute, kernel);
}

EXPORT CUresult cuKernelSetAttribute(int attribute, int value, void *kernel, CUdevice device) {
  (void)attribute, (void)value, (void)kernel, (void)device;
  return SIM_SUCCESS;
}

enum { BLOCKS_PER_MULTIPROCESSOR = 2, ACTIVE_CLUSTERS = 16, CLUSTER_SIZE = 8, POTENTIAL_BLOCK = 1024 };

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int block, size_t shared) {
  (void)function, (void)block, (void)shared;
  *blocks = BLOCKS_PER_MULTIPROCESSOR;
  return SIM_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *function, int block,
                                                                     size_t shared, unsigned flags) {
  (void)flags;
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, block, shared);
}

EXPORT CUresult cuOccupancyMaxActiveClusters(int *clusters, void *function, const void *with) {
  (void)function, (void)with;
  *clusters = ACTIVE_CLUSTERS;
  return SIM_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxPotentialClusterSize(int *size, void *function, const void *with) {
  (void)function, (void)with;
  *size = CLUSTER_SIZE;
  return SIM_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, void *function, size_t (*shared)(int),
                                                 size_t bytes, int limit) {
  (void)function, (void)shared, (void)bytes, (void)limit;
  *grid = sim_gpu()->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
  *block = POTENTIAL_BLOCK;
  return SIM_SUCCESS;
}

/* ---- Launches. */

static CUresult launch(void *function, unsigned grid_x, void **arguments, CUstream stream) {
  struct sim_kernel kernel = {.name = function, .identity = function, .arguments = arguments, .grid = {grid_x, 1, 1}};
  steer(&kernel);
  return sim_do_kernel(stream, &kernel);
}

EXPORT CUresult cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                               unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **arguments,
                               void **extra) {
  (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z, (void)shared, (void)extra;
  return launch(function, grid_x, arguments, stream);
}

EXPORT CUresult cuLaunchKernel_ptsz(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                    unsigned block_y, unsigned block_z, unsigned shared, CUstream stream,
                                    void **arguments, void **extra) {
  (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z, (void)shared, (void)extra;
  return launch(function, grid_x, arguments, PER_THREAD(stream));
}

EXPORT CUresult cuLaunchCooperativeKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                          unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                          CUstream stream, void **arguments) {
  (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z, (void)shared;
  return launch(function, grid_x, arguments, stream);
}

struct launch_configuration { /* CUlaunchConfig */
  unsigned grid[3], block[3], shared_bytes;
  CUstream stream;
  void *attributes;
  unsigned attribute_count;
};

EXPORT CUresult cuLaunchKernelEx(const struct launch_configuration *with, void *function, void **arguments,
                                 void **extra) {
  (void)extra;
  return launch(function, with->grid[0], arguments, with->stream);
}

EXPORT CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void *), void *data) {
  return sim_do_host(stream, function, data);
}

/* Descriptors of tensors for Hopper's copy engine: opaque, of 128 bytes. */
enum { TENSOR_MAP_BYTES = 128 };

EXPORT CUresult cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address, const uint64_t *dimensions,
                                       const uint64_t *strides, const unsigned *box, const unsigned *element_strides,
                                       int interleave, int swizzle, int promotion, int fill) {
  (void)type, (void)rank, (void)address, (void)dimensions, (void)strides, (void)box, (void)element_strides;
  (void)interleave, (void)swizzle, (void)promotion, (void)fill;
  memset(map, 0, TENSOR_MAP_BYTES);
  return SIM_SUCCESS;
}

EXPORT CUresult cuTensorMapReplaceAddress(void *map, void *address) {
  (void)map, (void)address;
  return SIM_SUCCESS;
}

/* ---- Linking of device code: the result is never run. */

EXPORT CUresult cuLinkCreate_v2(unsigned option_count, int *options, void **values, void **state) {
  (void)option_count, (void)options, (void)values;
  *state = &module;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLinkAddData_v2(void *state, int type, void *data, size_t bytes, const char *name,
                                 unsigned option_count, int *options, void **values) {
  (void)state, (void)type, (void)data, (void)bytes, (void)name, (void)option_count, (void)options, (void)values;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLinkComplete(void *state, void **cubin, size_t *bytes) {
  (void)state;
  static char empty[16];
  *cubin = empty;
  *bytes = sizeof empty;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLinkDestroy(void *state) {
  (void)state;
  return SIM_SUCCESS;
}
