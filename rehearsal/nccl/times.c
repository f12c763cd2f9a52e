#include "times.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "../common/account.h"
#include "../common/environment.h"

/* The file: a header of HEADER_BYTES, then ROWS rows in order of their claim. rehearsal/src/times.rs reads it. */
enum { ROWS = 1 << 20, HEADER_BYTES = 4096 };
enum { ROW_FREE, ROW_ASKED, ROW_REPLAYED };

struct moment {
  _Atomic uint32_t state;
  uint32_t unused;
  uint64_t ns; /* CLOCK_MONOTONIC */
  struct key key;
};

struct header {
  struct account_header account;
  _Atomic uint64_t used;
  uint64_t unused;
  char names[FUNCTIONS][NAME_BYTES];
};

struct file {
  union {
    struct header header;
    char bytes[HEADER_BYTES];
  };
  struct moment rows[ROWS];
};

_Static_assert(sizeof(struct moment) == 64, "the reader relies on the size of a row");
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header outgrew its page");

/* The file of this process. NULL before the first operation, FAILED where there is none to be had. */
static _Atomic(struct file *) current;
static atomic_flag opening = ATOMIC_FLAG_INIT;
#define FAILED ((struct file *)-1)

void times_forget_parent(void) {
  atomic_store(&current, NULL);
  atomic_flag_clear(&opening);
}

static struct file *create_file(void) {
  if (!*environment_text(SETTING_TIMES)) return FAILED;
  struct file *file = account_create("times", sizeof *file, ROWS, sizeof(struct moment));
  if (file == NULL) return FAILED;
  file->header.account.names = FUNCTIONS;
  counts_names(file->header.names);
  memcpy(file->header.account.magic, "NCCLTIM1", sizeof file->header.account.magic);
  return file;
}

static struct file *open_file(void) {
  int before = errno;
  while (atomic_flag_test_and_set(&opening)) sched_yield();
  struct file *file = atomic_load(&current);
  if (file == NULL) {
    file = create_file();
    atomic_store(&current, file);
  }
  atomic_flag_clear(&opening);
  errno = before;
  return file;
}

static void add(const struct key *key, uint32_t state) {
  struct file *file = atomic_load_explicit(&current, memory_order_acquire);
  if (file == NULL) file = open_file();
  if (file == FAILED) return;
  uint64_t place = atomic_fetch_add_explicit(&file->header.used, 1, memory_order_relaxed);
  if (place >= ROWS) {
    atomic_fetch_add(&file->header.account.overflow, 1);
    return;
  }
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  struct moment *moment = &file->rows[place];
  moment->ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  moment->key = *key;
  atomic_store_explicit(&moment->state, state, memory_order_release);
}

void times_asked(const struct key *key) {
  if (key->datatype != NONE && key->capture == 0) add(key, ROW_ASKED);
}

void times_replayed(const struct key *key) { add(key, ROW_REPLAYED); }
