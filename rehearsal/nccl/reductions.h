#ifndef REDUCTIONS_H_
#define REDUCTIONS_H_

#include "nccl.h"

/* Bytes of an element. */
size_t datatype_bytes(ncclDataType_t datatype);
/* Whether elements of the type can be reduced by the operation. */
int can_reduce(ncclDataType_t datatype, ncclRedOp_t op);
/* into[i] = into[i] op from[i]; of ncclAvg the sum. */
void reduce(ncclDataType_t datatype, ncclRedOp_t op, void *into, const void *from, size_t count);
/* What ncclAvg does at the end: into[i] /= ranks. */
void divide(ncclDataType_t datatype, void *into, size_t count, int ranks);

#endif
