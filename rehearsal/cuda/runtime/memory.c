/* Memory, copies, fills, and CUDA IPC. */
#include <string.h>

#include "runtime.h"

static cudaError_t allocate(void **pointer, size_t bytes, enum sim_memory memory) {
  if (pointer == NULL) return note(SIM_INVALID_VALUE);
  *pointer = NULL;
  if (bytes == 0) return cudaSuccess;
  *pointer = sim_allocate(bytes, memory);
  return note(*pointer ? SIM_SUCCESS : SIM_OUT_OF_MEMORY);
}

EXPORT cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  size_t used = sim_device_memory_used(sim_device_current());
  *total = sim_device_memory();
  *free = used < *total ? *total - used : 0;
  return cudaSuccess;
}

EXPORT cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  int error = sim_capture_permits_unsafe();
  return error == SIM_SUCCESS ? allocate(pointer, bytes, SIM_DEVICE) : note(error);
}

EXPORT cudaError_t cudaMallocAsync(void **pointer, size_t bytes, cudaStream_t stream) {
  (void)stream;
  return allocate(pointer, bytes, SIM_DEVICE);
}

EXPORT cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  (void)pool, (void)stream;
  return allocate(pointer, bytes, SIM_DEVICE);
}

EXPORT cudaError_t cudaMallocManaged(void **pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return allocate(pointer, bytes, SIM_MANAGED);
}

enum { PITCH = 512 };

EXPORT cudaError_t cudaMallocPitch(void **pointer, size_t *pitch, size_t width, size_t height) {
  *pitch = (width + PITCH - 1) / PITCH * PITCH;
  return allocate(pointer, *pitch * height, SIM_DEVICE);
}

EXPORT cudaError_t cudaMallocHost(void **pointer, size_t bytes) { return allocate(pointer, bytes, SIM_HOST); }

EXPORT cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return allocate(pointer, bytes, SIM_HOST);
}

EXPORT cudaError_t cudaFree(void *pointer) { return note(sim_free(pointer)); }

EXPORT cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream) {
  (void)stream;
  return note(sim_free(pointer));
}

EXPORT cudaError_t cudaFreeHost(void *pointer) { return note(sim_free(pointer)); }

EXPORT cudaError_t cudaHostRegister(void *pointer, size_t bytes, unsigned flags) {
  (void)flags;
  return note(sim_register(pointer, bytes));
}

EXPORT cudaError_t cudaHostUnregister(void *pointer) { return note(sim_unregister(pointer)); }

EXPORT cudaError_t cudaHostGetDevicePointer(void **device_pointer, void *pointer, unsigned flags) {
  (void)flags;
  *device_pointer = pointer;
  return cudaSuccess;
}

EXPORT cudaError_t cudaHostGetFlags(unsigned *flags, void *pointer) {
  (void)pointer;
  *flags = 0;
  return cudaSuccess;
}

enum { UNREGISTERED, OF_HOST, OF_DEVICE, MANAGED };

EXPORT cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer) {
  struct sim_allocation found;
  memset(attributes, 0, sizeof *attributes);
  attributes->hostPointer = (void *)pointer;
  if (!sim_find_allocation(pointer, &found)) {
    attributes->type = UNREGISTERED;
    attributes->device = -2;
    return cudaSuccess;
  }
  attributes->device = found.device;
  attributes->devicePointer = (void *)pointer;
  switch (found.memory) {
    case SIM_HOST: case SIM_REGISTERED: attributes->type = OF_HOST; break;
    case SIM_MANAGED: attributes->type = MANAGED; break;
    default:
      attributes->type = OF_DEVICE;
      attributes->hostPointer = NULL;
  }
  return cudaSuccess;
}

static struct sim_copy line(void *to, const void *from, size_t bytes, int kind) {
  return (struct sim_copy){.to = to, .from = from, .width = bytes, .height = 1, .kind = kind};
}

EXPORT cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t stream) {
  struct sim_copy copy = line(to, from, bytes, (int)kind);
  return note(sim_do_copy(stream, &copy));
}

EXPORT cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
  struct sim_copy copy = line(to, from, bytes, (int)kind);
  int error = sim_capture_permits_unsafe();
  if (error == SIM_SUCCESS) sim_copy_now(&copy);
  return note(error);
}

/* ---- Copies that name both devices. */

static struct sim_peer_copy between(void *to, int to_device, const void *from, int from_device, size_t bytes) {
  return (struct sim_peer_copy){line(to, from, bytes, cudaMemcpyDeviceToDevice), from_device, to_device};
}

EXPORT cudaError_t cudaMemcpyPeer(void *to, int to_device, const void *from, int from_device, size_t bytes) {
  struct sim_peer_copy copy = between(to, to_device, from, from_device, bytes);
  return note(sim_peer_copy_now(&copy));
}

