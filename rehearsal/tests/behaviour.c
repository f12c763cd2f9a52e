/* One behaviour of the simulated NCCL per argument; tests/simulator.rs names and runs them. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nccl.h"

static ncclUniqueId id_of(char byte) {
  ncclUniqueId id;
  memset(&id, byte, sizeof id);
  return id;
}

static ncclComm_t communicator(int ranks, int rank) {
  ncclComm_t comm;
  assert(ncclCommInitRank(&comm, ranks, id_of('a'), rank) == ncclSuccess);
  return comm;
}

static ncclResult_t all_reduce(ncclComm_t comm, size_t count) {
  return ncclAllReduce(NULL, NULL, count, ncclBfloat16, ncclSum, comm, NULL);
}

static void arguments(void) {
  ncclComm_t comm = communicator(2, 1), none;
  assert(all_reduce(NULL, 8) == ncclInvalidArgument);
  assert(ncclBcast(NULL, 8, ncclInt8, 2, comm, NULL) == ncclInvalidArgument);
  assert(ncclSend(NULL, 8, ncclInt8, -1, comm, NULL) == ncclInvalidArgument);
  assert(ncclAllGather(NULL, NULL, 8, 12, comm, NULL) == ncclInvalidArgument);
  assert(ncclCommInitRank(&none, 2, id_of('a'), 2) == ncclInvalidArgument && none == NULL);
  assert(ncclCommCount(NULL, NULL) == ncclInvalidArgument);
  assert(ncclCommDestroy(NULL) == ncclSuccess);
  assert(all_reduce(comm, 8) == ncclSuccess);
  int ranks, rank;
  assert(ncclCommCount(comm, &ranks) == ncclSuccess && ranks == 2);
  assert(ncclCommUserRank(comm, &rank) == ncclSuccess && rank == 1);
}

static void group_without_start(void) {
  assert(ncclGroupEnd() == ncclInvalidUsage);
  assert(ncclGroupSimulateEnd(NULL) == ncclInvalidUsage);
}

static void error_in_group(void) {
  ncclComm_t comm = communicator(2, 0);
  assert(ncclGroupStart() == ncclSuccess);
  assert(all_reduce(comm, 8) == ncclSuccess);
  assert(all_reduce(NULL, 8) == ncclInvalidArgument);
  assert(ncclGroupEnd() == ncclInvalidArgument);
  assert(ncclGroupStart() == ncclSuccess);
  assert(ncclGroupEnd() == ncclSuccess);
}

static void init_in_group(void) {
  ncclComm_t comm = NULL;
  assert(ncclGroupStart() == ncclSuccess);
  assert(ncclCommInitRank(&comm, 1, id_of('a'), 0) == ncclSuccess);
  assert(comm != NULL);
  assert(ncclGroupEnd() == ncclSuccess);
}

static void split_in_group(void) {
  ncclComm_t comm = communicator(2, 0), child = comm;
  assert(ncclGroupStart() == ncclSuccess);
  assert(ncclGroupStart() == ncclSuccess);
  assert(ncclCommSplit(comm, 5, 0, &child, NULL) == ncclSuccess);
  assert(child == NULL);
  assert(ncclGroupEnd() == ncclSuccess);
  assert(child == NULL);
  assert(ncclGroupEnd() == ncclSuccess);
  assert(child != NULL);
  assert(all_reduce(child, 3) == ncclSuccess);
}

static void split_without_colour(void) {
  ncclComm_t comm = communicator(2, 0), child = comm;
  assert(ncclCommSplit(comm, NCCL_SPLIT_NOCOLOR, 0, &child, NULL) == ncclSuccess);
  assert(child == NULL);
}

static void shrink(void) {
  ncclComm_t comm = communicator(4, 3), child;
  int excluded[] = {1}, ranks, rank;
  assert(ncclCommShrink(comm, excluded, 1, &child, NULL, 0) == ncclSuccess);
  assert(ncclCommCount(child, &ranks) == ncclSuccess && ranks == 3);
  assert(ncclCommUserRank(child, &rank) == ncclSuccess && rank == 2);
}

static void nonblocking(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm, child;
  ncclResult_t state;
  int ranks;
  assert(ncclCommInitRankConfig(&comm, 2, id_of('a'), 0, &config) == ncclInProgress);
  assert(ncclCommCount(comm, &ranks) == ncclInvalidArgument);
  do {
    assert(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
  } while (state == ncclInProgress);
  assert(ncclCommCount(comm, &ranks) == ncclSuccess && ranks == 2);
  assert(ncclCommSplit(comm, 0, 0, &child, NULL) == ncclInProgress);
  assert(child == NULL);
  do {
    assert(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
  } while (state == ncclInProgress);
  assert(child != NULL);
}

static void handle_reuse(void) {
  ncclComm_t first = communicator(2, 0);
  assert(ncclCommDestroy(first) == ncclSuccess);
  assert(communicator(2, 0) == first);
}

static void destroy_in_group(void) {
  ncclComm_t comm = communicator(2, 0);
  int ranks;
  assert(ncclGroupStart() == ncclSuccess);
  assert(ncclCommDestroy(comm) == ncclSuccess);
  assert(ncclCommCount(comm, &ranks) == ncclSuccess);
  assert(ncclGroupEnd() == ncclSuccess);
  assert(ncclCommCount(comm, &ranks) == ncclInvalidArgument);
}

static void bcast(void) {
  ncclComm_t comm = communicator(2, 0);
  for (int i = 0; i < 7; i++) assert(ncclBcast(NULL, 9, ncclInt64, 1, comm, NULL) == ncclSuccess);
  assert(ncclBroadcast(NULL, NULL, 9, ncclInt64, 1, comm, NULL) == ncclSuccess);
}

static void init_all(void) {
  ncclComm_t comms[2];
  int rank;
  assert(ncclCommInitAll(comms, 2, NULL) == ncclSuccess);
  assert(ncclCommUserRank(comms[1], &rank) == ncclSuccess && rank == 1);
}

static void simulated_group(void) {
  ncclComm_t comm = communicator(2, 0);
  ncclSimInfo_t estimate = NCCL_SIM_INFO_INITIALIZER;
  assert(ncclGroupStart() == ncclSuccess);
  assert(all_reduce(comm, 4) == ncclSuccess);
  assert(ncclGroupSimulateEnd(&estimate) == ncclSuccess);
  assert(estimate.estimatedTime > 0);
  assert(all_reduce(comm, 4) == ncclSuccess);
}

enum { THREADS = 4, CALLS = 50000 };

static void *call_often(void *comm) {
  for (int i = 0; i < CALLS; i++) all_reduce(comm, (size_t)(i % 100));
  return NULL;
}

static void threads(void) {
  pthread_t thread[THREADS];
  ncclComm_t comm = communicator(2, 0);
  for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, call_often, comm);
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
}

static void forks(void) {
  ncclComm_t comm = communicator(2, 0);
  all_reduce(comm, 1);
  pid_t child = fork();
  if (child == 0) {
    all_reduce(comm, 2);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  all_reduce(comm, 1);
}

/* Prints a line once it has called, and calls on until it is killed. */
static void until_killed(void) {
  ncclComm_t comm = communicator(2, 0);
  all_reduce(comm, 1);
  puts("calling");
  fflush(stdout);
  for (;;) all_reduce(comm, 1);
}

