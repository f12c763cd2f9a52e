/* Ranks that really meet, and real data: for tests of hangs, stragglers and orderings.
 *
 * Off unless NCCLTAP_REHEARSAL_RENDEZVOUS names a directory that all ranks see. In it each communicator has one
 * file, mapped by its ranks: a barrier, a slot per rank through which collectives pass piece by piece, and a mailbox
 * per ordered pair of ranks for sends. Unlike in NCCL the call itself waits, not the stream.
 *
 * Each rank needs a thread of its own: one thread that issues for several ranks in one group would wait for itself. */
#include "rendezvous.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/environment.h"
#include "reductions.h"

enum { PIECE = 64 * 1024 };

struct mailbox {
  _Atomic uint32_t full; /* futex: the receiver waits for 1, the sender for 0 */
  uint32_t bytes;
  char piece[PIECE];
};

struct meeting {
  _Atomic uint32_t arrived, generation; /* the barrier; the second is a futex */
  _Atomic uint32_t moved;               /* futex: counts what mailboxes take and give */
  char unused[52];
  char slots[]; /* one piece per rank, then a mailbox per ordered pair */
};

/* Asked at every operation, so the environment is searched once. */
int rendezvous_is_on(void) {
  enum { UNKNOWN, OFF, ON };
  static _Atomic int state = UNKNOWN;
  int known = atomic_load_explicit(&state, memory_order_relaxed);
  if (known == UNKNOWN) {
    known = *environment_text(SETTING_RENDEZVOUS) ? ON : OFF;
    atomic_store_explicit(&state, known, memory_order_relaxed);
  }
  return known == ON;
}

static char *slot(const struct ncclComm *comm, int rank) { return comm->meeting->slots + (size_t)rank * PIECE; }

static struct mailbox *mailbox(const struct ncclComm *comm, int from, int to) {
  struct mailbox *boxes = (struct mailbox *)slot(comm, comm->ranks);
  return &boxes[(size_t)from * (size_t)comm->ranks + (size_t)to];
}

static size_t file_bytes(int ranks) {
  return sizeof(struct meeting) + (size_t)ranks * PIECE + (size_t)ranks * (size_t)ranks * sizeof(struct mailbox);
}

/* The first rank that comes makes the file; all zero is how it begins. */
static struct meeting *come_to(const struct ncclComm *comm) {
  char path[PATH_MAX];
  const char *directory = environment_text(SETTING_RENDEZVOUS);
  snprintf(path, sizeof path, "%s/%016llx", directory, (unsigned long long)comm->identity);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  size_t bytes = file_bytes(comm->ranks);
  void *meeting = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) {
    meeting = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (meeting == MAP_FAILED) {
    fprintf(stderr, "simulated NCCL: ranks cannot meet in %s: %s\n", directory, strerror(errno));
  }
  if (fd >= 0) close(fd);
  return meeting == MAP_FAILED ? NULL : meeting;
}

void rendezvous_leave(ncclComm_t comm) {
  if (comm->meeting) munmap(comm->meeting, file_bytes(comm->ranks));
  comm->meeting = NULL;
}

