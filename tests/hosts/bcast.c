/* ncclBcast, which NCCL carries out by calling its own ncclBroadcast, and ncclBroadcast itself. */
#include "host.h"

int main(void) {
  ncclComm_t comm = communicator('b', 2, 0);
  for (int i = 0; i < 500; i++) MUST(ncclBcast(NULL, 64, ncclInt64, 1, comm, NULL) == ncclSuccess);
  for (int i = 0; i < 3; i++) {
    MUST(ncclBroadcast(NULL, NULL, 65, ncclInt64, 1, comm, NULL) == ncclSuccess);
  }
  return 0;
}
