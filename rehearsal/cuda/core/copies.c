/* What copies and fills do to bytes. Kernels compute nothing, so what a device holds is meaningless, and a copy
 * to the host delivers zeros: token ids that an engine can work with, where stale bytes could be any number.
 * Real are: what one process gave another by IPC in small pieces (vLLM's peer-to-peer test), what a rehearsal with
 * rendezvous moves, and everything where NCCLTAP_REHEARSAL_REAL_READS asks for it. */
#include <string.h>
#include <sys/mman.h>

#include "../../common/environment.h"
#include "internal.h"

enum { PAGE = 4096, LARGE_FILL = 256 * 1024, SMALL_SHARED = 64 * 1024, REAL_READS = 64 };

static struct {
  size_t copy_max;
  int real_reads;
} how;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void) {
  how.copy_max = (size_t)environment_number(SETTING_COPY_MAX);
  how.real_reads = *environment_text(SETTING_REAL_READS) ? environment_number(SETTING_REAL_READS) != 0
                                                         : *environment_text(SETTING_RENDEZVOUS) != 0;
}

/* The ranges that sim_real_read_once() named and that were not read yet: the newest REAL_READS of them. */
static struct { const void *address; size_t size; } real[REAL_READS];
static size_t real_next;

void sim_real_read_once(const void *address, size_t size) {
  lock();
  real[real_next].address = address;
  real[real_next].size = size;
  real_next = (real_next + 1) % REAL_READS;
  unlock();
}

static int take_real(const void *address, size_t size) {
  int found = 0;
  lock();
  for (size_t i = 0; i < REAL_READS && !found; i++) {
    found = real[i].address == address && real[i].size == size;
    if (found) real[i].address = NULL;
  }
  unlock();
  return found;
}

static int is_on_device(const void *address, struct sim_allocation *found) {
  return sim_find_allocation(address, found) &&
         (found->memory == SIM_DEVICE || found->memory == SIM_PEER || found->memory == SIM_RESERVED);
}

static int delivers_zeros(const struct sim_copy *copy) {
  if (how.real_reads) return 0;
  struct sim_allocation from, to;
  int leaves = copy->kind == SIM_DEVICE_TO_HOST ||
               (copy->kind == SIM_COPY_DEFAULT && is_on_device(copy->from, &from) && !is_on_device(copy->to, &to));
  if (!leaves) return 0;
  if (sim_find_allocation(copy->from, &from) && from.shared && from.size <= SMALL_SHARED) return 0;
  return !take_real(copy->from, copy->width * copy->height);
}

void sim_copy_now(const struct sim_copy *copy) {
  pthread_once(&once, begin);
  if (copy->width * copy->height == 0) return;
  int zeros = delivers_zeros(copy);
  if (!zeros && copy->width * copy->height > how.copy_max) return;
  for (size_t i = 0; i < copy->height; i++) {
    char *to = (char *)copy->to + i * copy->to_pitch;
    if (zeros) memset(to, 0, copy->width);
    else memmove(to, (const char *)copy->from + i * copy->from_pitch, copy->width);
  }
}

/* Drops whole pages, which read as zero from then on and take no memory. */
static void drop_pages(char *from, size_t bytes, int in_file) {
  char *first = (char *)(((uintptr_t)from + PAGE - 1) / PAGE * PAGE);
  char *last = (char *)((uintptr_t)(from + bytes) / PAGE * PAGE);
  memset(from, 0, (size_t)(first - from));
  madvise(first, (size_t)(last - first), in_file ? MADV_REMOVE : MADV_DONTNEED);
  memset(last, 0, (size_t)(from + bytes - last));
}

static void fill_row(char *to, const struct sim_fill *fill) {
  switch (fill->element_bytes) {
    case 1: memset(to, (int)fill->value, fill->width); break;
    case 2: for (size_t i = 0; i < fill->width; i++) ((uint16_t *)to)[i] = (uint16_t)fill->value; break;
    default: for (size_t i = 0; i < fill->width; i++) ((uint32_t *)to)[i] = fill->value;
  }
}

/* A large fill of a device with anything but zero changes nothing: it would only take memory. */
void sim_fill_now(const struct sim_fill *fill) {
  size_t row_bytes = fill->width * (size_t)fill->element_bytes;
  struct sim_allocation found;
  int large = row_bytes >= LARGE_FILL && is_on_device(fill->to, &found);
  for (size_t i = 0; i < fill->height; i++) {
    char *to = (char *)fill->to + i * fill->pitch;
    if (!large) fill_row(to, fill);
    else if (fill->value == 0) drop_pages(to, row_bytes, found.fd >= 0);
  }
}
