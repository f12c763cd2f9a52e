/* Device attributes, by the numbers that cudaDeviceAttr and CUdevice_attribute share. */
#include "gpus.h"
#include "internal.h"

enum {
  MULTIPROCESSORS = 16, CLOCK_KHZ = 13, PCI_BUS = 33, MEMORY_CLOCK_KHZ = 36, MEMORY_BUS_BITS = 37, L2_BYTES = 38,
  MAJOR = 75, MINOR = 76, SHARED_PER_MULTIPROCESSOR = 81, SHARED_PER_BLOCK_OPTIN = 97, CLUSTER_LAUNCH = 120,
  TENSOR_MAP = 127, ATTRIBUTES = 144
};

/* What is the same for all GPUs of the table. What is not here is 0, as for a feature that a GPU lacks. */
static const int same_for_all[ATTRIBUTES] = {
    [1] = 1024,         /* threads per block */
    [2] = 1024, [3] = 1024, [4] = 64,             /* block dimensions */
    [5] = 2147483647, [6] = 65535, [7] = 65535,   /* grid dimensions */
    [8] = 48 * KIB,     /* shared memory per block */
    [9] = 65536,        /* constant memory */
    [10] = 32,          /* warp */
    [11] = 2147483647,  /* pitch */
    [12] = 65536,       /* registers per block */
    [14] = 512,         /* texture alignment */
    [15] = 1,           /* overlap of copies and kernels */
    [19] = 1,           /* maps host memory */
    [21] = 131072, [22] = 131072, [23] = 65536, [24] = 16384, [25] = 16384, [26] = 16384, /* textures */
    [30] = 512,         /* surface alignment */
    [31] = 1,           /* concurrent kernels */
    [32] = 1,           /* ECC */
    [39] = 2048,        /* threads per multiprocessor */
    [40] = 3,           /* copy engines */
    [41] = 1,           /* unified addressing */
    [51] = 32,          /* texture pitch alignment */
    [78] = 1, [79] = 1, [80] = 1, /* stream priorities, global and local L1 */
    [82] = 65536,       /* registers per multiprocessor */
    [83] = 1,           /* managed memory */
    [87] = 2,           /* single to double performance */
    [89] = 1, [90] = 1, [91] = 1, /* concurrent managed access, preemption, host pointers of registered memory */
    [92] = 1, [93] = 1, [94] = 1, /* stream memory operations */
    [95] = 1, [96] = 1, /* cooperative launches */
    [98] = 1, [99] = 1, /* flush of remote writes, host register */
    [101] = 1,          /* managed memory accessible from the host */
    [102] = 1, [103] = 1, /* virtual memory, exported as file descriptor */
    [106] = 32,         /* blocks per multiprocessor */
    [108] = 1,          /* persisting L2: window size below */
    [111] = 1024,       /* reserved shared memory per block */
    [112] = 1, [114] = 1, [115] = 1, [116] = 1, [119] = 1, /* host register read-only, arrays, pools */
    [121] = 1,
    [128] = 0,          /* fabric handles: no */
    [132] = 0,          /* multicast: no, so that engines do not choose kernels that go by NVLink's switch */
};

int sim_device_attribute(int attribute, int device, int *value) {
  int machine_device = sim_machine_device(device);
  if (machine_device < 0) return SIM_INVALID_DEVICE;
  if (value == NULL || attribute <= 0) return SIM_INVALID_VALUE;
  const struct sim_gpu *gpu = sim_gpu();
  switch (attribute) {
    case CLOCK_KHZ: *value = gpu->clock_khz; break;
    case MULTIPROCESSORS: *value = gpu->multiprocessors; break;
    case PCI_BUS: *value = sim_device_pci_bus(machine_device); break;
    case MEMORY_CLOCK_KHZ: *value = gpu->memory_clock_khz; break;
    case MEMORY_BUS_BITS: *value = gpu->memory_bus_bits; break;
    case L2_BYTES: *value = gpu->l2_bytes; break;
    case MAJOR: *value = gpu->major; break;
    case MINOR: *value = gpu->minor; break;
    case SHARED_PER_MULTIPROCESSOR: *value = gpu->shared_per_multiprocessor; break;
    case SHARED_PER_BLOCK_OPTIN: *value = gpu->shared_per_block_optin; break;
    case CLUSTER_LAUNCH: case TENSOR_MAP: *value = gpu->major >= 9; break;
    default: *value = attribute < ATTRIBUTES ? same_for_all[attribute] : 0;
  }
  return SIM_SUCCESS;
}
