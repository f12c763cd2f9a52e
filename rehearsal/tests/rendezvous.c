/* One rank of a rehearsal with rendezvous: `rendezvous BEHAVIOUR RANK RANKS`. Ends well when its data are right. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_runtime.h"
#include "nccl.h"

#define OK(call) assert((call) == 0)
enum { MOST = 100000 }; /* more than fits into one piece */

static int rank, ranks;
static ncclComm_t comm;
static cudaStream_t stream;
static float sent[MOST * 4], received[MOST * 4];

/* What rank `of` has at `i`. */
static float value(int of, size_t i) { return (float)(of * 3) + (float)(i % 1000); }

static void fill(size_t count) {
  for (size_t i = 0; i < count; i++) sent[i] = value(rank, i);
  memset(received, 0, sizeof received);
}

static float sum(size_t i) {
  float total = 0;
  for (int of = 0; of < ranks; of++) total += value(of, i);
  return total;
}

static void all_reduce(void) {
  for (size_t count = 1; count <= MOST; count *= 10) {
    fill(count);
    OK(ncclAllReduce(sent, received, count, ncclFloat32, ncclSum, comm, stream));
    for (size_t i = 0; i < count; i++) assert(received[i] == sum(i));
    OK(ncclAllReduce(sent, sent, count, ncclFloat32, ncclMax, comm, stream));
    for (size_t i = 0; i < count; i++) assert(sent[i] == value(ranks - 1, i));
  }
}

static void every_collective(void) {
  size_t n = MOST, part = MOST / (size_t)ranks;
  fill(n);
  OK(ncclBroadcast(sent, received, n, ncclFloat32, 1, comm, stream));
  for (size_t i = 0; i < n; i++) assert(received[i] == value(1, i));
  fill(n);
  OK(ncclReduce(sent, received, n, ncclFloat32, ncclSum, 0, comm, stream));
  for (size_t i = 0; i < n; i++) assert(received[i] == (rank == 0 ? sum(i) : 0));
  fill(n);
  OK(ncclAllGather(sent, received, part, ncclFloat32, comm, stream));
  for (int of = 0; of < ranks; of++) {
    for (size_t i = 0; i < part; i++) assert(received[(size_t)of * part + i] == value(of, i));
  }
  OK(ncclReduceScatter(sent, received, part, ncclFloat32, ncclSum, comm, stream));
  for (size_t i = 0; i < part; i++) assert(received[i] == sum((size_t)rank * part + i));
  OK(ncclAlltoAll(sent, received, part, ncclFloat32, comm, stream));
  for (int of = 0; of < ranks; of++) {
    for (size_t i = 0; i < part; i++) assert(received[(size_t)of * part + i] == value(of, (size_t)rank * part + i));
  }
  fill(n);
  OK(ncclGather(sent, received, part, ncclFloat32, 1, comm, stream));
  for (int of = 0; of < ranks; of++) {
    for (size_t i = 0; i < part; i++) assert(received[(size_t)of * part + i] == (rank == 1 ? value(of, i) : 0));
  }
  OK(ncclScatter(sent, received, part, ncclFloat32, 0, comm, stream));
  for (size_t i = 0; i < part; i++) assert(received[i] == value(0, (size_t)rank * part + i));
}

static void types(void) {
  int64_t whole = rank + 1, wholes;
  OK(ncclAllReduce(&whole, &wholes, 1, ncclInt64, ncclProd, comm, stream));
  assert(wholes == (ranks == 2 ? 2 : ranks == 3 ? 6 : 24));
  uint16_t brain = rank == 0 ? 0x3f80 : 0x4000, brains; /* 1 and 2 */
  OK(ncclAllReduce(&brain, &brains, 1, ncclBfloat16, ncclMin, comm, stream));
  assert(brains == 0x3f80);
  uint16_t half = 0x3c00, halves; /* 1 */
  OK(ncclAllReduce(&half, &halves, 1, ncclFloat16, ncclAvg, comm, stream));
  assert(halves == 0x3c00);
  assert(ncclAllReduce(&half, &halves, 1, ncclFloat8e4m3, ncclSum, comm, stream) == ncclInvalidUsage);
}

