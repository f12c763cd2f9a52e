/* Memory, copies, fills, IPC, and facts about pointers. */
#include <string.h>

#include "driver.h"

static CUresult allocate(CUdeviceptr *pointer, size_t bytes, enum sim_memory memory) {
  if (bytes == 0) return SIM_INVALID_VALUE;
  *pointer = (CUdeviceptr)sim_allocate(bytes, memory);
  return *pointer ? SIM_SUCCESS : SIM_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
  CUresult result = sim_capture_permits_unsafe();
  return result == SIM_SUCCESS ? allocate(pointer, bytes, SIM_DEVICE) : result;
}

EXPORT CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream stream) {
  (void)stream;
  return allocate(pointer, bytes, SIM_DEVICE);
}

EXPORT CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return allocate(pointer, bytes, SIM_MANAGED);
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) { return sim_free((void *)pointer); }

EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream) {
  (void)stream;
  return sim_free((void *)pointer);
}

EXPORT CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  size_t used = sim_device_memory_used(sim_device_current());
  *total = sim_device_memory();
  *free = used < *total ? *total - used : 0;
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return allocate((CUdeviceptr *)pointer, bytes, SIM_HOST);
}

EXPORT CUresult cuMemAllocHost_v2(void **pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

EXPORT CUresult cuMemFreeHost(void *pointer) { return sim_free(pointer); }

EXPORT CUresult cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return sim_register(pointer, bytes);
}

EXPORT CUresult cuMemHostUnregister(void *pointer) { return sim_unregister(pointer); }

EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *device_pointer, void *pointer, unsigned flags) {
  (void)flags;
  *device_pointer = (CUdeviceptr)pointer;
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr pointer) {
  struct sim_allocation found;
  if (!sim_find_allocation((void *)pointer, &found)) return SIM_NOT_FOUND;
  if (base) *base = found.base;
  if (bytes) *bytes = found.size;
  return SIM_SUCCESS;
}

/* ---- Copies and fills. Those without stream are done on the default stream. */

static CUresult copy(void *to, const void *from, size_t bytes, int kind, CUstream stream) {
  struct sim_copy line = {.to = to, .from = from, .width = bytes, .height = 1, .kind = kind};
  return sim_do_copy(stream, &line);
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  return copy((void *)to, from, bytes, SIM_HOST_TO_DEVICE, stream);
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(to, (void *)from, bytes, SIM_DEVICE_TO_HOST, stream);
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy((void *)to, (void *)from, bytes, SIM_DEVICE_TO_DEVICE, stream);
}

EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy((void *)to, (void *)from, bytes, SIM_COPY_DEFAULT, stream);
}

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return cuMemcpyHtoDAsync_v2(to, from, bytes, SIM_STREAM_DEFAULT);
}

EXPORT CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return cuMemcpyDtoHAsync_v2(to, from, bytes, SIM_STREAM_DEFAULT);
}

EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return cuMemcpyDtoDAsync_v2(to, from, bytes, SIM_STREAM_DEFAULT);
}

EXPORT CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return cuMemcpyAsync(to, from, bytes, SIM_STREAM_DEFAULT);
}

/* ---- Copies that name both contexts. */

static struct sim_peer_copy between(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                                    size_t bytes) {
  struct sim_copy line = {
      .to = (void *)to, .from = (void *)from, .width = bytes, .height = 1, .kind = SIM_DEVICE_TO_DEVICE};
  return (struct sim_peer_copy){line, device_of(from_context), device_of(to_context)};
}

EXPORT CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                             size_t bytes) {
  struct sim_peer_copy copy = between(to, to_context, from, from_context, bytes);
  return sim_peer_copy_now(&copy);
}

EXPORT CUresult cuMemcpyPeer_ptds(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                                  size_t bytes) {
  return cuMemcpyPeer(to, to_context, from, from_context, bytes);
}

EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                                  size_t bytes, CUstream stream) {
  struct sim_peer_copy copy = between(to, to_context, from, from_context, bytes);
  return sim_do_peer_copy(stream, &copy);
}

EXPORT CUresult cuMemcpyPeerAsync_ptsz(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                                       size_t bytes, CUstream stream) {
  return cuMemcpyPeerAsync(to, to_context, from, from_context, bytes, PER_THREAD(stream));
}

struct box_end { /* one end of a CUDA_MEMCPY3D_PEER */
  size_t x, y, z, level;
  unsigned memory;
  void *host;
  CUdeviceptr device;
  void *array;
  CUcontext context;
  size_t pitch, height;
};
struct box { /* CUDA_MEMCPY3D_PEER */
  struct box_end from, to;
  size_t width, height, depth;
};

/* The same boxes as the runtime's: rows one after the other, of the memory of devices. */
static CUresult of_box(const struct box *box, struct sim_peer_copy *copy) {
  const struct box_end *from = &box->from, *to = &box->to;
  int apart = box->depth > 1 && (from->height != box->height || to->height != box->height);
  if (apart || from->array || to->array || from->host || to->host) return SIM_NOT_SUPPORTED;
  *copy = between(to->device + (to->z * to->height + to->y) * to->pitch + to->x, to->context,
                  from->device + (from->z * from->height + from->y) * from->pitch + from->x, from->context, box->width);
  copy->bytes.to_pitch = to->pitch;
  copy->bytes.from_pitch = from->pitch;
  copy->bytes.height = box->height * box->depth;
  return SIM_SUCCESS;
}

