/* What graphs are made into, and their launches.
 *
 * An executable is a copy of its graph: what happens to the graph later does not touch it. A launch carries
 * out, node by node, what is not a mere kernel: operations, kernels that move data between GPUs, copies, fills and
 * host functions. The manifest that the account keeps beside it says the same in another way: how often each
 * capture is contained. */
#include <stdlib.h>

#include "internal.h"

#define EXECUTABLE_MAGIC 0x53494d4752455845ull

struct executable {
  uint64_t magic, id, generation;
  struct graph *graph;
  int device;
  struct executable_row *row;
  uint32_t record_generation;
};

static struct executable *executable_of(void *handle) {
  struct executable *executable = handle;
  return executable && executable->magic == EXECUTABLE_MAGIC ? executable : NULL;
}

struct totals {
  uint64_t nodes, operations;
  struct parts parts;
};

static void add_up(const struct graph *graph, uint64_t times, struct totals *totals) {
  for (size_t i = 0; i < graph->captures.count; i++) {
    parts_add(&totals->parts, graph->captures.parts[i].capture, graph->captures.parts[i].times * times);
  }
  totals->nodes += graph->count * times;
  for (size_t i = 0; i < graph->count; i++) {
    const struct node *node = graph->nodes[i];
    if (node->effect) totals->operations += times;
    if (node->type == SIM_NODE_GRAPH) add_up(node->child, times, totals);
    if (node->type == SIM_NODE_CONDITIONAL && node->conditional.times) {
      /* Of several bodies (else branches, cases) only the first runs. */
      add_up(node->conditional.bodies[0], times * node->conditional.times, totals);
    }
  }
}

/* With the lock held. */
static void record(struct executable *executable, uint64_t graph_id) {
  executable->record_generation = record_generation();
  struct executable_row *row = executable->row = record_add(executable->device);
  struct totals totals = {0};
  add_up(executable->graph, 1, &totals);
  if (row) {
    row->id = executable->id;
    row->generation = executable->generation;
    row->graph = graph_id;
    row->nodes = totals.nodes;
    row->operations = totals.operations;
    record_ready(row, ROW_EXECUTABLE);
  }
  for (size_t i = 0; row && i < totals.parts.count; i++) {
    struct part_row *part = record_add(executable->device);
    if (part == NULL) break;
    part->executable = executable->id;
    part->generation = executable->generation;
    part->capture = totals.parts.parts[i].capture;
    part->times = totals.parts.parts[i].times;
    record_ready(part, ROW_PART);
  }
  free(totals.parts.parts);
}

/* The row, unless it belongs to the process that this one was forked from. */
static struct executable_row *row_of(const struct executable *executable) {
  return executable->record_generation == record_generation() ? executable->row : NULL;
}

int sim_executable_create(void *graph_handle, unsigned long long flags, void **handle) {
  (void)flags;
  struct graph *graph = graph_of(graph_handle);
  if (graph == NULL || handle == NULL) return SIM_INVALID_VALUE;
  struct executable *executable = must(calloc(1, sizeof *executable));
  lock();
  executable->magic = EXECUTABLE_MAGIC;
  executable->id = next_id();
  executable->device = sim_device_current();
  executable->graph = graph_copy(graph);
  record(executable, graph->id);
  unlock();
  *handle = executable;
  return SIM_SUCCESS;
}

/* CUDA asks that the topology stays; the simulator, that kinds and number of nodes do. */
static int same_shape(const struct graph *a, const struct graph *b) {
  if (a->count != b->count) return 0;
  for (size_t i = 0; i < a->count; i++) {
    if (a->nodes[i]->type != b->nodes[i]->type) return 0;
    if (a->nodes[i]->type == SIM_NODE_GRAPH && !same_shape(a->nodes[i]->child, b->nodes[i]->child)) return 0;
  }
  return 1;
}

/* With the lock held: what the executable carries out has changed. */
static void record_again(struct executable *executable, uint64_t graph_id) {
  executable->generation++;
  struct executable_row *row = row_of(executable);
  if (row) atomic_store(&row->destroyed, 1);
  record(executable, graph_id);
}

int sim_executable_update(void *handle, void *graph_handle) {
  struct executable *executable = executable_of(handle);
  struct graph *graph = graph_of(graph_handle);
  if (executable == NULL || graph == NULL) return SIM_INVALID_VALUE;
  if (!same_shape(executable->graph, graph)) return SIM_UPDATE_FAILED;
  lock();
  struct graph *before = executable->graph;
  executable->graph = graph_copy(graph);
  record_again(executable, graph->id);
  unlock();
  graph_free(before);
  return SIM_SUCCESS;
}

int sim_executable_set_child(void *handle, void *node_handle, void *child_handle) {
  struct executable *executable = executable_of(handle);
  struct node *node = node_of(node_handle);
  struct graph *child = graph_of(child_handle);
  if (executable == NULL || node == NULL || child == NULL) return SIM_INVALID_VALUE;
  struct node *copy = graph_copy_of(executable->graph, node);
  if (copy == NULL || copy->type != SIM_NODE_GRAPH) return SIM_INVALID_VALUE;
  if (!same_shape(copy->child, child)) return SIM_UPDATE_FAILED;
  lock();
  node_set_child(copy, child);
  record_again(executable, child->id);
  unlock();
  return SIM_SUCCESS;
}

static void run(const struct graph *graph) {
  for (size_t i = 0; i < graph->count; i++) {
    const struct node *node = graph->nodes[i];
    if (node->effect) node->effect->perform(node->effect->data);
    switch (node->type) {
      case SIM_NODE_COPY: sim_copy_now(&node->copy); break;
      case SIM_NODE_FILL: sim_fill_now(&node->fill); break;
      case SIM_NODE_HOST: node->host.function(node->host.data); break;
      case SIM_NODE_GRAPH: run(node->child); break;
      case SIM_NODE_CONDITIONAL:
        for (unsigned j = 0; j < node->conditional.times; j++) run(node->conditional.bodies[0]);
        break;
      default: break;
    }
  }
}

/* A launch into a stream that is being captured makes the graph a child of the captured one. */
static int capture_launch(struct stream *stream, const struct executable *executable) {
  struct node *node = capture_append(stream, SIM_NODE_GRAPH);
  if (node == NULL) return SIM_CAPTURE_INVALIDATED;
  node->child = graph_copy(executable->graph);
  node->child->owned = 1;
  return SIM_SUCCESS;
}

int sim_executable_launch(void *handle, void *stream_handle) {
  struct executable *executable = executable_of(handle);
  struct stream *stream = stream_of(stream_handle);
  if (executable == NULL) return SIM_INVALID_VALUE;
  if (stream == NULL) return SIM_INVALID_HANDLE;
  lock();
  if (stream->capture) {
    int result = capture_launch(stream, executable);
    unlock();
    return result;
  }
  struct executable_row *row = row_of(executable);
  if (row) atomic_fetch_add(&row->launches, 1);
  unlock();
  run(executable->graph);
  return SIM_SUCCESS;
}

int sim_executable_upload(void *handle, void *stream) {
  if (executable_of(handle) == NULL) return SIM_INVALID_VALUE;
  return stream_of(stream) ? SIM_SUCCESS : SIM_INVALID_HANDLE;
}

int sim_executable_destroy(void *handle) {
  struct executable *executable = executable_of(handle);
  if (executable == NULL) return SIM_INVALID_VALUE;
  executable->magic = 0;
  struct executable_row *row = row_of(executable);
  if (row) atomic_store(&row->destroyed, 1);
  graph_free(executable->graph);
  free(executable);
  return SIM_SUCCESS;
}
