#include "counts.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "../common/account.h"
#include "../common/environment.h"
#include "times.h"

/* The file: a header of HEADER_BYTES, then ROWS rows. rehearsal/src/counts.rs reads it. */
enum { ROWS = 1 << 16, HEADER_BYTES = 4096 };
enum { ROW_FREE, ROW_CLAIMED, ROW_READY };

struct header {
  struct account_header account;
  uint64_t unused[2];
  char names[FUNCTIONS][NAME_BYTES];
};

struct file {
  union {
    struct header header;
    char bytes[HEADER_BYTES];
  };
  struct row rows[ROWS];
};

_Static_assert(sizeof(struct key) == 48, "the reader relies on the size of a key");
_Static_assert(sizeof(struct row) == 128, "the reader relies on the size of a row");
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header outgrew its page");

__thread int calls_to_itself;
_Atomic uint32_t counts_generation;

/* The file of this process. NULL before the first call, FAILED where there is none to be had. */
static _Atomic(struct file *) current;
static atomic_flag opening = ATOMIC_FLAG_INIT;
#define FAILED ((struct file *)-1)

/* A fork child shares the mapping with its parent and must never write to it. */
void counts_forget_parent(void) {
  atomic_store(&current, NULL);
  atomic_flag_clear(&opening);
  atomic_fetch_add(&counts_generation, 1);
  times_forget_parent();
}

void counts_names(char into[FUNCTIONS][NAME_BYTES]) {
#define FUNCTION_NAME(name) #name,
  static const char *const names[] = {FOR_EACH_FUNCTION(FUNCTION_NAME)};
  for (int function = 0; function < FUNCTIONS; function++) {
    strncpy(into[function], names[function], NAME_BYTES - 1);
  }
}

static struct file *create_file(void) {
  struct file *file = account_create("counts", sizeof *file, ROWS, sizeof(struct row));
  if (file == NULL) return FAILED;
  struct header *header = &file->header;
  header->account.names = FUNCTIONS;
  counts_names(header->names);
  memcpy(header->account.magic, "NCCLSIM2", sizeof header->account.magic);
  return file;
}

static struct file *open_file(void) {
  int before = errno;
  while (atomic_flag_test_and_set(&opening)) sched_yield();
  struct file *file = atomic_load(&current);
  if (file == NULL) {
    rehearsal_required("libnccl.so.2");
    file = create_file();
    atomic_store(&current, file);
  }
  atomic_flag_clear(&opening);
  errno = before;
  return file;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

static uint64_t place(const struct key *key) {
  uint64_t hash = mix(key->communicator, key->count);
  hash = mix(hash, (uint64_t)key->function << 32 | (uint32_t)key->datatype);
  hash = mix(hash, (uint64_t)(uint32_t)key->rank << 32 | (uint32_t)key->peer);
  hash = mix(hash, key->capture);
  return hash;
}

static int same(const struct key *a, const struct key *b) {
  return a->function == b->function && a->datatype == b->datatype &&
         a->communicator == b->communicator && a->count == b->count && a->ranks == b->ranks &&
         a->rank == b->rank && a->peer == b->peer && a->capture == b->capture;
}

/* The row of the key, made if there is none. Lock-free for all who find theirs; two threads that make
 * a row in the same place at once wait for the one that came first, for the length of a copy. */
static struct row *find_row(struct file *file, const struct key *key) {
  uint64_t start = place(key);
  for (uint64_t step = 0; step < ROWS; step++) {
    struct row *row = &file->rows[(start + step) % ROWS];
    uint32_t state = atomic_load_explicit(&row->state, memory_order_acquire);
    if (state == ROW_FREE && atomic_compare_exchange_strong(&row->state, &state, ROW_CLAIMED)) {
      row->key = *key;
      atomic_store_explicit(&row->state, ROW_READY, memory_order_release);
      return row;
    }
    while (state == ROW_CLAIMED) {
      state = atomic_load_explicit(&row->state, memory_order_acquire);
    }
    if (same(&row->key, key)) return row;
  }
  return NULL;
}

struct row *counts_asked(const struct key *key) {
  if (calls_to_itself) return NULL;
  struct file *file = atomic_load_explicit(&current, memory_order_acquire);
  if (file == NULL) file = open_file();
  if (file == FAILED) return NULL;
  struct row *row = find_row(file, key);
  if (row == NULL) {
    atomic_fetch_add(&file->header.account.overflow, 1);
    return NULL;
  }
  atomic_fetch_add_explicit(&row->asked, 1, memory_order_relaxed);
  times_asked(key);
  return row;
}

ncclResult_t counts_returned(struct row *row, ncclResult_t result) {
  if (row == NULL) return result;
  if (result != ncclSuccess && result != ncclInProgress) {
    atomic_fetch_add_explicit(&row->failed, 1, memory_order_relaxed);
  }
  atomic_fetch_add_explicit(&row->returned, 1, memory_order_relaxed);
  return result;
}

void counts_discarded(struct row *row) {
  if (row) atomic_fetch_add_explicit(&row->discarded, 1, memory_order_relaxed);
}

void counts_replayed(struct row *row) {
  if (row == NULL) return;
  atomic_fetch_add_explicit(&row->replayed, 1, memory_order_relaxed);
  times_replayed(&row->key);
}
