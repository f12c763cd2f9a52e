/* A simulated oneCCL: checks arguments, moves nothing, and keeps its own account. When the process ends it writes a
 * line for each kind of operation that it took into the file that SIMULATED_ONECCL_ACCOUNT names:
 * operation, elements (-1 where they are not said), data type, peer or root (-1 for none), how many. */
#include "ccl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default"), weak))
enum { NONE = -1, KINDS = 64, RELEASE = 20220200 };

struct onecclComm {
  int ranks, rank, blocking;
};

static struct {
  const char *operation;
  long elements;
  int type, peer;
  unsigned long times;
} account[KINDS];

/* Calls that the library makes to itself, by its own exported functions, are no operations of the program. */
static int inside;

static void count(const char *operation, long elements, int type, int peer) {
  if (inside) return;
  for (int i = 0; i < KINDS; i++) {
    if (account[i].operation == NULL) {
      account[i].operation = operation;
      account[i].elements = elements;
      account[i].type = type;
      account[i].peer = peer;
    }
    int same = strcmp(account[i].operation, operation) == 0 && account[i].elements == elements;
    if (same && account[i].type == type && account[i].peer == peer) {
      account[i].times++;
      return;
    }
  }
  abort(); /* an account that is silently short is none */
}

__attribute__((destructor)) static void write_account(void) {
  const char *path = getenv("SIMULATED_ONECCL_ACCOUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  for (int i = 0; i < KINDS && account[i].operation; i++) {
    fprintf(file, "%s %ld %d %d %lu\n", account[i].operation, account[i].elements, account[i].type, account[i].peer,
            account[i].times);
  }
  fclose(file);
}

static onecclResult_t operation(const char *name, long elements, int type, int peer, onecclComm_t comm) {
  int known = type >= 0 && type <= onecclBfloat16;
  if (comm == NULL || !known || peer >= comm->ranks) return onecclInvalidArgument;
  count(name, elements, type, peer);
  return comm->blocking ? onecclSuccess : onecclInProgress;
}

static onecclResult_t make(onecclComm_t *comm, int ranks, int rank, int blocking) {
  *comm = malloc(sizeof **comm);
  if (*comm == NULL) abort();
  **comm = (struct onecclComm){ranks, rank, blocking};
  return onecclSuccess;
}

API onecclResult_t onecclGetVersion(int *version) { return *version = RELEASE, onecclSuccess; }

API onecclResult_t onecclGetUniqueId(onecclUniqueId *id) {
  for (size_t i = 0; i < sizeof id->data; i++) id->data[i] = (char)(i * 7);
  return onecclSuccess;
}

API onecclResult_t onecclCommInitRank(onecclComm_t *comm, size_t nranks, onecclUniqueId id, int rank) {
  (void)id;
  return make(comm, (int)nranks, rank, 1);
}

API onecclResult_t onecclCommInitRankConfig(onecclComm_t *comm, size_t nranks, onecclUniqueId id, int rank,
                                            const onecclConfig_t *config) {
  (void)id;
  return make(comm, (int)nranks, rank, config == NULL || config->blocking != 0);
}

/* Two halves, by rank. */
API onecclResult_t onecclCommSplit(onecclComm_t comm, int color, int key, onecclComm_t *newcomm,
                                   onecclConfig_t *config) {
  (void)color, (void)key, (void)config;
  return make(newcomm, comm->ranks / 2, comm->rank / 2, 1);
}

API onecclResult_t onecclCommDestroy(onecclComm_t comm) { return free(comm), onecclSuccess; }
API onecclResult_t onecclCommCount(const onecclComm_t comm, int *count) { return *count = comm->ranks, onecclSuccess; }
API onecclResult_t onecclCommUserRank(const onecclComm_t comm, int *rank) { return *rank = comm->rank, onecclSuccess; }
API onecclResult_t onecclCommDevice(const onecclComm_t comm, int *device) { return *device = comm->rank, onecclSuccess; }
API onecclResult_t onecclGroupStart(void) { return onecclSuccess; }
API onecclResult_t onecclGroupEnd(void) { return onecclSuccess; }

API onecclResult_t onecclAllReduce(void *send, void *recv, size_t count, onecclDataType_t type, onecclRedOp_t op,
                                   onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)op, (void)queue;
  return operation("AllReduce", (long)count, type, NONE, comm);
}

API onecclResult_t onecclReduce(const void *send, void *recv, size_t count, onecclDataType_t type, onecclRedOp_t op,
                                int root, onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)op, (void)queue;
  return operation("Reduce", (long)count, type, root, comm);
}

API onecclResult_t onecclBroadcast(const void *send, void *recv, size_t count, onecclDataType_t type, int root,
                                   onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)queue;
  return operation("Broadcast", (long)count, type, root, comm);
}

API onecclResult_t onecclReduceScatter(const void *send, void *recv, size_t count, onecclDataType_t type,
                                       onecclRedOp_t op, onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)op, (void)queue;
  return operation("ReduceScatter", (long)count, type, NONE, comm);
}

API onecclResult_t onecclScatter(const void *send, void *recv, size_t count, onecclDataType_t type, int root,
                                 onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)queue;
  return operation("Scatter", (long)count, type, root, comm);
}

API onecclResult_t onecclAllGather(const void *send, void *recv, size_t count, onecclDataType_t type,
                                   onecclComm_t comm, void *queue) {
  (void)send, (void)recv, (void)queue;
  return operation("AllGather", (long)count, type, NONE, comm);
}

API onecclResult_t onecclAllToAll(const void *send, void *recv, size_t count, onecclDataType_t type, onecclComm_t comm,
                                  void *queue) {
  (void)send, (void)recv, (void)queue;
  return operation("AlltoAll", (long)count, type, NONE, comm);
}

API onecclResult_t onecclSend(const void *send, size_t count, onecclDataType_t type, int peer, onecclComm_t comm,
                              void *queue) {
  (void)send, (void)queue;
  return operation("Send", (long)count, type, peer, comm);
}

API onecclResult_t onecclRecv(void *recv, size_t count, onecclDataType_t type, int peer, onecclComm_t comm,
                              void *queue) {
  (void)recv, (void)queue;
  return operation("Recv", (long)count, type, peer, comm);
}

/* By a group of its own Send and Recv. */
API onecclResult_t onecclAllToAllV(const void *send, const size_t *sends, void *recv, const size_t *recvs,
                                   onecclDataType_t type, onecclComm_t comm, void *queue) {
  onecclResult_t result = operation("AlltoAllv", NONE, type, NONE, comm);
  inside++;
  onecclGroupStart();
  for (int i = 0; i < comm->ranks; i++) {
    onecclSend(send, sends[i], type, i, comm, queue);
    onecclRecv(recv, recvs[i], type, i, comm, queue);
  }
  onecclGroupEnd();
  inside--;
  return result;
}
