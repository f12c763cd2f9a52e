/* Files in which the simulator keeps its own account: one per process and library, in the directory that
 * NCCLTAP_REHEARSAL_COUNTS_DIR names, mapped shared, so that what was written survives SIGKILL. */
#ifndef ACCOUNT_H_
#define ACCOUNT_H_

#include <stddef.h>
#include <stdint.h>

/* The first bytes of every such file. The magic number is written last. */
struct account_header {
  char magic[8];
  uint32_t rows;
  uint32_t row_bytes;
  uint32_t pid;
  uint32_t names; /* of the names that follow in the file's own header */
  uint64_t started_ns; /* since 1970 */
  _Atomic uint64_t overflow; /* what found the table full */
};

/* Makes <pid>-<start ns>.<extension> of `bytes` bytes, all zero but pid, start, `rows` and `row_bytes`, and
 * maps it. NULL where no directory is named, and, after a line on stderr, where the file cannot be made. */
void *account_create(const char *extension, size_t bytes, uint32_t rows, uint32_t row_bytes);

#endif
