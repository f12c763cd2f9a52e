/* What is asked of the library itself, its memory and its reductions. */
#include <stdlib.h>

#include "simulator.h"

NCCL_API(ncclResult_t, ncclGetVersion, int *version) {
  ASKED(ncclGetVersion, OF_NOTHING);
  if (version == NULL) RETURN(ncclInvalidArgument);
  *version = conduct_version();
  RETURN(ncclSuccess);
}

NCCL_API(const char *, ncclGetErrorString, ncclResult_t result) {
  static const char *const texts[ncclNumResults] = {
      "no error",         "unhandled cuda error",
      "unhandled system error",  "internal error",
      "invalid argument", "invalid usage",
      "remote process exited or there was a network error", "NCCL operation in progress"};
  ASKED(ncclGetErrorString, OF_NOTHING);
  counts_returned(row, ncclSuccess);
  return (int)result >= 0 && result < ncclNumResults ? texts[result] : "unknown result code";
}

NCCL_API(const char *, ncclGetLastError, ncclComm_t comm) {
  ASKED(ncclGetLastError, OF(comm));
  counts_returned(row, ncclSuccess);
  return "";
}

NCCL_API(ncclResult_t, ncclMemAlloc, void **ptr, size_t size) {
  ASKED(ncclMemAlloc, OF_NOTHING);
  if (ptr == NULL || size == 0) RETURN(ncclInvalidArgument);
  *ptr = malloc(size);
  RETURN(*ptr ? ncclSuccess : ncclUnhandledCudaError);
}

NCCL_API(ncclResult_t, ncclMemFree, void *ptr) {
  ASKED(ncclMemFree, OF_NOTHING);
  free(ptr);
  RETURN(ncclSuccess);
}

/* Registrations and windows are handles that lead nowhere. */
static ncclResult_t hand_out(ncclComm_t comm, const void *buff, void **handle) {
  ncclResult_t result = communicator_ready(comm);
  if (result != ncclSuccess) return result;
  if (buff == NULL || handle == NULL) return ncclInvalidArgument;
  *handle = malloc(1);
  return *handle ? ncclSuccess : ncclSystemError;
}

static ncclResult_t take_back(ncclComm_t comm, void *handle) {
  ncclResult_t result = communicator_check(comm);
  if (result == ncclSuccess) free(handle);
  return result;
}

NCCL_API(ncclResult_t, ncclCommRegister, const ncclComm_t comm, void *buff, size_t size,
         void **handle) {
  ASKED(ncclCommRegister, OF(comm));
  (void)size;
  RETURN(hand_out(comm, buff, handle));
}

NCCL_API(ncclResult_t, ncclCommDeregister, const ncclComm_t comm, void *handle) {
  ASKED(ncclCommDeregister, OF(comm));
  RETURN(take_back(comm, handle));
}

NCCL_API(ncclResult_t, ncclCommWindowRegister, ncclComm_t comm, void *buff, size_t size,
         ncclWindow_t *win, int winFlags) {
  ASKED(ncclCommWindowRegister, OF(comm));
  (void)size, (void)winFlags;
  RETURN(hand_out(comm, buff, win));
}

NCCL_API(ncclResult_t, ncclCommWindowDeregister, ncclComm_t comm, ncclWindow_t win) {
  ASKED(ncclCommWindowDeregister, OF(comm));
  RETURN(take_back(comm, win));
}

NCCL_API(ncclResult_t, ncclRedOpCreatePreMulSum, ncclRedOp_t *op, void *scalar, ncclDataType_t datatype,
         ncclScalarResidence_t residence, ncclComm_t comm) {
  ASKED(ncclRedOpCreatePreMulSum, OF(comm));
  (void)datatype, (void)residence;
  ncclResult_t result = communicator_ready(comm);
  if (op == NULL || scalar == NULL) result = ncclInvalidArgument;
  if (result == ncclSuccess) *op = ncclNumOps;
  RETURN(result);
}

NCCL_API(ncclResult_t, ncclRedOpDestroy, ncclRedOp_t op, ncclComm_t comm) {
  ASKED(ncclRedOpDestroy, OF(comm));
  ncclResult_t result = communicator_ready(comm);
  if (op < ncclNumOps) result = ncclInvalidArgument;
  RETURN(result);
}
