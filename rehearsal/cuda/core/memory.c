/* Memory: every allocation is memory of the host that nobody has touched, so a model of any size fits; what
 * counts against the device is what was asked for. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../common/environment.h"
#include "internal.h"

enum { PAGE = 4096 };
/* What a context takes of a device before anything is allocated. */
#define CONTEXT_BYTES (600ull << 20)

/* Sorted by address. */
static struct sim_allocation *allocations;
static size_t count, room;
static size_t used[SIM_MAX_DEVICES];

/* The place of the first allocation above the address. With the lock held, as all of these. */
static size_t above(uintptr_t address) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (allocations[middle].base > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

struct sim_allocation *allocation_holding(const void *address) {
  size_t next = above((uintptr_t)address);
  if (next == 0) return NULL;
  struct sim_allocation *found = &allocations[next - 1];
  return (uintptr_t)address < found->base + found->size ? found : NULL;
}

static struct sim_allocation *at(const void *address) {
  struct sim_allocation *found = allocation_holding(address);
  return found && found->base == (uintptr_t)address ? found : NULL;
}

static void insert(struct sim_allocation allocation) {
  if (count == room) {
    room = room ? room * 2 : 256;
    allocations = must(realloc(allocations, room * sizeof *allocations));
  }
  size_t place = above(allocation.base);
  memmove(&allocations[place + 1], &allocations[place], (count - place) * sizeof *allocations);
  allocations[place] = allocation;
  count++;
}

static void delete(struct sim_allocation *allocation) {
  size_t place = (size_t)(allocation - allocations);
  count--;
  memmove(allocation, allocation + 1, (count - place) * sizeof *allocations);
}

void *sim_allocate(size_t size, enum sim_memory memory) {
  size_t bytes = size ? (size + PAGE - 1) / PAGE * PAGE : PAGE;
  int device = sim_device_current();
  if (bytes < size) return NULL;
  lock();
  int counts = memory == SIM_DEVICE;
  if (counts && (bytes > sim_device_memory() || used[device] + CONTEXT_BYTES > sim_device_memory() - bytes)) {
    unlock();
    return NULL;
  }
  int access = memory == SIM_RESERVED ? PROT_NONE : PROT_READ | PROT_WRITE;
  void *address = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    unlock();
    return NULL;
  }
  madvise(address, bytes, MADV_NOHUGEPAGE);
  if (counts) used[device] += bytes;
  insert((struct sim_allocation){(uintptr_t)address, bytes, device, memory, -1, 0});
  unlock();
  return address;
}

void *sim_map_file(int fd, size_t size, enum sim_memory memory) {
  void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) return NULL;
  lock();
  insert((struct sim_allocation){(uintptr_t)address, size, sim_device_current(), memory, fd, 1});
  unlock();
  return address;
}

int sim_free(void *address) {
  if (address == NULL) return SIM_SUCCESS;
  lock();
  struct sim_allocation *found = at(address);
  if (found == NULL || found->memory == SIM_REGISTERED) {
    unlock();
    return SIM_INVALID_VALUE;
  }
  struct sim_allocation gone = *found;
  if (gone.memory == SIM_DEVICE) used[gone.device] -= gone.size;
  delete(found);
  munmap(address, gone.size);
  if (gone.fd >= 0) close(gone.fd);
  unlock();
  return SIM_SUCCESS;
}

int sim_register(void *address, size_t size) {
  if (address == NULL || size == 0) return SIM_INVALID_VALUE;
  lock();
  int known = allocation_holding(address) != NULL;
  if (!known) {
    insert((struct sim_allocation){(uintptr_t)address, size, sim_device_current(), SIM_REGISTERED, -1, 0});
  }
  unlock();
  return known ? SIM_ALREADY_REGISTERED : SIM_SUCCESS;
}

int sim_unregister(void *address) {
  lock();
  struct sim_allocation *found = at(address);
  int registered = found && found->memory == SIM_REGISTERED;
  if (registered) delete(found);
  unlock();
  return registered ? SIM_SUCCESS : SIM_NOT_REGISTERED;
}

int sim_find_allocation(const void *address, struct sim_allocation *copy) {
  lock();
  struct sim_allocation *found = allocation_holding(address);
  if (found && copy) *copy = *found;
  unlock();
  return found != NULL;
}

size_t sim_device_memory_used(int device) {
  lock();
  size_t bytes = device >= 0 && device < SIM_MAX_DEVICES ? used[device] : 0;
  unlock();
  return bytes + CONTEXT_BYTES;
}
