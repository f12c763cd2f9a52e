/* Communicators: made, asked, ended. Nothing waits for another rank but a split with rendezvous.
 *
 * Identity of a communicator, by which the tests know its group again:
 *   made from a unique id     FNV-1a 64 of its 128 bytes (of all ids, where there are several)
 *   split, shrunk or grown    FNV-1a 64 of the parent's identity (8 bytes, little endian), the number of
 *                             this child of the parent on this rank, from 1 (4 bytes), and the colour
 *                             of the split, 0 for shrink and grow (4 bytes)
 *
 * Where ranks do not meet, a split cannot know who else has its colour: its child has the parent's
 * size and rank, which is right where all ranks pass the same colour. With rendezvous it is exact, as shrink
 * and grow always are. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "rendezvous.h"
#include "simulator.h"

#define COMMUNICATOR_MAGIC 0x4e43434c434f4d4dull
#define FNV_START 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static uint64_t fnv1a(const void *bytes, size_t length, uint64_t hash) {
  for (size_t i = 0; i < length; i++) {
    hash = (hash ^ ((const unsigned char *)bytes)[i]) * FNV_PRIME;
  }
  return hash;
}

/* What NCCL does before its first communicator and a tap gets to see: it looks for plugins, by dlsym of
 * names that begin with `nccl` but are no API. */
static void look_for_plugins(void) {
  int before = errno;
  void *plugin = dlopen("libnccl-net.so", RTLD_NOW | RTLD_LOCAL);
  if (plugin == NULL) plugin = dlopen(NULL, RTLD_NOW | RTLD_LOCAL);
  if (plugin) {
    dlsym(plugin, "ncclNetPlugin_v8");
    dlsym(plugin, "ncclCollNetPlugin_v8");
    dlclose(plugin);
  }
  dlerror();
  errno = before;
}

ncclResult_t communicator_check(const ncclComm_t comm) {
  return comm && comm->magic == COMMUNICATOR_MAGIC ? ncclSuccess : ncclInvalidArgument;
}

ncclResult_t communicator_ready(const ncclComm_t comm) {
  ncclResult_t result = communicator_check(comm);
  if (result != ncclSuccess) return result;
  return comm->polls_to_ready ? ncclInvalidArgument : ncclSuccess;
}

uint64_t communicator_identity(const ncclComm_t comm) {
  return communicator_check(comm) == ncclSuccess ? comm->identity : 0;
}

int communicator_ranks(const ncclComm_t comm) {
  return communicator_check(comm) == ncclSuccess ? comm->ranks : 0;
}

int communicator_rank(const ncclComm_t comm) {
  return communicator_check(comm) == ncclSuccess ? comm->rank : NONE;
}

/* Handles are used again after a communicator is freed, as in NCCL, because malloc gives out first what
 * its thread freed last. calloc does not. */
static ncclComm_t make(uint64_t identity, int ranks, int rank, int device, int blocking) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, look_for_plugins);
  streams_look_for_cuda();
  ncclComm_t comm = malloc(sizeof *comm);
  if (comm == NULL) return NULL;
  memset(comm, 0, sizeof *comm);
  comm->magic = COMMUNICATOR_MAGIC;
  comm->identity = identity;
  comm->ranks = ranks;
  comm->rank = rank;
  comm->device = device;
  comm->blocking = blocking;
  return comm;
}

void communicator_free(ncclComm_t comm) {
  rendezvous_leave(comm);
  comm->magic = 0;
  free(comm);
}

/* A non-blocking communicator is in progress for the next polls. */
static ncclResult_t begin_progress(ncclComm_t comm) {
  if (comm->blocking) return ncclSuccess;
  comm->polls_to_ready = 2;
  return ncclInProgress;
}

ncclResult_t communicator_publish(ncclComm_t parent, ncclComm_t child, ncclComm_t *newcomm) {
  if (parent && !parent->blocking) {
    parent->child = child;
    parent->newcomm = newcomm;
    return begin_progress(parent);
  }
  *newcomm = child;
  return ncclSuccess;
}

