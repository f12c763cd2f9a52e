/* Communicators that are not ready when the call that makes them returns, as torch makes them. */
#include "host.h"

static void wait_until_ready(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) MUST(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
  MUST(state == ncclSuccess);
}

int main(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm, child;
  MUST(ncclCommInitRankConfig(&comm, 2, id_of('n'), 1, &config) == ncclInProgress);
  wait_until_ready(comm);
  all_reduce(comm, 1);
  MUST(ncclCommSplit(comm, 3, 0, &child, &config) == ncclInProgress);
  MUST(child == NULL);
  wait_until_ready(comm);
  MUST(child != NULL);
  all_reduce(child, 2);
  return 0;
}