EXPORT CUresult cuMemcpy3DPeer(const struct box *box) {
  struct sim_peer_copy copy;
  CUresult result = of_box(box, &copy);
  return result == SIM_SUCCESS ? sim_peer_copy_now(&copy) : result;
}

EXPORT CUresult cuMemcpy3DPeer_ptds(const struct box *box) { return cuMemcpy3DPeer(box); }

EXPORT CUresult cuMemcpy3DPeerAsync(const struct box *box, CUstream stream) {
  struct sim_peer_copy copy;
  CUresult result = of_box(box, &copy);
  return result == SIM_SUCCESS ? sim_do_peer_copy(stream, &copy) : result;
}

EXPORT CUresult cuMemcpy3DPeerAsync_ptsz(const struct box *box, CUstream stream) {
  return cuMemcpy3DPeerAsync(box, PER_THREAD(stream));
}

static CUresult fill(CUdeviceptr to, unsigned value, int element_bytes, size_t count, CUstream stream) {
  struct sim_fill line = {.to = (void *)to, .value = value, .element_bytes = element_bytes, .width = count, .height = 1};
  return sim_do_fill(stream, &line);
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return fill(to, value, 1, count, stream);
}

EXPORT CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return fill(to, value, 2, count, stream);
}

EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return fill(to, value, 4, count, stream);
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return fill(to, value, 1, count, SIM_STREAM_DEFAULT);
}

EXPORT CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return fill(to, value, 2, count, SIM_STREAM_DEFAULT);
}

EXPORT CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  return fill(to, value, 4, count, SIM_STREAM_DEFAULT);
}

/* ---- IPC. */

struct ipc_handle { /* CUipcMemHandle */
  char reserved[64];
};

EXPORT CUresult cuIpcGetMemHandle(struct ipc_handle *handle, CUdeviceptr pointer) {
  memset(handle, 0, sizeof *handle);
  return sim_ipc_export((void *)pointer, (struct sim_ipc_handle *)handle);
}

EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pointer, struct ipc_handle handle, unsigned flags) {
  (void)flags;
  struct sim_ipc_handle same;
  memcpy(&same, &handle, sizeof same);
  return sim_ipc_open(&same, (void **)pointer);
}

EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) { return sim_free((void *)pointer); }

/* ---- Facts about pointers, by the numbers of CUpointer_attribute. */

enum {
  POINTER_CONTEXT = 1, POINTER_MEMORY_TYPE, POINTER_DEVICE, POINTER_HOST, POINTER_P2P_TOKENS, POINTER_SYNC_MEMOPS,
  POINTER_BUFFER_ID, POINTER_IS_MANAGED, POINTER_DEVICE_ORDINAL, POINTER_IS_LEGACY_IPC, POINTER_RANGE_START,
  POINTER_RANGE_SIZE, POINTER_MAPPED, POINTER_HANDLE_TYPES, POINTER_RDMA, POINTER_ACCESS_FLAGS, POINTER_POOL
};
enum { MEMORY_TYPE_HOST = 1, MEMORY_TYPE_DEVICE = 2 };

static int is_device(const struct sim_allocation *found) {
  return found->memory == SIM_DEVICE || found->memory == SIM_RESERVED || found->memory == SIM_PEER;
}

EXPORT CUresult cuPointerGetAttribute(void *value, int attribute, CUdeviceptr pointer) {
  struct sim_allocation found;
  if (!sim_find_allocation((void *)pointer, &found)) return SIM_INVALID_VALUE;
  switch (attribute) {
    case POINTER_CONTEXT: *(CUcontext *)value = context_of(found.device); break;
    case POINTER_MEMORY_TYPE: *(unsigned *)value = is_device(&found) ? MEMORY_TYPE_DEVICE : MEMORY_TYPE_HOST; break;
    case POINTER_DEVICE: case POINTER_HOST: *(CUdeviceptr *)value = pointer; break;
    case POINTER_DEVICE_ORDINAL: *(int *)value = found.device; break;
    case POINTER_RANGE_START: *(CUdeviceptr *)value = found.base; break;
    case POINTER_RANGE_SIZE: *(size_t *)value = found.size; break;
    case POINTER_BUFFER_ID: *(uint64_t *)value = found.base; break;
    case POINTER_IS_MANAGED: *(char *)value = found.memory == SIM_MANAGED; break;
    case POINTER_MAPPED: *(char *)value = 1; break;
    case POINTER_SYNC_MEMOPS: case POINTER_IS_LEGACY_IPC: case POINTER_RDMA: *(char *)value = 0; break;
    case POINTER_HANDLE_TYPES: case POINTER_ACCESS_FLAGS: *(uint64_t *)value = 0; break;
    case POINTER_POOL: *(void **)value = NULL; break;
    default: return SIM_NOT_SUPPORTED;
  }
  return SIM_SUCCESS;
}

EXPORT CUresult cuPointerGetAttributes(unsigned count, int *attributes, void **values, CUdeviceptr pointer) {
  for (unsigned i = 0; i < count; i++) cuPointerGetAttribute(values[i], attributes[i], pointer);
  return SIM_SUCCESS;
}

EXPORT CUresult cuPointerSetAttribute(const void *value, int attribute, CUdeviceptr pointer) {
  (void)value, (void)attribute, (void)pointer;
  return SIM_SUCCESS;
}
