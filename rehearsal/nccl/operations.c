/* Calls that move data between ranks: checked and counted as in NCCL, and nothing moved. */
#include "simulator.h"

#define KEY(count, peer) datatype, communicator_identity(comm), (count), communicator_ranks(comm), \
                         communicator_rank(comm), (peer)

/* NCCL's argument checks, in its order. `op` and `peer` are 0 for functions without them. */
static ncclResult_t check(ncclComm_t comm, ncclDataType_t datatype, ncclRedOp_t op, int peer) {
  ncclResult_t result = communicator_ready(comm);
  if (result != ncclSuccess) return result;
  if (comm->revoked) return ncclInvalidUsage;
  if (peer < 0 || peer >= comm->ranks) return ncclInvalidArgument;
  if ((int)datatype < 0 || datatype >= ncclNumTypes) return ncclInvalidArgument;
  if ((int)op < 0) return ncclInvalidArgument;
  return ncclSuccess;
}

static ncclResult_t operation(struct row *row, ncclComm_t comm, ncclDataType_t datatype,
                              ncclRedOp_t op, int peer) {
  ncclResult_t result = check(comm, datatype, op, peer);
  if (result == ncclSuccess) result = conduct_operation();
  if (result == ncclSuccess) group_remember(row);
  return group_note(result);
}

NCCL_API(ncclResult_t, ncclAllReduce, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllReduce, KEY(count, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, op, 0));
}

NCCL_API(ncclResult_t, ncclBroadcast, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclBroadcast, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, root));
}

/* As in every release of NCCL: by a call of its own exported ncclBroadcast. */
NCCL_API(ncclResult_t, ncclBcast, void *buff, size_t count, ncclDataType_t datatype, int root,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclBcast, KEY(count, root));
  ncclResult_t result =
      CALL_ITSELF(ncclBroadcast(buff, buff, count, datatype, root, comm, stream));
  if (result == ncclSuccess) group_remember(row);
  RETURN(result);
}

NCCL_API(ncclResult_t, ncclReduce, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclReduce, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, op, root));
}

NCCL_API(ncclResult_t, ncclAllGather, const void *sendbuff, void *recvbuff, size_t sendcount,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAllGather, KEY(sendcount, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, 0));
}

NCCL_API(ncclResult_t, ncclReduceScatter, const void *sendbuff, void *recvbuff, size_t recvcount,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclReduceScatter, KEY(recvcount, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, op, 0));
}

NCCL_API(ncclResult_t, ncclAlltoAll, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclAlltoAll, KEY(count, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, 0));
}

NCCL_API(ncclResult_t, ncclGather, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclGather, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, root));
}

NCCL_API(ncclResult_t, ncclScatter, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclScatter, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, root));
}

NCCL_API(ncclResult_t, ncclSend, const void *sendbuff, size_t count, ncclDataType_t datatype, int peer,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclSend, KEY(count, peer));
  (void)sendbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, peer));
}

NCCL_API(ncclResult_t, ncclRecv, void *recvbuff, size_t count, ncclDataType_t datatype, int peer,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclRecv, KEY(count, peer));
  (void)recvbuff, (void)stream;
  RETURN(operation(row, comm, datatype, 0, peer));
}

NCCL_API(ncclResult_t, ncclPutSignal, const void *localbuff, size_t count, ncclDataType_t datatype,
         int peer, ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags,
         ncclComm_t comm, cudaStream_t stream) {
  ASKED(ncclPutSignal, KEY(count, peer));
  (void)localbuff, (void)peerWin, (void)peerWinOffset, (void)sigIdx, (void)ctx, (void)flags;
  (void)stream;
  RETURN(operation(row, comm, datatype, 0, peer));
}

/* The forms with a configuration. NCCL 2.32 does not reach the plain ones through them. */

NCCL_API(ncclResult_t, ncclAllReduceConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAllReduceConfig, KEY(count, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, op, 0));
}

NCCL_API(ncclResult_t, ncclBroadcastConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclBroadcastConfig, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, 0, root));
}

NCCL_API(ncclResult_t, ncclReduceConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclReduceConfig, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, op, root));
}

NCCL_API(ncclResult_t, ncclAllGatherConfig, const void *sendbuff, void *recvbuff, size_t sendcount,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAllGatherConfig, KEY(sendcount, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, 0, 0));
}

NCCL_API(ncclResult_t, ncclReduceScatterConfig, const void *sendbuff, void *recvbuff, size_t recvcount,
         ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclReduceScatterConfig, KEY(recvcount, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, op, 0));
}

NCCL_API(ncclResult_t, ncclAlltoAllConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclAlltoAllConfig, KEY(count, NONE));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, 0, 0));
}

NCCL_API(ncclResult_t, ncclGatherConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclGatherConfig, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, 0, root));
}

NCCL_API(ncclResult_t, ncclScatterConfig, const void *sendbuff, void *recvbuff, size_t count,
         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
         const ncclCollConfig_t *config) {
  ASKED(ncclScatterConfig, KEY(count, root));
  (void)sendbuff, (void)recvbuff, (void)stream, (void)config;
  RETURN(operation(row, comm, datatype, 0, root));
}
