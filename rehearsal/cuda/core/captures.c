/* Stream capture: what a stream is given becomes nodes of a graph and is not done. */
#include <stdlib.h>

#include "internal.h"

static struct capture *captures; /* that are going on */
static __thread int thread_mode = SIM_CAPTURE_GLOBAL;

enum { GOING_ON, ENDED, FAILED };

int sim_capture_begin(void *handle, void *graph_handle, int mode) {
  /* The default stream cannot be captured. */
  if (handle == SIM_STREAM_DEFAULT || handle == SIM_STREAM_LEGACY) return SIM_CAPTURE_UNSUPPORTED;
  struct stream *stream = stream_of(handle);
  struct graph *given = graph_of(graph_handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  if (graph_handle && given == NULL) return SIM_INVALID_VALUE;
  if (mode < SIM_CAPTURE_GLOBAL || mode > SIM_CAPTURE_RELAXED) return SIM_INVALID_VALUE;
  lock();
  if (stream->capture) {
    unlock();
    return SIM_ILLEGAL_STATE;
  }
  struct capture *capture = must(calloc(1, sizeof *capture));
  capture->id = next_id();
  capture->graph = given ? given : graph_new();
  capture->into_given_graph = given != NULL;
  capture->origin = stream;
  capture->thread = pthread_self();
  capture->mode = mode;
  capture->next = captures;
  captures = capture;
  parts_add(&capture->graph->captures, capture->id, 1);
  capture->row = record_add(stream->facts.device);
  if (capture->row) {
    capture->row->id = capture->id;
    capture->row->graph = capture->graph->id;
    record_ready(capture->row, ROW_CAPTURE);
  }
  stream->capture = capture;
  stream->unjoined = 0;
  stream->tip = NULL;
  unlock();
  return SIM_SUCCESS;
}

struct leaving {
  struct capture *capture;
  int unjoined;
};

static void leave(struct stream *stream, void *data) {
  struct leaving *leaving = data;
  if (stream->capture != leaving->capture) return;
  if (stream->unjoined) leaving->unjoined = 1;
  stream->capture = NULL;
  stream->tip = NULL;
  stream->unjoined = 0;
}

static int end(struct capture *capture, void **graph) {
  struct leaving leaving = {capture, 0};
  streams_each(leave, &leaving);
  struct capture **link = &captures;
  while (*link != capture) link = &(*link)->next;
  *link = capture->next;
  int result = capture->broken ? SIM_CAPTURE_INVALIDATED : leaving.unjoined ? SIM_CAPTURE_UNJOINED : SIM_SUCCESS;
  if (capture->row) atomic_store(&capture->row->outcome, result == SIM_SUCCESS ? ENDED : FAILED);
  *graph = result == SIM_SUCCESS ? capture->graph : NULL;
  if (result != SIM_SUCCESS && !capture->into_given_graph) graph_free(capture->graph);
  free(capture);
  return result;
}

int sim_capture_end(void *handle, void **graph) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  if (graph == NULL) return SIM_INVALID_VALUE;
  int result;
  lock();
  struct capture *capture = stream->capture;
  if (capture == NULL) {
    result = SIM_ILLEGAL_STATE;
  } else if (capture->origin != stream) {
    capture->broken = 1;
    result = SIM_CAPTURE_UNMATCHED;
  } else if (capture->mode != SIM_CAPTURE_RELAXED && !pthread_equal(capture->thread, pthread_self())) {
    result = SIM_CAPTURE_WRONG_THREAD;
  } else {
    result = end(capture, graph);
  }
  unlock();
  return result;
}

int sim_capture_facts(void *handle, struct sim_capture_facts *facts) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  *facts = (struct sim_capture_facts){.status = SIM_CAPTURE_NONE};
  lock();
  if (stream->capture) {
    facts->status = stream->capture->broken ? SIM_CAPTURE_BROKEN : SIM_CAPTURE_ACTIVE;
    facts->id = stream->capture->id;
    facts->graph = stream->capture->graph;
    facts->dependencies = (void **)&stream->tip;
    facts->dependency_count = stream->tip != NULL;
  }
  unlock();
  return SIM_SUCCESS;
}

int sim_capture_exchange_mode(int *mode) {
  if (mode == NULL || *mode < SIM_CAPTURE_GLOBAL || *mode > SIM_CAPTURE_RELAXED) return SIM_INVALID_VALUE;
  int before = thread_mode;
  thread_mode = *mode;
  *mode = before;
  return SIM_SUCCESS;
}

/* A thread in relaxed mode may do what it likes. Else its own captures forbid, unless relaxed; and, unless
 * the thread's mode is thread-local, so do the global ones of other threads. What is forbidden breaks them. */
int sim_capture_permits_unsafe(void) {
  if (thread_mode == SIM_CAPTURE_RELAXED) return SIM_SUCCESS;
  int result = SIM_SUCCESS;
  lock();
  for (struct capture *capture = captures; capture; capture = capture->next) {
    if (capture->mode == SIM_CAPTURE_RELAXED) continue;
    int mine = pthread_equal(capture->thread, pthread_self());
    int global = capture->mode == SIM_CAPTURE_GLOBAL && thread_mode == SIM_CAPTURE_GLOBAL;
    if (mine || global) {
      capture->broken = 1;
      result = SIM_CAPTURE_UNSUPPORTED;
    }
  }
  unlock();
  return result;
}

struct node *capture_append(struct stream *stream, enum sim_node_type type) {
  struct capture *capture = stream->capture;
  if (capture == NULL || capture->broken) return NULL;
  struct node *node = graph_append(capture->graph, type);
  stream->tip = node;
  stream->work++;
  stream->unjoined = stream != capture->origin;
  if (capture->row) atomic_fetch_add(&capture->row->nodes, 1);
  if (capture->row && type == SIM_NODE_KERNEL) atomic_fetch_add(&capture->row->kernels, 1);
  return node;
}

uint64_t sim_capture_of(void *handle) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return 0;
  lock();
  uint64_t id = stream->capture ? stream->capture->id : 0;
  unlock();
  return id;
}

int sim_capture_operation(void *handle, void (*perform)(void *), void (*release)(void *), void *data) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  lock();
  struct node *node = capture_append(stream, SIM_NODE_KERNEL);
  if (node) {
    node->effect = must(calloc(1, sizeof *node->effect));
    *node->effect = (struct effect){1, perform, release, data};
    struct capture_row *row = stream->capture->row;
    if (row) atomic_fetch_add(&row->operations, 1);
  }
  unlock();
  return node ? SIM_SUCCESS : SIM_CAPTURE_INVALIDATED;
}
