/* What the parts of librehearsal.so.1 know of each other. */
#ifndef INTERNAL_H_
#define INTERNAL_H_

#include <pthread.h>
#include <stdatomic.h>

#include "core.h"
#include "record.h"

/* lock.c. One lock for all; nothing of the host is called with it held. */
void lock(void);
void unlock(void);
/* The next number, from 1: ids of streams, captures, graphs. */
uint64_t next_id(void);
/* For memory without which the simulator cannot go on telling the truth: ends the process. */
void *must(void *memory);

struct stream {
  uint64_t magic;
  struct sim_stream_facts facts;
  struct capture *capture;
  struct node *tip;      /* the newest node of the stream in its capture */
  uint64_t work;         /* what was captured on it, counted */
  int unjoined;          /* in a capture that began on another stream: has work that no other waits for */
  struct stream *next;
};

/* The stream of a handle, NULL for what is none. */
struct stream *stream_of(void *handle);
/* Calls visit for each stream, those without handle too. */
void streams_each(void (*visit)(struct stream *, void *), void *data);

struct capture {
  uint64_t id;
  struct graph *graph;
  struct stream *origin;
  struct capture_row *row;
  pthread_t thread;
  int mode, broken, into_given_graph;
  struct capture *next;
};

struct event {
  uint64_t magic;
  unsigned flags;
  uint64_t recorded_ns;
  uint64_t capture;      /* of the stream that recorded it last, 0 for none */
  struct stream *stream; /* which, while that capture goes on */
  uint64_t work;
};

/* An operation or a kernel, held by every graph and executable that it is part of. */
struct effect {
  atomic_int holders;
  void (*perform)(void *);
  void (*release)(void *);
  void *data;
};
struct effect *effect_hold(struct effect *effect);
void effect_let_go(struct effect *effect);

struct node {
  uint64_t magic;
  enum sim_node_type type;
  struct graph *graph;
  const struct node *from; /* that this is a copy of, for comparison only: it may be gone */
  struct effect *effect;   /* of a kernel or a copy that moves data between GPUs, or of an operation */
  union {
    struct sim_copy copy;
    struct sim_fill fill;
    struct { void (*function)(void *); void *data; } host;
    struct graph *child;
    struct { unsigned times; int count; struct graph **bodies; } conditional;
  };
};

/* How often a capture is contained in something. */
struct part {
  uint64_t capture;
  uint64_t times;
};
struct parts {
  struct part *parts;
  size_t count, room;
};
void parts_add(struct parts *parts, uint64_t capture, uint64_t times);

struct graph {
  uint64_t magic, id;
  struct node **nodes;
  size_t count, room;
  int owned;              /* by a node of another graph: destroyed with it */
  struct parts captures;  /* that were recorded into this graph itself */
  struct held *held;      /* user objects */
};
struct graph *graph_of(void *handle);
struct graph *graph_new(void);
void graph_free(struct graph *graph);
struct node *graph_append(struct graph *graph, enum sim_node_type type);
struct graph *graph_copy(const struct graph *graph);
struct node *node_of(void *handle);
/* The node of the graph that was copied from this one, NULL where there is none. */
struct node *graph_copy_of(const struct graph *graph, const struct node *node);
/* Puts a copy of a graph into a node that is one. */
void node_set_child(struct node *node, const struct graph *child);
/* The user objects of one graph, for whoever else must keep them alive. */
struct held *held_copy(const struct held *held);
void held_free(struct held *held);

/* Adds a node to the graph that the stream captures; NULL where it captures none or the capture is broken.
 * With the lock held. */
struct node *capture_append(struct stream *stream, enum sim_node_type type);

/* The allocation that holds the address, or NULL. With the lock held. */
struct sim_allocation *allocation_holding(const void *address);

/* kernels.c: the effect of a kernel that moves data between GPUs, NULL for others. */
struct effect *kernel_effect(const struct sim_kernel *kernel);
/* Counts an eager launch of such a kernel. */
void kernel_launched(const struct sim_kernel *kernel);

/* peer_copies.c: the effect of a copy between devices, beside the copy itself. */
struct effect *peer_copy_effect(const struct sim_peer_copy *copy);
/* Copies, and counts it. */
void peer_copy_carried_out(const struct sim_peer_copy *copy);
/* work.c: does what sim_do_peer_copy says, for devices that are there. */
int do_peer_copy(void *stream, const struct sim_peer_copy *copy);

#endif
