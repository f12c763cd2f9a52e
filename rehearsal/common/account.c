#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "environment.h"

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *map_new(const char *path, size_t bytes) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return MAP_FAILED;
  void *file = MAP_FAILED;
  if (ftruncate(fd, (off_t)bytes) == 0) {
    file = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  close(fd);
  return file;
}

void *account_create(const char *extension, size_t bytes, uint32_t rows, uint32_t row_bytes) {
  const char *directory = environment_text(SETTING_COUNTS_DIR);
  if (!*directory) return NULL;
  char path[PATH_MAX];
  uint64_t started = now_ns();
  int length = snprintf(path, sizeof path, "%s/%d-%llu.%s", directory, (int)getpid(),
                        (unsigned long long)started, extension);
  void *file = MAP_FAILED;
  errno = ENAMETOOLONG;
  if (length > 0 && (size_t)length < sizeof path) file = map_new(path, bytes);
  if (file == MAP_FAILED) {
    fprintf(stderr, "nccltap rehearsal: cannot keep counts in %s: %s\n", directory, strerror(errno));
    return NULL;
  }
  struct account_header *header = file;
  header->rows = rows;
  header->row_bytes = row_bytes;
  header->pid = (uint32_t)getpid();
  header->started_ns = started;
  return file;
}
