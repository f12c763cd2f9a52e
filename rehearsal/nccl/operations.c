/* Calls that move data between ranks: checked and counted as in NCCL, then carried out at the end of their
 * group, or made part of the graph that their stream captures. */
#include "rendezvous.h"
#include "simulator.h"

#include <stdlib.h>

#define KEY(count, peer) datatype, communicator_identity(comm), (count), communicator_ranks(comm), \
                         communicator_rank(comm), (peer), stream_capture(stream)

__thread struct row *row_of_caller;

static int has_peer(enum kind kind) {
  switch (kind) {
    case BROADCAST: case REDUCE: case GATHER: case SCATTER: case SEND: case RECV: case PUT: return 1;
    default: return 0;
  }
}

/* NCCL's argument checks, in its order. */
static ncclResult_t check(const struct operation *operation) {
  ncclResult_t result = communicator_ready(operation->comm);
  if (result != ncclSuccess) return result;
  if (operation->comm->revoked) return ncclInvalidUsage;
  if (has_peer(operation->kind) && (operation->peer < 0 || operation->peer >= operation->comm->ranks)) {
    return ncclInvalidArgument;
  }
  if ((int)operation->datatype < 0 || operation->datatype >= ncclNumTypes) return ncclInvalidArgument;
  if ((int)operation->op < 0) return ncclInvalidArgument;
  return ncclSuccess;
}

/* An operation inside a graph. A fork child inherits the graph, but not the row. Where ranks really meet, the first
 * of a group performs the whole group, as its sends and receives must go on at a time. */
struct captured {
  struct operation operation;
  uint32_t generation;
  size_t count;
  struct operation group[];
};

static void perform_captured(void *data) {
  struct captured *captured = data;
  if (captured->generation == atomic_load(&counts_generation)) counts_replayed(captured->operation.row);
  if (captured->count) rendezvous_perform(captured->group, captured->count);
}

static ncclResult_t capture(const struct operation *operation, const struct operation *group, size_t count) {
  struct captured *captured = malloc(sizeof *captured + count * sizeof *group);
  if (captured == NULL) return ncclSystemError;
  *captured = (struct captured){*operation, atomic_load(&counts_generation), count};
  for (size_t i = 0; i < count; i++) captured->group[i] = group[i];
  ncclResult_t result = stream_capture_operation(operation->stream, perform_captured, free, captured);
  if (result != ncclSuccess) free(captured);
  return result;
}

/* A group is captured as a whole or not at all: its streams are all being captured, or none is. */
ncclResult_t operations_launch(const struct operation *operations, size_t count) {
  int meets = rendezvous_is_on();
  if (count == 0) return ncclSuccess;
  if (stream_capture(operations[0].stream) == 0) {
    return meets ? rendezvous_perform(operations, count) : ncclSuccess;
  }
  for (size_t i = 0; i < count; i++) {
    ncclResult_t result = capture(&operations[i], operations, meets && i == 0 ? count : 0);
    if (result != ncclSuccess) return result;
  }
  return ncclSuccess;
}

static ncclResult_t submit(struct operation operation) {
  if (operation.row == NULL) operation.row = row_of_caller;
  ncclResult_t result = check(&operation);
  if (result == ncclSuccess && rendezvous_is_on()) result = rendezvous_check(&operation);
  if (result == ncclSuccess) result = conduct_operation();
  if (result == ncclSuccess && !group_leave_operation(&operation)) {
    result = operations_launch(&operation, 1);
  }
  return group_note(result);
}

NCCL_API(ncclResult_t, ncclAllReduce, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllReduce, KEY(count, NONE));
  RETURN(submit((struct operation){ALL_REDUCE, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, op, NONE}));
}

NCCL_API(ncclResult_t, ncclBroadcast, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclBroadcast, KEY(count, root));
  RETURN(submit((struct operation){BROADCAST, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

/* As in every release of NCCL: by a call of its own exported ncclBroadcast. */
NCCL_API(ncclResult_t, ncclBcast, void *buff, size_t count, ncclDataType_t datatype, int root,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclBcast, KEY(count, root));
  RETURN(CALL_ITSELF_FOR(row, ncclBroadcast(buff, buff, count, datatype, root, comm, stream)));
}

NCCL_API(ncclResult_t, ncclReduce, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclReduce, KEY(count, root));
  RETURN(submit((struct operation){REDUCE, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, op, root}));
}

NCCL_API(ncclResult_t, ncclAllGather, const void *sendbuff, void *recvbuff, size_t sendcount,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllGather, KEY(sendcount, NONE));
  RETURN(submit((struct operation){ALL_GATHER, row, comm, stream, sendbuff, recvbuff, sendcount,
                                   datatype, 0, NONE}));
}

NCCL_API(ncclResult_t, ncclReduceScatter, const void *sendbuff, void *recvbuff, size_t recvcount,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclReduceScatter, KEY(recvcount, NONE));
  RETURN(submit((struct operation){REDUCE_SCATTER, row, comm, stream, sendbuff, recvbuff, recvcount,
                                   datatype, op, NONE}));
}

