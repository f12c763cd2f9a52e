/* A tool that wraps malloc, and finds the real one by dlsym when it is first called: before any
 * constructor has run, and inside look-ups of others. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static void *(*real)(size_t);

void *malloc(size_t size) {
  if (real == NULL) {
    real = dlsym(RTLD_NEXT, "malloc");
    if (real == NULL || real == malloc) _exit(98);
  }
  return real(size);
}
