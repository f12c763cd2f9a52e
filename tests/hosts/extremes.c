/* The largest counts, the deepest groups, the strangest names. */
#include <stdint.h>

#include "host.h"

int main(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  char name[5000];
  memset(name, 0xff, sizeof name - 1);
  name[sizeof name - 1] = 0;
  config.commName = name;
  ncclComm_t comm;
  MUST(ncclCommInitRankConfig(&comm, INT_MAX, id_of('e'), INT_MAX - 1, &config) == ncclSuccess);
  for (int i = 0; i < 3; i++) {
    MUST(ncclAllReduce(NULL, NULL, SIZE_MAX, ncclFloat64, ncclSum, comm, NULL) == ncclSuccess);
    MUST(ncclAllGather(NULL, NULL, SIZE_MAX / 2, ncclFloat64, comm, NULL) == ncclSuccess);
    MUST(ncclAllReduce(NULL, NULL, 0, ncclInt8, ncclMaxRedOp, comm, (void *)-1) == ncclSuccess);
    MUST(ncclSend(NULL, 1, ncclInt8, INT_MAX - 1, comm, NULL) == ncclSuccess);
  }
  for (int depth = 0; depth < 1000; depth++) MUST(ncclGroupStart() == ncclSuccess);
  all_reduce(comm, 1);
  for (int depth = 0; depth < 1000; depth++) MUST(ncclGroupEnd() == ncclSuccess);
  MUST(ncclGroupStart() == ncclSuccess);
  for (int i = 0; i < 20000; i++) all_reduce(comm, 2);
  MUST(ncclGroupEnd() == ncclSuccess);
  return 0;
}