/* Each rank sends to the next, all in groups, so that nobody waits for a receive that comes later. */
static void ring(void) {
  int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
  fill(MOST);
  OK(ncclGroupStart());
  OK(ncclSend(sent, MOST, ncclFloat32, next, comm, stream));
  OK(ncclSend(sent, 3, ncclFloat32, next, comm, stream));
  OK(ncclRecv(received, MOST, ncclFloat32, before, comm, stream));
  OK(ncclRecv(received + MOST, 3, ncclFloat32, before, comm, stream));
  OK(ncclGroupEnd());
  for (size_t i = 0; i < MOST; i++) assert(received[i] == value(before, i));
  for (size_t i = 0; i < 3; i++) assert(received[MOST + i] == value(before, i));
}

static void graph(void) {
  int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
  cudaGraph_t captured;
  cudaGraphExec_t executable;
  float one[1] = {1}, passed[1] = {0};
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  OK(ncclAllReduce(one, one, 1, ncclFloat32, ncclSum, comm, stream));
  OK(ncclGroupStart());
  OK(ncclSend(one, 1, ncclFloat32, next, comm, stream));
  OK(ncclRecv(passed, 1, ncclFloat32, before, comm, stream));
  OK(ncclGroupEnd());
  OK(cudaStreamEndCapture(stream, &captured));
  assert(one[0] == 1);
  OK(cudaGraphInstantiate(&executable, captured, 0));
  for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(executable, stream));
  assert(one[0] == (float)(ranks * ranks * ranks) && passed[0] == one[0]);
}

/* Even and odd ranks apart, the last one first; then all but the last. */
static void split(void) {
  ncclComm_t half, most;
  int size, own;
  OK(ncclCommSplit(comm, rank % 2, -rank, &half, NULL));
  OK(ncclCommCount(half, &size));
  OK(ncclCommUserRank(half, &own));
  assert(size == (ranks + 1 - rank % 2) / 2 && own == size - 1 - rank / 2);
  float of_parent[1] = {(float)rank}, gathered[4] = {-1, -1, -1, -1};
  OK(ncclAllGather(of_parent, gathered, 1, ncclFloat32, half, stream));
  for (int i = 0; i < size; i++) assert(gathered[i] == (float)(rank % 2 + 2 * (size - 1 - i)));
  OK(ncclCommSplit(comm, rank == ranks - 1 ? NCCL_SPLIT_NOCOLOR : 7, 0, &most, NULL));
  assert((most == NULL) == (rank == ranks - 1));
  if (most) OK(ncclCommCount(most, &size));
  if (most) assert(size == ranks - 1);
  if (most) OK(ncclCommDestroy(most));
  OK(ncclCommDestroy(half));
}

/* Says before and after, for a test that holds back the last rank or kills it. */
static void one_by_one(void) {
  puts("asks");
  fflush(stdout);
  if (rank == ranks - 1) getchar();
  fill(1);
  OK(ncclAllReduce(sent, received, 1, ncclFloat32, ncclSum, comm, stream));
  puts("done");
}

int main(int argc, char **argv) {
  assert(argc == 4);
  rank = atoi(argv[2]);
  ranks = atoi(argv[3]);
  ncclUniqueId id;
  memset(&id, 'r', sizeof id);
  OK(ncclCommInitRank(&comm, ranks, id, rank));
  OK(cudaStreamCreate(&stream));
  static const struct { const char *name; void (*show)(void); } behaviours[] = {
      {"all_reduce", all_reduce}, {"every_collective", every_collective}, {"types", types},
      {"ring", ring},             {"graph", graph},                       {"split", split},
      {"one_by_one", one_by_one}};
  for (size_t i = 0; i < sizeof behaviours / sizeof *behaviours; i++) {
    if (strcmp(behaviours[i].name, argv[1]) == 0) {
      behaviours[i].show();
      OK(ncclCommDestroy(comm));
      return 0;
    }
  }
  return 2;
}
