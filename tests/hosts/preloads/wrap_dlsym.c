/* A tool that wraps dlsym in the plain way: its own function in front of the one it finds behind it. */
#include <dlfcn.h>
#include <stddef.h>

static void *(*real)(void *, const char *);

void *dlsym(void *handle, const char *name) {
  if (real == NULL) real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  return real(handle, name);
}