EXPORT cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                                       cudaStream_t stream) {
  struct sim_peer_copy copy = between(to, to_device, from, from_device, bytes);
  return note(sim_do_peer_copy(stream, &copy));
}

static char *corner(const struct cudaPitchedPtr *of, const struct cudaPos *at) {
  return (char *)of->ptr + (at->z * of->ysize + at->y) * of->pitch + at->x;
}

/* Of a box only whole rows, one after the other: slices that lie apart, and arrays, are not simulated. */
static int box(const struct cudaMemcpy3DPeerParms *of, struct sim_peer_copy *copy) {
  struct cudaExtent extent = of->extent;
  int apart = extent.depth > 1 && (of->srcPtr.ysize != extent.height || of->dstPtr.ysize != extent.height);
  if (apart || of->srcArray || of->dstArray) return SIM_NOT_SUPPORTED;
  struct sim_copy bytes = {corner(&of->dstPtr, &of->dstPos), corner(&of->srcPtr, &of->srcPos), of->dstPtr.pitch,
                           of->srcPtr.pitch, extent.width, extent.height * extent.depth, cudaMemcpyDeviceToDevice};
  *copy = (struct sim_peer_copy){bytes, of->srcDevice, of->dstDevice};
  return SIM_SUCCESS;
}

EXPORT cudaError_t cudaMemcpy3DPeer(const struct cudaMemcpy3DPeerParms *of) {
  struct sim_peer_copy copy;
  int error = box(of, &copy);
  return note(error == SIM_SUCCESS ? sim_peer_copy_now(&copy) : error);
}

EXPORT cudaError_t cudaMemcpy3DPeer_ptds(const struct cudaMemcpy3DPeerParms *of) { return cudaMemcpy3DPeer(of); }

EXPORT cudaError_t cudaMemcpy3DPeerAsync(const struct cudaMemcpy3DPeerParms *of, cudaStream_t stream) {
  struct sim_peer_copy copy;
  int error = box(of, &copy);
  return note(error == SIM_SUCCESS ? sim_do_peer_copy(stream, &copy) : error);
}

EXPORT cudaError_t cudaMemcpy3DPeerAsync_ptsz(const struct cudaMemcpy3DPeerParms *of, cudaStream_t stream) {
  return cudaMemcpy3DPeerAsync(of, PER_THREAD(stream));
}

EXPORT cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                                     size_t height, enum cudaMemcpyKind kind, cudaStream_t stream) {
  struct sim_copy copy = {to, from, to_pitch, from_pitch, width, height, (int)kind};
  return note(sim_do_copy(stream, &copy));
}

EXPORT cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                                size_t height, enum cudaMemcpyKind kind) {
  struct sim_copy copy = {to, from, to_pitch, from_pitch, width, height, (int)kind};
  int error = sim_capture_permits_unsafe();
  if (error == SIM_SUCCESS) sim_copy_now(&copy);
  return note(error);
}

EXPORT cudaError_t cudaMemset2DAsync(void *pointer, size_t pitch, int value, size_t width, size_t height,
                                     cudaStream_t stream) {
  struct sim_fill fill = {pointer, (uint8_t)value, 1, pitch, width, height};
  return note(sim_do_fill(stream, &fill));
}

EXPORT cudaError_t cudaMemset2D(void *pointer, size_t pitch, int value, size_t width, size_t height) {
  return cudaMemset2DAsync(pointer, pitch, value, width, height, SIM_STREAM_LEGACY);
}

EXPORT cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream) {
  return cudaMemset2DAsync(pointer, bytes, value, bytes, 1, stream);
}

EXPORT cudaError_t cudaMemset(void *pointer, int value, size_t bytes) {
  return cudaMemset2DAsync(pointer, bytes, value, bytes, 1, SIM_STREAM_LEGACY);
}

/* ---- IPC. An event of another process has always happened. */

EXPORT cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *pointer) {
  _Static_assert(sizeof(struct sim_ipc_handle) <= sizeof *handle, "the handle has room");
  memset(handle, 0, sizeof *handle);
  return note(sim_ipc_export(pointer, (struct sim_ipc_handle *)handle));
}

EXPORT cudaError_t cudaIpcOpenMemHandle(void **pointer, cudaIpcMemHandle_t handle, unsigned flags) {
  (void)flags;
  struct sim_ipc_handle copy;
  memcpy(&copy, &handle, sizeof copy);
  return note(sim_ipc_open(&copy, pointer));
}

EXPORT cudaError_t cudaIpcCloseMemHandle(void *pointer) { return note(sim_free(pointer)); }

EXPORT cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *handle, cudaEvent_t event) {
  (void)event;
  memset(handle, 0, sizeof *handle);
  return cudaSuccess;
}

EXPORT cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *event, cudaIpcEventHandle_t handle) {
  (void)handle;
  return note(sim_event_create(0, event));
}
