/* many_communicators N: makes N communicators that all live at once, and calls once on each. */
#include "host.h"

int main(int argc, char **argv) {
  long count = argument(argc, argv, 1);
  for (long i = 0; i < count; i++) {
    ncclUniqueId id = id_of('m');
    memcpy(&id, &i, sizeof i);
    ncclComm_t comm;
    MUST(ncclCommInitRank(&comm, 2, id, 1) == ncclSuccess);
    all_reduce(comm, 6);
  }
  return 0;
}
