/* Copies that name both devices: counted by these and by size, whether they are carried out at once or by graphs. */
#include <stdlib.h>

#include "internal.h"

struct counted {
  struct sim_peer_copy copy;
  struct peer_copy_row *row;
  uint32_t generation;
  struct counted *next;
};

static struct counted *counted;

static uint64_t bytes_of(const struct sim_peer_copy *copy) { return (uint64_t)copy->bytes.width * copy->bytes.height; }

/* With the lock held. */
static struct counted *count(const struct sim_peer_copy *copy) {
  for (struct counted *it = counted; it; it = it->next) {
    int same = it->copy.from == copy->from && it->copy.to == copy->to && bytes_of(&it->copy) == bytes_of(copy);
    if (same && it->generation == record_generation()) return it;
  }
  struct counted *added = must(calloc(1, sizeof *added));
  *added = (struct counted){*copy, record_add(copy->from), record_generation(), counted};
  if (added->row) {
    added->row->from = copy->from;
    added->row->to = copy->to;
    added->row->bytes = bytes_of(copy);
    record_ready(added->row, ROW_PEER_COPY);
  }
  return counted = added;
}

static void replay(void *data) {
  struct counted *of = data;
  if (of->row && of->generation == record_generation()) atomic_fetch_add(&of->row->replayed, 1);
}

struct effect *peer_copy_effect(const struct sim_peer_copy *copy) {
  struct counted *of = count(copy);
  if (of->row) atomic_fetch_add(&of->row->captured, 1);
  struct effect *effect = must(calloc(1, sizeof *effect));
  *effect = (struct effect){1, replay, NULL, of};
  return effect;
}

void peer_copy_carried_out(const struct sim_peer_copy *copy) {
  lock();
  struct counted *of = count(copy);
  if (of->row) atomic_fetch_add(&of->row->carried_out, 1);
  unlock();
  sim_copy_now(&copy->bytes);
}

static int permits(const struct sim_peer_copy *copy) {
  return sim_machine_device(copy->from) < 0 || sim_machine_device(copy->to) < 0 ? SIM_INVALID_DEVICE : SIM_SUCCESS;
}

int sim_peer_copy_now(const struct sim_peer_copy *copy) {
  int result = permits(copy);
  if (result == SIM_SUCCESS) result = sim_capture_permits_unsafe();
  if (result == SIM_SUCCESS) peer_copy_carried_out(copy);
  return result;
}

int sim_do_peer_copy(void *stream, const struct sim_peer_copy *copy) {
  int result = permits(copy);
  return result == SIM_SUCCESS ? do_peer_copy(stream, copy) : result;
}