static int is_blocking(const ncclConfig_t *config, int inherited) {
  if (config == NULL || config->blocking == NCCL_CONFIG_UNDEF_INT) return inherited;
  return config->blocking != 0;
}

static ncclResult_t check_config(const ncclConfig_t *config) {
  return config && config->magic != NCCL_API_MAGIC ? ncclInvalidArgument : ncclSuccess;
}

/* All forms of ncclCommInitRank. *newcomm is written at once, in a group too. */
static ncclResult_t init_rank(ncclComm_t *newcomm, int nranks, const ncclUniqueId *ids, int nids,
                              int rank, int device, const ncclConfig_t *config) {
  if (newcomm == NULL || ids == NULL) return group_note(ncclInvalidArgument);
  *newcomm = NULL;
  if (nids <= 0 || nids > nranks || nranks < 1 || rank < 0 || rank >= nranks) {
    return group_note(ncclInvalidArgument);
  }
  ncclResult_t result = check_config(config);
  if (result != ncclSuccess) return group_note(result);
  uint64_t identity = fnv1a(ids, sizeof *ids * (size_t)nids, FNV_START);
  ncclComm_t comm = make(identity, nranks, rank, device, is_blocking(config, 1));
  if (comm == NULL) return group_note(ncclSystemError);
  *newcomm = comm;
  return begin_progress(comm);
}

NCCL_API(ncclResult_t, ncclGetUniqueId, ncclUniqueId *uniqueId) {
  static _Atomic uint64_t number;
  ASKED(ncclGetUniqueId, OF_NOTHING);
  if (uniqueId == NULL) RETURN(ncclInvalidArgument);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t parts[5] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, (uint64_t)getpid(),
                       atomic_fetch_add(&number, 1)};
  if (getrandom(&parts[4], sizeof parts[4], GRND_NONBLOCK) < 0) parts[4] = 0;
  memset(uniqueId, 0, sizeof *uniqueId);
  memcpy(uniqueId, parts, sizeof parts);
  RETURN(ncclSuccess);
}

NCCL_API(ncclResult_t, ncclCommInitRank, ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank) {
  ASKED(ncclCommInitRank, OF_NOTHING);
  RETURN(init_rank(comm, nranks, &commId, 1, rank, rank, NULL));
}

NCCL_API(ncclResult_t, ncclCommInitRankConfig, ncclComm_t *comm, int nranks, ncclUniqueId commId,
         int rank, ncclConfig_t *config) {
  ASKED(ncclCommInitRankConfig, OF_NOTHING);
  RETURN(init_rank(comm, nranks, &commId, 1, rank, rank, config));
}

NCCL_API(ncclResult_t, ncclCommInitRankScalable, ncclComm_t *newcomm, int nranks, int myrank, int nId,
         ncclUniqueId *commIds, ncclConfig_t *config) {
  ASKED(ncclCommInitRankScalable, OF_NOTHING);
  RETURN(init_rank(newcomm, nranks, commIds, nId, myrank, myrank, config));
}

/* NCCL up to 2.21 asks itself for the id and opens a group by its own exported functions. */
NCCL_API(ncclResult_t, ncclCommInitAll, ncclComm_t *comms, int ndev, const int *devlist) {
  ASKED(ncclCommInitAll, OF_NOTHING);
  if (comms == NULL || ndev < 1) RETURN(ncclInvalidArgument);
  ncclUniqueId id;
  ncclResult_t result = CALL_ITSELF(ncclGetUniqueId(&id));
  if (result != ncclSuccess) RETURN(result);
  CALL_ITSELF(ncclGroupStart());
  for (int rank = 0; rank < ndev; rank++) {
    init_rank(&comms[rank], ndev, &id, 1, rank, devlist ? devlist[rank] : rank, NULL);
  }
  RETURN(CALL_ITSELF(ncclGroupEnd()));
}

