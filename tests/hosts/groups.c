/* Groups as applications use them: nested, with communicators made in them, and one that is only
 * simulated. */
#include "host.h"

static void exchange(ncclComm_t comm, size_t count) {
  MUST(ncclGroupStart() == ncclSuccess);
  for (int peer = 1; peer < 4; peer++) {
    MUST(ncclSend(NULL, count, ncclFloat16, peer, comm, NULL) == ncclSuccess);
    MUST(ncclRecv(NULL, count, ncclFloat16, peer, comm, NULL) == ncclSuccess);
  }
  MUST(ncclGroupEnd() == ncclSuccess);
}

int main(void) {
  ncclComm_t comms[2] = {NULL, NULL}, child = NULL, plain = NULL;

  /* Communicators made in a group. */
  MUST(ncclGroupStart() == ncclSuccess);
  MUST(ncclCommInitRank(&comms[0], 4, id_of('x'), 0) == ncclSuccess);
  MUST(ncclCommInitRank(&comms[1], 4, id_of('y'), 0) == ncclSuccess);
  MUST(ncclGroupEnd() == ncclSuccess);

  /* A group in a group. */
  MUST(ncclGroupStart() == ncclSuccess);
  for (int i = 0; i < 10; i++) exchange(comms[i % 2], 100);
  MUST(ncclGroupEnd() == ncclSuccess);

  /* A child split off in a group exists when the outermost group has ended. */
  MUST(ncclGroupStart() == ncclSuccess);
  MUST(ncclCommSplit(comms[0], 7, 0, &child, NULL) == ncclSuccess);
  MUST(child == NULL);
  MUST(ncclGroupEnd() == ncclSuccess);
  MUST(child != NULL);
  all_reduce(child, 33);

  /* A child split off without a group. */
  MUST(ncclCommSplit(comms[0], 7, 0, &plain, NULL) == ncclSuccess);
  all_reduce(plain, 34);

  /* Operations that are never carried out. */
  ncclSimInfo_t estimate = NCCL_SIM_INFO_INITIALIZER;
  MUST(ncclGroupStart() == ncclSuccess);
  all_reduce(comms[0], 55);
  MUST(ncclGroupStart() == ncclSuccess);
  all_reduce(comms[0], 55);
  MUST(ncclGroupEnd() == ncclSuccess);
  MUST(ncclGroupSimulateEnd(&estimate) == ncclSuccess);
  all_reduce(comms[0], 55);
  return 0;
}
