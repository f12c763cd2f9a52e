/* Closes every file descriptor but the standard ones in the middle of its calls, as daemons do, and opens
 * files of its own, which get the same numbers. Nobody else may write to these, or close them. */
#include <sys/mman.h>

#include "host.h"

enum { FILES = 60 };

int main(void) {
  ncclComm_t comm = communicator('c', 2, 0);
  for (int i = 0; i < 100; i++) all_reduce(comm, 1);
  say("calling");
  wait_for_test();
  for (int fd = 3; fd < 1024; fd++) close(fd);
  int files[FILES];
  for (int i = 0; i < FILES; i++) {
    files[i] = memfd_create("mine", MFD_CLOEXEC);
    MUST(files[i] >= 3 && write(files[i], "mine", 4) == 4);
  }
  for (int i = 0; i < 100; i++) all_reduce(comm, 2);
  say("closed");
  wait_for_test();
  for (int i = 0; i < 100; i++) all_reduce(comm, 3);
  for (int i = 0; i < FILES; i++) {
    char found[8];
    MUST(pread(files[i], found, sizeof found, 0) == 4 && memcmp(found, "mine", 4) == 0);
  }
  return 0;
}
