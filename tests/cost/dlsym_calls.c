/* Looks an unrelated name up so many times, for an instruction count.
 *
 *   dlsym_calls CALLS */
#include <dlfcn.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  long calls = argc > 1 ? atol(argv[1]) : 0;
  void *libc = dlopen("libc.so.6", RTLD_NOW);
  for (long i = 0; i < calls; i++)
    if (!dlsym(libc, "getpid")) return 1;
  return 0;
}
