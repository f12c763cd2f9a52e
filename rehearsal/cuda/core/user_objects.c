/* User objects: what an application wants to outlive the graphs that use it. */
#include <stdlib.h>

#include "internal.h"

#define USER_OBJECT_MAGIC 0x53494d5553455200ull

struct user_object {
  uint64_t magic;
  void *pointer;
  void (*destroy)(void *);
  atomic_uint references;
};

struct held {
  struct user_object *object;
  unsigned references;
  struct held *next;
};

static struct user_object *user_object_of(void *handle) {
  struct user_object *object = handle;
  return object && object->magic == USER_OBJECT_MAGIC ? object : NULL;
}

static void drop(struct user_object *object, unsigned references) {
  if (atomic_fetch_sub(&object->references, references) > references) return;
  object->magic = 0;
  object->destroy(object->pointer);
  free(object);
}

static struct held *hold(struct user_object *object, unsigned references, struct held *next) {
  struct held *held = must(malloc(sizeof *held));
  *held = (struct held){object, references, next};
  return held;
}

struct held *held_copy(const struct held *held) {
  struct held *copy = NULL;
  for (; held; held = held->next) {
    atomic_fetch_add(&held->object->references, held->references);
    copy = hold(held->object, held->references, copy);
  }
  return copy;
}

void held_free(struct held *held) {
  while (held) {
    struct held *next = held->next;
    drop(held->object, held->references);
    free(held);
    held = next;
  }
}

int sim_user_object_create(void *pointer, void (*destroy)(void *), unsigned references, void **handle) {
  if (handle == NULL || destroy == NULL || references == 0) return SIM_INVALID_VALUE;
  struct user_object *object = must(calloc(1, sizeof *object));
  object->magic = USER_OBJECT_MAGIC;
  object->pointer = pointer;
  object->destroy = destroy;
  atomic_init(&object->references, references);
  *handle = object;
  return SIM_SUCCESS;
}

int sim_user_object_retain(void *handle, unsigned references) {
  struct user_object *object = user_object_of(handle);
  if (object == NULL) return SIM_INVALID_VALUE;
  atomic_fetch_add(&object->references, references);
  return SIM_SUCCESS;
}

int sim_user_object_release(void *handle, unsigned references) {
  struct user_object *object = user_object_of(handle);
  if (object == NULL || references > atomic_load(&object->references)) return SIM_INVALID_VALUE;
  drop(object, references);
  return SIM_SUCCESS;
}

/* `moves`: the graph takes over references of the caller. */
int sim_graph_keep(void *graph_handle, void *handle, unsigned references, int moves) {
  struct graph *graph = graph_of(graph_handle);
  struct user_object *object = user_object_of(handle);
  if (graph == NULL || object == NULL || references == 0) return SIM_INVALID_VALUE;
  if (!moves) atomic_fetch_add(&object->references, references);
  lock();
  graph->held = hold(object, references, graph->held);
  unlock();
  return SIM_SUCCESS;
}

int sim_graph_let_go(void *graph_handle, void *handle, unsigned references) {
  struct graph *graph = graph_of(graph_handle);
  struct user_object *object = user_object_of(handle);
  if (graph == NULL || object == NULL) return SIM_INVALID_VALUE;
  unsigned dropped = 0;
  lock();
  for (struct held **link = &graph->held; *link && dropped < references;) {
    struct held *held = *link;
    if (held->object != object) {
      link = &held->next;
      continue;
    }
    unsigned of_this = references - dropped < held->references ? references - dropped : held->references;
    held->references -= of_this;
    dropped += of_this;
    if (held->references == 0) {
      *link = held->next;
      free(held);
    }
  }
  unlock();
  if (dropped) drop(object, dropped);
  return dropped == references ? SIM_SUCCESS : SIM_INVALID_VALUE;
}
