/* burst N: N calls as fast as they go, then waits for the test. */
#include "host.h"

int main(int argc, char **argv) {
  long calls = argument(argc, argv, 1);
  ncclComm_t comm = communicator('b', 2, 0);
  for (long i = 0; i < calls; i++) all_reduce(comm, 4096);
  say("done");
  wait_for_test();
  return 0;
}
