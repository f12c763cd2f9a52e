/* What is not simulated ends here, in one line, and not in a crash later. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include "internal.h"

enum { EXIT_NOT_SIMULATED = 70 }; /* EX_SOFTWARE of sysexits.h */

void sim_missing(const char *function, const char *library, const void *return_address) {
  Dl_info caller = {0};
  dladdr(return_address, &caller);
  fprintf(stderr, "nccltap rehearsal: %s of %s is not simulated, and %s called it\n", function, library,
          caller.dli_fname ? caller.dli_fname : "code outside of any library");
  _exit(EXIT_NOT_SIMULATED);
}
