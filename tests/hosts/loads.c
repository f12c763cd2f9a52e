/* loads LIBRARY: loads it and ends. */
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv) {
  MUST(argc > 1);
  alarm(20);
  MUST(dlopen(argv[1], RTLD_NOW) != NULL);
  return 0;
}
