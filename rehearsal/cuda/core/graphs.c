/* Graphs: nodes, in the order in which they were added. The simulator executes them in that order, which every
 * order of dependencies allows. */
#include <stdlib.h>

#include "../../common/environment.h"
#include "internal.h"

#define GRAPH_MAGIC 0x53494d4752415048ull
#define NODE_MAGIC 0x53494d474e4f4445ull

struct effect *effect_hold(struct effect *effect) {
  if (effect) atomic_fetch_add(&effect->holders, 1);
  return effect;
}

void effect_let_go(struct effect *effect) {
  if (effect == NULL || atomic_fetch_sub(&effect->holders, 1) > 1) return;
  if (effect->release) effect->release(effect->data);
  free(effect);
}

void parts_add(struct parts *parts, uint64_t capture, uint64_t times) {
  for (size_t i = 0; i < parts->count; i++) {
    if (parts->parts[i].capture == capture) {
      parts->parts[i].times += times;
      return;
    }
  }
  if (parts->count == parts->room) {
    parts->room = parts->room ? parts->room * 2 : 2;
    parts->parts = must(realloc(parts->parts, parts->room * sizeof *parts->parts));
  }
  parts->parts[parts->count++] = (struct part){capture, times};
}

struct graph *graph_of(void *handle) {
  struct graph *graph = handle;
  return graph && graph->magic == GRAPH_MAGIC ? graph : NULL;
}

struct node *node_of(void *handle) {
  struct node *node = handle;
  return node && node->magic == NODE_MAGIC ? node : NULL;
}

struct graph *graph_new(void) {
  struct graph *graph = must(calloc(1, sizeof *graph));
  graph->magic = GRAPH_MAGIC;
  graph->id = next_id();
  return graph;
}

struct node *graph_append(struct graph *graph, enum sim_node_type type) {
  if (graph->count == graph->room) {
    graph->room = graph->room ? graph->room * 2 : 16;
    graph->nodes = must(realloc(graph->nodes, graph->room * sizeof *graph->nodes));
  }
  struct node *node = must(calloc(1, sizeof *node));
  node->magic = NODE_MAGIC;
  node->type = type;
  node->graph = graph;
  return graph->nodes[graph->count++] = node;
}

static void node_free(struct node *node) {
  node->magic = 0;
  effect_let_go(node->effect);
  if (node->type == SIM_NODE_GRAPH) graph_free(node->child);
  if (node->type == SIM_NODE_CONDITIONAL) {
    for (int i = 0; i < node->conditional.count; i++) graph_free(node->conditional.bodies[i]);
    free(node->conditional.bodies);
  }
  free(node);
}

void graph_free(struct graph *graph) {
  graph->magic = 0;
  for (size_t i = 0; i < graph->count; i++) node_free(graph->nodes[i]);
  held_free(graph->held);
  free(graph->captures.parts);
  free(graph->nodes);
  free(graph);
}

static struct graph *owned_copy(const struct graph *graph) {
  struct graph *copy = graph_copy(graph);
  copy->owned = 1;
  return copy;
}

struct graph *graph_copy(const struct graph *graph) {
  struct graph *copy = graph_new();
  for (size_t i = 0; i < graph->captures.count; i++) {
    parts_add(&copy->captures, graph->captures.parts[i].capture, graph->captures.parts[i].times);
  }
  copy->held = held_copy(graph->held);
  for (size_t i = 0; i < graph->count; i++) {
    const struct node *from = graph->nodes[i];
    struct node *to = graph_append(copy, from->type);
    *to = *from;
    to->graph = copy;
    to->from = from;
    effect_hold(to->effect);
    if (from->type == SIM_NODE_GRAPH) to->child = owned_copy(from->child);
    if (from->type == SIM_NODE_CONDITIONAL) {
      size_t count = (size_t)from->conditional.count;
      to->conditional.bodies = must(calloc(count, sizeof(struct graph *)));
      for (size_t j = 0; j < count; j++) to->conditional.bodies[j] = owned_copy(from->conditional.bodies[j]);
    }
  }
  return copy;
}

struct node *graph_copy_of(const struct graph *graph, const struct node *node) {
  for (size_t i = 0; i < graph->count; i++) {
    if (graph->nodes[i]->from == node) return graph->nodes[i];
  }
  return NULL;
}

void node_set_child(struct node *node, const struct graph *child) {
  struct graph *before = node->child;
  node->child = owned_copy(child);
  graph_free(before);
}

int sim_graph_create(void **handle) {
  if (handle == NULL) return SIM_INVALID_VALUE;
  lock();
  *handle = graph_new();
  unlock();
  return SIM_SUCCESS;
}

int sim_graph_destroy(void *handle) {
  struct graph *graph = graph_of(handle);
  if (graph == NULL || graph->owned) return SIM_INVALID_VALUE;
  graph_free(graph);
  return SIM_SUCCESS;
}

int sim_graph_clone(void *handle, void **clone) {
  struct graph *graph = graph_of(handle);
  if (graph == NULL || clone == NULL) return SIM_INVALID_VALUE;
  lock();
  *clone = graph_copy(graph);
  unlock();
  return SIM_SUCCESS;
}