/* Makes a child of `parent`. *newcomm stays NULL until the outermost group ends. */
static ncclResult_t make_child(ncclComm_t parent, int ranks, int rank, int color,
                               const ncclConfig_t *config, ncclComm_t *newcomm) {
  *newcomm = NULL;
  ncclResult_t result = check_config(config);
  if (result != ncclSuccess) return result;
  uint32_t number = ++parent->children;
  if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
  uint64_t identity = fnv1a(&parent->identity, sizeof parent->identity, FNV_START);
  identity = fnv1a(&number, sizeof number, identity);
  identity = fnv1a(&color, sizeof color, identity);
  ncclComm_t child =
      make(identity, ranks, rank, parent->device, is_blocking(config, parent->blocking));
  if (child == NULL) return ncclSystemError;
  group_leave_child(parent, child, newcomm);
  return ncclSuccess;
}

NCCL_API(ncclResult_t, ncclCommSplit, ncclComm_t comm, int color, int key, ncclComm_t *newcomm,
         ncclConfig_t *config) {
  ASKED(ncclCommSplit, OF(comm));
  group_open();
  ncclResult_t result = communicator_ready(comm);
  if (newcomm == NULL) result = ncclInvalidArgument;
  if (color < NCCL_SPLIT_NOCOLOR) result = ncclInvalidArgument;
  int ranks = communicator_ranks(comm), rank = communicator_rank(comm);
  if (result == ncclSuccess && rendezvous_is_on()) result = rendezvous_split(comm, color, key, &ranks, &rank);
  if (result == ncclSuccess) result = make_child(comm, ranks, rank, color, config, newcomm);
  group_note(result);
  ncclResult_t closed = group_close(0);
  RETURN(result != ncclSuccess ? result : closed);
}

NCCL_API(ncclResult_t, ncclCommShrink, ncclComm_t comm, int *excludeRanksList, int excludeRanksCount,
         ncclComm_t *newcomm, ncclConfig_t *config, int shrinkFlags) {
  ASKED(ncclCommShrink, OF(comm));
  (void)shrinkFlags;
  group_open();
  ncclResult_t result = communicator_ready(comm);
  if (newcomm == NULL || excludeRanksList == NULL || excludeRanksCount <= 0) {
    result = ncclInvalidArgument;
  }
  if (result == ncclSuccess) {
    int rank = comm->rank;
    for (int i = 0; i < excludeRanksCount; i++) {
      if (excludeRanksList[i] == comm->rank) result = ncclInvalidArgument;
      if (excludeRanksList[i] < comm->rank) rank--;
    }
    if (result == ncclSuccess) {
      result = make_child(comm, comm->ranks - excludeRanksCount, rank, 0, config, newcomm);
    }
  }
  group_note(result);
  ncclResult_t closed = group_close(0);
  RETURN(result != ncclSuccess ? result : closed);
}

/* A rank that is already in the communicator passes it and -1; one that joins passes NULL and an id. */
NCCL_API(ncclResult_t, ncclCommGrow, ncclComm_t comm, int nRanks, const ncclUniqueId *uniqueId, int rank,
         ncclComm_t *newcomm, ncclConfig_t *config) {
  ASKED(ncclCommGrow, OF(comm));
  if (newcomm == NULL || nRanks <= 0) RETURN(ncclInvalidArgument);
  if (comm == NULL) RETURN(init_rank(newcomm, nRanks, uniqueId, 1, rank, rank, config));
  ncclResult_t result = communicator_ready(comm);
  if (result != ncclSuccess) RETURN(group_note(result));
  if (nRanks <= comm->ranks) RETURN(ncclInvalidArgument);
  group_open();
  result = rank == -1 ? make_child(comm, nRanks, comm->rank, 0, config, newcomm) : ncclInvalidArgument;
  group_note(result);
  ncclResult_t closed = group_close(0);
  RETURN(result != ncclSuccess ? result : closed);
}

NCCL_API(ncclResult_t, ncclCommGetUniqueId, ncclComm_t comm, ncclUniqueId *uniqueId) {
  ASKED(ncclCommGetUniqueId, OF(comm));
  ncclResult_t result = communicator_ready(comm);
  if (result != ncclSuccess) RETURN(result);
  RETURN(CALL_ITSELF(ncclGetUniqueId(uniqueId)));
}

