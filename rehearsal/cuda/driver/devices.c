/* The driver itself, devices and contexts. */
#include <stdio.h>
#include <string.h>

#include "driver.h"

EXPORT CUresult cuInit(unsigned flags) {
  if (flags) return SIM_INVALID_VALUE;
  return sim_device_count() ? SIM_SUCCESS : SIM_NO_DEVICE;
}

EXPORT CUresult cuDriverGetVersion(int *version) {
  *version = sim_cuda_version(DRIVER_VERSION);
  return SIM_SUCCESS;
}

/* Tables of functions that only NVIDIA's own libraries know: there are none. */
EXPORT CUresult cuGetExportTable(const void **table, const void *uuid) {
  (void)uuid;
  *table = NULL;
  return SIM_NOT_SUPPORTED;
}

static const struct {
  int number;
  const char *name, *text;
} errors[] = {
#define ERROR_ROW(number, id, runtime, driver, text) {number, driver, text},
    FOR_EACH_ERROR(ERROR_ROW)};

static int find_error(CUresult error) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    if (errors[i].number == error) return (int)i;
  }
  return -1;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char **text) {
  int found = find_error(error);
  *text = found < 0 ? NULL : errors[found].text;
  return found < 0 ? SIM_INVALID_VALUE : SIM_SUCCESS;
}

EXPORT CUresult cuGetErrorName(CUresult error, const char **name) {
  int found = find_error(error);
  *name = found < 0 ? NULL : errors[found].name;
  return found < 0 ? SIM_INVALID_VALUE : SIM_SUCCESS;
}

static CUresult check(CUdevice device) { return sim_machine_device(device) < 0 ? SIM_INVALID_DEVICE : SIM_SUCCESS; }

EXPORT CUresult cuDeviceGetCount(int *count) {
  *count = sim_device_count();
  return SIM_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return check(ordinal);
}

EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  snprintf(name, (size_t)length, "%s", sim_gpu()->name);
  return check(device);
}

EXPORT CUresult cuDeviceGetUuid(unsigned char uuid[16], CUdevice device) {
  CUresult result = check(device);
  if (result == SIM_SUCCESS) sim_device_uuid(sim_machine_device(device), uuid);
  return result;
}

EXPORT CUresult cuDeviceGetUuid_v2(unsigned char uuid[16], CUdevice device) { return cuDeviceGetUuid(uuid, device); }

EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  *bytes = sim_device_memory();
  return check(device);
}

EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  return sim_device_attribute(attribute, device, value);
}

EXPORT CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
  *major = sim_gpu()->major;
  *minor = sim_gpu()->minor;
  return check(device);
}

EXPORT CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device) {
  CUresult result = check(device);
  if (result == SIM_SUCCESS) {
    snprintf(id, (size_t)length, "0000:%02X:00.0", sim_device_pci_bus(sim_machine_device(device)));
  }
  return result;
}

EXPORT CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  *can = device != peer;
  return check(device) != SIM_SUCCESS ? SIM_INVALID_DEVICE : check(peer);
}

EXPORT CUresult cuDeviceGetP2PAttribute(int *value, int attribute, CUdevice device, CUdevice peer) {
  (void)attribute;
  return cuDeviceCanAccessPeer(value, device, peer);
}

/* ---- Contexts. A handle is the address of the device's place in this array. */
static char contexts[SIM_MAX_DEVICES];

CUcontext context_of(int device) { return &contexts[device]; }

int device_of(CUcontext context) {
  char *place = context;
  return place >= contexts && place < contexts + SIM_MAX_DEVICES ? (int)(place - contexts) : -1;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  CUresult result = check(device);
  if (result == SIM_SUCCESS) *context = context_of(device);
  return result;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return check(device); }

EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) { return check(device); }

EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
  (void)flags;
  return check(device);
}

EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
  *flags = 0;
  *active = 1;
  return check(device);
}

EXPORT CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device) {
  (void)flags;
  CUresult result = sim_device_select(device);
  if (result == SIM_SUCCESS) *context = context_of(device);
  return result;
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext context) { return device_of(context) < 0 ? SIM_INVALID_CONTEXT : SIM_SUCCESS; }

EXPORT CUresult cuCtxGetCurrent(CUcontext *context) {
  *context = context_of(sim_device_current());
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
  if (context == NULL) return SIM_SUCCESS;
  int device = device_of(context);
  return device < 0 ? SIM_INVALID_CONTEXT : sim_device_select(device);
}

/* The contexts that were current before, of this thread. */
enum { DEEPEST = 32 };
static __thread struct {
  int devices[DEEPEST];
  int depth;
} pushed;

EXPORT CUresult cuCtxPushCurrent_v2(CUcontext context) {
  if (pushed.depth == DEEPEST) return SIM_INVALID_CONTEXT;
  int before = sim_device_current();
  CUresult result = cuCtxSetCurrent(context);
  if (result == SIM_SUCCESS) pushed.devices[pushed.depth++] = before;
  return result;
}

EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  if (context) *context = context_of(sim_device_current());
  return pushed.depth ? sim_device_select(pushed.devices[--pushed.depth]) : SIM_SUCCESS;
}

EXPORT CUresult cuCtxGetDevice(CUdevice *device) {
  *device = sim_device_current();
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxGetFlags(unsigned *flags) {
  *flags = 0;
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) {
  (void)context;
  *version = (unsigned)sim_cuda_version(DRIVER_VERSION);
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxGetLimit(size_t *value, int limit) {
  (void)limit;
  *value = 1 << 20;
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxSetLimit(int limit, size_t value) {
  (void)limit, (void)value;
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxSetCacheConfig(int config) {
  (void)config;
  return SIM_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize(void) { return sim_device_finish(); }

EXPORT CUresult cuCtxEnablePeerAccess(CUcontext context, unsigned flags) {
  (void)flags;
  return device_of(context) < 0 ? SIM_INVALID_CONTEXT : SIM_SUCCESS;
}

EXPORT CUresult cuCtxDisablePeerAccess(CUcontext context) {
  return device_of(context) < 0 ? SIM_INVALID_CONTEXT : SIM_SUCCESS;
}

EXPORT CUresult cuProfilerStart(void) { return SIM_SUCCESS; }

EXPORT CUresult cuProfilerStop(void) { return SIM_SUCCESS; }
