/* The simulated NCCL's own account of what it was asked: the ground truth of the tests.
 *
 * Each process keeps one file <pid>-<start ns>.counts, see ../common/account.h. A fork child begins a file
 * of its own. Nothing but the simulator writes it. */
#ifndef COUNTS_H_
#define COUNTS_H_

#include <stdatomic.h>
#include <stdint.h>

#include "functions.h"
#include "nccl.h"

/* Peer, root, datatype or rank of a call that has none. */
#define NONE -1

/* Bytes of a function's name in the header of a file, zeros included. */
enum { NAME_BYTES = 32 };

/* What tells one kind of call from another. */
struct key {
  uint32_t function;
  int32_t datatype;
  uint64_t communicator; /* identity of the communicator, 0 for none */
  uint64_t count;
  int32_t ranks;
  int32_t rank;
  int32_t peer;
  uint64_t capture; /* id of the stream capture that the call became part of, 0 for none */
};

/* One row of the file, alone on its cache lines. `state` goes from free to claimed to ready, once. */
struct row {
  _Alignas(128) _Atomic uint32_t state;
  struct key key;
  _Atomic uint64_t asked;     /* calls that came in */
  _Atomic uint64_t returned;  /* calls about to return */
  _Atomic uint64_t failed;    /* of those returned: with an error */
  _Atomic uint64_t discarded; /* of those returned without one: in a group that launched nothing */
  _Atomic uint64_t replayed;  /* carried out by launches of graphs that hold the captured calls */
};

/* Counts grow with each fork: a row of the parent is none of the child's. */
extern _Atomic uint32_t counts_generation;

/* In a fork child: begins a file of its own with the next call. */
void counts_forget_parent(void);

/* Counts a call that comes in. Returns its row, or NULL where nothing is counted: no directory, the
 * table is full (which the header counts), or NCCL is calling itself. */
struct row *counts_asked(const struct key *key);

/* Counts that the call returns, and gives back its result. */
ncclResult_t counts_returned(struct row *row, ncclResult_t result);

/* Marks a counted operation as one that was never carried out. */
void counts_discarded(struct row *row);

/* Counts that a graph launch carried the operation out once more. */
void counts_replayed(struct row *row);

/* Writes the names of all functions, for a header that stands in zeros. */
void counts_names(char names[FUNCTIONS][NAME_BYTES]);

/* Above 0 while NCCL calls its own exported functions: such calls nobody asked for. */
extern __thread int calls_to_itself;

#endif
