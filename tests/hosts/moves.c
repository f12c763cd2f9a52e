/* Goes to another directory, then makes a communicator and calls 100 times. */
#include "host.h"

int main(void) {
  MUST(chdir("/") == 0);
  ncclComm_t comm = communicator('m', 2, 0);
  for (int i = 0; i < 100; i++) all_reduce(comm, 8);
  return 0;
}
