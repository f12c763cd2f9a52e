/* NVML: what engines ask about GPUs before and beside CUDA. It sees all devices of the machine, whatever
 * CUDA_VISIBLE_DEVICES says. Functions that are not here say that a device lacks the feature, as NVML does. */
#include <stdio.h>
#include <string.h>

#include "../core/core.h"

#define EXPORT __attribute__((visibility("default")))

typedef int nvmlReturn_t;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

/* nvmlDevice_t is the address of the device's place in this array. */
static char devices[SIM_MAX_DEVICES];

static int index_of(const void *device) {
  const char *place = device;
  if (place < devices || place >= devices + sim_machine_devices()) return -1;
  return (int)(place - devices);
}

#define CHECK(device) \
  if (index_of(device) < 0) return INVALID_ARGUMENT

static nvmlReturn_t put(char *text, unsigned length, const char *value) {
  snprintf(text, length, "%s", value);
  return SUCCESS;
}

/* ---- The library and the driver. */

EXPORT nvmlReturn_t nvmlInit(void) { return SUCCESS; }
EXPORT nvmlReturn_t nvmlInit_v2(void) { return SUCCESS; }
EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned flags) { return flags ? INVALID_ARGUMENT : SUCCESS; }
EXPORT nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }

EXPORT const char *nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case SUCCESS: return "Success";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    default: return "Unknown Error";
  }
}

/* A driver that knows the simulated CUDA. */
EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
  return put(version, length, sim_cuda_version(12040) >= 13000 ? "580.65.06" : "570.86.15");
}

EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length) {
  return put(version, length, sim_cuda_version(12040) >= 13000 ? "13.580.65.06" : "12.570.86.15");
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
  *version = sim_cuda_version(12040);
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

/* ---- Finding devices. */

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
  *count = (unsigned)sim_machine_devices();
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if ((int)index >= sim_machine_devices()) return INVALID_ARGUMENT;
  *device = &devices[index];
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, void **device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  for (int i = 0; i < sim_machine_devices(); i++) {
    char text[41];
    sim_device_uuid_text(i, text);
    if (strcmp(text, uuid) == 0) return nvmlDeviceGetHandleByIndex_v2((unsigned)i, device);
  }
  return NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) {
  unsigned domain, bus;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2) return INVALID_ARGUMENT;
  for (int i = 0; i < sim_machine_devices(); i++) {
    if (sim_device_pci_bus(i) == (int)bus) return nvmlDeviceGetHandleByIndex_v2((unsigned)i, device);
  }
  return NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetIndex(void *device, unsigned *index) {
  CHECK(device);
  *index = (unsigned)index_of(device);
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMinorNumber(void *device, unsigned *number) {
  return nvmlDeviceGetIndex(device, number);
}

/* ---- What a device is. */

EXPORT nvmlReturn_t nvmlDeviceGetName(void *device, char *name, unsigned length) {
  CHECK(device);
  return put(name, length, sim_gpu()->name);
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
  CHECK(device);
  char text[41];
  sim_device_uuid_text(index_of(device), text);
  return put(uuid, length, text);
}

EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  CHECK(device);
  *major = sim_gpu()->major;
  *minor = sim_gpu()->minor;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetNumGpuCores(void *device, unsigned *cores) {
  CHECK(device);
  *cores = (unsigned)sim_gpu()->cores;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetArchitecture(void *device, unsigned *architecture) {
  CHECK(device);
  *architecture = (unsigned)sim_gpu()->architecture;
  return SUCCESS;
}

struct pci { /* nvmlPciInfo_t */
  char legacy_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char id[32];
};

static void put_pci(struct pci *pci, unsigned bus) {
  memset(pci, 0, sizeof *pci);
  pci->bus = bus;
  snprintf(pci->legacy_id, sizeof pci->legacy_id, "0000:%02X:00.0", bus);
  snprintf(pci->id, sizeof pci->id, "00000000:%02X:00.0", bus);
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(void *device, struct pci *pci) {
  CHECK(device);
  put_pci(pci, (unsigned)sim_device_pci_bus(index_of(device)));
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v2(void *device, struct pci *pci) { return nvmlDeviceGetPciInfo_v3(device, pci); }

EXPORT nvmlReturn_t nvmlDeviceGetPersistenceMode(void *device, int *mode) {
  CHECK(device);
  *mode = 1;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
  CHECK(device);
  *current = *pending = 0;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
  CHECK(device);
  *count = 0;
  return SUCCESS;
}

/* ---- What it holds and does. Other processes do not show: each counts its own memory. */

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

static unsigned long long used(const void *device) {
  for (int i = 0; i < sim_device_count(); i++) {
    if (sim_machine_device(i) == index_of(device)) return sim_device_memory_used(i);
  }
  return 0;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
  CHECK(device);
  *memory = (struct memory){sim_device_memory(), sim_device_memory() - used(device), used(device)};
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory) {
  CHECK(device);
  memory->total = sim_device_memory();
  memory->reserved = 0;
  memory->used = used(device);
  memory->free = memory->total - memory->used;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]) {
  CHECK(device);
  rates[0] = rates[1] = 0;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *processes) {
  (void)processes;
  CHECK(device);
  *count = 0;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *count, void *processes) {
  return nvmlDeviceGetComputeRunningProcesses_v3(device, count, processes);
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(void *device, unsigned *count, void *processes) {
  return nvmlDeviceGetComputeRunningProcesses_v3(device, count, processes);
}

/* ---- NVLink: all links of a device lead to a switch, through which it reaches every other. */

enum { REMOTE_SWITCH = 2, SWITCH_BUS = 0x80, SWITCHES = 4 };

static nvmlReturn_t check_link(const void *device, unsigned link) {
  return index_of(device) < 0 || (int)link >= sim_gpu()->nvlinks ? INVALID_ARGUMENT : SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetP2PStatus(void *device, void *peer, int capability, int *status) {
  (void)capability;
  CHECK(device);
  CHECK(peer);
  *status = 0;
  return SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkState(void *device, unsigned link, int *active) {
  *active = check_link(device, link) == SUCCESS;
  return check_link(device, link);
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkVersion(void *device, unsigned link, unsigned *version) {
  *version = (unsigned)sim_gpu()->nvlink_version;
  return check_link(device, link);
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(void *device, unsigned link, int *type) {
  *type = REMOTE_SWITCH;
  return check_link(device, link);
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, struct pci *pci) {
  put_pci(pci, SWITCH_BUS + link % SWITCHES);
  return check_link(device, link);
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkCapability(void *device, unsigned link, int capability, unsigned *value) {
  (void)capability;
  *value = 1;
  return check_link(device, link);
}