static void wait_while(_Atomic uint32_t *futex, uint32_t value) {
  if (atomic_load(futex) == value) syscall(SYS_futex, futex, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *futex) { syscall(SYS_futex, futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static void barrier(const struct ncclComm *comm) {
  struct meeting *meeting = comm->meeting;
  uint32_t generation = atomic_load(&meeting->generation);
  if (atomic_fetch_add(&meeting->arrived, 1) + 1 == (uint32_t)comm->ranks) {
    atomic_store(&meeting->arrived, 0);
    atomic_fetch_add(&meeting->generation, 1);
    wake(&meeting->generation);
  } else {
    while (atomic_load(&meeting->generation) == generation) wait_while(&meeting->generation, generation);
  }
}

/* ---- Collectives. Each goes in rounds: every rank puts a piece into its slot, and takes what it needs of all slots.
 * Operations that send something else to each rank have a round for each target. */

static int has_target(enum kind kind) { return kind == REDUCE_SCATTER || kind == ALL_TO_ALL || kind == SCATTER; }

static int reduces(enum kind kind) { return kind == ALL_REDUCE || kind == REDUCE || kind == REDUCE_SCATTER; }


static int gives(const struct operation *operation) {
  int only_root = operation->kind == BROADCAST || operation->kind == SCATTER;
  return !only_root || operation->comm->rank == operation->peer;
}

static int takes(const struct operation *operation, int target) {
  if (has_target(operation->kind)) return operation->comm->rank == target;
  int only_root = operation->kind == REDUCE || operation->kind == GATHER;
  return !only_root || operation->comm->rank == operation->peer;
}

/* Puts what all slots hold, `elements` of it, to its place in the buffer to receive into. */
static void take(const struct operation *operation, size_t at, size_t elements) {
  const struct ncclComm *comm = operation->comm;
  size_t bytes = datatype_bytes(operation->datatype);
  char *to = (char *)operation->recvbuff + at * bytes;
  if (reduces(operation->kind)) {
    char sum[PIECE];
    memcpy(sum, slot(comm, 0), elements * bytes);
    for (int rank = 1; rank < comm->ranks; rank++) {
      reduce(operation->datatype, operation->op, sum, slot(comm, rank), elements);
    }
    if (operation->op == ncclAvg) divide(operation->datatype, sum, elements, comm->ranks);
    memcpy(to, sum, elements * bytes);
  } else if (operation->kind == BROADCAST || operation->kind == SCATTER) {
    memcpy(to, slot(comm, operation->peer), elements * bytes);
  } else {
    for (int rank = 0; rank < comm->ranks; rank++) {
      memcpy(to + (size_t)rank * operation->count * bytes, slot(comm, rank), elements * bytes);
    }
  }
}

static void perform_collective(const struct operation *operation) {
  const struct ncclComm *comm = operation->comm;
  size_t bytes = datatype_bytes(operation->datatype), most = PIECE / bytes;
  int targets = has_target(operation->kind) ? comm->ranks : 1;
  for (int target = 0; target < targets; target++) {
    size_t at = 0;
    do {
      size_t elements = operation->count - at < most ? operation->count - at : most;
      const char *from = (const char *)operation->sendbuff + ((size_t)target * operation->count + at) * bytes;
      if (elements && gives(operation)) memcpy(slot(comm, comm->rank), from, elements * bytes);
      barrier(comm);
      if (elements && takes(operation, target)) take(operation, at, elements);
      barrier(comm); /* nobody fills its slot again before all have taken */
      at += elements;
    } while (at < operation->count);
  }
}

/* ---- Sends and receives: those of one group go on all at a time. */

struct transfer {
  const struct operation *operation;
  size_t done;  /* bytes */
  int finished; /* one of nothing passes one empty piece */
};

/* Moves one piece, if the other side is ready for it. */
static int advance(struct transfer *transfer) {
  const struct operation *operation = transfer->operation;
  const struct ncclComm *comm = operation->comm;
  int sends = operation->kind == SEND;
  struct mailbox *box =
      sends ? mailbox(comm, comm->rank, operation->peer) : mailbox(comm, operation->peer, comm->rank);
  if (atomic_load(&box->full) == (uint32_t)sends) return 0;
  size_t total = operation->count * datatype_bytes(operation->datatype);
  size_t left = total - transfer->done;
  if (sends) {
    box->bytes = (uint32_t)(left < PIECE ? left : PIECE);
    if (box->bytes) memcpy(box->piece, (const char *)operation->sendbuff + transfer->done, box->bytes);
  } else {
    size_t bytes = box->bytes < left ? box->bytes : left;
    if (bytes) memcpy((char *)operation->recvbuff + transfer->done, box->piece, bytes);
  }
  transfer->done += box->bytes;
  transfer->finished = transfer->done >= total;
  atomic_store(&box->full, (uint32_t)sends);
  atomic_fetch_add(&comm->meeting->moved, 1);
  wake(&comm->meeting->moved);
  return 1;
}

/* Two transfers between the same ranks in the same direction keep their order. */
static int comes_before(const struct transfer *earlier, const struct transfer *later) {
  const struct operation *a = earlier->operation, *b = later->operation;
  return !earlier->finished && a->kind == b->kind && a->comm == b->comm && a->peer == b->peer;
}

/* How often all meetings of these transfers have moved something. */
static uint32_t moved(const struct transfer *transfers, size_t count) {
  uint32_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += atomic_load(&transfers[i].operation->comm->meeting->moved);
  return sum;
}

static int advance_all(struct transfer *transfers, size_t count) {
  int progress = 0;
  for (size_t i = 0; i < count; i++) {
    int held_up = transfers[i].finished;
    for (size_t j = 0; j < i && !held_up; j++) held_up = comes_before(&transfers[j], &transfers[i]);
    if (!held_up && advance(&transfers[i])) progress = 1;
  }
  return progress;
}

static int all_finished(const struct transfer *transfers, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!transfers[i].finished) return 0;
  }
  return 1;
}

/* Waits on the futex of the first communicator; of several, looks at the others from time to time. */
static void perform_transfers(struct transfer *transfers, size_t count) {
  static const struct timespec a_while = {0, 1000000};
  while (!all_finished(transfers, count)) {
    _Atomic uint32_t *futex = &transfers[0].operation->comm->meeting->moved;
    uint32_t first = atomic_load(futex), before = moved(transfers, count);
    if (advance_all(transfers, count) || moved(transfers, count) != before) continue;
    syscall(SYS_futex, futex, FUTEX_WAIT, first, &a_while, NULL, 0);
  }
}

/* ---- Splits. */

/* What a rank says of itself in a split, in its slot. */
struct wish {
  int color, key;
};

/* Ranks of a colour are ordered by key, and by their rank in the parent where keys are the same. */
ncclResult_t rendezvous_split(ncclComm_t comm, int color, int key, int *ranks, int *rank) {
  if (comm->meeting == NULL) comm->meeting = come_to(comm);
  if (comm->meeting == NULL) return ncclSystemError;
  *(struct wish *)slot(comm, comm->rank) = (struct wish){color, key};
  barrier(comm);
  *ranks = *rank = 0;
  for (int other = 0; other < comm->ranks; other++) {
    struct wish wish = *(const struct wish *)slot(comm, other);
    if (wish.color != color) continue;
    *ranks += 1;
    *rank += wish.key < key || (wish.key == key && other < comm->rank);
  }
  barrier(comm); /* nobody fills its slot again before all have looked */
  return ncclSuccess;
}

ncclResult_t rendezvous_check(const struct operation *operation) {
  if (operation->kind == PUT) return ncclInvalidUsage;
  if (reduces(operation->kind) && !can_reduce(operation->datatype, operation->op)) return ncclInvalidUsage;
  int reads = operation->count && gives(operation) && operation->kind != RECV && operation->sendbuff == NULL;
  return reads ? ncclInvalidArgument : ncclSuccess;
}

ncclResult_t rendezvous_perform(const struct operation *operations, size_t count) {
  struct transfer *transfers = calloc(count ? count : 1, sizeof *transfers);
  size_t waiting = 0;
  ncclResult_t result = transfers ? ncclSuccess : ncclSystemError;
  for (size_t i = 0; i < count && result == ncclSuccess; i++) {
    ncclComm_t comm = operations[i].comm;
    if (comm->meeting == NULL) comm->meeting = come_to(comm);
    if (comm->meeting == NULL) {
      result = ncclSystemError;
    } else if (operations[i].kind == SEND || operations[i].kind == RECV) {
      transfers[waiting++].operation = &operations[i];
    } else {
      perform_collective(&operations[i]);
    }
  }
  if (result == ncclSuccess) perform_transfers(transfers, waiting);
  free(transfers);
  return result;
}
