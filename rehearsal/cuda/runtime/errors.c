#include "runtime.h"

static __thread int last;

cudaError_t note(int error) {
  if (error != SIM_SUCCESS) last = error;
  return error;
}

EXPORT cudaError_t cudaGetLastError(void) {
  int error = last;
  last = SIM_SUCCESS;
  return error;
}

EXPORT cudaError_t cudaPeekAtLastError(void) { return last; }

static const struct {
  int number;
  const char *name, *text;
} errors[] = {
#define ERROR_ROW(number, id, runtime, driver, text) {number, runtime, text},
    FOR_EACH_ERROR(ERROR_ROW)};

EXPORT const char *cudaGetErrorName(cudaError_t error) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    if (errors[i].number == error) return errors[i].name;
  }
  return "unrecognized error code";
}

EXPORT const char *cudaGetErrorString(cudaError_t error) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    if (errors[i].number == error) return errors[i].text;
  }
  return "unrecognized error code";
}
