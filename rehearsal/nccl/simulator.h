/* What the parts of the simulated NCCL know of each other. */
#ifndef SIMULATOR_H_
#define SIMULATOR_H_

#include "counts.h"
#include "nccl.h"

/* As NCCL declares its API: ncclX is weak, so that a preloaded library may stand in for it, and
 * pncclX is a strong second name of the same code. */
#define NCCL_API(ret, func, args...)                                              \
  __attribute__((visibility("default"), alias(#func))) ret p##func(args);         \
  __attribute__((visibility("default"), weak)) ret func(args);                    \
  ret func(args)

/* Opens a call of `function`: counted before anything else happens. */
#define ASKED(function, ...) \
  struct row *row = counts_asked(&(struct key){NUMBER_OF_##function, __VA_ARGS__})

/* The key of a call that has only a communicator. */
#define OF(comm) NONE, communicator_identity(comm), 0, communicator_ranks(comm), \
                 communicator_rank(comm), NONE, 0
#define OF_NOTHING NONE, 0, 0, 0, NONE, NONE, 0

/* Closes the call. */
#define RETURN(result) return counts_returned(row, (result))

/* Calls one of NCCL's exported functions as NCCL itself does: through the linkage table, where a
 * preloaded library sees it, but not as something that was asked of NCCL. */
#define CALL_ITSELF(call)                \
  ({                                     \
    calls_to_itself++;                   \
    ncclResult_t itself_result = (call); \
    calls_to_itself--;                   \
    itself_result;                       \
  })

/* The same for a call that counts for the function that makes it. */
extern __thread struct row *row_of_caller;
#define CALL_ITSELF_FOR(row, call)                                          \
  ({                                                                        \
    row_of_caller = (row);                                                  \
    ncclResult_t itself_for_result = CALL_ITSELF(call);                     \
    row_of_caller = NULL;                                                   \
    itself_for_result;                                                      \
  })

struct ncclComm {
  uint64_t magic;
  uint64_t identity; /* the same on all ranks, see communicators.c */
  int ranks, rank, device;
  uint32_t children;
  int blocking;
  int polls_to_ready;        /* of a non-blocking communicator: polls until it stops being in progress */
  ncclComm_t child, *newcomm; /* what it publishes then */
  int finalized, revoked;
  struct meeting *meeting; /* where its ranks meet, once they have; see rendezvous.c */
};

/* What an operation is, whatever the name of the function that asks for it. */
enum kind {
  ALL_REDUCE, BROADCAST, REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL, GATHER, SCATTER, SEND, RECV, PUT
};

/* An operation, as it was asked for. */
struct operation {
  enum kind kind;
  struct row *row; /* where it is counted, or NULL */
  ncclComm_t comm;
  cudaStream_t stream;
  const void *sendbuff;
  void *recvbuff;
  size_t count;
  ncclDataType_t datatype;
  ncclRedOp_t op;
  int peer; /* or root, or NONE */
};

/* Carries out the operations of one group, or makes them part of the graph that their stream captures. */
ncclResult_t operations_launch(const struct operation *operations, size_t count);

/* The simulated CUDA, where it is in this process; see streams.c. */
void streams_look_for_cuda(void);
/* Id of the capture that the stream is in, 0 for none. */
uint64_t stream_capture(cudaStream_t stream);
/* Makes `data` part of that capture's graph: each launch calls perform(data), the end release(data). */
ncclResult_t stream_capture_operation(cudaStream_t stream, void (*perform)(void *),
                                      void (*release)(void *), void *data);

/* ncclSuccess, or why the communicator is not one. */
ncclResult_t communicator_check(const ncclComm_t comm);
/* ncclSuccess, or why the communicator cannot be used now. */
ncclResult_t communicator_ready(const ncclComm_t comm);
/* What counts as the communicator's identity, ranks and rank: 0, 0 and NONE where it is not one. */
uint64_t communicator_identity(const ncclComm_t comm);
int communicator_ranks(const ncclComm_t comm);
int communicator_rank(const ncclComm_t comm);
/* Work that a group leaves for its end: gives a child to the application, or frees. */
ncclResult_t communicator_publish(ncclComm_t parent, ncclComm_t child, ncclComm_t *newcomm);
void communicator_free(ncclComm_t comm);

/* Groups. Every call of NCCL is a group of its own inside. */
void group_open(void);
ncclResult_t group_close(int simulate);
/* Notes the result of a call for the end of the group, and gives it back. */
ncclResult_t group_note(ncclResult_t result);
/* Leaves work for the end of the outermost group. */
void group_leave_child(ncclComm_t parent, ncclComm_t child, ncclComm_t *newcomm);
void group_leave_free(ncclComm_t comm);
/* Leaves an operation for the end of the group; 0 where no group is open. */
int group_leave_operation(const struct operation *operation);
void group_forget_parent(void);

/* How this process was told to behave, by environment variables: see conduct.c. */
int conduct_version(void);
/* The result of the next data-moving call. May take its time, and may never return. */
ncclResult_t conduct_operation(void);
void conduct_forget_parent(void);

#endif
