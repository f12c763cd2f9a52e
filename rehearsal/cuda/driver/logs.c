/* The driver's error log: nothing is ever written to it, so nobody who listens is called. */
#include "driver.h"

typedef void *CUlogsCallbackHandle;
typedef unsigned CUlogIterator;

EXPORT CUresult cuLogsRegisterCallback(void *callback, void *user_data, CUlogsCallbackHandle *handle) {
  (void)user_data;
  if (callback == NULL) return SIM_INVALID_VALUE;
  if (handle) *handle = callback;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLogsUnregisterCallback(CUlogsCallbackHandle handle) {
  return handle ? SIM_SUCCESS : SIM_INVALID_VALUE;
}

EXPORT CUresult cuLogsCurrent(CUlogIterator *iterator, unsigned flags) {
  if (iterator == NULL || flags) return SIM_INVALID_VALUE;
  *iterator = 0;
  return SIM_SUCCESS;
}

EXPORT CUresult cuLogsDumpToMemory(CUlogIterator *iterator, char *buffer, size_t *size, unsigned flags) {
  (void)iterator;
  if (buffer == NULL || size == NULL || flags) return SIM_INVALID_VALUE;
  *size = 0;
  return SIM_SUCCESS;
}
