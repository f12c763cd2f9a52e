/* Memory pools: every device has one, and what is set on it is forgotten. */
#include <string.h>

#include "runtime.h"

static int pools[SIM_MAX_DEVICES];

EXPORT cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
  if (sim_machine_device(device) < 0) return note(SIM_INVALID_DEVICE);
  *pool = &pools[device];
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *pool, int device) {
  return cudaDeviceGetDefaultMemPool(pool, device);
}

EXPORT cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t pool) {
  (void)pool;
  return note(sim_machine_device(device) < 0 ? SIM_INVALID_DEVICE : SIM_SUCCESS);
}

EXPORT cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const void *properties) {
  (void)properties;
  *pool = &pools[sim_device_current()];
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  (void)pool;
  return cudaSuccess;
}

/* Values are of 8 bytes, but for the first three, which are of 4; from 5 on they tell what is in use. */
enum { FIRST_OF_8_BYTES = 4 };

EXPORT cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, int attribute, void *value) {
  (void)pool;
  memset(value, 0, attribute < FIRST_OF_8_BYTES ? 4 : 8);
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, int attribute, void *value) {
  (void)pool, (void)attribute, (void)value;
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemPoolSetAccess(cudaMemPool_t pool, const void *descriptions, size_t count) {
  (void)pool, (void)descriptions, (void)count;
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes) {
  (void)pool, (void)bytes;
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemAdvise(const void *pointer, size_t bytes, int advice, int device) {
  (void)pointer, (void)bytes, (void)advice, (void)device;
  return cudaSuccess;
}

EXPORT cudaError_t cudaMemPrefetchAsync(const void *pointer, size_t bytes, int device, cudaStream_t stream) {
  (void)pointer, (void)bytes, (void)device, (void)stream;
  return cudaSuccess;
}
