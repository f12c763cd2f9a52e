/* under_load WITNESS THREADS GAP: calls in THREADS threads until it is killed, GAP turns of an empty loop
 * between calls. Each thread keeps two counters in the file WITNESS, mapped shared: calls begun, and
 * calls that came back. Thread t calls with count t. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "host.h"

struct witness {
  _Alignas(64) _Atomic uint64_t begun;
  _Atomic uint64_t back;
};

static struct witness *witnesses;
static ncclComm_t comm;
static long gap;

static void *call(void *thread) {
  struct witness *witness = &witnesses[(long)thread - 1];
  for (;;) {
    atomic_fetch_add(&witness->begun, 1);
    all_reduce(comm, (size_t)thread);
    atomic_fetch_add(&witness->back, 1);
    for (volatile long i = 0; i < gap; i++) continue;
  }
  return NULL;
}

int main(int argc, char **argv) {
  long threads = argument(argc, argv, 2);
  gap = argument(argc, argv, 3);
  int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
  size_t bytes = sizeof *witnesses * (size_t)threads;
  MUST(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
  witnesses = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  MUST(witnesses != MAP_FAILED);
  comm = communicator('k', 2, 0);
  for (long thread = 1; thread <= threads; thread++) {
    pthread_t id;
    MUST(pthread_create(&id, NULL, call, (void *)thread) == 0);
  }
  say("calling");
  for (;;) pause();
}
