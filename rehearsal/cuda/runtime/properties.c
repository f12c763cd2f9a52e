/* cudaGetDeviceProperties: the structure of CUDA 12 and the shorter one of CUDA 13. */
#include <string.h>

#include "runtime.h"

#if CUDART_VERSION < 13000
#define ONLY_BEFORE_13(field) field;
#else
#define ONLY_BEFORE_13(field)
#endif

/* cudaDeviceProp, its fields in their order. */
struct properties {
  char name[256];
  unsigned char uuid[16];
  char luid[8];
  unsigned luid_node_mask;
  size_t memory, shared_per_block;
  int registers_per_block, warp;
  size_t pitch;
  int threads_per_block, block_dimensions[3], grid_dimensions[3];
  ONLY_BEFORE_13(int clock_khz)
  size_t constant_memory;
  int major, minor;
  size_t texture_alignment, texture_pitch_alignment;
  ONLY_BEFORE_13(int overlap)
  int multiprocessors;
  ONLY_BEFORE_13(int kernel_timeout)
  int integrated, maps_host_memory;
  ONLY_BEFORE_13(int compute_mode)
  int texture_1d[2];
  ONLY_BEFORE_13(int texture_1d_linear)
  int texture_2d[2], texture_2d_mipmap[2], texture_2d_linear[3], texture_2d_gather[2], texture_3d[3], texture_3d_alt[3];
  int texture_cubemap, texture_1d_layered[2], texture_2d_layered[3], texture_cubemap_layered[2];
  int surface_1d, surface_2d[2], surface_3d[3], surface_1d_layered[2], surface_2d_layered[3];
  int surface_cubemap, surface_cubemap_layered[2];
  size_t surface_alignment;
  int concurrent_kernels, ecc, pci_bus, pci_device, pci_domain, tcc, copy_engines, unified_addressing;
  ONLY_BEFORE_13(int memory_clock_khz)
  int memory_bus_bits, l2_bytes, persisting_l2_bytes, threads_per_multiprocessor, stream_priorities;
  int global_l1, local_l1;
  size_t shared_per_multiprocessor;
  int registers_per_multiprocessor, managed_memory, multi_gpu_board, multi_gpu_board_group, host_native_atomics;
  ONLY_BEFORE_13(int single_to_double)
  int pageable_access, concurrent_managed_access, preemption, registered_host_pointers, cooperative_launch;
  ONLY_BEFORE_13(int cooperative_multi_device_launch)
  size_t shared_per_block_optin;
  int pageable_by_host_tables, managed_from_host, blocks_per_multiprocessor, access_window_bytes;
  size_t reserved_shared_per_block;
  int host_register, sparse_arrays, host_register_read_only, timeline_semaphores, memory_pools, rdma;
  unsigned rdma_flush_options;
  int rdma_ordering;
  unsigned pool_handle_types;
  int deferred_mapping, ipc_events, cluster_launch, unified_function_pointers;
#if CUDART_VERSION < 13000
  int reserved[63];
#else
  int numa_config, numa_id, mps, host_numa_id;
  unsigned gpu_pci_device, gpu_pci_subsystem;
  int host_numa_multinode_ipc, reserved[56];
#endif
};

#if CUDART_VERSION < 13000
_Static_assert(sizeof(struct properties) == 1032, "cudaDeviceProp of CUDA 12");
#define GET_PROPERTIES cudaGetDeviceProperties_v2
#else
_Static_assert(sizeof(struct properties) == 1008, "cudaDeviceProp of CUDA 13");
#define GET_PROPERTIES cudaGetDeviceProperties
#endif

static int attribute(int number, int device) {
  int value = 0;
  sim_device_attribute(number, device, &value);
  return value;
}

EXPORT cudaError_t GET_PROPERTIES(struct properties *to, int device) {
  int machine_device = sim_machine_device(device);
  if (machine_device < 0) return note(SIM_INVALID_DEVICE);
  const struct sim_gpu *gpu = sim_gpu();
  memset(to, 0, sizeof *to);
  strncpy(to->name, gpu->name, sizeof to->name - 1);
  sim_device_uuid(machine_device, to->uuid);
  to->memory = sim_device_memory();
  to->shared_per_block = (size_t)attribute(8, device);
  to->registers_per_block = attribute(12, device);
  to->warp = attribute(10, device);
  to->pitch = (size_t)attribute(11, device);
  to->threads_per_block = attribute(1, device);
  for (int i = 0; i < 3; i++) {
    to->block_dimensions[i] = attribute(2 + i, device);
    to->grid_dimensions[i] = attribute(5 + i, device);
  }
  to->constant_memory = (size_t)attribute(9, device);
  to->major = gpu->major;
  to->minor = gpu->minor;
  to->texture_alignment = (size_t)attribute(14, device);
  to->texture_pitch_alignment = (size_t)attribute(51, device);
  to->multiprocessors = gpu->multiprocessors;
  to->maps_host_memory = 1;
  to->surface_alignment = (size_t)attribute(30, device);
  to->concurrent_kernels = 1;
  to->ecc = 1;
  to->pci_bus = sim_device_pci_bus(machine_device);
  to->copy_engines = attribute(40, device);
  to->unified_addressing = 1;
  to->memory_bus_bits = gpu->memory_bus_bits;
  to->l2_bytes = gpu->l2_kib * 1024;
  to->threads_per_multiprocessor = attribute(39, device);
  to->stream_priorities = 1;
  to->global_l1 = to->local_l1 = 1;
  to->shared_per_multiprocessor = (size_t)gpu->shared_per_multiprocessor_kib * 1024;
  to->registers_per_multiprocessor = attribute(82, device);
  to->managed_memory = to->concurrent_managed_access = to->preemption = to->cooperative_launch = 1;
  to->shared_per_block_optin = (size_t)gpu->shared_per_block_kib * 1024;
  to->blocks_per_multiprocessor = attribute(106, device);
  to->reserved_shared_per_block = (size_t)attribute(111, device);
  to->host_register = to->memory_pools = to->rdma = to->ipc_events = 1;
  to->cluster_launch = attribute(120, device);
#if CUDART_VERSION < 13000
  to->clock_khz = gpu->clock_khz;
  to->overlap = 1;
  to->memory_clock_khz = gpu->memory_clock_khz;
  to->single_to_double = attribute(87, device);
  to->cooperative_multi_device_launch = 1;
#endif
  return cudaSuccess;
}
