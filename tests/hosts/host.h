/* What the host programs share: a communicator, a call, and an end with a message when something in the
 * program itself goes wrong. A host knows nothing of the tap. */
#ifndef HOST_H_
#define HOST_H_

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl.h"

#define MUST(condition)                                                            \
  do {                                                                             \
    if (!(condition)) {                                                            \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);      \
      _exit(99);                                                                   \
    }                                                                              \
  } while (0)

/* A unique id that all processes of a test agree on: one byte, repeated. */
static inline ncclUniqueId id_of(char byte) {
  ncclUniqueId id;
  memset(&id, byte, sizeof id);
  return id;
}

static inline ncclComm_t communicator(char id, int ranks, int rank) {
  ncclComm_t comm = NULL;
  MUST(ncclCommInitRank(&comm, ranks, id_of(id), rank) == ncclSuccess);
  return comm;
}

static inline void all_reduce(ncclComm_t comm, size_t count) {
  MUST(ncclAllReduce(NULL, NULL, count, ncclBfloat16, ncclSum, comm, NULL) == ncclSuccess);
}

/* Tells the test something, at once. */
static inline void say(const char *line) {
  puts(line);
  fflush(stdout);
}

/* Waits until the test writes a line or closes the pipe. */
static inline void wait_for_test(void) {
  char byte;
  while (read(0, &byte, 1) == 1 && byte != '\n') continue;
}

static inline long argument(int argc, char **argv, int index) {
  MUST(index < argc);
  return strtol(argv[index], NULL, 10);
}

#endif