NCCL_API(ncclResult_t, ncclAlltoAll, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAlltoAll, KEY(count, NONE));
  RETURN(submit((struct operation){ALL_TO_ALL, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, NONE}));
}

NCCL_API(ncclResult_t, ncclGather, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclGather, KEY(count, root));
  RETURN(submit((struct operation){GATHER, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

NCCL_API(ncclResult_t, ncclScatter, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclScatter, KEY(count, root));
  RETURN(submit((struct operation){SCATTER, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

NCCL_API(ncclResult_t, ncclSend, const void *sendbuff, size_t count, ncclDataType_t datatype, int peer,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclSend, KEY(count, peer));
  RETURN(submit((struct operation){SEND, row, comm, stream, sendbuff, NULL, count,
                                   datatype, 0, peer}));
}

NCCL_API(ncclResult_t, ncclRecv, void *recvbuff, size_t count, ncclDataType_t datatype, int peer,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclRecv, KEY(count, peer));
  RETURN(submit((struct operation){RECV, row, comm, stream, NULL, recvbuff, count,
                                   datatype, 0, peer}));
}

NCCL_API(ncclResult_t, ncclPutSignal, const void *localbuff, size_t count, ncclDataType_t datatype,
         int peer, ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclPutSignal, KEY(count, peer));
  (void)peerWin, (void)peerWinOffset, (void)sigIdx, (void)ctx, (void)flags;
  RETURN(submit((struct operation){PUT, row, comm, stream, localbuff, NULL, count,
                                   datatype, 0, peer}));
}

/* The forms with a configuration. NCCL 2.32 does not reach the plain ones through them. */

NCCL_API(ncclResult_t, ncclAllReduceConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAllReduceConfig, KEY(count, NONE));
  (void)config;
  RETURN(submit((struct operation){ALL_REDUCE, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, op, NONE}));
}

NCCL_API(ncclResult_t, ncclBroadcastConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclBroadcastConfig, KEY(count, root));
  (void)config;
  RETURN(submit((struct operation){BROADCAST, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

NCCL_API(ncclResult_t, ncclReduceConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclReduceConfig, KEY(count, root));
  (void)config;
  RETURN(submit((struct operation){REDUCE, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, op, root}));
}

NCCL_API(ncclResult_t, ncclAllGatherConfig, const void *sendbuff, void *recvbuff, size_t sendcount,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAllGatherConfig, KEY(sendcount, NONE));
  (void)config;
  RETURN(submit((struct operation){ALL_GATHER, row, comm, stream, sendbuff, recvbuff, sendcount,
                                   datatype, 0, NONE}));
}

NCCL_API(ncclResult_t, ncclReduceScatterConfig, const void *sendbuff, void *recvbuff, size_t recvcount,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclReduceScatterConfig, KEY(recvcount, NONE));
  (void)config;
  RETURN(submit((struct operation){REDUCE_SCATTER, row, comm, stream, sendbuff, recvbuff, recvcount,
                                   datatype, op, NONE}));
}

NCCL_API(ncclResult_t, ncclAlltoAllConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAlltoAllConfig, KEY(count, NONE));
  (void)config;
  RETURN(submit((struct operation){ALL_TO_ALL, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, NONE}));
}

NCCL_API(ncclResult_t, ncclGatherConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclGatherConfig, KEY(count, root));
  (void)config;
  RETURN(submit((struct operation){GATHER, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

NCCL_API(ncclResult_t, ncclScatterConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclScatterConfig, KEY(count, root));
  (void)config;
  RETURN(submit((struct operation){SCATTER, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, root}));
}

#ifdef SIMULATES_RCCL
/* What RCCL has beside NCCL's functions. */

NCCL_API(ncclResult_t, ncclAllToAll, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllToAll, KEY(count, NONE));
  RETURN(submit((struct operation){ALL_TO_ALL, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, 0, NONE}));
}

/* Counted without a size: each part has its own. */
NCCL_API(ncclResult_t, ncclAllToAllv, const void *sendbuff, const size_t sendcounts[], const size_t senddispls[],
         void *recvbuff, const size_t recvcounts[], const size_t recvdispls[], ncclDataType_t datatype,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllToAllv, KEY(0, NONE));
  (void)senddispls, (void)recvcounts, (void)recvdispls;
  RETURN(submit((struct operation){ALL_TO_ALL, row, comm, stream, sendbuff, recvbuff, sendcounts[0],
                                   datatype, 0, NONE}));
}

NCCL_API(ncclResult_t, ncclAllReduceWithBias, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const void *acc) {
  ASKED(ncclAllReduceWithBias, KEY(count, NONE));
  (void)acc;
  RETURN(submit((struct operation){ALL_REDUCE, row, comm, stream, sendbuff, recvbuff, count,
                                   datatype, op, NONE}));
}
#endif
