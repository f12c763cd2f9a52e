/* Device attributes, by the numbers that cudaDeviceAttr and CUdevice_attribute share. */
#include "internal.h"

enum {
  CLOCK_KHZ = 13, MULTIPROCESSORS = 16, PCI_BUS = 33, MEMORY_CLOCK_KHZ = 36, MEMORY_BUS_BITS = 37, L2_BYTES = 38,
  MAJOR = 75, MINOR = 76, SHARED_PER_MULTIPROCESSOR = 81, SHARED_PER_BLOCK = 97, CLUSTER_LAUNCH = 120,
  TENSOR_MAPS = 127, ATTRIBUTES = 144
};

/* What is the same for all GPUs of the table. What is not here is 0, as for a feature that a GPU lacks: so is
 * multicast (132), or engines would choose kernels that go by NVLink's switch, and fabric handles (128). */
static const int same_for_all[ATTRIBUTES] = {
    [1] = 1024,                                 /* threads per block */
    [2] = 1024, [3] = 1024, [4] = 64,           /* block dimensions */
    [5] = 2147483647, [6] = 65535, [7] = 65535, /* grid dimensions */
    [8] = 48 * 1024,                            /* shared memory per block, unless more is asked for */
    [9] = 65536,                                /* constant memory */
    [10] = 32,                                  /* threads of a warp */
    [11] = 2147483647,                          /* pitch */
    [12] = 65536,                               /* registers per block */
    [14] = 512,                                 /* alignment of textures */
    [15] = 1,                                   /* copies and kernels at a time */
    [19] = 1,                                   /* maps host memory */
    [21] = 131072, [22] = 131072, [23] = 65536, /* sizes of textures */
    [24] = 16384, [25] = 16384, [26] = 16384,
    [30] = 512,                                 /* alignment of surfaces */
    [31] = 1,                                   /* concurrent kernels */
    [32] = 1,                                   /* ECC */
    [39] = 2048,                                /* threads per multiprocessor */
    [40] = 3,                                   /* copy engines */
    [41] = 1,                                   /* one address space with the host */
    [51] = 32,                                  /* alignment of texture pitches */
    [78] = 1,                                   /* stream priorities */
    [79] = 1, [80] = 1,                         /* global and local loads go through L1 */
    [82] = 65536,                               /* registers per multiprocessor */
    [83] = 1,                                   /* managed memory */
    [87] = 2,                                   /* single to double precision performance */
    [89] = 1, [90] = 1, [91] = 1,               /* concurrent managed access, preemption, registered pointers */
    [92] = 1, [93] = 1, [94] = 1,               /* stream memory operations */
    [95] = 1, [96] = 1,                         /* cooperative launches */
    [98] = 1, [99] = 1,                         /* flush of remote writes, registration of host memory */
    [101] = 1,                                  /* managed memory reachable from the host */
    [102] = 1, [103] = 1,                       /* virtual memory management, exported as file descriptors */
    [106] = 32,                                 /* blocks per multiprocessor */
    [111] = 1024,                               /* shared memory that each block gives up */
    [112] = 1, [114] = 1, [115] = 1, [116] = 1, /* sparse arrays, timeline semaphores, pools, RDMA */
    [119] = 1,                                  /* pools exported as file descriptors */
    [121] = 1, [125] = 1,                       /* deferred mapping, IPC events */
    [126] = 4,                                  /* memory synchronisation domains */
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
    case L2_BYTES: *value = gpu->l2_kib * 1024; break;
    case MAJOR: *value = gpu->major; break;
    case MINOR: *value = gpu->minor; break;
    case SHARED_PER_MULTIPROCESSOR: *value = gpu->shared_per_multiprocessor_kib * 1024; break;
    case SHARED_PER_BLOCK: *value = gpu->shared_per_block_kib * 1024; break;
    case CLUSTER_LAUNCH: case TENSOR_MAPS: *value = gpu->major >= 9; break;
    default: *value = attribute < ATTRIBUTES ? same_for_all[attribute] : 0;
  }
  return SIM_SUCCESS;
}
