/* oneccl RANK: an engine on Intel's GPUs, rank RANK of 4, linked to oneCCL. */
#include "host.h"

#include "oneccl/ccl.h"

static void operations(onecclComm_t comm, onecclResult_t taken) {
  for (int i = 0; i < 65; i++) MUST(onecclAllReduce(NULL, NULL, 4096, onecclBfloat16, onecclSum, comm, comm) == taken);
  MUST(onecclReduce(NULL, NULL, 10, onecclFloat32, onecclMax, 3, comm, NULL) == taken);
  MUST(onecclBroadcast(NULL, NULL, 20, onecclInt64, 0, comm, NULL) == taken);
  MUST(onecclReduceScatter(NULL, NULL, 30, onecclFloat16, onecclSum, comm, NULL) == taken);
  MUST(onecclScatter(NULL, NULL, 40, onecclInt8, 2, comm, NULL) == taken);
  MUST(onecclAllGather(NULL, NULL, 50, onecclBfloat16, comm, NULL) == taken);
  MUST(onecclAllToAll(NULL, NULL, 60, onecclBfloat16, comm, NULL) == taken);
}

int main(int argc, char **argv) {
  int rank = (int)argument(argc, argv, 1);
  onecclUniqueId id;
  onecclComm_t comm, half, later;
  MUST(onecclGetUniqueId(&id) == onecclSuccess);
  MUST(onecclCommInitRank(&comm, 4, id, rank) == onecclSuccess);
  operations(comm, onecclSuccess);
  MUST(onecclGroupStart() == onecclSuccess);
  MUST(onecclSend(NULL, 70, onecclFloat16, 3, comm, NULL) == onecclSuccess);
  MUST(onecclRecv(NULL, 70, onecclFloat16, 1, comm, NULL) == onecclSuccess);
  MUST(onecclGroupEnd() == onecclSuccess);
  size_t parts[] = {1, 2, 3, 4};
  for (int i = 0; i < 2; i++) {
    MUST(onecclAllToAllV(NULL, parts, NULL, parts, onecclFloat32, comm, NULL) == onecclSuccess);
  }
  MUST(onecclAllReduce(NULL, NULL, 1, 77, onecclSum, comm, NULL) == onecclInvalidArgument);
  MUST(onecclCommSplit(comm, rank % 2, 0, &half, NULL) == onecclSuccess);
  MUST(onecclAllReduce(NULL, NULL, 80, onecclBfloat16, onecclSum, half, NULL) == onecclSuccess);
  /* One that does not block. What its configuration has where NCCL's has a name is no address. */
  onecclConfig_t config = {.size = sizeof config, .magic = 0xcafebeef, .version = 20220200, .plugin = ONECCL_LEGACY_PLUGIN};
  MUST(onecclCommInitRankConfig(&later, 4, id, rank, &config) == onecclSuccess);
  operations(later, onecclInProgress);
  MUST(onecclCommDestroy(half) == onecclSuccess);
  return 0;
}
