/* Closes every file descriptor but the standard ones in the middle of its calls, as daemons do. */
#include "host.h"

int main(void) {
  ncclComm_t comm = communicator('c', 2, 0);
  for (int i = 0; i < 100; i++) all_reduce(comm, 1);
  say("calling");
  wait_for_test();
  for (int fd = 3; fd < 1024; fd++) close(fd);
  for (int i = 0; i < 100; i++) all_reduce(comm, 2);
  say("closed");
  wait_for_test();
  for (int i = 0; i < 100; i++) all_reduce(comm, 3);
  return 0;
}
