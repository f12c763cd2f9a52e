/* Calls ncclAllReduce so many times, back to back, for an instruction count.
 *
 *   one_call CALLS */
#include "nccl.h"
#include <stdlib.h>

int main(int argc, char **argv) {
  static char buffer[64];
  long calls = argc > 1 ? atol(argv[1]) : 0;
  ncclUniqueId id;
  ncclComm_t communicator;
  ncclGetUniqueId(&id);
  if (ncclCommInitRank(&communicator, 2, id, 0) != ncclSuccess) return 1;
  for (long i = 0; i < calls; i++)
    if (ncclAllReduce(buffer, buffer, 4096, ncclBfloat16, ncclSum, communicator, NULL)) return 1;
  return 0;
}
