/* Makes and destroys communicators in turn; NCCL gives the same handle to several of them. */
#include "host.h"

int main(void) {
  int reused = 0;
  ncclComm_t last = NULL;
  for (int i = 0; i < 20; i++) {
    ncclComm_t comm = communicator((char)('a' + i), 2 + i, i);
    reused += comm == last;
    last = comm;
    for (int call = 0; call < 10 + i; call++) all_reduce(comm, 8);
    MUST(ncclCommDestroy(comm) == ncclSuccess);
  }
  MUST(reused > 0);
  return 0;
}
