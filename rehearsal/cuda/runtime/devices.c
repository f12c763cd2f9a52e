/* Devices. */
#include <stdio.h>
#include <string.h>

#include "runtime.h"

EXPORT cudaError_t cudaDriverGetVersion(int *version) {
  *version = sim_cuda_version(CUDART_VERSION);
  return cudaSuccess;
}

EXPORT cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = sim_cuda_version(CUDART_VERSION);
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetDeviceCount(int *count) {
  *count = sim_device_count();
  return note(*count ? SIM_SUCCESS : SIM_NO_DEVICE);
}

EXPORT cudaError_t cudaGetDevice(int *device) {
  *device = sim_device_current();
  return cudaSuccess;
}

EXPORT cudaError_t cudaSetDevice(int device) { return note(sim_device_select(device)); }

static int check_device(int device) {
  return sim_machine_device(device) < 0 ? SIM_INVALID_DEVICE : SIM_SUCCESS;
}

EXPORT cudaError_t cudaInitDevice(int device, unsigned flags, unsigned device_flags) {
  (void)flags, (void)device_flags;
  return note(check_device(device));
}

EXPORT cudaError_t cudaSetDeviceFlags(unsigned flags) {
  (void)flags;
  return cudaSuccess;
}

EXPORT cudaError_t cudaGetDeviceFlags(unsigned *flags) {
  *flags = 0;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceSynchronize(void) { return note(sim_device_finish()); }

EXPORT cudaError_t cudaDeviceReset(void) { return cudaSuccess; }

EXPORT cudaError_t cudaDeviceGetAttribute(int *value, int attribute, int device) {
  return note(sim_device_attribute(attribute, device, value));
}

EXPORT cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
  int error = check_device(device);
  if (error == SIM_SUCCESS) {
    snprintf(id, (size_t)length, "0000:%02X:00.0", sim_device_pci_bus(sim_machine_device(device)));
  }
  return note(error);
}

EXPORT cudaError_t cudaDeviceGetByPCIBusId(int *device, const char *id) {
  unsigned domain, bus;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2) return note(SIM_INVALID_VALUE);
  for (int i = 0; i < sim_device_count(); i++) {
    if (sim_device_pci_bus(sim_machine_device(i)) == (int)bus) {
      *device = i;
      return cudaSuccess;
    }
  }
  return note(SIM_INVALID_DEVICE);
}

enum { GREATEST_PRIORITY = -5 };

EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = GREATEST_PRIORITY;
  return cudaSuccess;
}

/* Every device reaches every other, as on a machine with NVLink. */
EXPORT cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
  int error = check_device(device) | check_device(peer);
  *can = error == SIM_SUCCESS && device != peer;
  return note(error);
}

static _Atomic uint64_t peers_enabled[SIM_MAX_DEVICES];

EXPORT cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  (void)flags;
  if (check_device(peer) != SIM_SUCCESS || peer == sim_device_current()) return note(SIM_INVALID_DEVICE);
  _Atomic uint64_t *enabled = &peers_enabled[sim_device_current()];
  if (*enabled >> peer & 1) return note(SIM_PEER_ENABLED);
  *enabled |= 1ull << peer;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  if (check_device(peer) != SIM_SUCCESS) return note(SIM_INVALID_DEVICE);
  _Atomic uint64_t *enabled = &peers_enabled[sim_device_current()];
  if (!(*enabled >> peer & 1)) return note(SIM_PEER_NOT_ENABLED);
  *enabled &= ~(1ull << peer);
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetP2PAttribute(int *value, int attribute, int device, int peer) {
  (void)attribute;
  *value = 1;
  return note(check_device(device) | check_device(peer));
}

EXPORT cudaError_t cudaDeviceGetLimit(size_t *value, int limit) {
  (void)limit;
  *value = 1 << 20;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceSetLimit(int limit, size_t value) {
  (void)limit, (void)value;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetCacheConfig(int *config) {
  *config = 0;
  return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceSetCacheConfig(int config) {
  (void)config;
  return cudaSuccess;
}

EXPORT cudaError_t cudaCtxResetPersistingL2Cache(void) { return cudaSuccess; }

EXPORT cudaError_t cudaProfilerStart(void) { return cudaSuccess; }

EXPORT cudaError_t cudaProfilerStop(void) { return cudaSuccess; }
