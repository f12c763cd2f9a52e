/* When each operation was asked for, or carried out by the launch of a graph: what counts.h sums up, call by call.
 *
 * Kept where NCCLTAP_REHEARSAL_TIMES is set, beside the counts: one file <pid>-<start ns>.times per process. */
#ifndef TIMES_H_
#define TIMES_H_

#include "counts.h"

/* In a fork child: begins a file of its own with the next operation. */
void times_forget_parent(void);

/* Writes down that an operation that is carried out at once, and not in a group that comes to nothing, came in. */
void times_asked(const struct key *key);

/* Writes down that the launch of a graph carries the operation out. */
void times_replayed(const struct key *key);

#endif
