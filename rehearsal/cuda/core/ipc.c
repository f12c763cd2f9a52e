/* CUDA IPC: memory of one process in another. An allocation that is exported moves into a file in memory, at the address it has; others open that
 * file through /proc. Only what is exported pays for it. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

enum { PAGE = 4096 };

static int move_into_file(struct sim_allocation *allocation) {
  void *base = (void *)allocation->base;
  size_t pages = allocation->size / PAGE;
  unsigned char *resident = malloc(pages);
  int fd = memfd_create("nccltap-rehearsal", MFD_CLOEXEC);
  int moved = resident && fd >= 0 && ftruncate(fd, (off_t)allocation->size) == 0 &&
              mincore(base, allocation->size, resident) == 0;
  for (size_t i = 0; moved && i < pages; i++) {
    off_t offset = (off_t)(i * PAGE);
    if (resident[i] & 1) moved = pwrite(fd, (char *)base + offset, PAGE, offset) == PAGE;
  }
  free(resident);
  int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  moved = moved && mmap(base, allocation->size, protection, flags, fd, 0) != MAP_FAILED;
  if (moved) {
    allocation->fd = fd;
    return SIM_SUCCESS;
  }
  if (fd >= 0) close(fd);
  return SIM_MAP_FAILED;
}

#define IPC_MAGIC 0x53494d4950430001ull

int sim_ipc_export(void *address, struct sim_ipc_handle *handle) {
  lock();
  struct sim_allocation *found = allocation_holding(address);
  int result = found && found->memory == SIM_DEVICE ? SIM_SUCCESS : SIM_INVALID_VALUE;
  if (result == SIM_SUCCESS && found->fd < 0) result = move_into_file(found);
  if (result == SIM_SUCCESS) {
    found->shared = 1;
    *handle = (struct sim_ipc_handle){IPC_MAGIC, found->base, found->size, (int32_t)getpid(), found->fd};
  }
  unlock();
  return result;
}

static int open_descriptor_of(int pid, int fd) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
  return open(path, O_RDWR | O_CLOEXEC);
}

int sim_ipc_open(const struct sim_ipc_handle *handle, void **address) {
  if (handle->magic != IPC_MAGIC || address == NULL) return SIM_INVALID_HANDLE;
  int fd = open_descriptor_of(handle->pid, handle->fd);
  if (fd < 0) return SIM_MAP_FAILED;
  *address = sim_map_file(fd, handle->size, SIM_PEER);
  if (*address) return SIM_SUCCESS;
  close(fd);
  return SIM_MAP_FAILED;
}
