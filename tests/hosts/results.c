/* Prints what NCCL answers and what it leaves in errno, call by call: right calls, wrong calls, and a call
 * the simulator is told to fail. The output must not depend on who is preloaded. */
#include "host.h"

static ncclComm_t comm;

static void print(const char *what, ncclResult_t result) {
  int left = errno;
  printf("%s: %s, errno %d\n", what, ncclGetErrorString(result), left);
  errno = 77;
}

int main(void) {
  int value = -5;
  errno = 77;
  print("CommInitRank", ncclCommInitRank(&comm, 2, id_of('r'), 1));
  for (int i = 0; i < 5; i++) {
    print("AllReduce", ncclAllReduce(NULL, NULL, 8, ncclInt8, ncclSum, comm, NULL));
  }
  print("AllReduce without communicator", ncclAllReduce(NULL, NULL, 8, 0, 0, NULL, NULL));
  print("AllReduce of no type", ncclAllReduce(NULL, NULL, 8, 99, 0, comm, NULL));
  print("Send to nobody", ncclSend(NULL, 8, ncclInt8, 9, comm, NULL));
  print("GroupEnd without start", ncclGroupEnd());
  print("CommInitRank of rank 9", ncclCommInitRank(&(ncclComm_t){NULL}, 2, id_of('r'), 9));
  print("CommInitRank without place", ncclCommInitRank(NULL, 2, id_of('r'), 1));
  print("CommSplit without place", ncclCommSplit(comm, 0, 0, NULL, NULL));
  print("CommSplit of nothing", ncclCommSplit(NULL, 0, 0, &(ncclComm_t){NULL}, NULL));
  print("GetVersion without place", ncclGetVersion(NULL));
  print("CommUserRank", ncclCommUserRank(comm, &value));
  printf("rank %d\n", value);
  print("CommDestroy", ncclCommDestroy(comm));
  print("CommDestroy of nothing", ncclCommDestroy(NULL));
  return 0;
}
