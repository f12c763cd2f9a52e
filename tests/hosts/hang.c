/* Makes some calls; the simulator is told to never return from one of them. */
#include "host.h"

int main(void) {
  ncclComm_t comm = communicator('h', 2, 1);
  for (int i = 0; i < 9; i++) all_reduce(comm, 8);
  say("hanging");
  MUST(ncclReduceScatter(NULL, NULL, 4242, ncclFloat32, ncclSum, comm, NULL) == ncclSuccess);
  return 0;
}
