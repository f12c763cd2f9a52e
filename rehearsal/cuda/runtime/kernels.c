/* Kernels: what nvcc's start-up code registers, and launches. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_names.h"
#include "runtime.h"

/* Registered functions and their names, by address; open addressing, a power of two. The names belong to the
 * libraries that register them. */
static struct { const void *function; const char *name; } *names;
static size_t room, used;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static size_t place(const void *function, size_t among) {
  return ((uintptr_t)function >> 4) * 0x9e3779b97f4a7c15u & (among - 1);
}

static void grow(void) {
  size_t wider = room ? room * 2 : 4096;
  void *memory = calloc(wider, sizeof *names);
  if (memory == NULL) abort();
  typeof(names) moved = memory;
  for (size_t i = 0; i < room; i++) {
    if (names[i].function == NULL) continue;
    size_t at = place(names[i].function, wider);
    while (moved[at].function) at = (at + 1) & (wider - 1);
    moved[at] = names[i];
  }
  free(names);
  names = moved;
  room = wider;
}

const char *kernel_name(const void *function) {
  const char *name = NULL;
  pthread_mutex_lock(&mutex);
  for (size_t at = room ? place(function, room) : 0; room && names[at].function; at = (at + 1) & (room - 1)) {
    if (names[at].function == function) {
      name = names[at].name;
      break;
    }
  }
  pthread_mutex_unlock(&mutex);
  return name;
}

EXPORT void **__cudaRegisterFatBinary(void *binary) {
  (void)binary;
  static void *handle;
  return &handle;
}

EXPORT void __cudaRegisterFatBinaryEnd(void **binary) { (void)binary; }

EXPORT void __cudaUnregisterFatBinary(void **binary) { (void)binary; }

EXPORT char __cudaInitModule(void **binary) {
  (void)binary;
  return 1;
}

EXPORT void __cudaRegisterFunction(void **binary, const char *host_function, char *device_function,
                                   const char *name, int thread_limit, void *thread, void *block, void *block_dim,
                                   void *grid_dim, int *warp_size) {
  (void)binary, (void)device_function, (void)thread_limit, (void)thread, (void)block, (void)block_dim;
  (void)grid_dim, (void)warp_size;
  pthread_mutex_lock(&mutex);
  if (used * 2 >= room) grow();
  size_t at = place(host_function, room);
  while (names[at].function && names[at].function != host_function) at = (at + 1) & (room - 1);
  if (names[at].function == NULL) used++;
  names[at].function = host_function;
  names[at].name = name;
  pthread_mutex_unlock(&mutex);
}

EXPORT void __cudaRegisterVar(void **binary, char *host, char *device, const char *name, int external, size_t bytes,
                              int constant, int global) {
  (void)binary, (void)host, (void)device, (void)name, (void)external, (void)bytes, (void)constant, (void)global;
}

EXPORT void __cudaRegisterManagedVar(void **binary, void **host, char *device, const char *name, int external,
                                     size_t bytes, int constant, int global) {
  (void)binary, (void)host, (void)device, (void)name, (void)external, (void)bytes, (void)constant, (void)global;
}

/* The configuration that <<<...>>> leaves for the stub it calls next. One level: stubs do not nest. */
static __thread struct {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  int pushed;
} configuration;

EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  configuration = (typeof(configuration)){grid, block, shared_bytes, stream, 1};
  return 0;
}

EXPORT cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, void *stream) {
  if (!configuration.pushed) return note(SIM_MISSING_CONFIGURATION);
  configuration.pushed = 0;
  *grid = configuration.grid;
  *block = configuration.block;
  *shared_bytes = configuration.shared_bytes;
  *(cudaStream_t *)stream = configuration.stream;
  return cudaSuccess;
}

static cudaError_t launch(const void *function, dim3 grid, dim3 block, void **arguments, cudaStream_t stream) {
  struct sim_kernel kernel = {kernel_name(function), function, arguments, {grid.x, grid.y, grid.z},
                              {block.x, block.y, block.z}};
  return note(sim_do_kernel(stream, &kernel));
}

