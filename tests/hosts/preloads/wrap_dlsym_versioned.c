/* A tool that exports dlsym under both versions glibc has given it, and finds the next one by the old. */
#include <dlfcn.h>
#include <stddef.h>

void *wrapped_dlsym(void *handle, const char *name);

void *wrapped_dlsym(void *handle, const char *name) {
  static void *(*real)(void *, const char *);
  if (real == NULL) real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  return real(handle, name);
}

__asm__(
    ".globl dlsym_new\n.set dlsym_new, wrapped_dlsym\n.symver dlsym_new, dlsym@@GLIBC_2.34\n"
    ".globl dlsym_old\n.set dlsym_old, wrapped_dlsym\n.symver dlsym_old, dlsym@GLIBC_2.2.5\n");
