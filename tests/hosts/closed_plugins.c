/* Opens and closes a library whose destructor calls NCCL, again and again, while another thread makes
 * communicators. Whoever takes the loader's lock and a lock of its own in two orders stops here for good. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

/* Fewer than the tap can describe in one process. */
#define MOST_COMMUNICATORS 3500

static _Atomic int enough;

static void *make_communicators(void *unused) {
  (void)unused;
  for (int made = 0; made < MOST_COMMUNICATORS && !enough; made++) {
    MUST(ncclCommDestroy(communicator('m', 2, 0)) == ncclSuccess);
  }
  return NULL;
}

int main(int argc, char **argv) {
  MUST(argc == 3);
  all_reduce(communicator('f', 2, 0), 6);
  pthread_t maker;
  MUST(pthread_create(&maker, NULL, make_communicators, NULL) == 0);
  for (long turn = argument(argc, argv, 2); turn > 0; turn--) {
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    MUST(plugin != NULL);
    void (*begin)(void) = (void (*)(void))dlsym(plugin, "plugin_begin");
    MUST(begin != NULL);
    begin();
    MUST(dlclose(plugin) == 0);
  }
  enough = 1;
  MUST(pthread_join(maker, NULL) == 0);
  return 0;
}
