/* ncclGroupStart and what ends it. A group belongs to a thread. */
#include <stdlib.h>

#include "simulator.h"

/* Work left for the end of the outermost group, in order of the calls. */
struct work {
  ncclComm_t parent, child, *newcomm; /* a child to publish, or: */
  ncclComm_t doomed;                  /* a communicator to free */
};

static __thread struct {
  int depth;
  ncclResult_t error; /* the first one */
  struct work *works;
  size_t work_count, work_room;
  struct operation *operations;
  size_t operation_count, operation_room;
} group;

/* Makes room for one more. The simulator has no use for a half of its account: no memory is the end. */
static void *grow(void *items, size_t count, size_t *room, size_t size) {
  if (count < *room) return items;
  *room = *room ? *room * 2 : 16;
  items = realloc(items, *room * size);
  if (items == NULL) abort();
  return items;
}

static void leave(struct work work) {
  group.works = grow(group.works, group.work_count, &group.work_room, sizeof work);
  group.works[group.work_count++] = work;
}

void group_leave_child(ncclComm_t parent, ncclComm_t child, ncclComm_t *newcomm) {
  leave((struct work){.parent = parent, .child = child, .newcomm = newcomm});
}

void group_leave_free(ncclComm_t comm) { leave((struct work){.doomed = comm}); }

int group_leave_operation(const struct operation *operation) {
  if (group.depth == 0) return 0;
  group.operations = grow(group.operations, group.operation_count, &group.operation_room,
                          sizeof *group.operations);
  group.operations[group.operation_count++] = *operation;
  return 1;
}

/* The operations count in the parent's file. The group itself is the child's too: it was copied. */
void group_forget_parent(void) { group.operation_count = 0; }

static ncclResult_t launch_all(void) {
  ncclResult_t result = operations_launch(group.operations, group.operation_count);
  if (result == ncclSuccess) return result;
  for (size_t i = 0; i < group.operation_count; i++) counts_discarded(group.operations[i].row);
  return result;
}

void group_open(void) { group.depth++; }

ncclResult_t group_note(ncclResult_t result) {
  if (group.depth && group.error == ncclSuccess && result != ncclInProgress) group.error = result;
  return result;
}

/* Communicators are made and freed by a simulated end too, as in NCCL. Operations are launched by neither
 * a simulated end nor one that has an error to tell. */
ncclResult_t group_close(int simulate) {
  if (group.depth == 0) return ncclInvalidUsage;
  if (--group.depth > 0) return ncclSuccess;
  ncclResult_t result = group.error;
  for (size_t i = 0; i < group.work_count; i++) {
    struct work *work = &group.works[i];
    if (work->doomed) {
      communicator_free(work->doomed);
    } else {
      ncclResult_t published = communicator_publish(work->parent, work->child, work->newcomm);
      if (result == ncclSuccess) result = published;
    }
  }
  if (simulate || group.error != ncclSuccess) {
    for (size_t i = 0; i < group.operation_count; i++) counts_discarded(group.operations[i].row);
  } else {
    ncclResult_t launched = launch_all();
    if (result == ncclSuccess) result = launched;
  }
  free(group.works);
  free(group.operations);
  group.works = NULL;
  group.operations = NULL;
  group.work_count = group.work_room = group.operation_count = group.operation_room = 0;
  group.error = ncclSuccess;
  return result;
}

NCCL_API(ncclResult_t, ncclGroupStart, void) {
  ASKED(ncclGroupStart, OF_NOTHING);
  group_open();
  RETURN(ncclSuccess);
}

NCCL_API(ncclResult_t, ncclGroupEnd, void) {
  ASKED(ncclGroupEnd, OF_NOTHING);
  RETURN(group_close(0));
}

NCCL_API(ncclResult_t, ncclGroupSimulateEnd, ncclSimInfo_t *simInfo) {
  ASKED(ncclGroupSimulateEnd, OF_NOTHING);
  if (simInfo && simInfo->magic != NCCL_SIM_INFO_MAGIC) group_note(ncclInvalidArgument);
  if (simInfo && simInfo->magic == NCCL_SIM_INFO_MAGIC) simInfo->estimatedTime = 1.0f;
  RETURN(group_close(1));
}
