/* An engine on AMD's GPUs: NCCL's functions, and those that RCCL has beside them. */
#include "host.h"

int main(void) {
  ncclComm_t comm = communicator('r', 4, 2);
  for (int i = 0; i < 10; i++) all_reduce(comm, 4096);
  /* Which RCCL carries out by a call of its own ncclBroadcast, as NCCL does. */
  for (int i = 0; i < 3; i++) MUST(ncclBcast(NULL, 128, ncclInt64, 0, comm, NULL) == ncclSuccess);
  MUST(ncclGroupStart() == ncclSuccess);
  MUST(ncclSend(NULL, 64, ncclFloat16, 3, comm, NULL) == ncclSuccess);
  MUST(ncclRecv(NULL, 64, ncclFloat16, 1, comm, NULL) == ncclSuccess);
  MUST(ncclGroupEnd() == ncclSuccess);
  for (int i = 0; i < 4; i++) MUST(ncclAllToAll(NULL, NULL, 512, ncclBfloat16, comm, NULL) == ncclSuccess);
  const size_t counts[] = {1, 2, 3, 4}, places[] = {0, 1, 3, 6};
  for (int i = 0; i < 2; i++) {
    MUST(ncclAllToAllv(NULL, counts, places, NULL, counts, places, ncclFloat32, comm, NULL) == ncclSuccess);
  }
  for (int i = 0; i < 5; i++) {
    MUST(ncclAllReduceWithBias(NULL, NULL, 256, ncclFloat32, ncclSum, comm, NULL, NULL) == ncclSuccess);
  }
  return 0;
}
