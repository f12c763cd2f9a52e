/* The simulated CUDA's own account: each process keeps one file <pid>-<start ns>.cuda, see
 * ../../common/account.h. Rows are added in the order of what they tell, and some count on.
 * rehearsal/src/graphs.rs reads it. */
#ifndef RECORD_H_
#define RECORD_H_

#include <stdatomic.h>
#include <stdint.h>

enum row_kind { ROW_CAPTURE = 1, ROW_EXECUTABLE, ROW_PART, ROW_KERNEL, ROW_PEER_COPY };
enum { ROW_BYTES = 256, KERNEL_NAME_BYTES = 200 };

/* A row is ready once its kind is set. */
struct row_head {
  _Atomic uint32_t kind;
  int32_t device;
};

/* A stream capture. */
struct capture_row {
  struct row_head head;
  uint64_t id, graph;
  _Atomic uint64_t nodes, operations, kernels; /* kernels: of all names */
  _Atomic uint32_t outcome; /* 0 going on, 1 ended well, 2 failed */
};

/* What a graph was made into, once per instantiation, and once more per update that changed it. */
struct executable_row {
  struct row_head head;
  uint64_t id, generation, graph;
  uint64_t nodes, operations; /* that one launch carries out */
  _Atomic uint64_t launches;
  _Atomic uint32_t destroyed;
};

/* One entry of an executable's manifest: each launch carries out the capture so many times. */
struct part_row {
  struct row_head head;
  uint64_t executable, generation, capture, times;
};

/* A kernel that moves data between GPUs, by name and, where its arguments tell, bytes. */
struct kernel_row {
  struct row_head head;
  uint64_t bytes; /* per launch; UINT64_MAX where it cannot be told */
  _Atomic uint64_t launched, captured, replayed;
  char name[KERNEL_NAME_BYTES];
};

/* Copies from one device to another, of one size. */
struct peer_copy_row {
  struct row_head head;
  int32_t from, to;
  uint64_t bytes;
  _Atomic uint64_t carried_out, captured, replayed; /* at once; made part of graphs; by launches of those */
};

/* A new row, all zero. NULL where nothing is kept, or where the file is full, which it counts. */
void *record_add(int device);
/* Makes the row visible to readers. */
void record_ready(void *row, enum row_kind kind);
/* Counts with each fork: rows of the parent are none of the child's. */
uint32_t record_generation(void);
/* In a fork child: begins a file of its own. */
void record_forget_parent(void);

#endif
