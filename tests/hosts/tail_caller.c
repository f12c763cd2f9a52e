/* A library that hands its caller's call on to NCCL as a jump: NCCL's caller is then not this library,
 * but whoever called it. */
#pragma GCC optimize("O2")
#include "host.h"

ncclComm_t tail_init(char id);
ncclResult_t tail_all_gather(size_t count, ncclComm_t comm);

ncclComm_t tail_init(char id) { return communicator(id, 2, 0); }

ncclResult_t tail_all_gather(size_t count, ncclComm_t comm) {
  /* As many arguments as registers hold, so that the jump is possible. */
  return ncclAllGather(NULL, NULL, count, ncclInt8, comm, NULL);
}
