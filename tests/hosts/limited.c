/* limited WHAT: calls under a limit the process has set itself: file (size of files), memory (address
 * space), descriptors (open files), threads (processes of the user). */
#include <sys/resource.h>

#include "host.h"

int main(int argc, char **argv) {
  MUST(argc == 2);
  const char *what = argv[1];
  struct rlimit limit = {0, 0};
  int resource = RLIMIT_CORE;
  if (strcmp(what, "file") == 0) resource = RLIMIT_FSIZE, limit.rlim_cur = 32 << 20;
  if (strcmp(what, "memory") == 0) resource = RLIMIT_AS, limit.rlim_cur = 48 << 20;
  if (strcmp(what, "descriptors") == 0) resource = RLIMIT_NOFILE, limit.rlim_cur = 4;
  if (strcmp(what, "threads") == 0) resource = RLIMIT_NPROC, limit.rlim_cur = 1;
  MUST(resource != RLIMIT_CORE);
  limit.rlim_max = limit.rlim_cur;
  MUST(setrlimit(resource, &limit) == 0);
  ncclComm_t comm = communicator('l', 2, 0);
  for (int i = 0; i < 100; i++) all_reduce(comm, 1);
  say("done");
  return 0;
}
