/* Opens a library that is linked to NCCL, calls, and closes it with all it needs; then takes the place in
 * memory where NCCL had been, and does so again: the library comes back to its old place, and NCCL must go
 * to another. */
#include <dlfcn.h>
#include <sys/mman.h>

#include "host.h"

int main(int argc, char **argv) {
  MUST(argc == 2);
  for (int turn = 0; turn < 4; turn++) {
    void *torch = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    MUST(torch != NULL);
    void (*torch_init)(char, int, int) = dlsym(torch, "torch_init");
    void (*torch_all_reduce)(size_t) = dlsym(torch, "torch_all_reduce");
    MUST(torch_init && torch_all_reduce);
    torch_init((char)('a' + turn), 2, 0);
    for (int i = 0; i < 10; i++) torch_all_reduce(64);

    Dl_info nccl;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_NOLOAD);
    MUST(library != NULL && dladdr(dlsym(library, "pncclAllReduce"), &nccl) != 0);
    MUST(dlclose(library) == 0 && dlclose(torch) == 0);
    mmap(nccl.dli_fbase, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  }
  return 0;
}
