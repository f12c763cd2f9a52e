/* Kernels compute nothing. Those that move data between GPUs by themselves, beside NCCL, are counted by name. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Parts of the mangled names of kernels that read or write another GPU's memory. `bytes` tells, from the
 * arguments of a launch, what one GPU puts in; NULL where they do not tell. */
static uint64_t cross_device_reduce_bytes(const char *name, void **arguments) {
  /* vLLM and SGLang: (RankData *, RankSignals, Signal *, T *result, int rank, int size), size in packs of 16. */
  return arguments && strstr(name, "6SignalEPT_ii") ? (uint64_t)*(const int *)arguments[5] * 16 : UINT64_MAX;
}

/* Kernels whose parameters have changed say so at the end of their names. */
static int ends_with(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

static uint64_t element_bytes(const char *name) {
  return strstr(name, "float16") || strstr(name, "Float16") || strstr(name, "__half") ? 2 : 4;
}

/* PyTorch's symmetric memory: a size_t among the arguments, in elements. */
static uint64_t elements_at(int index, const char *name, void **arguments) {
  return arguments ? *(const uint64_t *)arguments[index] * element_bytes(name) : UINT64_MAX;
}

static uint64_t multimem_bytes(const char *name, void **arguments) { return elements_at(1, name, arguments); }

static uint64_t two_shot_bytes(const char *name, void **arguments) {
  return elements_at(ends_with(name, "PPT_mmPPjmm") ? 2 : 3, name, arguments);
}

static uint64_t multimem_one_shot_bytes(const char *name, void **arguments) { return elements_at(2, name, arguments); }

static uint64_t one_shot_bytes(const char *name, void **arguments) {
  /* With a copy of what is put in among the parameters, or without. */
  return elements_at(ends_with(name, "_mmPPjmm") && strstr(name, "PPT_S2_S2_mm") ? 4 : 3, name, arguments);
}

static uint64_t multimem_all_gather_bytes(const char *name, void **arguments) {
  (void)name;
  return arguments ? *(const uint64_t *)arguments[2] : UINT64_MAX;
}

/* FlashInfer: a structure that begins with nranks, rank, size. */
static uint64_t fusion_bytes(const char *name, void **arguments) {
  return arguments ? (uint64_t)((const int *)arguments[0])[2] * element_bytes(name) : UINT64_MAX;
}

static const struct {
  const char *part;
  uint64_t (*bytes)(const char *name, void **arguments);
} moving[] = {
    {"cross_device_reduce", cross_device_reduce_bytes}, /* vLLM's and SGLang's custom all-reduce */
    {"quickreduce", NULL},                              /* vLLM's quick all-reduce */
    {"allreduce_prototype", NULL},
    {"multimem_one_shot", multimem_one_shot_bytes},     /* torch's symmetric memory */
    {"one_shot_all_reduce_norm", NULL},                 /* TensorRT-LLM's older ones */
    {"one_shot_all_reduce", one_shot_bytes},
    {"two_shot_all_reduce", two_shot_bytes},
    {"multimem_all_reduce", multimem_bytes},
    {"multimem_all_gather", multimem_all_gather_bytes},
    {"allreduce_fusion_kernel", fusion_bytes},          /* FlashInfer and TensorRT-LLM */
    {"oneshotAllreduce", NULL},
    {"twoshotAllreduce", NULL},
    {"moereduce_allreduce", NULL},
    {"moeAllToAll", NULL},
    {"nvshmem", NULL},                                  /* NVSHMEM's own */
    {"deep_ep", NULL},                                  /* DeepEP's dispatch and combine */
};

/* What is known of one kernel, by its identity. */
struct known {
  const void *identity;
  int moving; /* index into the table, -1 for none */
};

/* One row per kernel and size: how often, by its own account. */
struct counted {
  const void *identity;
  uint64_t bytes;
  struct kernel_row *row;
  uint32_t generation;
  struct counted *next;
};

static struct known *table; /* open addressing, a power of two */
static size_t room, used;
static struct counted *counted;

static size_t place(const void *identity) { return ((uintptr_t)identity >> 3) * 0x9e3779b97f4a7c15u & (room - 1); }

static int look_at(const char *name) {
  for (size_t i = 0; name && i < sizeof moving / sizeof *moving; i++) {
    if (strstr(name, moving[i].part)) return (int)i;
  }
  return -1;
}

static void grow(void) {
  struct known *before = table;
  size_t count = room;
  room = room ? room * 2 : 1024;
  table = must(calloc(room, sizeof *table));
  for (size_t i = 0; i < count; i++) {
    if (before[i].identity == NULL) continue;
    size_t at = place(before[i].identity);
    while (table[at].identity) at = (at + 1) & (room - 1);
    table[at] = before[i];
  }
  free(before);
}

/* With the lock held. */
static int find_moving(const struct sim_kernel *kernel) {
  if (used * 2 >= room) grow();
  size_t at = place(kernel->identity);
  while (table[at].identity && table[at].identity != kernel->identity) at = (at + 1) & (room - 1);
  if (table[at].identity == NULL) {
    table[at] = (struct known){kernel->identity, look_at(kernel->name)};
    used++;
  }
  return table[at].moving;
}

/* With the lock held. NULL for a kernel that moves nothing. */
static struct counted *count(const struct sim_kernel *kernel) {
  int index = kernel->identity ? find_moving(kernel) : -1;
  if (index < 0) return NULL;
  uint64_t bytes = moving[index].bytes ? moving[index].bytes(kernel->name, kernel->arguments) : UINT64_MAX;
  for (struct counted *it = counted; it; it = it->next) {
    if (it->identity == kernel->identity && it->bytes == bytes && it->generation == record_generation()) return it;
  }
  struct counted *added = must(calloc(1, sizeof *added));
  *added = (struct counted){kernel->identity, bytes, record_add(sim_device_current()), record_generation(), counted};
  if (added->row) {
    added->row->bytes = bytes;
    strncpy(added->row->name, kernel->name, KERNEL_NAME_BYTES - 1);
    record_ready(added->row, ROW_KERNEL);
  }
  return counted = added;
}

static void replay(void *data) {
  struct counted *of = data;
  if (of->row && of->generation == record_generation()) atomic_fetch_add(&of->row->replayed, 1);
}

struct effect *kernel_effect(const struct sim_kernel *kernel) {
  struct counted *of = count(kernel);
  if (of == NULL) return NULL;
  if (of->row) atomic_fetch_add(&of->row->captured, 1);
  struct effect *effect = must(calloc(1, sizeof *effect));
  *effect = (struct effect){1, replay, NULL, of};
  return effect;
}

void kernel_launched(const struct sim_kernel *kernel) {
  lock();
  struct counted *of = count(kernel);
  if (of && of->row) atomic_fetch_add(&of->row->launched, 1);
  unlock();
}