static void hang(void) {
  ncclComm_t comm = communicator(2, 0);
  all_reduce(comm, 1);
  puts("hanging");
  fflush(stdout);
  all_reduce(comm, 2);
}

static void failure(void) {
  ncclComm_t comm = communicator(2, 0);
  errno = 0;
  assert(all_reduce(comm, 1) == ncclSuccess);
  assert(errno == 42);
  assert(all_reduce(comm, 1) == ncclInternalError);
  assert(all_reduce(comm, 1) == ncclSuccess);
}

static void version(void) {
  int version;
  assert(ncclGetVersion(&version) == ncclSuccess);
  printf("%d\n", version);
}

/* One call more than the table of counts has rows, each of its own kind. */
static void too_many_kinds(void) {
  ncclComm_t comm = communicator(2, 0);
  for (size_t count = 0; count < 65536; count++) all_reduce(comm, count);
}

#define BEHAVIOUR(name) {#name, name}
static const struct {
  const char *name;
  void (*show)(void);
} behaviours[] = {
    BEHAVIOUR(arguments),        BEHAVIOUR(group_without_start),  BEHAVIOUR(error_in_group),
    BEHAVIOUR(init_in_group),    BEHAVIOUR(split_in_group),       BEHAVIOUR(shrink),
    BEHAVIOUR(nonblocking),      BEHAVIOUR(handle_reuse),         BEHAVIOUR(bcast),
    BEHAVIOUR(init_all),         BEHAVIOUR(simulated_group),      BEHAVIOUR(threads),
    BEHAVIOUR(forks),            BEHAVIOUR(until_killed),         BEHAVIOUR(hang),
    BEHAVIOUR(failure),          BEHAVIOUR(version),              BEHAVIOUR(too_many_kinds),
    BEHAVIOUR(destroy_in_group), BEHAVIOUR(split_without_colour),
};

int main(int argc, char **argv) {
  for (size_t i = 0; argc == 2 && i < sizeof behaviours / sizeof *behaviours; i++) {
    if (strcmp(behaviours[i].name, argv[1]) == 0) {
      behaviours[i].show();
      return 0;
    }
  }
  fprintf(stderr, "no such behaviour\n");
  return 2;
}