/* As cudaGraphGetNodes: without `nodes` says how many there are, else fills what there is room for. */
int sim_graph_nodes(void *handle, void **nodes, size_t *count) {
  struct graph *graph = graph_of(handle);
  if (graph == NULL || count == NULL) return SIM_INVALID_VALUE;
  if (nodes) {
    for (size_t i = 0; i < *count; i++) nodes[i] = i < graph->count ? graph->nodes[i] : NULL;
    if (*count > graph->count) *count = graph->count;
  } else {
    *count = graph->count;
  }
  return SIM_SUCCESS;
}

int sim_node_type(void *handle, int *type) {
  struct node *node = node_of(handle);
  if (node == NULL || type == NULL) return SIM_INVALID_VALUE;
  *type = (int)node->type;
  return SIM_SUCCESS;
}

int sim_node_child(void *handle, void **graph) {
  struct node *node = node_of(handle);
  if (node == NULL || graph == NULL || node->type != SIM_NODE_GRAPH) return SIM_INVALID_VALUE;
  *graph = node->child;
  return SIM_SUCCESS;
}

int sim_node_set_child(void *handle, void *child_handle) {
  struct node *node = node_of(handle);
  struct graph *child = graph_of(child_handle);
  if (node == NULL || child == NULL || node->type != SIM_NODE_GRAPH) return SIM_INVALID_VALUE;
  lock();
  node_set_child(node, child);
  unlock();
  return SIM_SUCCESS;
}

int sim_node_in_clone(void *handle, void *clone_handle, void **found) {
  struct node *node = node_of(handle);
  struct graph *clone = graph_of(clone_handle);
  if (node == NULL || clone == NULL || found == NULL) return SIM_INVALID_VALUE;
  lock();
  struct node *copy = graph_copy_of(clone, node);
  unlock();
  if (copy == NULL) return SIM_INVALID_VALUE;
  *found = copy;
  return SIM_SUCCESS;
}

int sim_node_destroy(void *handle) {
  struct node *node = node_of(handle);
  if (node == NULL) return SIM_INVALID_VALUE;
  lock();
  struct graph *graph = node->graph;
  size_t at = 0;
  while (at < graph->count && graph->nodes[at] != node) at++;
  graph->count--;
  for (size_t i = at; i < graph->count; i++) graph->nodes[i] = graph->nodes[i + 1];
  unlock();
  node_free(node);
  return SIM_SUCCESS;
}

/* Adds a node to a graph by hand; `fill` sets it up. */
#define ADD(type, set_up)                                           \
  struct graph *graph = graph_of(handle);                           \
  if (graph == NULL || added == NULL) return SIM_INVALID_VALUE;     \
  lock();                                                           \
  struct node *node = graph_append(graph, type);                    \
  set_up;                                                           \
  *added = node;                                                    \
  unlock();                                                         \
  return SIM_SUCCESS

int sim_graph_add_empty(void *handle, void **added) { ADD(SIM_NODE_EMPTY, (void)0); }

int sim_graph_add_kernel(void *handle, const struct sim_kernel *kernel, void **added) {
  ADD(SIM_NODE_KERNEL, node->effect = kernel_effect(kernel));
}

int sim_graph_add_copy(void *handle, const struct sim_copy *copy, void **added) {
  ADD(SIM_NODE_COPY, node->copy = *copy);
}

int sim_graph_add_fill(void *handle, const struct sim_fill *fill, void **added) {
  ADD(SIM_NODE_FILL, node->fill = *fill);
}

int sim_graph_add_host(void *handle, void (*function)(void *), void *data, void **added) {
  ADD(SIM_NODE_HOST, (node->host.function = function, node->host.data = data));
}

int sim_graph_add_child(void *handle, void *child_handle, void **added) {
  struct graph *child = graph_of(child_handle);
  if (child == NULL) return SIM_INVALID_VALUE;
  ADD(SIM_NODE_GRAPH, node->child = owned_copy(child));
}

/* A handle of a conditional node carries what its value is when a launch begins. Kernels that would change it
 * compute nothing here, so that value decides: see NCCLTAP_REHEARSAL_CONDITIONAL_RUNS. */
#define HANDLE_RUNS 0x100000000ull

int sim_conditional_create(void *graph_handle, unsigned value, int is_default, uint64_t *handle) {
  if (graph_of(graph_handle) == NULL || handle == NULL) return SIM_INVALID_VALUE;
  lock();
  *handle = next_id() << 33 | (is_default && value ? HANDLE_RUNS : 0);
  unlock();
  return SIM_SUCCESS;
}

int sim_graph_add_conditional(void *handle, uint64_t condition, int count, void ***bodies, void **added) {
  if (count < 1 || bodies == NULL) return SIM_INVALID_VALUE;
  long runs = environment_number(SETTING_CONDITIONAL_RUNS);
  ADD(SIM_NODE_CONDITIONAL, ({
        node->conditional.times = condition & HANDLE_RUNS ? (unsigned)runs : 0;
        node->conditional.count = count;
        node->conditional.bodies = must(calloc((size_t)count, sizeof(struct graph *)));
        for (int i = 0; i < count; i++) {
          node->conditional.bodies[i] = graph_new();
          node->conditional.bodies[i]->owned = 1;
        }
        *bodies = (void **)node->conditional.bodies;
      }));
}
