/* Ranks that really meet: see rendezvous.c. */
#ifndef RENDEZVOUS_H_
#define RENDEZVOUS_H_

#include "simulator.h"

/* Whether ranks of this process wait for each other and move data. */
int rendezvous_is_on(void);

/* ncclSuccess, or why the operation cannot be carried out on real data. */
ncclResult_t rendezvous_check(const struct operation *operation);

/* Carries out the operations of one group, in their order; sends and receives of a group all at a time. Returns
 * when this rank is done, which may be never: a rank that does not come leaves the others waiting. */
ncclResult_t rendezvous_perform(const struct operation *operations, size_t count);

/* Waits until all ranks of the communicator split it, and says how many ranks this one's child has and which one it
 * is. */
ncclResult_t rendezvous_split(ncclComm_t comm, int color, int key, int *ranks, int *rank);

/* Lets go of what a communicator has of it. */
void rendezvous_leave(ncclComm_t comm);

#endif
