/* Virtual memory management: an allocation is a file in memory, which can be given to another process as a descriptor. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

#define ALLOCATION_MAGIC 0x53494d564d4d0001ull
enum { GRANULARITY = 2 << 20 };

/* CUmemGenericAllocationHandle is the address of one. */
struct allocation {
  uint64_t magic;
  int fd;
  size_t bytes;
};

struct location { /* CUmemLocation */
  int type, id;
};

static struct allocation *allocation_of(uint64_t handle) {
  struct allocation *allocation = (struct allocation *)handle;
  return allocation && allocation->magic == ALLOCATION_MAGIC ? allocation : NULL;
}

static CUresult make(uint64_t *handle, int fd, size_t bytes) {
  struct allocation *allocation = fd < 0 ? NULL : malloc(sizeof *allocation);
  if (allocation == NULL) {
    if (fd >= 0) close(fd);
    return SIM_OUT_OF_MEMORY;
  }
  *allocation = (struct allocation){ALLOCATION_MAGIC, fd, bytes};
  *handle = (uint64_t)allocation;
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemGetAllocationGranularity(size_t *granularity, const void *properties, int which) {
  (void)properties, (void)which;
  *granularity = GRANULARITY;
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemCreate(uint64_t *handle, size_t bytes, const void *properties, unsigned long long flags) {
  (void)properties, (void)flags;
  size_t used = sim_device_memory_used(sim_device_current());
  if (used > sim_device_memory() || bytes > sim_device_memory() - used) return SIM_OUT_OF_MEMORY;
  int fd = memfd_create("nccltap-rehearsal", MFD_CLOEXEC);
  if (fd >= 0 && ftruncate(fd, (off_t)bytes)) {
    close(fd);
    fd = -1;
  }
  return make(handle, fd, bytes);
}

EXPORT CUresult cuMemRelease(uint64_t handle) {
  struct allocation *allocation = allocation_of(handle);
  if (allocation == NULL) return SIM_INVALID_VALUE;
  allocation->magic = 0;
  close(allocation->fd);
  free(allocation);
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemExportToShareableHandle(void *shareable, uint64_t handle, int type, unsigned long long flags) {
  (void)type, (void)flags;
  struct allocation *allocation = allocation_of(handle);
  if (allocation == NULL) return SIM_INVALID_VALUE;
  *(int *)shareable = dup(allocation->fd);
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemImportFromShareableHandle(uint64_t *handle, void *shareable, int type) {
  (void)type;
  int fd = dup((int)(intptr_t)shareable);
  return make(handle, fd, fd < 0 ? 0 : (size_t)lseek(fd, 0, SEEK_END));
}

EXPORT CUresult cuMemRetainAllocationHandle(uint64_t *handle, void *address) {
  (void)handle, (void)address;
  return SIM_NOT_SUPPORTED;
}

EXPORT CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr hint,
                                    unsigned long long flags) {
  (void)alignment, (void)hint, (void)flags;
  *address = (CUdeviceptr)sim_allocate(bytes, SIM_RESERVED);
  return *address ? SIM_SUCCESS : SIM_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  (void)bytes;
  return sim_free((void *)address);
}

EXPORT CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, uint64_t handle, unsigned long long flags) {
  (void)flags;
  struct allocation *allocation = allocation_of(handle);
  if (allocation == NULL) return SIM_INVALID_VALUE;
  void *at = mmap((void *)address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, allocation->fd,
                  (off_t)offset);
  return at == MAP_FAILED ? SIM_MAP_FAILED : SIM_SUCCESS;
}

EXPORT CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  void *at = mmap((void *)address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? SIM_MAP_FAILED : SIM_SUCCESS;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const void *descriptions, size_t count) {
  (void)address, (void)bytes, (void)descriptions, (void)count;
  return SIM_SUCCESS;
}

enum { ACCESS_READ_WRITE = 3 };

EXPORT CUresult cuMemGetAccess(unsigned long long *flags, const struct location *location, CUdeviceptr address) {
  (void)location, (void)address;
  *flags = ACCESS_READ_WRITE;
  return SIM_SUCCESS;
}

/* NVLink's switch is not simulated: engines ask and do without. */
EXPORT CUresult cuMulticastCreate(uint64_t *handle, const void *properties) {
  (void)handle, (void)properties;
  return SIM_NOT_SUPPORTED;
}

EXPORT CUresult cuMulticastGetGranularity(size_t *granularity, const void *properties, int which) {
  (void)granularity, (void)properties, (void)which;
  return SIM_NOT_SUPPORTED;
}
