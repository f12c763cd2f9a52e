#include "record.h"

#include <stddef.h>
#include <string.h>

#include "../../common/account.h"
#include "internal.h"

enum { ROWS = 1 << 16, HEADER_BYTES = 4096 };

struct file {
  union {
    struct account_header account;
    char header[HEADER_BYTES];
  };
  char rows[ROWS][ROW_BYTES];
};

_Static_assert(sizeof(struct capture_row) <= ROW_BYTES, "a row outgrew its place");
_Static_assert(sizeof(struct executable_row) <= ROW_BYTES, "a row outgrew its place");
_Static_assert(sizeof(struct kernel_row) <= ROW_BYTES, "a row outgrew its place");
_Static_assert(sizeof(struct peer_copy_row) <= ROW_BYTES, "a row outgrew its place");

static struct file *current;
static int tried;
static uint32_t used;
static _Atomic uint32_t generation;

uint32_t record_generation(void) { return atomic_load(&generation); }

/* With the lock held, as all of this file. */
static struct file *file(void) {
  if (!tried) {
    tried = 1;
    current = account_create("cuda", sizeof *current, ROWS, ROW_BYTES);
    if (current) memcpy(current->account.magic, "CUDASIM1", sizeof current->account.magic);
  }
  return current;
}

void *record_add(int device) {
  struct file *to = file();
  if (to == NULL) return NULL;
  if (used == ROWS) {
    atomic_fetch_add(&to->account.overflow, 1);
    return NULL;
  }
  struct row_head *head = (struct row_head *)to->rows[used++];
  head->device = device;
  return head;
}

void record_ready(void *row, enum row_kind kind) {
  if (row) atomic_store_explicit(&((struct row_head *)row)->kind, kind, memory_order_release);
}

void record_forget_parent(void) {
  tried = 0;
  used = 0;
  current = NULL;
  atomic_fetch_add(&generation, 1);
}
