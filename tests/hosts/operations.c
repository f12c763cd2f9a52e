/* Each operation of NCCL once with its own count, through the linkage table. */
#include "host.h"

int main(void) {
  ncclComm_t comm = communicator('o', 4, 1);
  ncclCollConfig_t config = {sizeof config, NCCL_API_MAGIC, 23200};
  void *memory, *window;
  MUST(ncclMemAlloc(&memory, 4096) == ncclSuccess);
  MUST(ncclCommWindowRegister(comm, memory, 4096, &window, 0) == ncclSuccess);
  ncclResult_t results[] = {
      ncclAllReduce(NULL, NULL, 1, ncclFloat16, ncclSum, comm, NULL),
      ncclBroadcast(NULL, NULL, 2, ncclFloat32, 3, comm, NULL),
      ncclBcast(NULL, 3, ncclInt64, 2, comm, NULL),
      ncclReduce(NULL, NULL, 4, ncclFloat64, ncclMax, 0, comm, NULL),
      ncclAllGather(NULL, NULL, 5, ncclUint8, comm, NULL),
      ncclReduceScatter(NULL, NULL, 6, ncclBfloat16, ncclAvg, comm, NULL),
      ncclAlltoAll(NULL, NULL, 7, ncclInt8, comm, NULL),
      ncclGather(NULL, NULL, 8, ncclInt32, 1, comm, NULL),
      ncclScatter(NULL, NULL, 9, ncclUint32, 2, comm, NULL),
      ncclSend(NULL, 10, ncclUint64, 3, comm, NULL),
      ncclRecv(NULL, 11, ncclFloat8e4m3, 0, comm, NULL),
      ncclPutSignal(memory, 12, ncclFloat8e5m2, 2, window, 8, 0, 0, 0, comm, NULL),
      ncclAllReduceConfig(NULL, NULL, 13, ncclFloat16, ncclSum, comm, NULL, &config),
      ncclBroadcastConfig(NULL, NULL, 14, ncclFloat32, 3, comm, NULL, &config),
      ncclReduceConfig(NULL, NULL, 15, ncclFloat64, ncclMin, 0, comm, NULL, &config),
      ncclAllGatherConfig(NULL, NULL, 16, ncclUint8, comm, NULL, &config),
      ncclReduceScatterConfig(NULL, NULL, 17, ncclBfloat16, ncclProd, comm, NULL, &config),
      ncclAlltoAllConfig(NULL, NULL, 18, ncclInt8, comm, NULL, &config),
      ncclGatherConfig(NULL, NULL, 19, ncclInt32, 1, comm, NULL, &config),
      ncclScatterConfig(NULL, NULL, 20, ncclUint32, 2, comm, NULL, &config),
  };
  for (size_t i = 0; i < sizeof results / sizeof *results; i++) MUST(results[i] == ncclSuccess);
  MUST(ncclCommDestroy(comm) == ncclSuccess);
  return 0;
}
