/* Calls NCCL before main, from a constructor, and after it, from a destructor. */
#include "host.h"

static ncclComm_t comm;

__attribute__((constructor)) static void before_main(void) {
  comm = communicator('l', 2, 0);
  for (int i = 0; i < 10; i++) all_reduce(comm, 1);
}

__attribute__((destructor)) static void after_main(void) {
  for (int i = 0; i < 10; i++) all_reduce(comm, 3);
}

int main(void) {
  for (int i = 0; i < 10; i++) all_reduce(comm, 2);
  return 0;
}
