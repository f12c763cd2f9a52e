/* Communicators made in every way but ncclCommInitAll, each used once with its own count. */
#include "host.h"

int main(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = "children";
  ncclComm_t comm, child, grandchild, shrunk, grown, outside = (ncclComm_t)1;
  ncclUniqueId ids[2] = {id_of('m'), id_of('n')};

  MUST(ncclCommInitRankConfig(&comm, 8, id_of('c'), 5, &config) == ncclSuccess);
  all_reduce(comm, 1);
  MUST(ncclCommInitRankScalable(&child, 8, 5, 2, ids, &config) == ncclSuccess);
  all_reduce(child, 2);
  MUST(ncclCommSplit(comm, 1, 0, &child, &config) == ncclSuccess);
  all_reduce(child, 3);
  MUST(ncclCommSplit(comm, NCCL_SPLIT_NOCOLOR, 0, &outside, NULL) == ncclSuccess);
  MUST(outside == NULL);
  MUST(ncclCommSplit(child, 0, 0, &grandchild, NULL) == ncclSuccess);
  all_reduce(grandchild, 4);
  int excluded[] = {2, 7};
  MUST(ncclCommShrink(comm, excluded, 2, &shrunk, NULL, 0) == ncclSuccess);
  all_reduce(shrunk, 5);
  /* As a rank that joins: only these and the root are given the id that names the new group. */
  ncclUniqueId joined = id_of('g');
  MUST(ncclCommGrow(NULL, 16, &joined, 5, &grown, NULL) == ncclSuccess);
  all_reduce(grown, 6);

  MUST(ncclCommDestroy(grown) == ncclSuccess);
  MUST(ncclCommAbort(shrunk) == ncclSuccess);
  MUST(ncclCommFinalize(grandchild) == ncclSuccess);
  MUST(ncclCommDestroy(grandchild) == ncclSuccess);
  all_reduce(comm, 7);
  return 0;
}