EXPORT cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                    size_t shared_bytes, cudaStream_t stream) {
  (void)shared_bytes;
  return launch(function, grid, block, arguments, stream);
}

EXPORT cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                                               size_t shared_bytes, cudaStream_t stream) {
  (void)shared_bytes;
  return launch(function, grid, block, arguments, stream);
}

/* Since CUDA 13 programs ask for a kernel of their function first; here it is the function itself. */
EXPORT cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
  *kernel = (cudaKernel_t)function;
  return cudaSuccess;
}

EXPORT cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments,
                                      size_t shared_bytes, cudaStream_t stream) {
  (void)shared_bytes;
  return launch(kernel, grid, block, arguments, stream);
}

struct launch_configuration { /* cudaLaunchConfig_t */
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  void *attributes;
  unsigned attribute_count;
};

EXPORT cudaError_t cudaLaunchKernelExC(const struct launch_configuration *with, const void *function,
                                       void **arguments) {
  return launch(function, with->grid, with->block, arguments, with->stream);
}

EXPORT cudaError_t cudaGetFuncBySymbol(cudaFunction_t *found, const void *function) {
  *found = (cudaFunction_t)function;
  return cudaSuccess;
}

struct function_attributes { /* cudaFuncAttributes, as far as it is written */
  size_t shared_bytes, constant_bytes, local_bytes;
  int threads_per_block, registers, ptx_version, binary_version, cache_mode, dynamic_shared_bytes, carveout;
};
enum { FUNCTION_ATTRIBUTES_BYTES = 144 };

EXPORT cudaError_t cudaFuncGetAttributes(void *attributes, const void *function) {
  (void)function;
  const struct sim_gpu *gpu = sim_gpu();
  int version = gpu->major * 10 + gpu->minor;
  memset(attributes, 0, FUNCTION_ATTRIBUTES_BYTES);
  *(struct function_attributes *)attributes = (struct function_attributes){
      .threads_per_block = 1024, .registers = 32, .ptx_version = version, .binary_version = version,
      .dynamic_shared_bytes = gpu->shared_per_block_kib * 1024, .carveout = -1};
  return cudaSuccess;
}

EXPORT cudaError_t cudaFuncSetAttribute(const void *function, int attribute, int value) {
  (void)function, (void)attribute, (void)value;
  return cudaSuccess;
}

EXPORT cudaError_t cudaFuncSetCacheConfig(const void *function, int config) {
  (void)function, (void)config;
  return cudaSuccess;
}

/* Occupancy: plausible and the same for all kernels. */
enum { BLOCKS_PER_MULTIPROCESSOR = 2, ACTIVE_CLUSTERS = 16, CLUSTER_SIZE = 8 };

EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block_size,
                                                                 size_t shared_bytes) {
  (void)function, (void)block_size, (void)shared_bytes;
  *blocks = BLOCKS_PER_MULTIPROCESSOR;
  return cudaSuccess;
}

EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function,
                                                                          int block_size, size_t shared_bytes,
                                                                          unsigned flags) {
  (void)flags;
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, block_size, shared_bytes);
}

EXPORT cudaError_t cudaOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, const void *function, int blocks,
                                                             int block_size) {
  (void)function, (void)blocks, (void)block_size;
  *bytes = 48 * 1024;
  return cudaSuccess;
}

EXPORT cudaError_t cudaOccupancyMaxActiveClusters(int *clusters, const void *function, const void *with) {
  (void)function, (void)with;
  *clusters = ACTIVE_CLUSTERS;
  return cudaSuccess;
}

EXPORT cudaError_t cudaOccupancyMaxPotentialClusterSize(int *size, const void *function, const void *with) {
  (void)function, (void)with;
  *size = CLUSTER_SIZE;
  return cudaSuccess;
}
