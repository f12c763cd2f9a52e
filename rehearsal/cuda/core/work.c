/* What a stream is given to do: done at once, or made a node of the graph that it captures. */
#include "internal.h"

/* Gives back the node to set up, with the lock held; else without it, and *result says what to do: SIM_SUCCESS,
 * do it now. */
static struct node *captured(void *handle, enum sim_node_type type, int *result) {
  struct stream *stream = stream_of(handle);
  *result = stream ? SIM_SUCCESS : SIM_INVALID_HANDLE;
  if (stream == NULL) return NULL;
  lock();
  if (stream->capture == NULL) {
    unlock();
    return NULL;
  }
  struct node *node = capture_append(stream, type);
  if (node == NULL) {
    *result = SIM_CAPTURE_INVALIDATED;
    unlock();
  }
  return node;
}

int sim_do_kernel(void *stream, const struct sim_kernel *kernel) {
  int result;
  struct node *node = captured(stream, SIM_NODE_KERNEL, &result);
  if (node) {
    node->effect = kernel_effect(kernel);
    unlock();
  } else if (result == SIM_SUCCESS) {
    kernel_launched(kernel);
  }
  return result;
}

int sim_do_copy(void *stream, const struct sim_copy *copy) {
  int result;
  struct node *node = captured(stream, SIM_NODE_COPY, &result);
  if (node) {
    node->copy = *copy;
    unlock();
  } else if (result == SIM_SUCCESS) {
    sim_copy_now(copy);
  }
  return result;
}

int do_peer_copy(void *stream, const struct sim_peer_copy *copy) {
  int result;
  struct node *node = captured(stream, SIM_NODE_COPY, &result);
  if (node) {
    node->copy = copy->bytes;
    node->effect = peer_copy_effect(copy);
    unlock();
  } else if (result == SIM_SUCCESS) {
    peer_copy_carried_out(copy);
  }
  return result;
}

int sim_do_fill(void *stream, const struct sim_fill *fill) {
  int result;
  struct node *node = captured(stream, SIM_NODE_FILL, &result);
  if (node) {
    node->fill = *fill;
    unlock();
  } else if (result == SIM_SUCCESS) {
    sim_fill_now(fill);
  }
  return result;
}

int sim_do_host(void *stream, void (*function)(void *), void *data) {
  int result;
  struct node *node = captured(stream, SIM_NODE_HOST, &result);
  if (node) {
    node->host.function = function;
    node->host.data = data;
    unlock();
  } else if (result == SIM_SUCCESS) {
    function(data);
  }
  return result;
}