NCCL_API(ncclResult_t, ncclCommFinalize, ncclComm_t comm) {
  ASKED(ncclCommFinalize, OF(comm));
  if (comm == NULL) RETURN(ncclSuccess);
  ncclResult_t result = communicator_ready(comm);
  if (result == ncclSuccess && comm->finalized) result = ncclInvalidArgument;
  if (result == ncclSuccess) comm->finalized = 1;
  RETURN(group_note(result));
}

/* In a group the communicator lives until its end, as in NCCL. */
static ncclResult_t end(ncclComm_t comm) {
  if (comm == NULL) return ncclSuccess;
  ncclResult_t result = communicator_check(comm);
  if (result != ncclSuccess) return group_note(result);
  group_open();
  group_leave_free(comm);
  return group_close(0);
}

NCCL_API(ncclResult_t, ncclCommDestroy, ncclComm_t comm) {
  ASKED(ncclCommDestroy, OF(comm));
  RETURN(end(comm));
}

NCCL_API(ncclResult_t, ncclCommAbort, ncclComm_t comm) {
  ASKED(ncclCommAbort, OF(comm));
  RETURN(end(comm));
}

NCCL_API(ncclResult_t, ncclCommRevoke, ncclComm_t comm, int revokeFlags) {
  ASKED(ncclCommRevoke, OF(comm));
  ncclResult_t result = communicator_check(comm);
  if (revokeFlags != 0) result = ncclInvalidArgument;
  if (result == ncclSuccess && (comm->finalized || comm->revoked)) result = ncclInvalidArgument;
  if (result == ncclSuccess) comm->revoked = comm->finalized = 1;
  RETURN(group_note(result));
}

NCCL_API(ncclResult_t, ncclCommSuspend, ncclComm_t comm, int flags) {
  ASKED(ncclCommSuspend, OF(comm));
  (void)flags;
  RETURN(communicator_ready(comm));
}

NCCL_API(ncclResult_t, ncclCommResume, ncclComm_t comm) {
  ASKED(ncclCommResume, OF(comm));
  RETURN(communicator_ready(comm));
}

NCCL_API(ncclResult_t, ncclCommCount, const ncclComm_t comm, int *count) {
  ASKED(ncclCommCount, OF(comm));
  ncclResult_t result = communicator_ready(comm);
  if (count == NULL) result = ncclInvalidArgument;
  if (result == ncclSuccess) *count = comm->ranks;
  RETURN(result);
}

NCCL_API(ncclResult_t, ncclCommCuDevice, const ncclComm_t comm, int *device) {
  ASKED(ncclCommCuDevice, OF(comm));
  ncclResult_t result = communicator_ready(comm);
  if (device == NULL) result = ncclInvalidArgument;
  if (result == ncclSuccess) *device = comm->device;
  RETURN(result);
}

NCCL_API(ncclResult_t, ncclCommUserRank, const ncclComm_t comm, int *rank) {
  ASKED(ncclCommUserRank, OF(comm));
  ncclResult_t result = communicator_ready(comm);
  if (rank == NULL) result = ncclInvalidArgument;
  if (result == ncclSuccess) *rank = comm->rank;
  RETURN(result);
}

/* Each poll brings a non-blocking communicator one step on; the last one publishes its child. */
NCCL_API(ncclResult_t, ncclCommGetAsyncError, ncclComm_t comm, ncclResult_t *asyncError) {
  ASKED(ncclCommGetAsyncError, OF(comm));
  ncclResult_t result = communicator_check(comm);
  if (asyncError == NULL) result = ncclInvalidArgument;
  if (result != ncclSuccess) RETURN(result);
  if (comm->polls_to_ready && --comm->polls_to_ready == 0 && comm->newcomm) {
    *comm->newcomm = comm->child;
    comm->newcomm = NULL;
  }
  *asyncError = comm->polls_to_ready ? ncclInProgress : ncclSuccess;
  RETURN(ncclSuccess);
}
